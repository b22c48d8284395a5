//! A whole model in one GGUF file, as llama.cpp reads it.
//!
//! Nothing here knows how a model computes. Metadata becomes the keys of a `config.json` and back ([`config`]), tensors get
//! the names and the layout of a Hugging Face checkpoint and back ([`tensors`]), the vocabulary becomes a `tokenizer.json`
//! and back ([`tokenizer`]); the rest of the room then goes on as for a directory. What differs from one architecture to the
//! next is a table in [`architecture`].

mod architecture;
mod config;
mod families;
mod keys;
mod rope;
mod save;
mod tensors;
mod tokenizer;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use llm_data::{MappedFile, Tokenizer};
use llm_gguf::Gguf;
use llm_model::ModelConfig;

use crate::CheckpointError;
use architecture::{ARCHITECTURES, Architecture};
use keys::Keys;
pub use save::save_gguf;
pub(crate) use tensors::GgufTensors;

/// Whether `path` is to be read as a GGUF file and not as a model directory.
pub fn is_gguf(path: &Path) -> bool {
    is_gguf_name(path) || path.is_file()
}

/// Whether `path` ends with `.gguf`, in letters of any case.
pub fn is_gguf_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// A GGUF file of a known architecture.
pub(crate) struct GgufFile {
    path: PathBuf,
    gguf: Gguf<Bytes>,
}

impl GgufFile {
    /// Maps the file and checks its header; no weight is read.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let hint = "check the path; a model is a directory or a .gguf file";
        std::fs::metadata(path).map_err(|e| CheckpointError::read(path, e, hint))?;
        let gguf = Gguf::parse(Bytes::from_owner(MappedFile::open(path)?));
        let gguf = gguf.map_err(|source| CheckpointError::Gguf { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), gguf })
    }

    fn architecture(&self) -> Result<&'static Architecture, CheckpointError> {
        const KEY: &str = "general.architecture";
        let keys = Keys::new(&self.path, self.gguf.metadata());
        let name = keys.text(KEY)?.ok_or_else(|| keys.missing(KEY))?;
        ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
            let known: Vec<_> = ARCHITECTURES.iter().map(|architecture| format!("{:?}", architecture.name)).collect();
            keys.bad(KEY, &crate::config::raw::one_of(&known))
        })
    }

    /// What the metadata says about the model.
    pub fn config(&self) -> Result<ModelConfig, CheckpointError> {
        config::read(self, self.architecture()?)
    }

    /// The tokenizer, with the chat template under `chat_template` in its settings.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        tokenizer::read(&self.path, self.gguf.metadata())
    }
}

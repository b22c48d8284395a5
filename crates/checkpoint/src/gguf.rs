//! A whole model in one GGUF file, as llama.cpp reads it, or in several.
//!
//! Nothing here knows how a model computes. Metadata becomes the keys of a `config.json` and back ([`config`]), tensors get
//! the names and the layout of a Hugging Face checkpoint and back ([`tensors`]), the vocabulary becomes a `tokenizer.json`
//! and back ([`tokenizer`]); the rest of the room then goes on as for a directory. What differs from one architecture to the
//! next is a table in [`architecture`].

mod architecture;
mod config;
mod families;
mod keys;
mod parts;
mod rope;
mod save;
mod tensors;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use llm_data::Tokenizer;
use llm_gguf::{Gguf, GgufError, TensorInfo, Value, is_gguf_name};
use llm_model::ModelConfig;

use crate::CheckpointError;
use architecture::{ARCHITECTURES, Architecture};
use keys::Keys;
use parts::Part;
pub use save::save_gguf;
pub(crate) use tensors::GgufTensors;

/// Whether `path` is to be read as a GGUF file and not as a model directory.
pub fn is_gguf(path: &Path) -> bool {
    is_gguf_name(path) || path.is_file()
}

/// A GGUF file of a known architecture, or the several files of one model.
pub(crate) struct GgufFile {
    /// The file with the metadata.
    path: PathBuf,
    /// At least one; the first has the metadata.
    parts: Vec<Part>,
    /// For each tensor, the part that has it.
    homes: BTreeMap<String, usize>,
    /// What the metadata says about the model, once somebody has asked.
    config: OnceLock<ModelConfig>,
}

impl GgufFile {
    /// Maps the file, and all others of its model if it is one part, and checks their headers; no weight is read.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let parts = parts::open(path)?;
        let homes = parts::homes(&parts)?;
        Ok(Self { path: parts[0].path.clone(), parts, homes, config: OnceLock::new() })
    }

    fn metadata(&self) -> &BTreeMap<String, Value> {
        self.parts[0].gguf.metadata()
    }

    /// Names and descriptions of all tensors.
    fn tensors(&self) -> impl Iterator<Item = (&String, &TensorInfo)> {
        self.parts.iter().flat_map(|part| part.gguf.tensors())
    }

    fn info(&self, tensor: &str) -> Option<&TensorInfo> {
        self.gguf(tensor).tensors().get(tensor)
    }

    /// The file that has a tensor; any other one if none has.
    fn gguf(&self, tensor: &str) -> &Gguf<Bytes> {
        &self.parts[self.homes.get(tensor).copied().unwrap_or(0)].gguf
    }

    /// The values of a tensor, which may be NaN or infinite.
    fn values(&self, tensor: &str) -> Result<Vec<f32>, CheckpointError> {
        self.gguf(tensor).values(tensor).map_err(|source| self.damaged(source))
    }

    fn damaged(&self, source: GgufError) -> CheckpointError {
        CheckpointError::Gguf { path: self.path.clone(), source }
    }

    fn bad_tensor(&self, tensor: &str, problem: &str) -> CheckpointError {
        self.damaged(GgufError::Tensor { tensor: tensor.to_owned(), problem: problem.to_owned() })
    }

    fn architecture(&self) -> Result<&'static Architecture, CheckpointError> {
        const KEY: &str = "general.architecture";
        let keys = Keys::new(&self.path, self.metadata());
        let name = keys.text(KEY)?.ok_or_else(|| keys.missing(KEY))?;
        ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
            let known: Vec<_> = ARCHITECTURES.iter().map(|architecture| format!("{:?}", architecture.name)).collect();
            keys.bad(KEY, &crate::config::raw::one_of(&known))
        })
    }

    /// What the metadata says about the model; it is read once.
    pub fn config(&self) -> Result<&ModelConfig, CheckpointError> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = config::read(self, self.architecture()?)?;
        Ok(self.config.get_or_init(|| config))
    }

    /// The tokenizer, with the chat template under `chat_template` in its settings.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        tokenizer::read(&self.path, self.metadata())
    }
}

//! A whole model in one GGUF file, as llama.cpp reads it, or in several.
//!
//! Nothing here knows how a model computes. Metadata becomes the keys of a `config.json` and back ([`config`]), tensors get
//! the names and the layout of a Hugging Face checkpoint and back ([`tensors`]), the vocabulary becomes a `tokenizer.json`
//! and back ([`tokenizer`]); the rest of the room then works as for a directory. What differs from one architecture to the
//! next is on the pages of [`families`](crate::families), in the words of [`description`].

mod config;
pub(crate) mod description;
mod file;
mod parts;
mod rope;
mod save;
mod tensors;
mod tokenizer;

use std::path::Path;

use llm_gguf::is_gguf_name;
use llm_model::ModelConfig;

use crate::CheckpointError;

pub(crate) use file::GgufFile;
pub use save::save_gguf;
pub(crate) use tensors::GgufTensors;
pub(crate) use tokenizer::read as tokenizer;

/// Whether `path` is to be read as a GGUF file and not as a model directory.
pub fn is_gguf(path: &Path) -> bool {
    is_gguf_name(path) || path.is_file()
}

/// What the metadata says about the model; it is read once.
pub(crate) fn config(file: &GgufFile) -> Result<&ModelConfig, CheckpointError> {
    file.config_by(config::read)
}

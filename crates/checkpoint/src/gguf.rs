//! A whole model in one GGUF file, as llama.cpp reads it, or in several.
//!
//! Nothing here knows how a model computes. Metadata becomes the keys of a `config.json` and back ([`config`]), tensors get
//! the names and the layout of a Hugging Face checkpoint and back ([`tensors`]), the vocabulary becomes a `tokenizer.json`
//! and back ([`tokenizer`]); the rest of the room then goes on as for a directory. What differs from one architecture to the
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

pub(crate) use config::read as config;
pub(crate) use file::GgufFile;
#[cfg(feature = "hub")]
pub(crate) use parts::{part_name, sibling};
pub use save::save_gguf;
pub(crate) use tensors::GgufTensors;
pub(crate) use tokenizer::read as tokenizer;

/// Whether `path` is to be read as a GGUF file and not as a model directory.
pub fn is_gguf(path: &Path) -> bool {
    is_gguf_name(path) || path.is_file()
}

/// Whether `path` ends with `.gguf`, in letters of any case.
pub fn is_gguf_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

//! The GGUF file format, versions 2 and 3
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>); knows no model.
//!
//! ```text
//! bytes of a file ── Gguf::parse ──▶ metadata, tensors ── dequantize ──▶ f32
//! metadata, tensors ── Layout ── TensorWriter ◀── quantize ── f32
//! ```
//!
//! A file is read from bytes that lie in memory, as a memory map gives them: what [`Gguf::parse`] accepts can be read
//! without further checks, and nothing that a file claims is believed before it is held against the file's size.
#![warn(missing_docs)]

mod dequantize;
mod error;
mod names;
mod quantize;
mod read;
mod tensor_type;
mod value;
mod write;

pub use dequantize::dequantize;
pub use error::GgufError;
pub use names::{is_gguf_name, part_name, sibling};
pub use quantize::quantize;
pub use read::{Gguf, TensorInfo};
pub use tensor_type::TensorType;
pub use value::{Array, Value};
pub use write::{Layout, TensorPlan, TensorWriter};

/// The first four bytes of every file.
const MAGIC: [u8; 4] = *b"GGUF";
/// Default alignment of tensors, in bytes (`general.alignment`).
const DEFAULT_ALIGNMENT: u64 = 32;
/// The key that says otherwise.
const ALIGNMENT_KEY: &str = "general.alignment";
/// Most dimensions of a tensor, as in ggml.
const MOST_DIMENSIONS: usize = 4;

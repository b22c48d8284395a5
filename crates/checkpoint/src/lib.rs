//! A model directory on disk: configuration, weights, tokenizer and training state.
//!
//! ```text
//! config.json ── config ──▶ ModelConfig ─┐
//! model.safetensors ── tensors ─ weights ┴▶ CausalLm          families/*.rs: what differs from one to the next
//! pytorch_model.bin ── pickled ──┘
//! training/checkpoints/step-00001000/ ── training ──▶ weights, optimizer state and state to resume from
//! adapter_config.json, adapter_model.safetensors ── adapter ──▶ LoRA adapters of a CausalLm, and back
//! model.gguf ── gguf ──▶ ModelConfig, Tokenizer and CausalLm of a file that llama.cpp reads, and back
//! ```
//!
//! The directory is one of Hugging Face: what we write, `transformers` loads, and what it wrote, we load. Every file is
//! written beside, synced and renamed ([`write_atomic`]), so that a kill at any moment leaves a directory that loads.
#![warn(missing_docs)]

mod adapter;
mod advice;
mod atomic;
mod config;
mod directory;
mod error;
mod families;
mod files;
mod floats;
mod generation;
mod gguf;
mod keys;
mod layout;
mod pickled;
mod pictures;
mod quantize;
mod source;
mod tensors;
mod training;
mod weights;

pub use adapter::{
    AdapterDescription, adapter_base, describe_adapter, load_adapter, load_adapters, own_targets, save_adapter,
};
pub use advice::Advice;
pub use atomic::write_atomic;
pub use config::save_config;
pub use directory::{
    check_vocabulary, load_config, load_for_inference, load_frozen, load_model, load_tokenizer, open_tokenizer,
    save_model, save_model_as,
};
pub use error::CheckpointError;
pub use families::published_type;
pub use files::{CHAT_TEMPLATE, ModelFiles, copy_chat_template};
pub use generation::{GenerationDefaults, copy_generation, load_generation};
pub use gguf::{is_gguf, save_gguf};
pub use layout::is_adapter;
pub use llm_gguf::{TensorType, is_gguf_name};
pub use quantize::Quantize;
pub use source::ModelSource;
pub use tensors::{load_tensors, save_tensors};
pub use training::{SavedWeights, latest_training, load_training, save_training, training_before};
pub use weights::{Dtype, OtherParts, load_weights, save_weights};

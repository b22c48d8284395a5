//! A model directory on disk: configuration, weights, tokenizer and training state.
//!
//! ```text
//! config.json ── config ──▶ ModelConfig ─┐
//! model.safetensors ── tensors ─ weights ┴▶ CausalLm          families/*.rs: what differs from one to the next
//! pytorch_model.bin ── pickled ──┘
//! training/checkpoints/step-00001000/ ── training ──▶ weights, optimizer state and state to go on from
//! ```
//!
//! The directory is one of Hugging Face: what we write, `transformers` loads, and what it wrote, we load. Every file is
//! written beside, synced and renamed ([`write_atomic`]), so that a kill at any moment leaves a directory that loads.
#![warn(missing_docs)]

mod atomic;
mod config;
mod directory;
mod error;
mod families;
mod floats;
mod generation;
#[cfg(feature = "hub")]
mod hub;
mod pickled;
mod tensors;
mod training;
mod weights;

pub use atomic::write_atomic;
pub use config::{load_config, published_type, save_config};
pub use directory::{check_vocabulary, load_for_inference, load_model, load_tokenizer, save_model};
pub use error::CheckpointError;
pub use generation::{GenerationDefaults, load_generation};
#[cfg(feature = "hub")]
pub use hub::{Hub, HubError, HubEvent, HubId};
pub use tensors::{load_tensors, save_tensors};
pub use training::{latest_training, load_training, save_training};
pub use weights::{load_weights, save_weights};

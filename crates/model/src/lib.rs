//! The Transformer as Burn modules: a decoder-only language model that one config describes.
//!
//! ```text
//! ids ─ embed_tokens (+ embed_positions) ─ dropout
//!     ─ layers × { input_layernorm ─ self_attn ─ + ─ post_attention_layernorm ─ mlp ─ + }   (NormPlacement: or after)
//!     ─ norm ─ lm_head (or embed_tokens, tied) ─ logits
//! ```
//!
//! Shapes use one legend: `b` batch, `t` time, `d` hidden size, `h` heads, `kv` key/value heads, `hd` head width,
//! `s` positions attended to (cache included), `f` feed-forward width, `v` vocabulary.
#![warn(missing_docs)]

mod attention;
mod cache;
mod config;
mod decoder;
mod feed_forward;
mod initialize;
mod linear;
mod linears;
mod lora;
mod matrix;
mod norm;
mod params;
mod rotary;
mod run;

pub use attention::Attention;
pub use cache::KvCache;
pub use config::{
    ConfigError, Dropout, Family, FeedForwardKind, ModelConfig, ModelSection, NormKind, NormPlacement, Position,
    PositionKind, QkNorm, RopeScaling, Rotary, Yarn,
};
pub use decoder::{Block, CausalLm, Decoder, Embedding};
pub use feed_forward::FeedForward;
pub use linear::Linear;
pub use llm_kernels::{IGNORED, Precision, QuantizedWeight, SampleStarts, cross_entropy as token_losses};
pub use lora::{Lora, LoraConfig, LoraError, TargetModules};
pub use matrix::{Blocks, Matrix};
pub use norm::Norm;
pub use params::{
    ParamInfo, ParamMapper, ParamVisitor, Role, Values, chosen_params, map_params, named_params, params,
    replace_params, trainable_params, visit_params,
};
pub use rotary::RotaryTables;
pub use run::{Part, Pass, Run, Segment, Tap};

//! How good a model is, in numbers and in texts.
//!
//! ```text
//! texts, samples ── EvalData ──▶ Measured ── score ──▶ loss, perplexity, bits per byte
//! samples ── Question ── Generator ──▶ answers, and how many are exact
//! two models ── Side ──▶ what differs: settings, scores, texts; logits ── Agreement ──▶ how far they are apart
//! ```
#![warn(missing_docs)]

mod answers;
mod compare;
mod error;
mod logits;
mod measure;
mod windows;

pub use answers::{Answer, Question, likeliest};
pub use compare::{Comparison, Side, differences};
pub use error::{Advice, EvalError};
pub use logits::{Agreement, logits};
pub use measure::{EvalData, Event, Measured, Score};
pub use windows::text_windows;

//! Text out of a language model: prefill, decode with a cache, sampling, and streaming that never breaks a character.
//!
//! ```text
//! prompt ids ─ prefill, in chunks ─▶ logits ─ sampling ─▶ id ─ text stream ─ stop strings ─▶ events
//!                                      ▲                  │
//!                                      └── decode, cache ◀┘
//! ```
//!
//! [`Conversation`] becomes the tokens of a prompt that fits the context. An [`Engine`] has several texts on their way, and
//! each step of it goes on with all of them; a [`Generator`] is an engine of one. [`Sampling`] says how a token is drawn,
//! [`Options`] when a text ends.
#![warn(missing_docs)]

mod advice;
mod conversation;
mod engine;
mod error;
mod generator;
mod options;
mod report;
mod sampling;
mod sequence;
mod stop;

pub use advice::Advice;
pub use conversation::{Budget, Conversation, Form, Prompt};
pub use engine::{Ended, Engine, SequenceId};
pub use error::{ConversationError, GenerateError};
pub use generator::Generator;
pub use options::{ContextOverflow, Options};
pub use report::{Event, FinishReason, Generation, Timings};
pub use sampling::{Sampler, Sampling};

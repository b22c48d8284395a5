//! Text to tokens, shards and batches.
//!
//! The way of the data, each step in a module of its own:
//!
//! ```text
//! files ── corpus ──▶ documents ── tokenizer ──▶ ids ── shards ──▶ disk ── batch ──▶ (b, t) inputs and targets
//! ```
//!
//! [`prepare`](prepare::prepare) walks it from files to memory-mapped shards and caches what it made;
//! [`BatchSampler`] reads batches that are a pure function of (seed, step, rank).
#![warn(missing_docs)]

mod batch;
mod corpus;
mod error;
mod mmap;
mod prepare;
mod shards;
mod tokenizer;

pub use batch::{Batch, BatchSampler, evaluation_windows};
pub use corpus::{Corpus, CorpusOptions, FileStats, Segment, Segments};
pub use error::DataError;
pub use mmap::MappedFile;
pub use prepare::{DataSection, Prepared, Progress, Split, Stage, default_cache_dir, prepare, prepare_split};
pub use shards::{ShardHeader, ShardWriter, TokenShards};
pub use tokenizer::{END_OF_TEXT, Piece, TextStream, Tokenizer, TokenizerKind, TokenizerSection};

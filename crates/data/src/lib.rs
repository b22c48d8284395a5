//! Text to tokens, shards and batches.
//!
//! The way of the data, each step in a module of its own:
//!
//! ```text
//! files ── corpus ──▶ documents ── tokenizer ──▶ ids ── shards ──▶ disk ── batch ──▶ (b, t) inputs and targets
//! ```
//!
//! [`prepare`](prepare::prepare) walks it from files to memory-mapped shards and caches what it made;
//! [`BatchSampler`] reads batches that are a pure function of (seed, step, rank). [`ChatTemplate`] turns messages into
//! the text that a chat model expects.
#![warn(missing_docs)]

mod advice;
mod batch;
mod chat_template;
mod corpus;
mod error;
mod files;
mod mmap;
mod prepare;
mod samples;
mod shards;
mod tokenizer;

pub use advice::Advice;
pub use batch::{Batch, BatchSampler, evaluation_windows};
pub use chat_template::{ChatInput, ChatTemplate, RenderedChat};
pub use corpus::{Corpus, CorpusOptions, FileStats, Note, Segment, Segments};
pub use error::DataError;
pub use files::{Encoding, FileError, Skipped, Unreadable, decode_text};
pub use mmap::MappedFile;
pub use prepare::{
    DataSection, EncodedText, Prepared, Progress, Split, Stage, default_cache_dir, encode_corpus, prepare,
    prepare_split,
};
pub use samples::{
    BadLine, Chat, Content, Finding, FindingKind, LeftOut, LeftOutReason, Origin, Place, PreferenceBatch,
    PreferenceSampler, Remark, RemarkKind, Rendering, Sample, SampleLimits, SampleSampler, SampleSection, SampleSet,
    SampleSummary, Severity, TokenizedPair, TokenizedPairs, TokenizedSample, TokenizedSamples, TrainOn, Truncated,
    check_samples, row_length,
};
pub use shards::{ShardHeader, ShardWriter, TokenShards};
pub use tokenizer::{END_OF_TEXT, Piece, TextStream, Tokenizer, TokenizerKind, TokenizerSection, tokens_around};

//! The text that a tokenizer is trained on or applied to, as it is typed.

use std::path::PathBuf;

use clap::Args;
use llm_data::{DataSection, TokenizerKind, TokenizerSection};

/// Which files are text, and how they are read.
#[derive(Debug, Clone, Args)]
pub struct CorpusArgs {
    /// Files and folders: .txt, .md and .jsonl, also with .gz or .zst.
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,

    /// Key of a .jsonl line that holds the text.
    #[arg(long, value_name = "KEY", default_value_t = DataSection::default().text_key)]
    pub text_key: String,

    /// Replace invalid UTF-8 by U+FFFD instead of stopping.
    #[arg(long)]
    pub lossy: bool,
}

/// Which tokenizer to train.
#[derive(Debug, Clone, Args)]
pub struct KindArgs {
    /// What a token is: `char`, `byte`, `word` or `bpe` (byte-level).
    #[arg(long, default_value_t = TokenizerSection::default().kind)]
    pub kind: TokenizerKind,

    /// Maximum vocabulary size, for `word` and `bpe`.
    #[arg(long, value_name = "N", default_value_t = TokenizerSection::default().vocab_size)]
    vocab_size: usize,

    /// Minimum count for a word or pair to become a token, for `word` and `bpe`.
    #[arg(long, value_name = "N", default_value_t = TokenizerSection::default().min_frequency)]
    min_frequency: u64,
}

impl KindArgs {
    /// The section `[tokenizer]` that says the same.
    pub fn section(&self) -> TokenizerSection {
        let Self { kind, vocab_size, min_frequency } = *self;
        TokenizerSection { kind, vocab_size, min_frequency, path: None }
    }
}

//! Samples to fine-tune on: conversations, instructions, completions, texts and preferences.
//!
//! ```text
//! files ── read ──▶ SampleSet ── tokenize ──▶ ids and which of them are trained ── sampler ──▶ (b, t) batches
//! ```
//!
//! [`SampleSet::load`] reads and checks every line, [`SampleSet::tokenize`] renders it by the model's chat template and
//! marks what the model itself is to say, [`SampleSampler`] packs the result into rows. Nothing is shortened or left out
//! without being counted in a [`SampleSummary`].

mod batch;
mod calls;
mod check;
mod duplicates;
mod format;
mod json;
mod marks;
mod pack;
mod preference;
mod read;
mod render;
mod spans;
mod split;
mod summary;
mod tokenize;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::prepare::one_or_several;

pub use batch::SampleSampler;
pub use check::{Finding, FindingKind, Place, Severity, check_samples};
pub use format::BadLine;
pub(crate) use format::{describe, is_sample};
pub use preference::{PreferenceBatch, PreferenceSampler};
pub use read::SampleSet;
pub use render::Rendering;
pub use summary::{
    LeftOut, LeftOutReason, Remark, RemarkKind, SampleSummary, TokenizedPairs, TokenizedSamples, Truncated, row_length,
};
pub use tokenize::{TokenizedPair, TokenizedSample};

/// The samples of a fine-tuning run and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleSection {
    /// `.jsonl` and `.json` files, also with `.gz` or `.zst`, and folders with `train`, `valid` and `test` files of
    /// these kinds; one may stand without a list.
    #[serde(deserialize_with = "one_or_several")]
    pub paths: Vec<PathBuf>,
    /// Share of the samples that is set aside for validation, 0 for none; not where a folder has a `valid` file.
    pub valid_fraction: f64,
    /// Which tokens of a conversation are learned.
    pub train_on: TrainOn,
    /// Most tokens of a sample, and of a row; the model's context without it, which is also the most it can be.
    pub max_length: Option<usize>,
    /// Truncate longer samples instead of skipping them.
    pub truncate: bool,
    /// Put several samples into a row.
    pub packing: bool,
}

impl Default for SampleSection {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            valid_fraction: 0.05,
            train_on: TrainOn::All,
            max_length: None,
            truncate: false,
            packing: true,
        }
    }
}

impl SampleSection {
    /// How samples become tokens for a model of `context` positions.
    pub fn limits(&self, context: usize) -> SampleLimits {
        let max_length = self.max_length.unwrap_or(context).min(context);
        SampleLimits { train_on: self.train_on, max_length, truncate: self.truncate }
    }
}

/// How samples become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleLimits {
    /// Which tokens of a conversation are learned.
    pub train_on: TrainOn,
    /// Most tokens of a sample.
    pub max_length: usize,
    /// Truncate longer samples instead of skipping them.
    pub truncate: bool,
}

/// Which tokens of a conversation are learned. Of a plain text it is always all of them, of a prompt with its
/// completion the completion, unless it is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrainOn {
    /// The last answer.
    Last,
    /// Every answer.
    #[default]
    All,
    /// Questions, answers and what the template puts around them.
    Everything,
}

impl fmt::Display for TrainOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Last => "last",
            Self::All => "all",
            Self::Everything => "everything",
        })
    }
}

impl FromStr for TrainOn {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Last, Self::All, Self::Everything]
            .into_iter()
            .find(|part| part.to_string() == name)
            .ok_or_else(|| format!("unknown part {name:?}; expected last, all or everything"))
    }
}

/// Where a sample stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// Its file.
    #[serde(serialize_with = "lossy_path")]
    pub file: Arc<Path>,
    /// The line it begins in, from 1.
    pub line: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A path that is not Unicode can still be reported.
fn lossy_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A sample as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Where it stands.
    pub origin: Origin,
    /// What it says.
    pub content: Content,
    /// Whether it is learned: not where it has `"weight": 0` or `"train": false`.
    pub learned: bool,
    /// Keys that other programs act on and this one does not.
    pub unused: Vec<String>,
}

/// What a sample says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A text, learned as a whole.
    Text(String),
    /// A prompt and what follows it. A model with a chat template takes it as a question and its answer.
    Completion {
        /// What is given.
        prompt: String,
        /// What is learned.
        completion: String,
    },
    /// A conversation, also out of an instruction and its output.
    Chat(Chat),
    /// Two continuations, the first of them better.
    Preference {
        /// The whole of the better one, a completion or a conversation.
        chosen: Box<Content>,
        /// The whole of the worse one, of the same kind.
        rejected: Box<Content>,
        /// Messages that both conversations begin with: what is given.
        shared: usize,
    },
}

impl Content {
    /// Whether it consists of messages, on the chosen side if there are two.
    pub fn is_conversation(&self) -> bool {
        match self {
            Self::Chat(_) => true,
            Self::Text(_) | Self::Completion { .. } => false,
            Self::Preference { chosen, .. } => chosen.is_conversation(),
        }
    }
}

/// A conversation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// Objects with a known `role` and a `content`, as chat templates take them; `null` is the content of an answer that
    /// only calls tools.
    pub messages: Vec<Value>,
    /// Whether a message says of itself that it is learned, for each of them.
    pub marks: Vec<Option<bool>>,
    /// JSON schemas of the functions that the model may call.
    pub tools: Option<Vec<Value>>,
}

impl Chat {
    /// A conversation of these roles and texts.
    fn of<const N: usize>(turns: [(&str, String); N]) -> Self {
        let messages = turns.into_iter().map(|(role, content)| json!({"role": role, "content": content}));
        Self { messages: messages.collect(), marks: vec![None; N], tools: None }
    }

    /// This conversation, continued by another.
    fn and(mut self, next: Self) -> Self {
        self.messages.extend(next.messages);
        self.marks.extend(next.marks);
        self
    }

    fn begins_with_system(&self) -> bool {
        self.messages.first().is_some_and(|message| message["role"] == "system")
    }
}

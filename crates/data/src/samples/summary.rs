//! Samples as tokens, and what became of those that are not among them.

use std::fmt;

use serde::Serialize;

use super::{Origin, Rendering, TokenizedPair, TokenizedSample};
use crate::DataError;

/// Samples as tokens.
pub type TokenizedSamples = Tokenized<TokenizedSample>;
/// Preference pairs as tokens.
pub type TokenizedPairs = Tokenized<TokenizedPair>;

/// Samples, or pairs of them, as tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokenized<S> {
    /// To train on.
    pub train: Vec<S>,
    /// To validate on.
    pub valid: Vec<S>,
    /// To test on.
    pub test: Vec<S>,
    /// What happened on the way.
    pub summary: SampleSummary,
}

/// What happened while samples became tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SampleSummary {
    /// How conversations were written.
    pub rendering: Rendering,
    /// The token that ends an answer, if there is one.
    pub end_of_turn: Option<u32>,
    /// The samples that are not trained on.
    pub left_out: Vec<LeftOut>,
    /// The samples that were cut at their end, where that was asked for.
    pub truncated: Vec<Truncated>,
    /// Samples whose answers end with no token that generation stops at: a model would learn to go on and on.
    pub endless: Vec<Origin>,
    /// Preference pairs whose chosen side alone is trained on.
    pub chosen_only: usize,
    /// Samples to train, to validate and to test on that are not left out.
    pub samples: [usize; 3],
    /// What is learned, but perhaps not as its author thinks.
    pub remarks: Vec<Remark>,
}

impl SampleSummary {
    /// Refuses samples with tools, calls or results that the chat template does not write: what is left of them is
    /// another conversation.
    ///
    /// # Errors
    /// [`DataError::NotWritten`] with all of them.
    pub fn require_written(&self) -> Result<(), DataError> {
        let is_unwritten = |one: &&LeftOut| matches!(one.reason, LeftOutReason::NotWritten { .. });
        let samples: Vec<LeftOut> = self.left_out.iter().filter(is_unwritten).cloned().collect();
        if samples.is_empty() { Ok(()) } else { Err(DataError::NotWritten { samples }) }
    }
}

/// Tokens of a row for samples of these lengths: the longest rounded up to a multiple of 64, if that is below
/// `max_length`.
pub fn row_length(lengths: impl Iterator<Item = usize>, max_length: usize) -> usize {
    lengths.max().unwrap_or(1).next_multiple_of(64).min(max_length)
}

/// Something about a sample that is learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// Where it stands.
    pub origin: Origin,
    /// What it is.
    #[serde(flatten)]
    pub kind: RemarkKind,
}

/// What there may be to say about a sample that is learned. Messages are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "remark", rename_all = "snake_case")]
pub enum RemarkKind {
    /// A special token is written out in a message, and becomes that token.
    ControlToken {
        /// The message.
        message: usize,
        /// The token.
        token: String,
    },
    /// The first token of an answer is also the last of its prompt: no prompt by itself ends with such a token.
    SharedToken {
        /// The text that it stands for.
        text: String,
    },
    /// The chat template does not write something.
    NotWritten {
        /// What.
        what: String,
    },
    /// A question is marked as learned, and is not.
    MarkedQuestion {
        /// The message.
        message: usize,
    },
    /// A key that other programs act on and this one does not.
    UnusedKey {
        /// The key.
        key: String,
    },
}

impl fmt::Display for RemarkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlToken { message, token } => write!(f, "{token} in message {message}"),
            Self::SharedToken { text } => write!(f, "{text:?} is one token"),
            Self::NotWritten { what } => write!(f, "{what}"),
            Self::MarkedQuestion { message } => write!(f, "message {message}"),
            Self::UnusedKey { key } => write!(f, "{key:?}"),
        }
    }
}

/// A sample that is not trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Where it stands.
    pub origin: Origin,
    /// Why.
    #[serde(flatten)]
    pub reason: LeftOutReason,
}

/// Why a sample is not trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum LeftOutReason {
    /// It has more tokens than a row.
    TooLong {
        /// Its tokens.
        tokens: usize,
        /// The most there may be.
        max_length: usize,
    },
    /// No token of it would be learned.
    NothingToTrain,
    /// All that would be learned of it is marked as not to be (`"weight": 0`, `"train": false`).
    Unlearned,
    /// An answer is empty.
    EmptyAnswer,
    /// The chat template passes over tools, calls or what they gave.
    NotWritten {
        /// What.
        what: String,
    },
    /// Both sides of a preference are the same.
    SameAnswers,
    /// The chat template does not take it, or fails at it.
    Refused {
        /// What the template says.
        message: String,
    },
    /// Where an answer stands in what the template wrote cannot be told.
    NotFound {
        /// The message, from 1.
        message: usize,
    },
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { tokens, max_length } => write!(f, "{tokens} tokens, but the maximum is {max_length}"),
            Self::NothingToTrain => f.write_str("no token of it would be trained"),
            Self::Unlearned => f.write_str("it is marked as not to be trained on"),
            Self::EmptyAnswer => f.write_str("an answer is empty"),
            Self::NotWritten { what } => write!(f, "the chat template does not write {what}"),
            Self::SameAnswers => f.write_str("the chosen answer is also the rejected one"),
            Self::Refused { message } => write!(f, "the chat template rejects it: {message}"),
            Self::NotFound { message } => {
                write!(f, "message {message} cannot be found in the chat template's output")
            }
        }
    }
}

/// A sample that was cut at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truncated {
    /// Where it stands.
    pub origin: Origin,
    /// Its tokens before.
    pub tokens: usize,
    /// Its tokens now.
    pub kept: usize,
}

//! Samples as tokens, and what became of those that are not among them.

use std::fmt;

use serde::Serialize;

use super::{Origin, Rendering, TokenizedPair, TokenizedSample};

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
    /// Preference pairs of which only the chosen side is trained on.
    pub chosen_only: usize,
    /// Tokens of the longest sample, left out or not.
    pub longest: usize,
}

impl SampleSummary {
    /// Tokens of a row that no sample is too long for: the longest sample rounded up to a multiple of 64, if that is
    /// below `max_length`.
    pub fn row_length(&self, max_length: usize) -> usize {
        self.longest.next_multiple_of(64).min(max_length)
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
    /// An answer is empty.
    EmptyAnswer,
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
            Self::TooLong { tokens, max_length } => write!(f, "{tokens} tokens, but {max_length} are the most"),
            Self::NothingToTrain => f.write_str("no token of it would be trained"),
            Self::EmptyAnswer => f.write_str("an answer is empty"),
            Self::SameAnswers => f.write_str("the chosen answer is also the rejected one"),
            Self::Refused { message } => write!(f, "the chat template refuses it: {message}"),
            Self::NotFound { message } => {
                write!(f, "message {message} cannot be found again in what the chat template wrote")
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

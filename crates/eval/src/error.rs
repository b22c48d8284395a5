use std::path::PathBuf;

use llm_checkpoint::CheckpointError;
use llm_data::DataError;
use llm_generate::GenerateError;

/// Why a model cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// More tokens than a model has positions for.
    #[error("{tokens} tokens, but the model has positions for only {context}\nhint: use fewer tokens")]
    TooManyTokens {
        /// Tokens given.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },

    /// Texts and samples, which are measured in different ways.
    #[error("{} is a text, but {} holds samples", text.display(), samples.display())]
    TextsAndSamples {
        /// A file or folder of samples.
        samples: PathBuf,
        /// One of texts.
        text: PathBuf,
    },

    /// Windows over a text that leave tokens out.
    #[error("a stride of {stride} with windows of {context} tokens would skip tokens")]
    StrideBeyondContext {
        /// From one window to the next.
        stride: usize,
        /// Tokens of a window.
        context: usize,
    },

    /// Text, samples or tokens.
    #[error(transparent)]
    Data(#[from] DataError),

    /// The files of a model.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// Generation.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// Help for an error in the terms of whoever asks: its words depend on how the program is used, so that the one that shows the
/// error finds them. Help that is the same for all stands in the error's text, after `hint: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Measure texts and samples one after the other, or read samples as texts.
    OneKind,
    /// Let windows begin at most so many tokens apart.
    ShorterStride {
        /// Tokens of a window.
        context: usize,
    },
    /// Use other data.
    Data(llm_data::Advice),
    /// Use other files of a model.
    Checkpoint(llm_checkpoint::Advice),
    /// Generate in another way.
    Generate(llm_generate::Advice),
}

impl EvalError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::TooManyTokens { .. } => None,
            Self::TextsAndSamples { .. } => Some(Advice::OneKind),
            Self::StrideBeyondContext { context, .. } => Some(Advice::ShorterStride { context: *context }),
            Self::Data(error) => error.advice().map(Advice::Data),
            Self::Checkpoint(error) => error.advice().map(Advice::Checkpoint),
            Self::Generate(error) => error.advice().map(Advice::Generate),
        }
    }
}

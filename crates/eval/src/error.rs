use std::path::PathBuf;

use llm_checkpoint::CheckpointError;
use llm_data::DataError;
use llm_generate::GenerateError;

/// Why a model cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// More tokens than a model has positions for.
    #[error("{tokens} tokens, but the model has positions for {context} only\nhint: give fewer")]
    TooManyTokens {
        /// Tokens given.
        tokens: usize,
        /// Positions of the model.
        context: usize,
    },

    /// Texts and samples, which are measured in different ways.
    #[error("{} is a text, but {} holds samples\nhint: measure one kind at a time; --text-key KEY reads .jsonl files as texts", text.display(), samples.display())]
    TextsAndSamples {
        /// A file or folder of samples.
        samples: PathBuf,
        /// One of texts.
        text: PathBuf,
    },

    /// Windows over a text that leave tokens out.
    #[error(
        "windows of {context} tokens that begin {stride} apart would leave tokens out\nhint: make --stride {context} or less"
    )]
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

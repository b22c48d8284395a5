//! What kind of help there is.

use crate::Encoding;

/// Help for an error in the terms of whoever asks: its words depend on how the program is used, so that the one that shows the
/// error finds them. Help that is the same for all stands in the error's text, after `hint: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Name files or folders of text.
    NameFiles,
    /// Use more text, or a context that is not longer.
    ShorterContext {
        /// Tokens of the longest context that is possible.
        tokens: u64,
    },
    /// Give more text to validate on.
    MoreValidation,
    /// Give a longer text.
    LongerText,
    /// Give other files to train or to validate on, or set a share of the text aside.
    OtherFiles,
    /// Set another share aside, or name files to validate on.
    ValidationShare,
    /// Use more text, or name files to validate on.
    MoreTextOrValidation,
    /// Allow longer samples; a check of the data says what is wrong with each.
    LongerSamples,
    /// These are texts, to continue pretraining with.
    TrainOnText {
        /// The file, as a shell takes it.
        file: String,
    },
    /// These are samples, to fine-tune on.
    FinetuneOnSamples {
        /// The file, as a shell takes it.
        file: String,
    },
    /// Name the key that holds the text.
    TextKey,
    /// Replace what is not text, if the file is one at all.
    ReplaceNul,
    /// Replace what is no text.
    ReplaceInvalid {
        /// What the rest seems to be.
        encoding: Encoding,
        /// A command that drops it instead.
        dropped_by: String,
    },
    /// What helps with the first of several files.
    First(Box<Advice>),
}

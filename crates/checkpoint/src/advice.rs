//! What kind of help there is.

/// Help for an error in the terms of whoever asks: its words depend on how the program is used, so that the one that shows the
/// error finds them. Help that is the same for all stands in the error's text, after `hint: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Free some space on the disk, then resume.
    FreeSpace,
    /// This is an adapter: name the model that it belongs to, and the adapter beside it.
    NameBase,
    /// Name a model directory, or train a model.
    NameModel,
    /// Train without quantizing the weights that are frozen.
    KeepPrecision,
    /// Merge the adapter into its model.
    MergeAdapter,
    /// Use another tokenizer, text or sample.
    Data(llm_data::Advice),
}

//! What kind of help there is.

/// Help for an error in the terms of whoever asks: its words depend on how the program is used, so that the one that shows the
/// error finds them. Help that is the same for all stands in the error's text, after `hint: `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Shorten the prompt, or let the context slide over it.
    SlideContext,
    /// Save a conversation to see how such a file is written.
    SaveConversation,
    /// Use another tokenizer or template.
    Data(llm_data::Advice),
}

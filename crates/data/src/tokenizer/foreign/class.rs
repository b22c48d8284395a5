//! What `tokenizer_config.json` says about a SentencePiece model.

use super::Settings;

/// Whose converter a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Llama,
    Gemma,
    /// Nobody's.
    None,
}

impl Class {
    pub(super) fn of(settings: &Settings) -> Self {
        match settings.class() {
            Some("Llama" | "CodeLlama") => Self::Llama,
            Some("Gemma") => Self::Gemma,
            _ => Self::None,
        }
    }
}

use std::io;
use std::path::PathBuf;

use crate::Advice;

/// Why no text comes.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A prompt without a single token.
    #[error("the prompt is empty\nhint: omit it to start a new text")]
    EmptyPrompt,

    /// A prompt that does not fit, where the context may not slide.
    #[error("the prompt has {tokens} tokens, but the model's context is {context}")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that the model was made for.
        context: usize,
    },

    /// An id in the prompt that the model has no embedding for.
    #[error(
        "token id {id} is in the prompt, but the model has embeddings only for ids below {vocab_size}\n\
         hint: remove it, or use the tokenizer that the model was trained with"
    )]
    UnknownId {
        /// The id.
        id: u32,
        /// Size by the model.
        vocab_size: usize,
    },

    /// A sampling setting outside its range.
    #[error("{name} is {value}, but it must be {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What is possible.
        expected: &'static str,
    },

    /// A stop string without a character, which would end every text before it begins.
    #[error("a stop string is empty\nhint: give some text")]
    EmptyStop,

    /// Logits that no token can be drawn from.
    #[error(
        "the model gives {value} for token {id} after {position} tokens\n\
         hint: its weights are damaged or its training diverged; use an earlier checkpoint"
    )]
    NotFinite {
        /// NaN or an infinity.
        value: f32,
        /// The first token that has it.
        id: usize,
        /// Tokens of the text before it, the prompt included.
        position: usize,
    },

    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),

    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] llm_data::DataError),
}

/// Why a conversation cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A file of something else than messages.
    #[error("{}: {message}", path.display())]
    NoMessages {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// A message that fills the context by itself.
    #[error("the conversation has {tokens} tokens, but the model's context is {context}\nhint: shorten the message")]
    TooLong {
        /// Tokens of what cannot be forgotten.
        tokens: usize,
        /// Tokens that the model was made for.
        context: usize,
    },

    /// The chat template or the tokenizer.
    #[error(transparent)]
    Data(#[from] llm_data::DataError),
}

impl GenerateError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::PromptTooLong { .. } => Some(Advice::SlideContext),
            Self::Tokenizer(error) => error.advice().map(Advice::Data),
            _ => None,
        }
    }
}

impl ConversationError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::NoMessages { .. } => Some(Advice::SaveConversation),
            Self::Data(error) => error.advice().map(Advice::Data),
            _ => None,
        }
    }
}

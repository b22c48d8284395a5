/// Why no text comes.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A prompt without a single token.
    #[error("the prompt is empty\nhint: leave it out to start from the token that begins a text")]
    EmptyPrompt,

    /// A prompt that does not fit, where the context may not slide.
    #[error(
        "the prompt has {tokens} tokens, but the model's context is {context}\n\
         hint: shorten it, or use --context-overflow slide to go on from its end"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens that the model was made for.
        context: usize,
    },

    /// An id in the prompt that the model has no embedding for.
    #[error(
        "token id {id} is in the prompt, but the model has embeddings for the ids below {vocab_size} only\n\
         hint: leave it out, or use the tokenizer that the model was trained with"
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
    #[error("a stop string is empty\nhint: give --stop some text")]
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

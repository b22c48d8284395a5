use crate::{GenerateError, Sampling};

/// How to generate one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How each token is drawn.
    pub sampling: Sampling,
    /// Which of several texts from one seed this is: each has a random stream of its own.
    pub sample: u64,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Texts that end the generation; they are not given out.
    pub stop: Vec<String>,
    /// Tokens that end the text beside the tokenizer's own, such as the one that ends a turn of a chat.
    pub ends: Vec<u32>,
    /// Go on after a token that ends the text.
    pub ignore_eos: bool,
    /// What to do at the end of the context.
    pub context_overflow: ContextOverflow,
    /// Prompt tokens in one forward pass; bounds the memory of attention.
    pub prefill_chunk: usize,
}

/// What to do when the text has filled the model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContextOverflow {
    /// End there.
    #[default]
    Stop,
    /// Forget the older half of the context, but for a beginning-of-text token, and read the newer half again. That
    /// holds for learned and rotary positions alike, as every token gets a position that the model knows.
    Slide,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            sample: 0,
            max_tokens: 256,
            stop: Vec::new(),
            ends: Vec::new(),
            ignore_eos: false,
            context_overflow: ContextOverflow::default(),
            prefill_chunk: 512,
        }
    }
}

impl Options {
    /// Rejects what makes no sense.
    ///
    /// # Errors
    /// Those of [`Sampling::validate`], and [`GenerateError::EmptyStop`].
    pub fn validate(&self) -> Result<(), GenerateError> {
        self.sampling.validate()?;
        if self.stop.iter().any(String::is_empty) { Err(GenerateError::EmptyStop) } else { Ok(()) }
    }
}

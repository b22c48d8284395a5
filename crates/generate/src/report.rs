use std::time::Duration;

/// What happens while a text is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A chunk of the prompt has been read.
    Prefilled {
        /// Tokens read so far.
        done: usize,
        /// Tokens to read.
        total: usize,
    },
    /// A token was drawn; its text may still be held back.
    Token(u32),
    /// The text goes on by this: whole characters, never a part of a stop string.
    Text(&'a str),
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FinishReason {
    /// The model gave an end-of-text token.
    EndOfText,
    /// A stop string came.
    Stop,
    /// The tokens asked for are there.
    #[default]
    Length,
    /// The context is full.
    Context,
    /// The receiver of the events said so.
    Cancelled,
}

impl FinishReason {
    /// One lower-case word: `eos`, `stop`, `length`, `context` or `cancelled`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndOfText => "eos",
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Context => "context",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A text and how it came about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Generation {
    /// What was generated, without the prompt and without a stop string.
    pub text: String,
    /// Its tokens, without the end-of-text token; those of a stop string are among them.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Where the time went.
    pub timings: Timings,
}

/// Counts and times of the two phases.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Timings {
    /// Tokens of the prompt, as far as they fit.
    pub prompt_tokens: usize,
    /// Those of them that were in the cache already.
    pub cached_tokens: usize,
    /// Time to read the others.
    pub prefill: Duration,
    /// Tokens drawn, an end-of-text token included.
    pub generated_tokens: usize,
    /// Time from the end of the prompt to the end of the text.
    pub decode: Duration,
}

impl Timings {
    /// Prompt tokens read a second.
    pub fn prefill_tokens_per_s(&self) -> f64 {
        rate(self.prompt_tokens - self.cached_tokens, self.prefill)
    }

    /// Tokens generated a second.
    pub fn decode_tokens_per_s(&self) -> f64 {
        rate(self.generated_tokens, self.decode)
    }
}

fn rate(tokens: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { tokens as f64 / time.as_secs_f64() }
}

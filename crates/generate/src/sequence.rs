//! One text on its way: what is read, what was drawn, and why it ends.

use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::Device;
use llm_data::{TextStream, Tokenizer};
use llm_model::{KvCache, ModelConfig};

use crate::stop::StopStrings;
use crate::{ContextOverflow, Event, FinishReason, GenerateError, Generation, Options, Sampler, Timings};

/// Room for tokens that is made before the first of them; a text without a limit gets more as it grows.
const FIRST_ROOM: usize = 4096;

/// Tokens with their keys and values.
#[derive(Debug)]
pub(crate) struct Held {
    pub cache: KvCache,
    /// The tokens in the cache.
    pub ids: Vec<u32>,
}

impl Held {
    /// Nothing yet, with room for what a text with so many tokens of a prompt may become.
    pub fn new(config: &ModelConfig, prompt: usize, options: &Options, device: &Device) -> Self {
        let room = prompt.saturating_add(options.max_tokens.min(FIRST_ROOM)).min(config.context_length);
        Self { cache: KvCache::new(config, room, device), ids: Vec::new() }
    }

    /// How many tokens it has in common with the beginning of `window`.
    pub fn common(&self, window: &[u32]) -> usize {
        self.ids.iter().zip(window).take_while(|(held, new)| held == new).count()
    }

    /// Shortens it to what it has in common with `window`, of which it leaves at least the last token to read.
    fn keep_common(&mut self, window: &[u32]) {
        self.cache.truncate(self.common(window).min(window.len() - 1));
        self.cache.expect(window.len());
        self.ids.truncate(self.cache.len());
    }
}

/// One text.
pub(crate) struct Sequence<'a> {
    config: &'a ModelConfig,
    tokenizer: &'a Tokenizer,
    options: Options,
    sampler: Sampler,
    stream: TextStream<'a>,
    stops: StopStrings,
    prompt_tokens: usize,
    /// The prompt and what was generated.
    ids: Vec<u32>,
    /// What must have been read before the next token is drawn. What is held is its beginning.
    window: Vec<u32>,
    pub held: Held,
    text: String,
    timings: Timings,
    /// When the current phase began: reading the prompt, then drawing.
    began: Instant,
}

impl<'a> Sequence<'a> {
    /// A text after the tokens `prompt`, of which `held` may hold some.
    pub fn new(
        prompt: &[u32],
        options: Options,
        mut held: Held,
        config: &'a ModelConfig,
        tokenizer: &'a Tokenizer,
    ) -> Result<Self, GenerateError> {
        let sampler = Sampler::new(options.sampling, options.sample)?;
        let fits = prompt.len() <= config.context_length;
        let window = if fits { prompt.to_vec() } else { newer_half(prompt, config, tokenizer) };
        held.keep_common(&window);
        let [prompt_tokens, cached_tokens] = [window.len(), held.ids.len()];
        Ok(Self {
            config,
            tokenizer,
            sampler,
            stream: tokenizer.decode_stream_after(prompt),
            stops: StopStrings::new(options.stop.clone()),
            options,
            prompt_tokens: prompt.len(),
            ids: prompt.to_vec(),
            window,
            held,
            text: String::new(),
            timings: Timings { prompt_tokens, cached_tokens, ..Timings::default() },
            began: Instant::now(),
        })
    }

    /// The tokens to read next: a chunk of the prompt, at most `share` of it, or the token drawn last.
    pub fn wants(&self, share: usize) -> &[u32] {
        let rest = &self.window[self.held.ids.len()..];
        &rest[..rest.len().min(self.options.prefill_chunk.min(share).max(1))]
    }

    /// Whether it has all the tokens that were asked for: none.
    pub fn is_done(&self) -> bool {
        self.options.max_tokens == 0
    }

    /// Whether it reads its prompt, or the part of a text that stays when the context slides.
    pub fn is_reading(&self) -> bool {
        self.window.len() - self.held.ids.len() > 1
    }

    /// Takes notice that `tokens` of what it wanted have been read, and tells whether the next token can be drawn. A text
    /// that is broken off has ended.
    pub fn has_read(
        &mut self,
        tokens: usize,
        emit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<bool, FinishReason> {
        let done = self.held.ids.len() + tokens;
        let reads = self.timings.generated_tokens == 0 || self.is_reading();
        self.held.ids.extend_from_slice(&self.window[self.held.ids.len()..done]);
        if reads && emit(Event::Prefilled { done, total: self.window.len() }).is_break() {
            return Err(FinishReason::Cancelled);
        }
        Ok(done == self.window.len())
    }

    /// Draws a token by the logits that follow what was read; gives the reason if the text ends.
    pub fn draw(
        &mut self,
        logits: &[f32],
        emit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<FinishReason>, GenerateError> {
        if self.timings.generated_tokens == 0 {
            self.timings.prefill = self.began.elapsed();
            self.began = Instant::now();
        }
        let Options { ignore_eos, max_tokens, context_overflow, .. } = self.options;
        let id = self.sampler.sample(logits, &self.ids)?;
        self.timings.generated_tokens += 1;
        let mut shown = String::new();
        let ends = !ignore_eos && (self.tokenizer.eos_ids().contains(&id) || self.options.ends.contains(&id));
        if !ends {
            self.ids.push(id);
        }
        // A special token has no text, but a stop string may name it.
        let stopped = if self.tokenizer.is_special(id) && !self.options.stop.is_empty() {
            self.stops.push_hidden(&self.tokenizer.token(id).unwrap_or_default(), &mut shown)
        } else {
            let piece = if ends { None } else { self.stream.push(id)? };
            self.stops.push(&piece.unwrap_or_default(), &mut shown)
        };
        if ends && !stopped {
            let _ = self.show(&shown, emit);
            return Ok(Some(FinishReason::EndOfText));
        }
        let cancelled = emit(Event::Token(id)).is_break() | self.show(&shown, emit).is_break();
        if stopped {
            return Ok(Some(FinishReason::Stop));
        }
        if cancelled {
            return Ok(Some(FinishReason::Cancelled));
        }
        if self.timings.generated_tokens == max_tokens {
            return Ok(Some(FinishReason::Length));
        }
        if self.is_full() && context_overflow == ContextOverflow::Stop {
            return Ok(Some(FinishReason::Context));
        }
        self.read_after(id);
        Ok(None)
    }

    /// Has `id`, the newest token, read next, with more of the text where its past does not count any longer.
    fn read_after(&mut self, id: u32) {
        if self.is_full() {
            self.window = newer_half(&self.ids, self.config, self.tokenizer);
            self.held.keep_common(&self.window);
            return;
        }
        self.window.push(id);
        if self.config.rotary_switch() == Some(self.held.ids.len()) {
            // From here on all positions are rotated by other wavelengths.
            self.held.keep_common(&self.window);
        }
    }

    /// Whether the context has no room for another token.
    fn is_full(&self) -> bool {
        self.held.ids.len() >= self.config.context_length
    }

    /// The text, now that it has ended, and what is held of it.
    pub fn finish(
        mut self,
        mut reason: FinishReason,
        emit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> (Result<Generation, GenerateError>, Held) {
        // What was held back in case more would come.
        if reason != FinishReason::Stop && self.timings.generated_tokens > 0 {
            let rest = match self.stream.finish() {
                Ok(rest) => rest.unwrap_or_default(),
                Err(error) => return (Err(error.into()), self.held),
            };
            let mut shown = String::new();
            if self.stops.push(&rest, &mut shown) {
                reason = FinishReason::Stop;
            } else {
                shown += &self.stops.finish();
            }
            let _ = self.show(&shown, emit);
        }
        let mut timings = self.timings;
        let phase = if timings.generated_tokens == 0 { &mut timings.prefill } else { &mut timings.decode };
        *phase = self.began.elapsed();
        let ids = self.ids.split_off(self.prompt_tokens);
        (Ok(Generation { text: self.text, ids, finish_reason: reason, timings }), self.held)
    }

    fn show(&mut self, text: &str, emit: &mut dyn FnMut(Event) -> ControlFlow<()>) -> ControlFlow<()> {
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(text);
        emit(Event::Text(text))
    }
}

/// The tokens that stay when the context slides: half a context of them, after the token that begins the text.
fn newer_half(ids: &[u32], config: &ModelConfig, tokenizer: &Tokenizer) -> Vec<u32> {
    let half = (config.context_length / 2).max(1);
    let mut window = ids[ids.len() - half.min(ids.len())..].to_vec();
    if half > 1
        && let Some(first) = ids.first().filter(|first| Some(**first) == tokenizer.bos_id())
    {
        window[0] = *first;
    }
    window
}

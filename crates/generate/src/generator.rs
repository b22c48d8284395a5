use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_data::Tokenizer;
use llm_model::{CausalLm, KvCache, Run};

use crate::stop::StopStrings;
use crate::{ContextOverflow, Event, FinishReason, GenerateError, Generation, Options, Sampler, Timings};

/// Room for tokens that is made before the first of them; a text without a limit gets more as it grows.
const FIRST_ROOM: usize = 4096;

/// A model and its tokenizer, ready to generate.
///
/// Keeps the cache from one text to the next: what a new prompt has in common with the tokens in there is not computed
/// again, as for further samples of one prompt or the next turn of a chat.
#[derive(Debug)]
pub struct Generator<'a> {
    model: &'a CausalLm,
    tokenizer: &'a Tokenizer,
    device: Device,
    cache: Option<KvCache>,
    /// The tokens in the cache.
    held: Vec<u32>,
}

/// What one text has come to.
struct Progress<'e> {
    /// The prompt and what was generated.
    ids: Vec<u32>,
    text: String,
    timings: Timings,
    emit: &'e mut dyn FnMut(Event) -> ControlFlow<()>,
}

impl<'a> Generator<'a> {
    /// `device` is where the model's weights are, without autodiff.
    pub fn new(model: &'a CausalLm, tokenizer: &'a Tokenizer, device: &Device) -> Self {
        Self { model, tokenizer, device: device.clone(), cache: None, held: Vec::new() }
    }

    /// Generates after the tokens `prompt` until one of the ends that `options` name. `emit` is told what happens, and
    /// may break off.
    ///
    /// # Errors
    /// Options that make no sense, a prompt that is empty, too long or of another vocabulary, and logits that are no
    /// numbers.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &Options,
        emit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation, GenerateError> {
        options.validate()?;
        self.check(prompt, options)?;
        if options.max_tokens == 0 {
            return Ok(Generation::default());
        }
        let mut sampler = Sampler::new(options.sampling, options.sample)?;
        let config = self.model.config();
        let room = config.context_length.min(prompt.len().saturating_add(options.max_tokens.min(FIRST_ROOM)));
        self.cache.get_or_insert_with(|| KvCache::new(config, room, &self.device));

        let timings = Timings { prompt_tokens: prompt.len(), ..Timings::default() };
        let mut progress = Progress { ids: prompt.to_vec(), text: String::new(), timings, emit };
        let begin = Instant::now();
        let logits = self.prefill(&mut progress, options)?;
        progress.timings.prefill = begin.elapsed();

        let begin = Instant::now();
        let finish_reason = match logits {
            Some(logits) => self.decode(logits, &mut sampler, options, &mut progress)?,
            None => FinishReason::Cancelled,
        };
        progress.timings.decode = begin.elapsed();
        let Progress { mut ids, text, timings, .. } = progress;
        Ok(Generation { text, ids: ids.split_off(prompt.len()), finish_reason, timings })
    }

    fn check(&self, prompt: &[u32], options: &Options) -> Result<(), GenerateError> {
        let config = self.model.config();
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= config.vocab_size) {
            return Err(GenerateError::UnknownId { id, vocab_size: config.vocab_size });
        }
        if prompt.len() > config.context_length && options.context_overflow == ContextOverflow::Stop {
            return Err(GenerateError::PromptTooLong { tokens: prompt.len(), context: config.context_length });
        }
        Ok(())
    }

    /// Reads the prompt; gives the logits that follow it, or nothing if it was broken off.
    fn prefill(&mut self, progress: &mut Progress, options: &Options) -> Result<Option<Vec<f32>>, GenerateError> {
        let fits = progress.ids.len() <= self.model.config().context_length;
        let window = if fits { progress.ids.clone() } else { self.newer_half(&progress.ids) };
        let common = self.keep_common(&window);
        progress.timings.prompt_tokens = window.len();
        progress.timings.cached_tokens = common;
        self.read(&window, options.prefill_chunk, progress.emit)
    }

    /// Shortens the cache to what it has in common with `window`, of which it leaves at least the last token to read.
    fn keep_common(&mut self, window: &[u32]) -> usize {
        let pairs = self.held.iter().zip(&window[..window.len() - 1]);
        let common = pairs.take_while(|(held, new)| held == new).count();
        self.held.truncate(common);
        if let Some(cache) = &mut self.cache {
            cache.truncate(common);
            cache.expect(window.len());
            self.held.truncate(cache.len());
        }
        self.held.len()
    }

    /// Reads the part of `window` that the cache lacks; gives the logits that follow, or nothing if it was broken off.
    fn read(
        &mut self,
        window: &[u32],
        chunk: usize,
        emit: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Option<Vec<f32>>, GenerateError> {
        let mut hidden = None;
        for chunk in window[self.held.len()..].chunks(chunk.max(1)) {
            hidden = Some(self.forward(chunk));
            if emit(Event::Prefilled { done: self.held.len(), total: window.len() }).is_break() {
                return Ok(None);
            }
        }
        hidden.map(|hidden| self.last_logits(hidden)).transpose()
    }

    /// Draws tokens until an end is reached.
    fn decode(
        &mut self,
        mut logits: Vec<f32>,
        sampler: &mut Sampler,
        options: &Options,
        progress: &mut Progress,
    ) -> Result<FinishReason, GenerateError> {
        let mut stream = self.tokenizer.decode_stream_after(&progress.ids);
        let mut stops = StopStrings::new(&options.stop);
        let reason = loop {
            let id = sampler.sample(&logits, &progress.ids)?;
            progress.timings.generated_tokens += 1;
            let mut shown = String::new();
            let ends = !options.ignore_eos && (self.tokenizer.eos_ids().contains(&id) || options.ends.contains(&id));
            if !ends {
                progress.ids.push(id);
            }
            // A special token has no text, but a stop string may name it.
            let stopped = if self.tokenizer.is_special(id) && !options.stop.is_empty() {
                stops.push_hidden(&self.tokenizer.token(id).unwrap_or_default(), &mut shown)
            } else {
                let piece = if ends { None } else { stream.push(id)? };
                stops.push(&piece.unwrap_or_default(), &mut shown)
            };
            if ends && !stopped {
                let _ = progress.show(&shown);
                break FinishReason::EndOfText;
            }
            let cancelled = (progress.emit)(Event::Token(id)).is_break() | progress.show(&shown).is_break();
            if stopped {
                return Ok(FinishReason::Stop);
            }
            if cancelled {
                break FinishReason::Cancelled;
            }
            if progress.timings.generated_tokens == options.max_tokens {
                break FinishReason::Length;
            }
            if self.full() && options.context_overflow == ContextOverflow::Stop {
                break FinishReason::Context;
            }
            match self.next_logits(id, options, progress)? {
                Some(next) => logits = next,
                None => break FinishReason::Cancelled,
            }
        };
        // What was held back in case more would come.
        let rest = stream.finish()?.unwrap_or_default();
        let mut shown = String::new();
        if stops.push(&rest, &mut shown) {
            let _ = progress.show(&shown);
            return Ok(FinishReason::Stop);
        }
        shown += &stops.finish();
        let _ = progress.show(&shown);
        Ok(reason)
    }

    /// The logits that follow `id`, the newest token; nothing if reading a slid context was broken off.
    fn next_logits(
        &mut self,
        id: u32,
        options: &Options,
        progress: &mut Progress,
    ) -> Result<Option<Vec<f32>>, GenerateError> {
        if self.full() {
            let window = self.newer_half(&progress.ids);
            self.keep_common(&window);
            return self.read(&window, options.prefill_chunk, progress.emit);
        }
        if self.model.config().rotary_switch() == Some(self.held.len()) {
            // From here on all positions are rotated by other wavelengths.
            let window = [&self.held[..], &[id]].concat();
            self.keep_common(&window);
            return self.read(&window, options.prefill_chunk, progress.emit);
        }
        let hidden = self.forward(&[id]);
        self.last_logits(hidden).map(Some)
    }

    /// Whether the context has no room for another token.
    fn full(&self) -> bool {
        self.held.len() >= self.model.config().context_length
    }

    /// The tokens that stay when the context slides: half a context of them, after the token that begins the text.
    fn newer_half(&self, ids: &[u32]) -> Vec<u32> {
        let half = (self.model.config().context_length / 2).max(1);
        let mut window = ids[ids.len() - half.min(ids.len())..].to_vec();
        if half > 1
            && let Some(first) = ids.first().filter(|first| Some(**first) == self.tokenizer.bos_id())
        {
            window[0] = *first;
        }
        window
    }

    /// The last hidden state, `(1, 1, d)`, after `ids`, which are added to the cache.
    fn forward(&mut self, ids: &[u32]) -> Tensor<3> {
        self.held.extend_from_slice(ids);
        let values: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(values, [1, ids.len()]), &self.device);
        let [_, t] = ids.dims();
        let hidden = self.model.hidden(match &mut self.cache {
            Some(cache) => Run::cached(ids, cache),
            None => Run::rows(ids),
        });
        // The head is the largest matrix of small models: only the last position needs it.
        hidden.narrow(1, t - 1, 1)
    }

    /// Logits `(v)` on the host.
    fn last_logits(&self, hidden: Tensor<3>) -> Result<Vec<f32>, GenerateError> {
        self.model.logits(hidden).try_into_vec_as::<f32>().map_err(|error| GenerateError::Device(error.to_string()))
    }
}

impl Progress<'_> {
    fn show(&mut self, text: &str) -> ControlFlow<()> {
        if text.is_empty() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(text);
        (self.emit)(Event::Text(text))
    }
}

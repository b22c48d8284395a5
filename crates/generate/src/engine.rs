use std::fmt;
use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_data::Tokenizer;
use llm_model::{CausalLm, Run, Segment};

use crate::sequence::{Held, Sequence};
use crate::{ContextOverflow, Event, FinishReason, GenerateError, Generation, Options};

/// Generates several texts at once: a step reads each weight once for all of them, and gives each the tokens that it
/// would have alone.
///
/// Keeps what the newest texts that have ended hold: what a new prompt has in common with one of them is not computed again,
/// as for the next turn of a chat.
pub struct Engine<'a> {
    model: &'a CausalLm,
    tokenizer: &'a Tokenizer,
    device: Device,
    sequences: Vec<(SequenceId, Sequence<'a>)>,
    /// What texts that have ended hold, the newest last.
    kept: Vec<Held>,
    /// The most of these.
    keeps: usize,
    next: u64,
}

/// The name of a text in an [`Engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// A text that has ended, with its own error if it has one.
pub type Ended = (SequenceId, Result<Generation, GenerateError>);

impl fmt::Debug for Engine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequences, kept, .. } = self;
        write!(f, "Engine {{ sequences: {}, kept: {} }}", sequences.len(), kept.len())
    }
}

impl<'a> Engine<'a> {
    /// An engine without texts that keeps what up to `keeps` of those that have ended hold. `device` is where the model's
    /// weights are, without autodiff.
    pub fn new(model: &'a CausalLm, tokenizer: &'a Tokenizer, device: &Device, keeps: usize) -> Self {
        let (sequences, kept) = (Vec::new(), Vec::new());
        Self { model, tokenizer, device: device.clone(), sequences, kept, keeps, next: 0 }
    }

    /// Takes a text in, which begins with the tokens `prompt`.
    ///
    /// # Errors
    /// Options that make no sense, and a prompt that is empty, too long or of another vocabulary.
    pub fn admit(&mut self, prompt: &[u32], options: Options) -> Result<SequenceId, GenerateError> {
        options.validate()?;
        self.check(prompt, &options)?;
        let config = self.model.config();
        let nearest = (0..self.kept.len()).max_by_key(|i| self.kept[*i].common(prompt));
        let held = match nearest {
            Some(i) if self.kept.len() >= self.keeps || self.kept[i].common(prompt) > 0 => self.kept.remove(i),
            _ => Held::new(config, prompt.len(), &options, &self.device),
        };
        let sequence = Sequence::new(prompt, options, held, config, self.tokenizer)?;
        let id = SequenceId(self.next);
        self.next += 1;
        self.sequences.push((id, sequence));
        Ok(id)
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

    /// Whether no text is on its way.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Goes on with every text: reads the token that was drawn last, or a chunk of the prompt, and where all is read draws
    /// the next token. `emit` is told what happens, and may break off the text in question. Gives the texts that have
    /// ended.
    ///
    /// # Errors
    /// Those of the device; all texts have ended then.
    pub fn step(
        &mut self,
        emit: &mut dyn FnMut(SequenceId, Event) -> ControlFlow<()>,
    ) -> Result<Vec<Ended>, GenerateError> {
        let empty = |(place, (_, sequence)): (usize, &(SequenceId, Sequence))| sequence.is_done().then_some(place);
        let empty: Vec<usize> = self.sequences.iter().enumerate().filter_map(empty).collect();
        if self.is_idle() || !empty.is_empty() {
            return Ok(self.end(empty.into_iter().map(|place| (place, Ok(FinishReason::Length))).collect(), emit));
        }
        let (hidden, read) = self.read();
        // Texts that can go on, with the place of their newest token in the pass.
        let (mut ready, mut ended, mut end) = (Vec::new(), Vec::new(), 0);
        for (place, ((id, sequence), tokens)) in self.sequences.iter_mut().zip(read).enumerate() {
            end += tokens;
            match sequence.has_read(tokens, &mut |event| emit(*id, event)) {
                Ok(true) => ready.push((place, end - 1)),
                Ok(false) => {}
                Err(reason) => ended.push((place, Ok(reason))),
            }
        }
        let logits = match self.logits(&hidden, &ready) {
            Ok(logits) => logits,
            Err(error) => {
                self.sequences.clear();
                return Err(error);
            }
        };
        let rows = logits.chunks_exact(self.model.config().vocab_size);
        for ((place, _), logits) in ready.iter().zip(rows) {
            let (id, sequence) = &mut self.sequences[*place];
            let id = *id;
            match sequence.draw(logits, &mut |event| emit(id, event)) {
                Ok(None) => {}
                Ok(Some(reason)) => ended.push((*place, Ok(reason))),
                Err(error) => ended.push((*place, Err(error))),
            }
        }
        Ok(self.end(ended, emit))
    }

    /// Reads what every text wants; gives the hidden states `(1, n, d)` and how many of them are whose.
    fn read(&mut self) -> (Tensor<3>, Vec<usize>) {
        // Prompts share what one of them would read, so that a short one does not wait for a long one.
        let reading = self.sequences.iter().filter(|(_, sequence)| sequence.is_reading()).count();
        let most = self.sequences.iter().map(|(_, sequence)| sequence.wants(usize::MAX).len()).max().unwrap_or(0);
        let share = most.div_ceil(reading.max(1));
        let wanted: Vec<&[u32]> = self.sequences.iter().map(|(_, sequence)| sequence.wants(share)).collect();
        let read: Vec<usize> = wanted.iter().map(|ids| ids.len()).collect();
        let ids: Vec<i64> = wanted.concat().into_iter().map(i64::from).collect();
        let n = ids.len();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, n]), &self.device);
        let caches = self.sequences.iter_mut().map(|(_, sequence)| &mut sequence.held.cache);
        let segments = read.iter().zip(caches).map(|(&tokens, cache)| Segment { tokens, cache }).collect();
        (self.model.hidden(Run::segments(ids, segments)), read)
    }

    /// Logits on the host, those of one text behind those of the other. The head is the largest matrix of small models: only
    /// the newest tokens need it.
    fn logits(&self, hidden: &Tensor<3>, ready: &[(usize, usize)]) -> Result<Vec<f32>, GenerateError> {
        if ready.is_empty() {
            return Ok(Vec::new());
        }
        let newest = ready.iter().map(|(_, at)| hidden.clone().narrow(1, *at, 1)).collect();
        let logits = self.model.logits(Tensor::cat(newest, 1));
        logits.try_into_vec_as::<f32>().map_err(|error| GenerateError::Device(error.to_string()))
    }

    /// Takes the texts at the places `ended` out.
    fn end(
        &mut self,
        mut ended: Vec<(usize, Result<FinishReason, GenerateError>)>,
        emit: &mut dyn FnMut(SequenceId, Event) -> ControlFlow<()>,
    ) -> Vec<Ended> {
        ended.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        let mut generations: Vec<_> = ended
            .into_iter()
            .map(|(place, reason)| {
                let (id, sequence) = self.sequences.remove(place);
                let (generation, held) = match reason {
                    Ok(reason) => sequence.finish(reason, &mut |event| emit(id, event)),
                    Err(error) => (Err(error), sequence.held),
                };
                self.keep(held);
                (id, generation)
            })
            .collect();
        generations.reverse();
        generations
    }

    fn keep(&mut self, held: Held) {
        self.kept.push(held);
        if self.kept.len() > self.keeps {
            self.kept.remove(0);
        }
    }

    /// Ends a text at once, and gives what it has come to; `None` if there is none of that name on its way.
    ///
    /// # Errors
    /// What was held back of its text cannot be decoded.
    pub fn cancel(&mut self, id: SequenceId) -> Result<Option<Generation>, GenerateError> {
        let Some(place) = self.sequences.iter().position(|(other, _)| *other == id) else { return Ok(None) };
        let ended = self.end(vec![(place, Ok(FinishReason::Cancelled))], &mut |_, _| ControlFlow::Continue(()));
        ended.into_iter().next().map(|(_, generation)| generation).transpose()
    }
}

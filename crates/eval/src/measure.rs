//! How well a model predicts data.

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_checkpoint::ModelFiles;
use llm_data::{
    Batch, Corpus, CorpusOptions, DataError, LeftOut, Note, SampleSampler, SampleSection, SampleSet, TokenizedSample,
    TrainOn, encode_corpus, row_length,
};
use llm_model::{CausalLm, IGNORED};
use serde_json::{Value, json};

use crate::{EvalError, text_windows};

/// Maximum tokens per window by default.
const CONTEXT: usize = 1024;
/// Tokens of a batch, or one window: more do not make it faster.
const BATCH_TOKENS: usize = 1024;

/// Data to measure a model on, and how they are read.
#[derive(Debug, Clone)]
pub struct EvalData {
    /// Files and folders: texts, or samples.
    pub paths: Vec<PathBuf>,
    /// Read .jsonl files as texts, stored under this key in each line.
    pub text_key: Option<String>,
    /// Replace invalid characters by U+FFFD instead of failing.
    pub lossy: bool,
    /// Tokens of a window over a text, and most tokens of a sample; by default the model's context, for a text at most
    /// 1024.
    pub context: Option<usize>,
    /// Tokens from one window over a text to the next; by default half of the context.
    pub stride: Option<usize>,
    /// Which tokens of a conversation count.
    pub train_on: TrainOn,
}

/// What happens while data are read and a model is measured on them.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// What is to be known about the files.
    Note(&'a Note),
    /// Samples that do not count.
    LeftOut {
        /// How many.
        count: usize,
        /// The first of them.
        first: &'a LeftOut,
    },
    /// How far the measurement is.
    Progress {
        /// Batches done.
        done: usize,
        /// All batches.
        total: usize,
    },
}

/// Data that were read, as batches, and how many bytes of text their targets stand for.
#[derive(Debug)]
pub struct Measured {
    batches: Vec<Batch>,
    bytes: usize,
}

/// How well a model predicts some data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean negative logarithm of the probability of a token, in nats.
    pub loss: f64,
    /// Tokens that count.
    pub tokens: usize,
    /// Bytes of UTF-8 that they stand for.
    pub bytes: usize,
}

impl Score {
    /// exp of the loss.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// The loss in bits per byte of text: the same for different tokenizers that predict equally well.
    pub fn bits_per_byte(&self) -> f64 {
        self.loss * self.tokens as f64 / std::f64::consts::LN_2 / self.bytes.max(1) as f64
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({
            "loss": self.loss,
            "perplexity": self.perplexity(),
            "bits_per_byte": self.bits_per_byte(),
            "tokens": self.tokens,
            "bytes": self.bytes,
        })
    }
}

impl Measured {
    /// How well `model`, whose weights are on `device`, predicts the data.
    pub fn score(&self, model: &CausalLm, device: &Device, tell: &mut dyn FnMut(Event)) -> Score {
        let (mut nats, mut tokens) = (0.0, 0);
        for (done, batch) in (1..).zip(&self.batches) {
            let ids = |ids: &[i32]| -> Tensor<2, Int> {
                Tensor::from_data(TensorData::new(ids.to_vec(), [batch.batch, batch.time]), device)
            };
            let loss = model.loss(ids(&batch.inputs), ids(&batch.targets), batch.sample_starts.as_ref());
            nats += f64::from(loss.into_scalar::<f32>());
            tokens += batch.targets.iter().filter(|&&target| target != IGNORED).count();
            tell(Event::Progress { done, total: self.batches.len() });
        }
        Score { loss: nats / tokens.max(1) as f64, tokens, bytes: self.bytes }
    }
}

impl EvalData {
    /// The data at `paths`, measured in the usual way.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, text_key: None, lossy: false, context: None, stride: None, train_on: TrainOn::All }
    }

    /// Reads the data for the model of `files`; `tell` is told what is to be known about them.
    ///
    /// # Errors
    /// Texts together with samples; windows that the model has no positions for, or that leave tokens out; files that
    /// cannot be read, and data with nothing to measure.
    pub fn read(&self, files: &ModelFiles, tell: &mut dyn FnMut(Event)) -> Result<Measured, EvalError> {
        let positions = files.config.context_length;
        if let Some(tokens) = self.context.filter(|&context| context > positions) {
            return Err(EvalError::TooManyTokens { tokens, context: positions });
        }
        let is_samples = |path: &PathBuf| self.text_key.is_none() && SampleSet::is_at(path);
        match (self.paths.iter().find(|path| is_samples(path)), self.paths.iter().find(|path| !is_samples(path))) {
            (Some(samples), Some(text)) => {
                Err(EvalError::TextsAndSamples { samples: samples.clone(), text: text.clone() })
            }
            (Some(_), None) => self.packed(files, self.context.unwrap_or(positions), tell),
            _ => self.text(files, self.context.unwrap_or(positions.min(CONTEXT)), tell),
        }
    }

    fn text(&self, files: &ModelFiles, context: usize, tell: &mut dyn FnMut(Event)) -> Result<Measured, EvalError> {
        let stride = self.stride.unwrap_or(context.div_ceil(2));
        if stride > context {
            return Err(EvalError::StrideBeyondContext { stride, context });
        }
        let mut options = CorpusOptions { lossy: self.lossy, ..CorpusOptions::default() };
        if let Some(key) = &self.text_key {
            options.text_key.clone_from(key);
        }
        let mut corpus = Corpus::open(&self.paths, options)?;
        let stats = corpus.scan_all(|_| None)?;
        corpus.notes(&stats).iter().for_each(|note| tell(Event::Note(note)));
        let tokenizer = &files.tokenizer;
        // The token that begins a text, where the model has it.
        let begins = tokenizer.encode_prompt("")?;
        let mut ids: Vec<u32> = tokenizer.bos_id().filter(|bos| begins.first() == Some(bos)).into_iter().collect();
        let text = encode_corpus(&corpus, tokenizer)?;
        ids.extend(text.ids);
        if ids.len() < 2 {
            return Err(DataError::TooShortToMeasure { tokens: ids.len() }.into());
        }
        // Without a token that begins the text, the first one is not predicted.
        let given = tokenizer.decode(&ids[..1])?.len();
        let batches = text_windows(&ids, context, stride, (BATCH_TOKENS / context).max(1)).collect();
        Ok(Measured { batches, bytes: text.bytes - given.min(text.bytes) })
    }

    /// The samples, of a folder those to validate on, none of which has more than `context` tokens; `tell` is told what is
    /// to be known about them.
    ///
    /// # Errors
    /// Files that cannot be read, and samples that the model's chat template does not write.
    pub fn samples(
        &self,
        files: &ModelFiles,
        context: usize,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Vec<TokenizedSample>, EvalError> {
        let section = SampleSection {
            paths: self.paths.clone(),
            valid_fraction: 0.0,
            train_on: self.train_on,
            max_length: Some(context),
            ..SampleSection::default()
        };
        let template = files.chat_template()?;
        let stops = files.stop_tokens(template.as_ref());
        let set = SampleSet::load(&section, 0)?;
        set.notes.iter().for_each(|note| tell(Event::Note(note)));
        let limits = section.limits(files.config.context_length);
        let tokenized = set.tokenize(&files.tokenizer, template.as_ref(), &stops, limits)?;
        if let Some(first) = tokenized.summary.left_out.first() {
            tell(Event::LeftOut { count: tokenized.summary.left_out.len(), first });
        }
        Ok(if tokenized.valid.is_empty() { tokenized.train } else { tokenized.valid })
    }

    fn packed(&self, files: &ModelFiles, context: usize, tell: &mut dyn FnMut(Event)) -> Result<Measured, EvalError> {
        let samples = self.samples(files, context, tell)?;
        let length = row_length(samples.iter().map(|sample| sample.ids.len()), context);
        let target_bytes = |sample: &TokenizedSample| {
            let learned = sample.ids.iter().zip(&sample.trained).skip(1);
            let ids: Vec<u32> = learned.filter_map(|(&id, &learned)| learned.then_some(id)).collect();
            files.tokenizer.decode(&ids).map(|text| text.len())
        };
        let bytes = samples.iter().map(target_bytes).sum::<Result<usize, _>>()?;
        let sampler = SampleSampler::new(samples, (BATCH_TOKENS / length).max(1), length, 1, true, 0)?;
        Ok(Measured { batches: sampler.evaluation().collect(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_costs_as_many_bits_as_it_should() {
        // Four tokens at one in two cost four bits, on eight bytes.
        let score = Score { loss: std::f64::consts::LN_2, tokens: 4, bytes: 8 };
        assert!((score.bits_per_byte() - 0.5).abs() < 1e-12);
        assert!((score.perplexity() - 2.0).abs() < 1e-12);
    }
}

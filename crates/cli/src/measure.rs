//! How well a model predicts data.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;
use llm_data::{
    Batch, Corpus, CorpusOptions, DataError, SampleSampler, SampleSection, SampleSet, SampleSummary, TokenizedSample,
    TrainOn, encode_corpus, row_length,
};
use llm_model::CausalLm;
use llm_train::{Objective, text_windows};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::model::ModelFiles;
use crate::printer::Printer;

/// Tokens of windows by default, where the model has as many positions.
const CONTEXT: usize = 1024;
/// Tokens of a batch, or one window: more do not make it faster.
const BATCH_TOKENS: usize = 1024;

/// Data to measure a model on.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// Texts as `llm train` takes them: .txt and .md files, also with .gz or .zst, and folders; or samples as `llm
    /// finetune` takes them: .jsonl and .json files, or folders with train.jsonl, whose validation samples are taken.
    ///
    /// Every token of a text counts but the first, which nothing stands before; of samples those that fine-tuning would
    /// learn.
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    data: Vec<PathBuf>,

    /// Read .jsonl files as texts, which their lines hold under this key.
    #[arg(long, value_name = "KEY")]
    text_key: Option<String>,

    /// Replace what is no text in the encoding of a file by U+FFFD instead of stopping.
    #[arg(long)]
    lossy: bool,

    /// Tokens of a window over a text, and most tokens of a sample [default: the model's context, for a text at most
    /// 1024].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    context: Option<u64>,

    /// Tokens from one window over a text to the next; fewer than --context give each token more to go by, and take
    /// longer [default: half of --context].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    stride: Option<u64>,

    /// Which tokens of a conversation count: all answers, the last one, or everything.
    #[arg(long, value_name = "PART", default_value_t = TrainOn::All)]
    train_on: TrainOn,
}

/// Data that was read, as batches, and how many bytes of text their targets stand for.
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

    /// Bits that a byte of the text costs: equal for models with different tokenizers that predict equally well.
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
    /// How well `model` predicts the data.
    pub fn score(&self, model: &CausalLm, device: &Device, printer: Printer) -> Score {
        let bar = printer.steps_bar(self.batches.len() as u64);
        let (mut nats, mut tokens) = (0.0, 0);
        for batch in &self.batches {
            let measure = batch.measure(model, device);
            nats += measure.loss;
            tokens += measure.count;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Score { loss: nats / tokens.max(1) as f64, tokens, bytes: self.bytes }
    }
}

impl MeasureArgs {
    /// The data at `paths`, measured in the usual way.
    pub fn of(paths: &[PathBuf]) -> Self {
        let data = paths.to_vec();
        Self { data, text_key: None, lossy: false, context: None, stride: None, train_on: TrainOn::All }
    }

    /// What is measured on.
    pub fn name(&self) -> String {
        names(&self.data)
    }

    /// What is measured on, as it was typed.
    pub fn typed(&self) -> String {
        self.data.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }

    /// Reads the data for the model of `files`.
    pub fn read(&self, files: &ModelFiles, printer: Printer) -> Result<Measured, CliError> {
        let positions = files.config.context_length;
        let context = self.context.map(|context| usize::try_from(context).unwrap_or(usize::MAX));
        if let Some(tokens) = context.filter(|&context| context > positions) {
            return Err(CliError::TooManyTokens { tokens, context: positions });
        }
        let is_samples = |path: &PathBuf| self.text_key.is_none() && SampleSet::is_at(path);
        match (self.data.iter().find(|path| is_samples(path)), self.data.iter().find(|path| !is_samples(path))) {
            (Some(samples), Some(text)) => {
                Err(CliError::TextsAndSamples { samples: samples.clone(), text: text.clone() })
            }
            (Some(_), None) => self.packed(files, context.unwrap_or(positions), printer),
            _ => self.text(files, context.unwrap_or(positions.min(CONTEXT)), printer),
        }
    }

    fn text(&self, files: &ModelFiles, context: usize, printer: Printer) -> Result<Measured, CliError> {
        let stride = self.stride.map_or(context.div_ceil(2), |stride| usize::try_from(stride).unwrap_or(usize::MAX));
        if stride > context {
            return Err(CliError::StrideBeyondContext { stride, context });
        }
        let mut options = CorpusOptions { lossy: self.lossy, ..CorpusOptions::default() };
        if let Some(key) = &self.text_key {
            options.text_key.clone_from(key);
        }
        let mut corpus = Corpus::open(&self.data, options)?;
        let stats = corpus.scan_all(|_| None)?;
        corpus.notes(&stats).iter().for_each(|note| printer.data_note(note));
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

    /// The samples, of a folder those to validate on, and the tokens of a row that fits all of them.
    pub fn samples(
        &self,
        files: &ModelFiles,
        context: usize,
        printer: Printer,
    ) -> Result<(Vec<TokenizedSample>, usize), CliError> {
        let section = SampleSection {
            paths: self.data.clone(),
            valid_fraction: 0.0,
            train_on: self.train_on,
            max_length: Some(context),
            ..SampleSection::default()
        };
        let template = files.chat_template()?;
        let stops = files.stop_tokens(template.as_ref());
        let set = SampleSet::load(&section, 0)?;
        set.notes.iter().for_each(|note| printer.data_note(note));
        let limits = section.limits(files.config.context_length);
        let tokenized = set.tokenize(&files.tokenizer, template.as_ref(), &stops, limits)?;
        warn_left_out(&tokenized.summary, printer);
        let samples = if tokenized.valid.is_empty() { tokenized.train } else { tokenized.valid };
        let length = row_length(samples.iter().map(|sample| sample.ids.len()), context);
        Ok((samples, length))
    }

    fn packed(&self, files: &ModelFiles, context: usize, printer: Printer) -> Result<Measured, CliError> {
        let (samples, length) = self.samples(files, context, printer)?;
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

/// Says which samples are left out.
fn warn_left_out(summary: &SampleSummary, printer: Printer) {
    if let Some(first) = summary.left_out.first() {
        let (count, origin, reason) = (summary.left_out.len(), &first.origin, &first.reason);
        let check = "`llm data check` shows which";
        printer.warn(format_args!("{count} samples are left out; the first, {origin}: {reason}; {check}"));
    }
}

/// Files and folders in a row.
pub fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
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

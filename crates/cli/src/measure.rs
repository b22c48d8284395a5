//! How well a model predicts data.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;
use llm_data::{
    Batch, DataError, SampleSampler, SampleSection, SampleSet, SampleSummary, TokenizedSample, TrainOn, row_length,
};
use llm_model::CausalLm;
use llm_train::{Objective, text_windows};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::input;
use crate::model::ModelFiles;
use crate::printer::Printer;

/// Tokens of windows by default, where the model has as many positions.
const CONTEXT: usize = 1024;
/// Tokens of a batch, or one window: more do not make it faster.
const BATCH_TOKENS: usize = 1024;

/// Data to measure a model on.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// A text, or samples as `llm finetune` takes them: a .jsonl or .json file, or a folder of them, whose
    /// validation samples are taken.
    ///
    /// Every token of a text counts but the first, which nothing stands before; of samples those that fine-tuning would
    /// learn.
    #[arg(long, value_name = "PATH")]
    data: PathBuf,

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

/// Batches, and how many bytes of text their targets stand for.
struct Batches {
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

impl MeasureArgs {
    /// The data at `path`, measured in the usual way.
    pub fn of(path: &Path) -> Self {
        Self { data: path.to_owned(), context: None, stride: None, train_on: TrainOn::All }
    }

    /// What is measured on.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// How well `model` of `files` predicts the data.
    pub fn score(
        &self,
        files: &ModelFiles,
        model: &CausalLm,
        device: &Device,
        printer: Printer,
    ) -> Result<Score, CliError> {
        let is_samples = self.data.is_dir()
            || self
                .data
                .extension()
                .is_some_and(|kind| kind.eq_ignore_ascii_case("jsonl") || kind.eq_ignore_ascii_case("json"));
        let positions = files.config.context_length;
        let context = self.context.map(|context| usize::try_from(context).unwrap_or(usize::MAX));
        if let Some(tokens) = context.filter(|&context| context > positions) {
            return Err(CliError::TooManyTokens { tokens, context: positions });
        }
        let Batches { batches, bytes } = if is_samples {
            self.packed(files, context.unwrap_or(positions), printer)?
        } else {
            self.text(files, context.unwrap_or(positions.min(CONTEXT)))?
        };
        let bar = printer.steps_bar(batches.len() as u64);
        let (mut nats, mut tokens) = (0.0, 0);
        for batch in &batches {
            let measure = batch.measure(model, device);
            nats += measure.loss;
            tokens += measure.count;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(Score { loss: nats / tokens.max(1) as f64, tokens, bytes })
    }

    fn text(&self, files: &ModelFiles, context: usize) -> Result<Batches, CliError> {
        let stride = self.stride.map_or(context.div_ceil(2), |stride| usize::try_from(stride).unwrap_or(usize::MAX));
        if stride > context {
            return Err(CliError::StrideBeyondContext { stride, context });
        }
        let text = input::file(&self.data)?;
        let ids = plain_ids(files, &text)?;
        if ids.len() < 2 {
            return Err(DataError::ValidationTooShort { tokens: ids.len() as u64 }.into());
        }
        // Without a token that begins the text, the first one is not predicted.
        let given = files.tokenizer.decode(&ids[..1])?.len();
        let batches = text_windows(&ids, context, stride, (BATCH_TOKENS / context).max(1)).collect();
        Ok(Batches { batches, bytes: text.len() - given.min(text.len()) })
    }

    /// The samples, of a folder those to validate on, and the tokens of a row that fits all of them.
    pub fn samples(
        &self,
        files: &ModelFiles,
        context: usize,
        printer: Printer,
    ) -> Result<(Vec<TokenizedSample>, usize), CliError> {
        let section = SampleSection {
            path: self.data.clone(),
            valid_fraction: 0.0,
            train_on: self.train_on,
            max_length: Some(context),
            ..SampleSection::default()
        };
        let template = files.chat_template()?;
        let stops = files.stop_tokens(template.as_ref());
        let set = SampleSet::load(&section, 0)?;
        let limits = section.limits(files.config.context_length);
        let tokenized = set.tokenize(&files.tokenizer, template.as_ref(), &stops, limits)?;
        warn_left_out(&tokenized.summary, printer);
        let samples = if tokenized.valid.is_empty() { tokenized.train } else { tokenized.valid };
        let length = row_length(samples.iter().map(|sample| sample.ids.len()), context);
        Ok((samples, length))
    }

    fn packed(&self, files: &ModelFiles, context: usize, printer: Printer) -> Result<Batches, CliError> {
        let (samples, length) = self.samples(files, context, printer)?;
        let target_bytes = |sample: &TokenizedSample| {
            let learned = sample.ids.iter().zip(&sample.trained).skip(1);
            let ids: Vec<u32> = learned.filter_map(|(&id, &learned)| learned.then_some(id)).collect();
            files.tokenizer.decode(&ids).map(|text| text.len())
        };
        let bytes = samples.iter().map(target_bytes).sum::<Result<usize, _>>()?;
        let sampler = SampleSampler::new(samples, (BATCH_TOKENS / length).max(1), length, 1, true, 0)?;
        Ok(Batches { batches: sampler.evaluation().collect(), bytes })
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

/// Ids of a text, of which no part is read as a special token, behind the one that begins a text where the model has it.
fn plain_ids(files: &ModelFiles, text: &str) -> Result<Vec<u32>, DataError> {
    let tokenizer = &files.tokenizer;
    let begins = tokenizer.encode_prompt("")?;
    let first = tokenizer.bos_id().filter(|bos| begins.first() == Some(bos));
    let mut ids: Vec<u32> = first.into_iter().collect();
    ids.extend(tokenizer.encode(text)?);
    Ok(ids)
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

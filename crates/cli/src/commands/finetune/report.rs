//! What fine-tuning changed: losses and answers, before and after.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use llm_checkpoint::{load_adapter, load_for_inference};
use llm_data::{Batch, SampleSampler, SampleSection, SampleSet, TokenizedSample};
use llm_generate::{Generator, Options, Sampling};
use llm_model::CausalLm;
use llm_train::{Method, Outcome, mean_loss};

use crate::error::CliError;
use crate::input;
use crate::model::ModelFiles;
use crate::printer::{Printer, plain_stdout, stdout};

/// Answers that are shown.
pub const ANSWERS: usize = 3;
/// Tokens of an answer, and of the prompt that is shown with it.
const TOKENS: usize = 64;

/// A run that is done.
pub struct Finished<'a> {
    pub files: &'a ModelFiles,
    pub method: Method,
    pub out: &'a Path,
    pub device: &'a Device,
    pub outcome: &'a Outcome,
}

impl Finished<'_> {
    /// Prints the losses on new data and on those at `keep`, and answers to the samples in `shown`.
    pub fn print(
        &self,
        shown: &[TokenizedSample],
        keep: Option<&Path>,
        stops: &[u32],
        printer: Printer,
    ) -> Result<(), CliError> {
        let before = self.files.load(self.device)?;
        let after = if self.method.adapts() {
            load_adapter(self.out, before.clone())?
        } else {
            load_for_inference(self.out, self.device)?
        };
        let mut rows = Vec::new();
        if let (Some(before), Some(best)) = (self.outcome.first_val_loss, self.outcome.best) {
            rows.push(("validation", f64::from(before), f64::from(best.val_loss)));
        }
        if let Some(path) = keep {
            printer.note(format_args!("measuring {}", path.display()));
            let batches = self.batches(path, stops)?;
            rows.push(("kept", mean_loss(&before, &batches, self.device), mean_loss(&after, &batches, self.device)));
        }
        writeln!(stdout(), "{}", self.losses(&rows))?;
        for sample in shown {
            self.answers(sample, [&before, &after], stops)?;
        }
        Ok(())
    }

    fn losses(&self, rows: &[(&str, f64, f64)]) -> Table {
        let mut table = Table::new();
        let perplexity = self.method != Method::Dpo;
        table.load_style(NOTHING);
        table.set_header(match perplexity {
            true => vec!["data", "loss before", "after", "perplexity before", "after"],
            false => vec!["data", "loss before", "after"],
        });
        for &(name, before, after) in rows {
            let mut row = vec![name.to_string(), format!("{before:.4}"), format!("{after:.4}")];
            if perplexity {
                row.extend([before.exp(), after.exp()].map(|perplexity| format!("{perplexity:.2}")));
            }
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// The batches of old data: samples, or a text in windows of the model's context.
    fn batches(&self, path: &Path, stops: &[u32]) -> Result<Vec<Batch>, CliError> {
        let (tokenizer, context) = (&self.files.tokenizer, self.files.config.context_length);
        let samples = path.is_dir() || path.extension().is_some_and(|kind| kind == "jsonl" || kind == "json");
        if !samples {
            let time = context.min(512);
            let ids = tokenizer.encode_prompt(&input::file(path)?)?;
            return Ok(windows(&ids, time));
        }
        let section = SampleSection { path: path.to_owned(), valid_fraction: 0.0, ..SampleSection::default() };
        let template = self.files.chat_template()?;
        let set = SampleSet::load(&section, 0)?;
        let tokenized = set.tokenize(tokenizer, template.as_ref(), stops, section.limits(context))?;
        let length = tokenized.summary.row_length(context);
        let sampler = SampleSampler::new(tokenized.train, 1, length, 1, true, 0)?;
        Ok(sampler.evaluation().collect())
    }

    /// Prints what both models answer to the last question of a sample.
    fn answers(&self, sample: &TokenizedSample, models: [&CausalLm; 2], stops: &[u32]) -> Result<(), CliError> {
        let tokenizer = &self.files.tokenizer;
        let prompt = &sample.ids[..answer_start(&sample.trained)];
        let expected: Vec<u32> = sample.ids[prompt.len()..].iter().copied().take(TOKENS).collect();
        let shown = &prompt[prompt.len().saturating_sub(TOKENS)..];
        let options = Options {
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            max_tokens: TOKENS,
            ends: stops.to_vec(),
            ..Options::default()
        };
        let mut out = plain_stdout();
        writeln!(out, "\nprompt: {}", one_line(&tokenizer.decode(shown)?))?;
        writeln!(out, "sample: {}", one_line(&tokenizer.decode(&expected)?))?;
        for (name, model) in ["before", "after "].into_iter().zip(models) {
            let mut generator = Generator::new(model, tokenizer, self.device)?;
            let made = generator.generate(prompt, &options, &mut |_| ControlFlow::Continue(()))?;
            writeln!(out, "{name}: {}", one_line(&made.text))?;
        }
        Ok(())
    }
}

/// Where the last answer begins; of a text that is learned as a whole, some tokens are given.
fn answer_start(trained: &[bool]) -> usize {
    let end = trained.iter().rposition(|&trained| trained).map_or(trained.len(), |last| last + 1);
    let start = trained[..end].iter().rposition(|&trained| !trained).map_or(0, |given| given + 1);
    if start > 1 { start } else { trained.len().div_ceil(2).min(16) }
}

/// Every id of `ids` but the first as a target, in windows of up to `time` tokens.
fn windows(ids: &[u32], time: usize) -> Vec<Batch> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let last = ids.len().saturating_sub(1);
    let window = |start: usize| {
        let end = (start + time).min(last);
        let (inputs, targets) = (ids[start..end].to_vec(), ids[start + 1..=end].to_vec());
        Batch { inputs, targets, sample_starts: None, batch: 1, time: end - start }
    };
    (0..last).step_by(time).map(window).collect()
}

fn one_line(text: &str) -> String {
    text.trim().replace('\n', " ⏎ ")
}

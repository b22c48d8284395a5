//! What fine-tuning changed: losses and answers, before and after.

use std::path::Path;

use burn::tensor::Device;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use llm_checkpoint::{ModelFiles, load_adapter, load_for_inference};
use llm_data::TokenizedSample;
use llm_eval::{Measured, Question};
use llm_generate::Generator;
use llm_model::CausalLm;
use llm_train::{Method, Outcome};

use crate::error::CliError;
use crate::measure::MeasureView;
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
    /// Prints the losses on new data and on those in `kept`, if any, and answers to the samples in `shown`.
    pub fn print(
        &self,
        shown: &[TokenizedSample],
        kept: Option<&Measured>,
        stops: &[u32],
        printer: Printer,
    ) -> Result<(), CliError> {
        let before = self.files.load_for_inference(self.device)?;
        let after = if self.method.adapts() {
            load_adapter(self.out, before.clone())?
        } else {
            load_for_inference(self.out, self.device)?
        };
        let mut rows = Vec::new();
        if let (Some(before), Some(best)) = (self.outcome.first_val_loss, self.outcome.best) {
            rows.push(("validation", f64::from(before), f64::from(best.val_loss)));
        }
        if let Some(kept) = kept {
            printer.note("measuring on the old data");
            let mut view = MeasureView::new(printer);
            let mut loss = |model| kept.score(model, self.device, &mut |event| view.show(event)).loss;
            rows.push(("kept", loss(&before), loss(&after)));
        }
        if !rows.is_empty() {
            writeln!(stdout(), "{}", self.losses(&rows))?;
        }
        for sample in shown {
            self.answers(sample, [&before, &after], stops)?;
        }
        Ok(())
    }

    fn losses(&self, rows: &[(&str, f64, f64)]) -> Table {
        let mut table = Table::new();
        let perplexity = self.method != Method::Dpo;
        table.load_style(NOTHING);
        let titles = ["data", "loss before", "after", "perplexity before", "after"];
        table.set_header(&titles[..if perplexity { 5 } else { 3 }]);
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

    /// Prints what both models answer to the last question of a sample.
    fn answers(&self, sample: &TokenizedSample, models: [&CausalLm; 2], stops: &[u32]) -> Result<(), CliError> {
        let tokenizer = &self.files.tokenizer;
        let question = Question::of(sample);
        let shown = &question.prompt[question.prompt.len().saturating_sub(TOKENS)..];
        let expected = &question.answer[..question.answer.len().min(TOKENS)];
        let mut out = plain_stdout();
        writeln!(out, "\nprompt: {}", one_line(&tokenizer.decode(shown)?))?;
        writeln!(out, "sample: {}", one_line(&tokenizer.decode(expected)?))?;
        for (name, model) in ["before", "after "].into_iter().zip(models) {
            let mut generator = Generator::new(model, tokenizer, self.device);
            writeln!(out, "{name}: {}", one_line(&question.ask(&mut generator, stops, TOKENS)?))?;
        }
        Ok(())
    }
}

fn one_line(text: &str) -> String {
    text.trim().replace('\n', " ⏎ ")
}

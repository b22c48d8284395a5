//! The data that a model is measured on, as they are typed, and what is shown while it is.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use llm_data::{LeftOut, TrainOn};
use llm_eval::{EvalData, Event};

use crate::printer::Printer;

/// Data to measure a model on.
#[derive(Debug, Clone, Args)]
pub struct MeasureArgs {
    /// Texts as for `llm train`: .txt and .md files, also with .gz or .zst, and folders; or samples as for `llm
    /// finetune`: .jsonl and .json files, or folders with train.jsonl, whose validation samples are used.
    ///
    /// In a text every token but the first counts; in samples, the tokens that fine-tuning would train on.
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    data: Vec<PathBuf>,

    /// Read .jsonl files as texts, stored under this key in each line.
    #[arg(long, value_name = "KEY")]
    text_key: Option<String>,

    /// Replace invalid characters by U+FFFD instead of stopping.
    #[arg(long)]
    lossy: bool,

    /// Tokens per window of a text, and maximum tokens per sample [default: the model's context, for a text at most
    /// 1024].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    context: Option<u64>,

    /// Tokens between the starts of two windows; a smaller stride gives each token more context, but takes longer
    /// [default: half of --context].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    stride: Option<u64>,

    /// Which tokens of a conversation to count: all answers, the last one, or everything.
    #[arg(long, value_name = "PART", default_value_t = TrainOn::All)]
    train_on: TrainOn,
}

impl MeasureArgs {
    /// The data.
    pub fn data(&self) -> EvalData {
        let size = |given: Option<u64>| given.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        EvalData {
            paths: self.data.clone(),
            text_key: self.text_key.clone(),
            lossy: self.lossy,
            context: size(self.context),
            stride: size(self.stride),
            train_on: self.train_on,
        }
    }

    /// What is measured on.
    pub fn name(&self) -> String {
        names(&self.data)
    }

    /// What is measured on, as it was typed.
    pub fn typed(&self) -> String {
        self.data.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }
}

/// Shows what happens while a model is measured.
pub struct MeasureView {
    printer: Printer,
    bar: Option<ProgressBar>,
}

impl MeasureView {
    /// Shows nothing until something happens.
    pub fn new(printer: Printer) -> Self {
        Self { printer, bar: None }
    }

    /// What `llm_eval` calls.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Note(note) => self.printer.data_note(note),
            Event::LeftOut { count, first: LeftOut { origin, reason } } => self.printer.warn(format_args!(
                "{count} samples are skipped; the first, {origin}: {reason}; `llm data check` shows which"
            )),
            Event::Progress { done, total } => {
                let bar = self.bar.get_or_insert_with(|| self.printer.steps_bar(total as u64));
                bar.set_position(done as u64);
                if done == total {
                    bar.finish_and_clear();
                    self.bar = None;
                }
            }
        }
    }
}

/// Files and folders in a row.
pub fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

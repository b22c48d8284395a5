//! `llm data check`: what fine-tuning on some samples would see, and what is wrong with them.

mod html;
mod report;
mod text;

use std::path::PathBuf;

use clap::Args;
use llm_data::{SampleSection, SampleSet, TrainOn};

use crate::error::CliError;
use crate::measure::names;
use crate::model::ModelArgs;
use crate::printer::{Printer, stdout};
use report::Report;

const EXAMPLES: &str = "Examples:
  llm data check my.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct
  llm data check data/domain --model runs/mine --html check.html";

/// What `llm data check` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// .jsonl and .json files, also with .gz or .zst, or folders with train.jsonl and, if there are any, valid.jsonl and
    /// test.jsonl.
    ///
    /// A line holds `messages` (role and content), `conversations` (from and value), `instruction`, `input` and
    /// `output`, `prompt` and `completion`, `text`, or `prompt`, `chosen` and `rejected`.
    #[arg(value_name = "DATA", required = true)]
    data: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// Fraction of the samples to hold out for validation, if DATA has no valid.jsonl.
    #[arg(long, value_name = "SHARE", default_value_t = SampleSection::default().valid_fraction)]
    valid_fraction: f64,

    /// Which part of a conversation to train on: the `last` answer, `all` answers, or `everything`.
    #[arg(long, value_name = "PART", default_value_t)]
    train_on: TrainOn,

    /// Maximum tokens per sample [default: the model's context].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    max_length: Option<u32>,

    /// Truncate longer samples instead of skipping them.
    #[arg(long)]
    truncate: bool,

    /// Random seed for the held-out split.
    #[arg(long, value_name = "N", default_value_t = 1337)]
    seed: u64,

    /// Number of samples to show.
    #[arg(long, value_name = "N", default_value_t = 3)]
    samples: usize,

    /// Print everything as JSON.
    #[arg(long)]
    json: bool,

    /// Also write an HTML report.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn run(args: &CheckArgs, printer: Printer) -> Result<(), CliError> {
    let files = args.model.open(printer)?;
    let section = SampleSection {
        paths: args.data.clone(),
        valid_fraction: args.valid_fraction,
        train_on: args.train_on,
        max_length: args.max_length.map(|length| length as usize),
        truncate: args.truncate,
        ..SampleSection::default()
    };
    let read = SampleSet::read(&section, args.seed)?;
    read.0.notes.iter().for_each(|note| printer.data_note(note));
    let report = Report::new(&section, &read, &files, args.samples)?;
    if let Some(path) = &args.html {
        let written = std::fs::write(path, html::page(&report));
        written.map_err(|source| CliError::Page { path: path.clone(), source })?;
        printer.note(format_args!("wrote {}", path.display()));
    }
    let mut out = stdout();
    if args.json {
        writeln!(out, "{:#}", serde_json::json!(report))?;
    } else {
        out.with(|out| text::print(&report, out))?;
    }
    match report.errors() {
        0 => Ok(()),
        problems => Err(CliError::BadData { data: names(&args.data), problems }),
    }
}

mod check;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use llm_data::{DataSection, Prepared, TokenShards, TokenizerSection, prepare};

use crate::corpus::{CorpusArgs, KindArgs};
use crate::error::CliError;
use crate::printer::{Printer, stdout};
use crate::progress::PreparationBar;

/// The commands under `llm data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Tokenize text for training, into the cache.
    Prepare(PrepareArgs),
    /// Show what fine-tuning would see: the text, what is trained on, lengths and problems.
    Check(check::CheckArgs),
}

/// What `llm data prepare` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm data prepare --data my.txt --vocab-size 4096")]
pub struct PrepareArgs {
    #[command(flatten)]
    corpus: CorpusArgs,

    /// Files and folders to validate on [default: a share of the text].
    #[arg(long, value_name = "PATH", num_args = 1..)]
    valid: Vec<PathBuf>,

    /// Fraction of the text to hold out for validation; 0 for none.
    #[arg(long, value_name = "SHARE", default_value_t = DataSection::default().valid_fraction,
          value_parser = share, conflicts_with = "valid")]
    valid_fraction: f64,

    /// Use this tokenizer.json, or the one in this directory, instead of training a tokenizer.
    #[arg(long, value_name = "FILE|DIR", conflicts_with_all = ["kind", "vocab_size", "min_frequency"])]
    tokenizer: Option<PathBuf>,

    #[command(flatten)]
    kind: KindArgs,

    /// Cache directory for prepared tokens.
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

/// Reads a share that leaves something to train on.
fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..1.0).contains(&share) { Ok(share) } else { Err("it must be at least 0 and less than 1".into()) }
}

pub fn run(command: DataCommand, printer: Printer) -> Result<(), CliError> {
    match command {
        DataCommand::Prepare(args) => prepare_corpus(args, printer),
        DataCommand::Check(args) => check::run(&args, printer),
    }
}

fn prepare_corpus(args: PrepareArgs, printer: Printer) -> Result<(), CliError> {
    let data = DataSection {
        paths: args.corpus.data,
        valid: args.valid,
        valid_fraction: args.valid_fraction,
        text_key: args.corpus.text_key,
        lossy: args.corpus.lossy,
        cache_dir: args.cache_dir,
    };
    let section = TokenizerSection { path: args.tokenizer, ..args.kind.section() };
    let mut bar = PreparationBar::new(printer);
    let prepared = prepare(&data, &section, &mut |progress| bar.update(progress))?;
    drop(bar);
    print(&prepared)
}

fn print(prepared: &Prepared) -> Result<(), CliError> {
    let mut out = stdout();
    writeln!(out, "tokenizer   {} tokens", prepared.tokenizer.vocab_size())?;
    for (name, shards) in [("training", &prepared.split.train), ("validation", &prepared.split.valid)] {
        writeln!(out, "{name:<11} {}", describe(shards))?;
    }
    writeln!(out, "{}", prepared.split.note)?;
    if prepared.cached {
        writeln!(out, "all of it was in the cache")?;
    }
    Ok(())
}

fn describe(shards: &TokenShards) -> String {
    let header = shards.header();
    let bytes_per_token = header.text_bytes as f64 / header.tokens.max(1) as f64;
    format!(
        "{} tokens, {} documents, {bytes_per_token:.2} bytes per token: {}",
        header.tokens,
        header.documents,
        shards.path().display()
    )
}

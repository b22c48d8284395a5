use std::path::PathBuf;

use clap::{Args, Subcommand};
use llm_checkpoint::open_tokenizer;
use llm_data::{Corpus, CorpusOptions, Progress, Stage, Tokenizer};
use serde_json::Value;

use super::tokenize::visible;
use crate::corpus::{CorpusArgs, KindArgs};
use crate::error::CliError;
use crate::printer::{Printer, stdout};
use crate::progress::PreparationBar;

/// What compression is measured on when nothing else is given.
const SAMPLE: &str = "Once upon a time, a king and a queen lived in a small house by the sea. Every morning the dog \
                      chased the cat around the garden, and nobody knew why; but in the evening, all of them sat on \
                      the same mat and listened to the rain.";
/// Tokens shown of each list.
const SHOWN: usize = 10;

/// The commands under `llm tokenizer`.
#[derive(Debug, Subcommand)]
pub enum TokenizerCommand {
    /// Train a tokenizer on text and save it as tokenizer.json.
    Train(TrainArgs),
    /// Show the parts of a tokenizer and how well it compresses.
    Show(ShowArgs),
}

/// What `llm tokenizer train` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm tokenizer train --data my.txt --kind bpe --vocab-size 4096 --out my-tokenizer")]
pub struct TrainArgs {
    #[command(flatten)]
    corpus: CorpusArgs,

    #[command(flatten)]
    kind: KindArgs,

    /// Output directory for tokenizer.json and tokenizer_config.json.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// What `llm tokenizer show` takes.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A tokenizer.json or tokenizer.model, a directory with one, or a .gguf file.
    #[arg(value_name = "FILE|DIR")]
    tokenizer: PathBuf,

    /// Measure compression on this text.
    #[arg(long, value_name = "TEXT", default_value = SAMPLE, hide_default_value = true)]
    text: String,
}

pub fn run(command: TokenizerCommand, printer: Printer) -> Result<(), CliError> {
    match command {
        TokenizerCommand::Train(args) => train(args, printer),
        TokenizerCommand::Show(args) => show(&args),
    }
}

fn train(args: TrainArgs, printer: Printer) -> Result<(), CliError> {
    let CorpusArgs { data, text_key, lossy } = args.corpus;
    let mut corpus = Corpus::open(&data, CorpusOptions { text_key, lossy })?;
    let total = corpus.disk_bytes()?;
    let mut bar = PreparationBar::new(printer);
    // What is wrong with the files is said at once, not after an hour.
    bar.update(Progress::Stage { stage: Stage::Scan, done: 0, total });
    let stats = corpus.scan_all(|_| None)?;
    corpus.notes(&stats).into_iter().for_each(|note| bar.update(Progress::Note(note)));
    let mut report = |done| bar.update(Progress::Stage { stage: Stage::TrainTokenizer, done, total });
    let tokenizer = Tokenizer::train_with(&args.kind.section(), &corpus, &mut report)?;
    drop(bar);
    tokenizer.save(&args.out)?;
    let place = args.out.join("tokenizer.json");
    writeln!(stdout(), "{} tokenizer of {} tokens: {}", args.kind.kind, tokenizer.vocab_size(), place.display())?;
    Ok(())
}

fn show(args: &ShowArgs) -> Result<(), CliError> {
    let tokenizer = open_tokenizer(&args.tokenizer)?;
    let model = tokenizer.to_json()?["model"].take();
    let mut out = stdout();
    let mut line = |name: &str, value: String| writeln!(out, "{name:<15} {value}");

    line("kind", kind(&model))?;
    line("tokens", tokenizer.vocab_size().to_string())?;
    line("merges", model["merges"].as_array().map_or(0, Vec::len).to_string())?;
    line("special tokens", specials(&tokenizer))?;
    let size = tokenizer.vocab_size() as u32;
    let shown = SHOWN as u32;
    line("first tokens", quoted((0..size.min(shown)).filter_map(|id| tokenizer.token(id))))?;
    line("last tokens", quoted((size.saturating_sub(shown)..size).filter_map(|id| tokenizer.token(id))))?;
    let mut all: Vec<String> = (0..size).filter_map(|id| tokenizer.token(id)).collect();
    all.sort_by_key(|token| std::cmp::Reverse(token.chars().count()));
    line("longest tokens", quoted(all.into_iter().take(SHOWN)))?;
    let tokens = tokenizer.encode(&args.text)?.len();
    let bytes = args.text.len();
    let ratio = bytes as f64 / tokens.max(1) as f64;
    line("compression", format!("{ratio:.2} bytes per token ({bytes} bytes of a sample text are {tokens} tokens)"))?;
    Ok(())
}

/// The algorithm; for BPE without merges, what its tokens are.
fn kind(model: &Value) -> String {
    let algorithm = model["type"].as_str().unwrap_or("unknown");
    if algorithm != "BPE" {
        return algorithm.into();
    }
    let has = |key: &str| model[key].as_array().is_some_and(|list| !list.is_empty());
    let what = match () {
        () if has("merges") => "",
        () if model["ignore_merges"] == true => " without merges: whole words, else bytes",
        () if model["unk_token"].is_string() => " without merges: characters",
        () => " without merges: bytes",
    };
    format!("{algorithm}{what}")
}

fn specials(tokenizer: &Tokenizer) -> String {
    let name = |id: u32| tokenizer.token(id).map(|token| format!("{token} = {id}"));
    let ends: Vec<_> = tokenizer.eos_ids().iter().filter_map(|id| name(*id)).collect();
    let begin = tokenizer.bos_id().and_then(name);
    format!(
        "begin: {}; end: {}",
        begin.unwrap_or_else(|| "none".into()),
        if ends.is_empty() { "none".into() } else { ends.join(", ") }
    )
}

fn quoted(tokens: impl Iterator<Item = String>) -> String {
    tokens.map(|token| visible(&token)).collect::<Vec<_>>().join("  ")
}

use clap::Args;
use comfy_table::{Cell, CellAlignment};
use llm_checkpoint::CheckpointError;
use llm_data::{DataError, Tokenizer};
use llm_eval::logits;
use serde_json::json;

use super::{LoadArgs, table};
use crate::commands::tokenize::visible;
use crate::error::CliError;
use crate::input;
use crate::printer::{Printer, stdout};

const EXAMPLES: &str = "Examples:
  llm inspect logits --model runs/mine --prompt \"Once upon a\"
  llm inspect logits --model runs/mine --ids 1,2,3 --json";

/// What `llm inspect logits` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LogitsArgs {
    #[command(flatten)]
    load: LoadArgs,

    #[command(flatten)]
    tokens: Tokens,

    /// Number of most likely next tokens to show.
    #[arg(short = 'k', long, value_name = "N", default_value_t = 10)]
    top: usize,

    /// Print the ids and the logits after each, as JSON.
    #[arg(long, conflicts_with = "top")]
    json: bool,
}

/// What the model is given.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Tokens {
    /// Token ids.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    ids: Vec<u32>,

    /// Text; `-` reads stdin. The tokenizer may prepend a token.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
}

pub fn run(args: &LogitsArgs, printer: Printer) -> Result<(), CliError> {
    let (model, source, device) = args.load.load(printer)?;
    let config = model.config().clone();
    // Ids need no tokenizer; a directory without one shows them bare.
    let tokenizer = match source.tokenizer(&config) {
        Err(CheckpointError::Tokenizer(DataError::NoTokenizer { .. })) if args.tokens.prompt.is_none() => None,
        other => Some(other?),
    };
    let ids = match (&args.tokens.prompt, &tokenizer) {
        (Some(prompt), Some(tokenizer)) => tokenizer.encode_prompt(&input::text(prompt)?)?,
        _ => args.tokens.ids.clone(),
    };
    let logits = logits(&model, &ids, &device)?;
    if args.json {
        let rows: Vec<_> = logits.chunks(config.vocab_size).collect();
        writeln!(stdout(), "{}", json!({ "ids": ids, "logits": rows }))?;
        return Ok(());
    }
    print_top(&logits[logits.len() - config.vocab_size..], args.top, tokenizer.as_ref())
}

/// The most probable tokens after the last one.
fn print_top(logits: &[f32], top: usize, tokenizer: Option<&Tokenizer>) -> Result<(), CliError> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&i, &j| logits[j].total_cmp(&logits[i]));
    let largest = order.first().map_or(0.0, |&best| f64::from(logits[best]));
    let weight = |i: usize| (f64::from(logits[i]) - largest).exp();
    let sum: f64 = (0..logits.len()).map(weight).sum();
    let mut table = table(["next token", "id", "probability", "logit"]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for &i in order.iter().take(top) {
        let token = tokenizer.and_then(|tokenizer| match tokenizer.decode(&[i as u32]) {
            Ok(text) if !text.is_empty() => Some(text),
            _ => tokenizer.token(i as u32),
        });
        let token = token.map_or("?".to_owned(), |token| visible(&token));
        let numbers = [i.to_string(), format!("{:.2} %", 100.0 * weight(i) / sum), format!("{:.3}", logits[i])];
        table.add_row([Cell::new(token)].into_iter().chain(numbers.map(right)));
    }
    writeln!(stdout(), "{}", table.trim_fmt())?;
    Ok(())
}

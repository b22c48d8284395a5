use std::io::{self, Write};
use std::path::PathBuf;

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};
use llm_checkpoint::open_tokenizer;
use llm_data::{Corpus, CorpusOptions, Piece, Tokenizer, TokenizerKind, TokenizerSection};
use serde_json::json;

use crate::error::CliError;
use crate::input;
use crate::printer::stdout;

/// Colours of neighbouring pieces, on the text and in the table.
const COLOURS: [(AnsiColor, Color); 4] = [
    (AnsiColor::Cyan, Color::DarkCyan),
    (AnsiColor::Yellow, Color::DarkYellow),
    (AnsiColor::Magenta, Color::DarkMagenta),
    (AnsiColor::Green, Color::DarkGreen),
];

const EXAMPLES: &str = "Examples:
  llm tokenize \"I love AI!\"
  llm tokenize --tokenizer runs/mine \"I love AI!\"
  cat tale.txt | llm tokenize --tokenizer runs/mine --json -";

/// What `llm tokenize` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenizeArgs {
    /// A tokenizer.json or tokenizer.model, a directory with one, or a .gguf file.
    #[arg(short, long, value_name = "FILE|DIR", conflicts_with = "kind")]
    tokenizer: Option<PathBuf>,

    /// Without --tokenizer, train one of this kind on the text: `char`, `byte`, `word` or `bpe`.
    #[arg(short, long, default_value_t = TokenizerKind::Word)]
    kind: TokenizerKind,

    /// Print ids and pieces as JSON; `start` and `end` are bytes.
    #[arg(long)]
    json: bool,

    /// Parse special tokens in the text, such as <|im_start|>, as `generate` and `chat` do.
    #[arg(long)]
    special: bool,

    /// The text; `-` reads stdin. No special tokens are added.
    #[arg(allow_hyphen_values = true)]
    text: String,
}

pub fn run(args: &TokenizeArgs) -> Result<(), CliError> {
    let text = input::text(&args.text)?;
    let tokenizer = match &args.tokenizer {
        Some(path) => open_tokenizer(path)?,
        None => train_on(&text, args.kind)?,
    };
    let pieces = tokenizer.pieces(&text, args.special)?;
    if args.json { print_json(&pieces) } else { print_table(&pieces) }
}

/// A tokenizer of which every word of `text` is a token, if words are what it has.
fn train_on(text: &str, kind: TokenizerKind) -> Result<Tokenizer, CliError> {
    if text.is_empty() {
        return Err(CliError::NoText);
    }
    // Tokenizers are trained on files.
    let file = tempfile::Builder::new().suffix(".txt").tempfile().map_err(CliError::Temporary)?;
    file.as_file().write_all(text.as_bytes()).map_err(CliError::Temporary)?;
    let corpus = Corpus::open(&[file.path().to_owned()], CorpusOptions::default())?;
    let section = TokenizerSection { kind, min_frequency: 1, ..TokenizerSection::default() };
    Ok(Tokenizer::train(&section, &corpus)?)
}

fn print_json(pieces: &[Piece]) -> Result<(), CliError> {
    let piece = |piece: &Piece| {
        let Piece { id, token, text, span } = piece;
        json!({ "id": id, "token": token, "text": text, "start": span.start, "end": span.end })
    };
    let ids: Vec<u32> = pieces.iter().map(|piece| piece.id).collect();
    let pieces: Vec<_> = pieces.iter().map(piece).collect();
    writeln!(stdout(), "{}", json!({ "ids": ids, "pieces": pieces }))?;
    Ok(())
}

/// The text with its pieces in colours, then a line for each piece.
fn print_table(pieces: &[Piece]) -> Result<(), CliError> {
    let mut out = stdout();
    let coloured = anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    if coloured {
        for (i, piece) in pieces.iter().enumerate() {
            let style = Style::new().fg_color(Some(COLOURS[i % COLOURS.len()].0.into())).underline();
            write!(out, "{style}{}{style:#}", visible(&piece.text))?;
        }
        writeln!(out, "\n")?;
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    if coloured {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let bold = |title: &str| Cell::new(title).add_attribute(Attribute::Bold);
    table.set_header([bold("piece"), bold("id"), bold("bytes")]);
    for (i, piece) in pieces.iter().enumerate() {
        table.add_row([
            Cell::new(visible(&piece.text)).fg(COLOURS[i % COLOURS.len()].1),
            Cell::new(piece.id).set_alignment(CellAlignment::Right),
            Cell::new(format!("{}..{}", piece.span.start, piece.span.end)),
        ]);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    Ok(())
}

/// White space that can be seen, and nothing that would move the cursor.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' => shown.push('·'),
            '\n' => shown.push('↵'),
            '\t' => shown.push('→'),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_made_visible() {
        assert_eq!(visible(" a\tb\n"), "·a→b↵");
        assert_eq!(visible("\u{1b}[31m"), "\\u{1b}[31m");
    }

    #[test]
    fn words_and_punctuation_are_the_pieces_of_a_text() {
        let tokenizer = train_on("I love AI!", TokenizerKind::Word).unwrap();
        let texts: Vec<_> =
            tokenizer.pieces("I love AI!", false).unwrap().into_iter().map(|piece| piece.text).collect();
        assert_eq!(texts, ["I", " love", " AI", "!"]);
    }
}

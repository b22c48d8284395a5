//! Texts of errors that list what is wrong.

use std::path::Path;

use crate::DataError;
use crate::files::{Skipped, converted, kind};
use crate::samples::{BadLine, LeftOut};

/// The most lines that one error shows.
const SHOWN: usize = 20;
/// What help begins with.
const HINT: &str = "\nhint: ";

/// One line each, up to [`SHOWN`] of them.
fn listed(lines: &[BadLine]) -> Vec<String> {
    let mut text: Vec<String> = lines.iter().take(SHOWN).map(BadLine::to_string).collect();
    if lines.len() > SHOWN {
        text.push(format!("and {} more", lines.len() - SHOWN));
    }
    text
}

pub(super) fn bad_samples(lines: &[BadLine]) -> String {
    let mut text = listed(lines);
    let what = if lines.len() == 1 { "line is" } else { "lines are" };
    text.push(format!("{} {what} not usable, and nothing was trained\nhint: fix or remove them", lines.len()));
    text.join("\n")
}

/// One line each, up to [`SHOWN`] of them.
pub(super) fn not_written(samples: &[LeftOut]) -> String {
    let mut text: Vec<String> =
        samples.iter().take(SHOWN).map(|one| format!("{}: {}", one.origin, one.reason)).collect();
    if samples.len() > SHOWN {
        text.push(format!("and {} more", samples.len() - SHOWN));
    }
    text.push(
        "nothing was trained: without its calls a conversation means something else\nhint: use a chat template that \
         supports tools (chat_template.jinja in the model's directory), or remove these samples"
            .to_owned(),
    );
    text.join("\n")
}

pub(super) fn bad_texts(lines: &[BadLine], all: bool, hint: Option<&str>) -> String {
    let mut text = listed(lines);
    let what = match (lines.len(), all) {
        (1, true) => "1 line is",
        (n, true) => &format!("{n} lines are"),
        (n, false) => &format!("{n} lines or more are"),
    };
    text.push(format!("{what} not usable{}", hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default()));
    text.join("\n")
}

/// What is wrong with each file, with the hint of the first.
pub(super) fn several(errors: &[DataError]) -> String {
    let texts: Vec<_> = errors.iter().map(DataError::to_string).collect();
    let mut lines: Vec<_> = texts.iter().take(SHOWN).filter_map(|text| text.lines().next()).collect();
    let more = format!("and {} more", errors.len().saturating_sub(SHOWN));
    if errors.len() > SHOWN {
        lines.push(&more);
    }
    let helped = first_with_help(errors).map(DataError::to_string).unwrap_or_default();
    let hint = helped.split_once(HINT).map(|(_, hint)| format!("{HINT}for the first: {hint}"));
    format!("{}\n{} files cannot be read{}", lines.join("\n"), errors.len(), hint.unwrap_or_default())
}

/// The first error that says what to do.
pub(super) fn first_with_help(errors: &[DataError]) -> Option<&DataError> {
    errors.iter().find(|error| error.advice().is_some() || error.to_string().contains(HINT))
}

/// What to do with a file that is none of texts.
pub(super) fn no_text(path: &Path) -> String {
    if kind(path).as_deref() == Some("json") {
        return format!(
            "; one object per line is written by: {}",
            converted(path, "jq -c '.[]'", "lines", Some("jsonl"))
        );
    }
    "; if it is plain text, rename it to .txt".into()
}

/// Whether a file is named as a text.
pub(super) fn is_text(path: &Path) -> bool {
    matches!(kind(path).as_deref(), Some("txt" | "md"))
}

/// What to do with a file that is none of samples, unless it is a text.
pub(super) fn no_samples(path: &Path) -> String {
    if is_text(path) {
        return String::new();
    }
    format!(
        "{HINT}samples are .jsonl and .json files, also with .gz or .zst; a line is an object such as \
         {{\"prompt\": \"…\", \"completion\": \"…\"}}"
    )
}

/// `; it has 2 .json`
pub(super) fn but_has(skipped: &Skipped) -> String {
    if skipped.count() > 0 { format!("; it has {skipped}") } else { String::new() }
}

/// `, line 3`, where the line is known.
pub(super) fn in_line(line: Option<usize>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

pub(super) fn similar(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; there is {}", names.join(", ")) }
}

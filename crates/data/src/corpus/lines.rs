//! `.jsonl`: one JSON object per line, one document each.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::segment::{SEGMENT_BYTES, Segment, cut};
use crate::files::{Encoding, Lines, converted, typed};
use crate::samples::{BadLine, Origin, describe, is_sample};
use crate::{Advice, DataError};

/// Bad lines after which a file is not read any further.
const MOST_BAD: usize = 1000;

pub(super) struct LineReader {
    lines: Lines,
    file: Arc<Path>,
    text_key: String,
    /// Lines that cannot be used. With the first, all that is looked for are others.
    bad: Vec<BadLine>,
    /// What to do about the first of them.
    hint: Hint,
    /// A document that is handed out in segments, from `handed_out` on.
    document: String,
    handed_out: usize,
}

impl LineReader {
    pub(super) fn new(lines: Lines, text_key: &str) -> Self {
        Self {
            file: lines.decoder().path().into(),
            lines,
            text_key: text_key.to_owned(),
            bad: Vec::new(),
            hint: Hint::Line,
            document: String::new(),
            handed_out: 0,
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.lines.decoder().encoding()
    }

    pub(super) fn next_segment(&mut self) -> Result<Option<Segment>, DataError> {
        let starts_document = self.handed_out == self.document.len();
        if starts_document {
            match self.next_document()? {
                Some(text) => (self.document, self.handed_out) = (text, 0),
                None => return Ok(None),
            }
        }
        let rest = &self.document[self.handed_out..];
        let end = if rest.len() > SEGMENT_BYTES { cut(rest, SEGMENT_BYTES) } else { rest.len() };
        let text = rest[..end].to_owned();
        self.handed_out += end;
        Ok(Some(Segment { text, starts_document, ends_document: self.handed_out == self.document.len() }))
    }

    /// The text of the next line that has any; blank lines and blank texts are skipped.
    fn next_document(&mut self) -> Result<Option<String>, DataError> {
        while self.bad.len() < MOST_BAD
            && let Some((line, text)) = self.lines.next_line()?
        {
            let origin = Origin { file: Arc::clone(&self.file), line };
            match document(text.trim(), &self.text_key, origin) {
                Ok(Some(text)) if self.bad.is_empty() && !text.trim().is_empty() => return Ok(Some(text)),
                Ok(_) => {}
                Err((bad, hint)) => {
                    if self.bad.is_empty() {
                        self.hint = hint;
                    }
                    self.bad.push(bad);
                }
            }
        }
        if self.bad.is_empty() {
            return Ok(None);
        }
        let lines = std::mem::take(&mut self.bad);
        let (hint, advice) = (self.hint.text(&self.file), self.hint.advice(&self.file));
        Err(DataError::BadTexts { all: lines.len() < MOST_BAD, lines, hint, advice })
    }
}

/// What may help where a line cannot be used.
enum Hint {
    /// The file is a JSON array.
    Array,
    /// Objects span several lines.
    Spread,
    /// The form of a line.
    Form,
    /// The lines are samples to fine-tune on.
    Samples,
    /// The text may be under another key.
    Key,
    /// Some lines are wrong.
    Line,
}

impl Hint {
    fn text(&self, file: &Path) -> Option<String> {
        Some(match self {
            Self::Array => format!("write one object per line: {}", converted(file, "jq -c '.[]'", "lines", None)),
            Self::Spread => format!("write one object per line: {}", converted(file, "jq -c .", "lines", None)),
            Self::Form => ".jsonl has one object per line, for example {\"text\": \"…\"}".into(),
            Self::Line => "fix or remove such lines".into(),
            Self::Samples | Self::Key => return None,
        })
    }

    fn advice(&self, file: &Path) -> Option<Advice> {
        match self {
            Self::Samples => Some(Advice::FinetuneOnSamples { file: typed(file) }),
            Self::Key => Some(Advice::TextKey),
            Self::Array | Self::Spread | Self::Form | Self::Line => None,
        }
    }
}

/// The text under `key` of the object that `line` writes; `None` for a blank line.
fn document(line: &str, key: &str, origin: Origin) -> Result<Option<String>, (BadLine, Hint)> {
    if line.is_empty() {
        return Ok(None);
    }
    let is_first = origin.line == 1;
    let bad = |origin, expected, found| BadLine { origin, expected, found };
    match serde_json::from_str(line) {
        Err(error) => {
            let hint = match line {
                "{" => Hint::Spread,
                _ if is_first && line.starts_with('[') => Hint::Array,
                _ => Hint::Form,
            };
            Err((BadLine::no_json(origin, &error, line), hint))
        }
        Ok(Value::Object(mut object)) => match object.get_mut(key).map(Value::take) {
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err((bad(origin, format!("{key:?} to be a text"), describe(Some(&other))), Hint::Line)),
            None => {
                let hint = if is_sample(&object) { Hint::Samples } else { Hint::Key };
                let found = describe(Some(&Value::Object(object)));
                Err((bad(origin, format!("a text under the key {key:?}"), found), hint))
            }
        },
        Ok(other) => {
            let hint = if is_first && other.is_array() { Hint::Array } else { Hint::Form };
            Err((bad(origin, "a JSON object".into(), describe(Some(&other))), hint))
        }
    }
}

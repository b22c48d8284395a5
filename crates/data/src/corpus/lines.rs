//! `.jsonl`: one JSON object a line, one document each.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::source::Bytes;
use super::text::cut;
use super::{CorpusOptions, SEGMENT_BYTES, Segment};
use crate::DataError;

/// A line is parsed as a whole, in memory.
const LONGEST_LINE: u64 = 64 << 20;

pub(super) struct LineReader {
    path: PathBuf,
    bytes: Bytes,
    text_key: String,
    lossy: bool,
    line: u64,
    /// Byte position of the current line.
    position: u64,
    raw: Vec<u8>,
    /// A document that is handed out in segments, from `handed_out` on.
    document: String,
    handed_out: usize,
}

impl LineReader {
    pub(super) fn new(path: &Path, bytes: Bytes, options: &CorpusOptions) -> Self {
        Self {
            path: path.to_owned(),
            bytes,
            text_key: options.text_key.clone(),
            lossy: options.lossy,
            line: 0,
            position: 0,
            raw: Vec::new(),
            document: String::new(),
            handed_out: 0,
        }
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

    /// The text of the next line that has any; blank lines and blank texts are passed over.
    fn next_document(&mut self) -> Result<Option<String>, DataError> {
        loop {
            self.raw.clear();
            let line = self.bytes.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut self.raw);
            let n = line.map_err(|e| DataError::io(&self.path, e))?;
            if n == 0 {
                return Ok(None);
            }
            self.line += 1;
            if n as u64 > LONGEST_LINE {
                let message = format!("it is longer than {} MiB", LONGEST_LINE >> 20);
                return Err(DataError::MalformedJson { path: self.path.clone(), line: self.line, message });
            }
            let start = self.position;
            self.position += n as u64;
            let text = match std::str::from_utf8(&self.raw) {
                Ok(line) => self.parse(line)?,
                Err(_) if self.lossy => self.parse(&String::from_utf8_lossy(&self.raw))?,
                Err(error) => {
                    let position = start + error.valid_up_to() as u64;
                    return Err(DataError::InvalidUtf8 { path: self.path.clone(), position });
                }
            };
            if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
                return Ok(Some(text));
            }
        }
    }

    fn parse(&self, line: &str) -> Result<Option<String>, DataError> {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            return Ok(None);
        }
        let malformed =
            |message: String| DataError::MalformedJson { path: self.path.clone(), line: self.line, message };
        match serde_json::from_str(line) {
            Err(error) => Err(malformed(error.to_string())),
            Ok(Value::Object(mut object)) => match object.get_mut(&self.text_key).map(Value::take) {
                Some(Value::String(text)) => Ok(Some(text)),
                _ => Err(DataError::UnknownKey {
                    path: self.path.clone(),
                    line: self.line,
                    key: self.text_key.clone(),
                    found: object.keys().cloned().collect(),
                }),
            },
            Ok(_) => Err(malformed("the line is another JSON value".into())),
        }
    }
}

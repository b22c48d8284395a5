//! `.json` files: an array of samples, an object that holds one, or one sample after the other.

use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Value};

use super::Origin;
use super::format::{BadLine, SAMPLE_KEYS};

/// Keys under which other programs put a list of samples.
const LISTS: [&str; 11] =
    ["data", "train", "samples", "examples", "rows", "instances", "valid", "validation", "val", "dev", "test"];

/// Values and where they begin.
pub(super) type Values = Vec<(Origin, Value)>;

/// Reads the elements of the array in `text`; behind what is not JSON, nothing more.
pub(super) fn array(text: &str, file: &Arc<Path>, values: &mut Values) -> Result<(), BadLine> {
    let mut scanner = Scanner::new(text, file);
    scanner.elements(values)?;
    scanner.end()
}

/// Reads a `.json` file that is one value, or several that span lines; `None` if it has one in each line.
pub(super) fn document(text: &str, file: &Arc<Path>, values: &mut Values) -> Option<Result<(), BadLine>> {
    let mut scanner = Scanner::new(text, file);
    match scanner.peek() {
        Some(b'[') => Some(array(text, file, values)),
        Some(b'{') if scanner.enter_list() => Some(scanner.wrapped(values)),
        Some(b'{') if spans_lines(text) => Some(Scanner::new(text, file).objects(values)),
        _ => None,
    }
}

/// Whether the first line only begins a value.
pub(super) fn spans_lines(text: &str) -> bool {
    let first = text.trim_start().lines().next().unwrap_or_default();
    serde_json::from_str::<IgnoredAny>(first).is_err_and(|error| error.is_eof())
}

/// Whether `text` begins with an object that is sound, but spans lines.
pub(super) fn object_spans_lines(text: &str) -> bool {
    let object = Deserializer::from_str(text).into_iter::<serde_json::Map<String, Value>>().next();
    spans_lines(text) && object.is_some_and(|object| object.is_ok())
}

/// Whether a file of lines is an array instead: of its own, not as the first of many.
pub(super) fn is_array(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('[') && (!text.contains('\n') || spans_lines(text))
}

struct Scanner<'a> {
    text: &'a str,
    file: &'a Arc<Path>,
    at: usize,
    /// The line of the position `counted`.
    line: u64,
    counted: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, file: &'a Arc<Path>) -> Self {
        let mut scanner = Self { text, file, at: 0, line: 1, counted: 0 };
        scanner.skip_space();
        scanner
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Skips one byte and the space behind it.
    fn step(&mut self) {
        self.at += 1;
        self.skip_space();
    }

    fn origin(&mut self) -> Origin {
        let lines = self.text[self.counted..self.at].matches('\n').count();
        self.line += lines as u64;
        self.counted = self.at;
        Origin { file: Arc::clone(self.file), line: self.line }
    }

    fn no_end(&mut self) -> BadLine {
        BadLine::no_array_end(self.origin(), &self.text[self.at..])
    }

    /// The value that begins here.
    fn value<T: DeserializeOwned>(&mut self) -> Result<T, BadLine> {
        let rest = &self.text[self.at..];
        let mut stream = Deserializer::from_str(rest).into_iter();
        match stream.next() {
            Some(Ok(value)) => {
                self.at += stream.byte_offset();
                self.skip_space();
                Ok(value)
            }
            Some(Err(error)) => Err(BadLine::no_json(self.origin(), &error, rest)),
            None => Err(self.no_end()),
        }
    }

    /// The array that begins here.
    fn elements(&mut self, values: &mut Values) -> Result<(), BadLine> {
        self.step();
        while self.peek() != Some(b']') {
            let origin = self.origin();
            values.push((origin, self.value()?));
            match self.peek() {
                Some(b',') => self.step(),
                Some(b']') => {}
                _ => return Err(self.no_end()),
            }
        }
        self.step();
        Ok(())
    }

    /// The objects from here to the end.
    fn objects(&mut self, values: &mut Values) -> Result<(), BadLine> {
        while self.peek().is_some() {
            let origin = self.origin();
            values.push((origin, self.value()?));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BadLine> {
        if self.peek().is_none() { Ok(()) } else { Err(self.no_end()) }
    }

    /// A key, and whether a list follows.
    fn key(&mut self) -> Option<(String, bool)> {
        let key = self.value().ok()?;
        if self.peek() != Some(b':') {
            return None;
        }
        self.step();
        Some((key, self.peek() == Some(b'[')))
    }

    /// Goes to the first list of samples that the object here holds, if it is not a sample itself.
    fn enter_list(&mut self) -> bool {
        self.step();
        while let Some((key, is_list)) = self.key() {
            if SAMPLE_KEYS.contains(&key.as_str()) {
                return false;
            }
            if is_list && LISTS.contains(&key.as_str()) {
                return true;
            }
            if self.value::<IgnoredAny>().is_err() || self.peek() != Some(b',') {
                return false;
            }
            self.step();
        }
        false
    }

    /// The list here, and the rest of the object that holds it.
    fn wrapped(&mut self, values: &mut Values) -> Result<(), BadLine> {
        self.elements(values)?;
        while self.peek() == Some(b',') {
            self.step();
            let origin = self.origin();
            let Some((key, is_list)) = self.key() else { return Err(self.no_end()) };
            if is_list && LISTS.contains(&key.as_str()) {
                let expected = "one list of samples; others go into files of their own, such as valid.jsonl".into();
                return Err(BadLine { origin, expected, found: format!("another, {key:?}") });
            }
            self.value::<IgnoredAny>()?;
        }
        if self.peek() != Some(b'}') {
            return Err(self.no_end());
        }
        self.step();
        self.end()
    }
}

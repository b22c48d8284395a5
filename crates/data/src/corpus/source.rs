//! The kinds of files, and the iterator over all of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lines::LineReader;
use super::segment::{CorpusOptions, Segment};
use super::text::TextReader;
use crate::DataError;
use crate::files::{Decoder, Encoding, Lines, kind};

/// What a file name says about the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Documents separated by a line `<|endoftext|>`.
    Text,
    /// One document.
    Markdown,
    /// One document a line, under a key.
    JsonLines,
}

impl Format {
    /// The format by the extension, whatever the compression; `None` for files that are not read.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match kind(path)?.as_str() {
            "txt" | "raw" => Some(Self::Text), // WikiText is published as .raw
            "md" => Some(Self::Markdown),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// Reads one file.
pub(super) enum Reader {
    Text(TextReader),
    Lines(LineReader),
}

impl Reader {
    pub(super) fn open(path: &Path, options: &CorpusOptions, read: Arc<AtomicU64>) -> Result<Self, DataError> {
        let format = Format::of(path).ok_or_else(|| DataError::UnknownExtension { path: path.to_owned() })?;
        let text = Decoder::open(path, options.lossy, read)?;
        Ok(match format {
            Format::Text => Self::Text(TextReader::new(text, true)),
            Format::Markdown => Self::Text(TextReader::new(text, false)),
            Format::JsonLines => Self::Lines(LineReader::new(Lines::new(text), &options.text_key)),
        })
    }

    pub(super) fn next_segment(&mut self) -> Result<Option<Segment>, DataError> {
        match self {
            Self::Text(reader) => reader.next_segment(),
            Self::Lines(reader) => reader.next_segment(),
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        match self {
            Self::Text(reader) => reader.encoding(),
            Self::Lines(reader) => reader.encoding(),
        }
    }
}

/// Iterator over the segments of all files of a corpus. It ends after the first error.
pub struct Segments<'a> {
    files: std::slice::Iter<'a, PathBuf>,
    options: &'a CorpusOptions,
    current: Option<Reader>,
    read: Arc<AtomicU64>,
    failed: bool,
}

impl<'a> Segments<'a> {
    pub(super) fn new(files: &'a [PathBuf], options: &'a CorpusOptions) -> Self {
        Self { files: files.iter(), options, current: None, read: Arc::default(), failed: false }
    }

    /// Bytes read from disk so far, compressed as they lie there.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn advance(&mut self) -> Result<Option<Segment>, DataError> {
        loop {
            if self.current.is_none() {
                let Some(path) = self.files.next() else { return Ok(None) };
                self.current = Some(Reader::open(path, self.options, Arc::clone(&self.read))?);
            }
            if let Some(reader) = &mut self.current
                && let Some(segment) = reader.next_segment()?
            {
                return Ok(Some(segment));
            }
            self.current = None;
        }
    }
}

impl Iterator for Segments<'_> {
    type Item = Result<Segment, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.advance().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

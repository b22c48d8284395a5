//! Opening files: kind, compression, and the iterator over all of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lines::LineReader;
use super::text::TextReader;
use super::{CorpusOptions, Segment};
use crate::DataError;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Format {
    /// The format by the extension, whatever the compression; `None` for files that are not read.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let stem = match compression(path) {
            Compression::None => path.to_owned(),
            _ => path.with_extension(""),
        };
        match extension(&stem)?.as_str() {
            "txt" => Some(Self::Text),
            "md" => Some(Self::Markdown),
            "jsonl" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase)
}

fn compression(path: &Path) -> Compression {
    match extension(path).as_deref() {
        Some("gz") => Compression::Gzip,
        Some("zst") => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Bytes of a file, decompressed.
pub(super) type Bytes = Box<dyn BufRead + Send>;

/// Counts what is read from disk, before decompression, for a progress bar.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

const BUFFER: usize = 256 << 10;

fn open(path: &Path, read: Arc<AtomicU64>) -> Result<Bytes, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let raw = BufReader::with_capacity(BUFFER, Counted { file, read });
    Ok(match compression(path) {
        Compression::None => Box::new(raw),
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(raw))),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(|e| DataError::io(path, e))?;
            Box::new(BufReader::with_capacity(BUFFER, decoder))
        }
    })
}

enum Reader {
    Text(TextReader),
    Lines(LineReader),
}

impl Reader {
    fn open(path: &Path, options: &CorpusOptions, read: Arc<AtomicU64>) -> Result<Self, DataError> {
        let format = Format::of(path).ok_or_else(|| DataError::UnknownExtension { path: path.to_owned() })?;
        let bytes = open(path, read)?;
        Ok(match format {
            Format::Text => Self::Text(TextReader::new(path, bytes, true, options.lossy)),
            Format::Markdown => Self::Text(TextReader::new(path, bytes, false, options.lossy)),
            Format::JsonLines => Self::Lines(LineReader::new(path, bytes, options)),
        })
    }

    fn next_segment(&mut self) -> Result<Option<Segment>, DataError> {
        match self {
            Self::Text(reader) => reader.next_segment(),
            Self::Lines(reader) => reader.next_segment(),
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

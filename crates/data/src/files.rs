//! Files as they lie on the disk, for texts and for samples: found in folders, decompressed, decoded.

mod decode;
mod error;
mod find;
mod lines;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::DataError;
pub(crate) use decode::Decoder;
pub use decode::Encoding;
pub use error::{FileError, Unreadable};
pub(crate) use error::{converted, typed};
pub use find::Skipped;
pub(crate) use find::find;
pub(crate) use lines::Lines;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(path: &Path) -> Self {
        match extension(path).as_deref() {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::None,
        }
    }

    /// What the first bytes of a file say.
    fn by_contents(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one that is skipped.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The program that handles it.
    fn tool(self) -> &'static str {
        if self == Self::Zstd { "zstd" } else { "gzip" }
    }

    fn extension(self) -> &'static str {
        if self == Self::Zstd { "zst" } else { "gz" }
    }
}

fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase)
}

/// The name without the extension of a compressed file.
fn uncompressed(path: &Path) -> PathBuf {
    match Compression::of(path) {
        Compression::None => path.to_owned(),
        _ => path.with_extension(""),
    }
}

/// The extension in lower case, whatever the compression: `jsonl` of `A.JSONL.gz`.
pub(crate) fn kind(path: &Path) -> Option<String> {
    extension(&uncompressed(path))
}

/// The path with another [`kind`], compressed as it is.
pub(crate) fn with_kind(path: &Path, kind: &str) -> PathBuf {
    let kind = match Compression::of(path) {
        Compression::None => kind.to_owned(),
        compression => format!("{kind}.{}", compression.extension()),
    };
    uncompressed(path).with_extension(kind)
}

/// Bytes of a file, decompressed.
type Bytes = Box<dyn BufRead + Send>;

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

/// Opens a file and decompresses it as its name says; `read` counts the bytes on disk.
fn open(path: &Path, read: Arc<AtomicU64>) -> Result<Bytes, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut raw = BufReader::with_capacity(BUFFER, Counted { file, read });
    let head = raw.fill_buf().map_err(|e| DataError::io(path, e))?;
    let (named, found) = (Compression::of(path), Compression::by_contents(head));
    if head.is_empty() {
        return Ok(Box::new(raw));
    }
    match (named, found) {
        (Compression::None, Compression::None) => Ok(Box::new(raw)),
        (Compression::None, found) => {
            let (format, extension) = (found.tool(), found.extension());
            Err(FileError::NotNamedCompressed { path: path.to_owned(), format, extension }.into())
        }
        (Compression::Gzip, Compression::Gzip) => {
            Ok(Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(raw))))
        }
        (Compression::Zstd, Compression::Zstd) => {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(|e| DataError::io(path, e))?;
            Ok(Box::new(BufReader::with_capacity(BUFFER, decoder)))
        }
        (named, _) => {
            let (format, bare) = (named.tool(), uncompressed(path));
            Err(FileError::NotCompressed { path: path.to_owned(), format, bare }.into())
        }
    }
}

/// A failure of reading at `path`; compressed data that is damaged or cut short gets its own text.
fn read_error(path: &Path, source: io::Error) -> DataError {
    let compression = Compression::of(path);
    if compression == Compression::None || source.raw_os_error().is_some() {
        return DataError::io(path, source);
    }
    let (path, tool) = (path.to_owned(), compression.tool());
    if source.kind() == io::ErrorKind::UnexpectedEof || source.to_string().contains("incomplete") {
        FileError::CutShort { path, tool }.into()
    } else {
        FileError::Damaged { path, tool, message: source.to_string() }.into()
    }
}

/// All of a file as text, whatever its compression and encoding. What cannot be read is an error.
pub(crate) fn read_to_string(path: &Path) -> Result<String, DataError> {
    /// Text that is always read, and how many times its size on disk another may have: no text is compressed more, so
    /// a small file that fills the memory is not one.
    const ALWAYS: u64 = 1 << 30;
    const RATIO: u64 = 100;
    let most = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?.len().saturating_mul(RATIO).max(ALWAYS);
    let mut decoder = Decoder::open(path, false, Arc::default())?;
    let mut text = String::new();
    while decoder.read_into(&mut text)? {
        if text.len() as u64 > most {
            return Err(FileError::Inflated { path: path.to_owned(), most }.into());
        }
    }
    Ok(text)
}

/// `bytes` as text, in UTF-8 or in the encoding that a byte order mark names, without the mark. Errors name the place
/// as that of a file "-".
///
/// # Errors
/// What is not text.
pub fn decode_text(bytes: Vec<u8>) -> Result<String, DataError> {
    let mut decoder = Decoder::new(Path::new("-"), Box::new(io::Cursor::new(bytes)), false)?;
    let mut text = String::new();
    while decoder.read_into(&mut text)? {}
    Ok(text)
}

#[cfg(test)]
mod tests;

//! Bytes to text: UTF-8, and UTF-16 and UTF-32 where a mark at the beginning says so.

use std::fmt;
use std::io::{BufRead, Chain, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};

use super::{Bytes, FileError, Unreadable, open, read_error};
use crate::DataError;

/// How a text file is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// UTF-8, with a byte order mark or without.
    Utf8,
    /// UTF-16, low bytes first, as Windows writes it.
    Utf16Le,
    /// UTF-16, high bytes first.
    Utf16Be,
    /// UTF-32, low bytes first.
    Utf32Le,
    /// UTF-32, high bytes first.
    Utf32Be,
}

impl fmt::Display for Encoding {
    /// The name as `iconv` knows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16LE",
            Self::Utf16Be => "UTF-16BE",
            Self::Utf32Le => "UTF-32LE",
            Self::Utf32Be => "UTF-32BE",
        })
    }
}

/// Where decoding stopped.
enum Stop {
    /// At the end of the bytes.
    End,
    /// Before a character whose rest is missing.
    Incomplete,
    /// Before this many bytes that are not a character.
    Invalid(usize),
    /// Before a NUL character.
    Nul,
}

impl Encoding {
    /// What the byte order mark at the beginning says, and its length.
    fn marked(head: &[u8]) -> Option<(Self, usize)> {
        match head {
            [0xef, 0xbb, 0xbf, ..] => Some((Self::Utf8, 3)),
            // Before UTF-16, whose mark begins alike.
            [0xff, 0xfe, 0, 0, ..] => Some((Self::Utf32Le, 4)),
            [0, 0, 0xfe, 0xff, ..] => Some((Self::Utf32Be, 4)),
            [0xff, 0xfe, ..] => Some((Self::Utf16Le, 2)),
            [0xfe, 0xff, ..] => Some((Self::Utf16Be, 2)),
            _ => None,
        }
    }

    /// What a text without a mark seems to be, if not UTF-8: letters, spaces and line ends have zero bytes, always in
    /// the same places.
    fn guess(head: &[u8]) -> Option<Self> {
        /// Zero bytes without which nothing is concluded.
        const LEAST: usize = 4;
        let mut zeros = [0; 4];
        for (i, _) in head.iter().enumerate().filter(|(_, byte)| **byte == 0) {
            zeros[i % 4] += 1;
        }
        let units = head.len() / 4;
        let most = |zeros: usize| zeros >= LEAST.min(units).max(1) && zeros * 10 >= units * 9;
        let few = |zeros: usize| zeros * 10 <= units;
        if most(zeros[2]) && most(zeros[3]) && few(zeros[0]) {
            return Some(Self::Utf32Le);
        }
        if most(zeros[0]) && most(zeros[1]) && few(zeros[3]) {
            return Some(Self::Utf32Be);
        }
        let (even, odd) = (zeros[0] + zeros[2], zeros[1] + zeros[3]);
        // A tenth of the units, and hardly any in the other place.
        let side = |zeros: usize, other: usize| zeros >= LEAST && zeros * 20 >= head.len() && other * 10 <= zeros;
        if side(odd, even) {
            Some(Self::Utf16Le)
        } else if side(even, odd) {
            Some(Self::Utf16Be)
        } else {
            None
        }
    }

    /// Bytes of a NUL character.
    fn unit(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
            Self::Utf32Le | Self::Utf32Be => 4,
        }
    }

    /// Appends the characters of `bytes` up to what is none, and returns how many bytes these are.
    fn decode(self, bytes: &[u8], text: &mut String) -> (usize, Stop) {
        match self {
            Self::Utf8 => utf8(bytes, text),
            Self::Utf16Le => utf16(bytes, u16::from_le_bytes, text),
            Self::Utf16Be => utf16(bytes, u16::from_be_bytes, text),
            Self::Utf32Le => utf32(bytes, u32::from_le_bytes, text),
            Self::Utf32Be => utf32(bytes, u32::from_be_bytes, text),
        }
    }
}

fn utf8(bytes: &[u8], text: &mut String) -> (usize, Stop) {
    let (valid, stop) = match std::str::from_utf8(bytes) {
        Ok(valid) => (valid, Stop::End),
        Err(error) => {
            let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            (valid, error.error_len().map_or(Stop::Incomplete, Stop::Invalid))
        }
    };
    let (valid, stop) = memchr::memchr(0, valid.as_bytes()).map_or((valid, stop), |nul| (&valid[..nul], Stop::Nul));
    text.push_str(valid);
    (valid.len(), stop)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, text: &mut String) -> (usize, Stop) {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut at = 0;
    for c in char::decode_utf16(units.iter().map(|pair| unit(*pair))) {
        match c {
            Ok('\0') => return (at, Stop::Nul),
            Ok(c) => {
                text.push(c);
                at += 2 * c.len_utf16();
            }
            Err(error) => {
                // The second half of a pair may be in the next block.
                let first_half = (0xd800..0xdc00).contains(&error.unpaired_surrogate());
                let incomplete = first_half && at + 4 > bytes.len();
                return (at, if incomplete { Stop::Incomplete } else { Stop::Invalid(2) });
            }
        }
    }
    (at, if rest.is_empty() { Stop::End } else { Stop::Incomplete })
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32, text: &mut String) -> (usize, Stop) {
    let (units, rest) = bytes.as_chunks::<4>();
    for (i, four) in units.iter().enumerate() {
        match char::from_u32(unit(*four)) {
            Some('\0') => return (4 * i, Stop::Nul),
            Some(c) => text.push(c),
            None => return (4 * i, Stop::Invalid(4)),
        }
    }
    (4 * units.len(), if rest.is_empty() { Stop::End } else { Stop::Incomplete })
}

/// Reads a file as text, block by block.
pub(crate) struct Decoder {
    path: PathBuf,
    bytes: Chain<Cursor<Vec<u8>>, Bytes>,
    encoding: Encoding,
    lossy: bool,
    /// Bytes decoded so far, and line feeds in them.
    position: u64,
    lines: u64,
    /// There was a character beyond ASCII.
    beyond_ascii: bool,
    /// Start of a character whose rest is in the next block.
    carry: Vec<u8>,
}

impl Decoder {
    /// Opens a file. `lossy` replaces what is not text by U+FFFD; `read` counts the bytes on disk.
    pub(crate) fn open(path: &Path, lossy: bool, read: Arc<AtomicU64>) -> Result<Self, DataError> {
        Self::new(path, open(path, read)?, lossy)
    }

    pub(super) fn new(path: &Path, mut bytes: Bytes, lossy: bool) -> Result<Self, DataError> {
        /// Bytes from which the encoding is known.
        const HEAD: u64 = 4096;
        let mut head = Vec::new();
        bytes.by_ref().take(HEAD).read_to_end(&mut head).map_err(|e| read_error(path, e))?;
        let (encoding, mark) = match Encoding::marked(&head) {
            Some(marked) => marked,
            None => match Encoding::guess(&head) {
                Some(encoding) => return Err(FileError::Unmarked { path: path.to_owned(), encoding }.into()),
                None => (Encoding::Utf8, 0),
            },
        };
        head.drain(..mark);
        Ok(Self {
            path: path.to_owned(),
            bytes: Cursor::new(head).chain(bytes),
            encoding,
            lossy,
            position: mark as u64,
            lines: 0,
            beyond_ascii: false,
            carry: Vec::new(),
        })
    }

    /// How the file is encoded.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the next block of text; `false` at the end of the file.
    ///
    /// # Errors
    /// What cannot be read, and, unless it is lossy, what is not text.
    pub(crate) fn read_into(&mut self, text: &mut String) -> Result<bool, DataError> {
        let block = self.bytes.fill_buf().map_err(|e| read_error(&self.path, e))?;
        let n = block.len();
        let mut joined = std::mem::take(&mut self.carry);
        if n == 0 && joined.is_empty() {
            return Ok(false);
        }
        // Only a few bytes are ever carried, so the copy happens once a block at most.
        let bytes = if joined.is_empty() {
            block
        } else {
            joined.extend_from_slice(block);
            &joined
        };
        let before = text.len();
        let mut at = 0;
        let fault = loop {
            let (read, stop) = self.encoding.decode(&bytes[at..], text);
            at += read;
            let (fault, len) = match stop {
                Stop::End => break None,
                // A character that the file ends in is none.
                Stop::Incomplete if n == 0 => (Unreadable::Invalid, bytes.len() - at),
                Stop::Incomplete => {
                    self.carry = bytes[at..].to_vec();
                    break None;
                }
                Stop::Invalid(len) => (Unreadable::Invalid, len),
                Stop::Nul => (Unreadable::Nul, self.encoding.unit()),
            };
            if !self.lossy {
                break Some(fault);
            }
            text.push(char::REPLACEMENT_CHARACTER);
            at += len;
        };
        self.bytes.consume(n);
        let new = &text.as_bytes()[before..];
        self.position += at as u64;
        self.lines += memchr::memchr_iter(b'\n', new).count() as u64;
        self.beyond_ascii = self.beyond_ascii || !new.is_ascii();
        match fault {
            None => Ok(n > 0),
            Some(fault) => Err(FileError::NotText {
                path: self.path.clone(),
                encoding: self.encoding,
                fault,
                position: self.position,
                line: self.lines + 1,
                beyond_ascii: self.beyond_ascii,
            }
            .into()),
        }
    }
}

//! What can be wrong with a file before its contents mean anything.

use std::path::{Path, PathBuf};

use crate::Advice;

use super::{Compression, Encoding, uncompressed};

/// An error in a file's compression or encoding. The text says where it is, and which command helps.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Bytes that are not text.
    #[error("{}: {} at byte {position}, line {line}{}", path.display(), what(*fault, *encoding),
            convert(path, *fault, *encoding, *beyond_ascii))]
    NotText {
        /// The file.
        path: PathBuf,
        /// Its encoding.
        encoding: Encoding,
        /// What is there.
        fault: Unreadable,
        /// Byte position, from 0, in the (decompressed) file.
        position: u64,
        /// Line, from 1.
        line: u64,
        /// Whether characters beyond ASCII come before.
        beyond_ascii: bool,
    },

    /// A text in another encoding that has no mark to say so.
    #[error("{}: this seems to be {encoding} without a byte order mark\nhint: convert it: {}", path.display(),
            converted(path, &format!("iconv -f {encoding} -t UTF-8"), "utf8", None))]
    Unmarked {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        encoding: Encoding,
    },

    /// A compressed file without its end.
    #[error("{}: the file is truncated: its compressed data ends early\nhint: copy or download it again; \
             {tool} -t {} checks it", path.display(), typed(path))]
    CutShort {
        /// The file.
        path: PathBuf,
        /// The program that checks it.
        tool: &'static str,
    },

    /// A compressed file that does not decompress.
    #[error("{}: its compressed data is damaged ({message})\nhint: copy or download it again; {tool} -t {} checks it",
            path.display(), typed(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The program that checks it.
        tool: &'static str,
        /// What is wrong.
        message: String,
    },

    /// A file that is named as a compressed one and is none.
    #[error("{}: the name says {format}, but the contents do not\nhint: download it again; if it is not compressed, rename \
             it: mv {} {}", path.display(), typed(path), typed(bare))]
    NotCompressed {
        /// The file.
        path: PathBuf,
        /// What the name says.
        format: &'static str,
        /// The name without that.
        bare: PathBuf,
    },

    /// A compressed file whose name does not say so.
    #[error("{}: the contents are compressed by {format}\nhint: rename it: mv {} {}.{extension}", path.display(),
            typed(path), typed(path))]
    NotNamedCompressed {
        /// The file.
        path: PathBuf,
        /// What it was compressed by.
        format: &'static str,
        /// The extension that is missing.
        extension: &'static str,
    },

    /// A compressed file that holds more than any text would.
    #[error("{}: it decompresses to more than {} MiB, a hundred times its size\nhint: text does not compress that far; \
             decompress it and look", path.display(), most >> 20)]
    Inflated {
        /// The file.
        path: PathBuf,
        /// The most it may have, in bytes.
        most: u64,
    },

    /// A line of a `.jsonl` file that is longer than any document.
    #[error("{}: line {line} is longer than {} MiB\nhint: .jsonl has one object per line; check that the lines end \
             with a line feed", path.display(), most >> 20)]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The most it may have, in bytes.
        most: usize,
    },
}

/// What is in a file instead of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Bytes that the encoding has no character for.
    Invalid,
    /// A NUL character, which no text has.
    Nul,
}

/// As an error says it.
fn what(fault: Unreadable, encoding: Encoding) -> String {
    match fault {
        Unreadable::Invalid => format!("invalid {encoding}"),
        Unreadable::Nul => "a NUL character".into(),
    }
}

impl FileError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        let Self::NotText { path, encoding, fault, beyond_ascii, .. } = self else { return None };
        match (fault, *encoding) {
            (Unreadable::Nul, Encoding::Utf8) => None,
            (Unreadable::Nul, _) => Some(Advice::ReplaceNul),
            // Where others were right, only this is wrong.
            (Unreadable::Invalid, encoding) if *beyond_ascii || encoding != Encoding::Utf8 => {
                let dropped_by = converted(path, &format!("iconv -c -f {encoding} -t UTF-8"), "utf8", None);
                Some(Advice::ReplaceInvalid { encoding, dropped_by })
            }
            (Unreadable::Invalid, _) => None,
        }
    }
}

/// How to make the file readable, where a command does it.
fn convert(path: &Path, fault: Unreadable, encoding: Encoding, beyond_ascii: bool) -> String {
    match fault {
        Unreadable::Nul if encoding == Encoding::Utf8 => {
            let command = converted(path, "tr -d '\\000'", "clean", None);
            format!("\nhint: is this a text file? To remove NUL characters: {command}")
        }
        Unreadable::Invalid if encoding == Encoding::Utf8 && !beyond_ascii => {
            let command = converted(path, "iconv -f WINDOWS-1252 -t UTF-8", "utf8", None);
            format!("\nhint: convert it, for example by: {command}")
        }
        _ => String::new(),
    }
}

/// A shell command that runs `filter` over a file, decompressed, and writes beside it `NAME-SUFFIX.KIND`; `kind` is
/// that of the file if it stays.
pub(crate) fn converted(path: &Path, filter: &str, suffix: &str, kind: Option<&str>) -> String {
    let bare = uncompressed(path);
    let stem = bare.file_stem().unwrap_or_default().to_string_lossy();
    let kind = kind.map(str::to_owned).or_else(|| bare.extension().map(|kind| kind.to_string_lossy().into_owned()));
    let to = bare.with_file_name(format!("{stem}-{suffix}.{}", kind.as_deref().unwrap_or("txt")));
    let (from, to) = (typed(path), typed(&to));
    match Compression::of(path) {
        Compression::None if filter.starts_with("tr") => format!("{filter} < {from} > {to}"),
        Compression::None => format!("{filter} {from} > {to}"),
        compression => format!("{} -dc {from} | {filter} > {to}", compression.tool()),
    }
}

/// A path as a shell takes it.
pub(crate) fn typed(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "_-./,+@%:=~".contains(c);
    // On Windows a backslash is part of the path.
    if path.chars().all(|c| plain(c) || (cfg!(windows) && c == '\\')) {
        path
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

//! What one should know about files that are read.

use std::fmt;
use std::path::PathBuf;

use super::{Corpus, FileStats};
use crate::files::{Encoding, Skipped, converted};

/// Files that an error or a note names; the others are only counted.
const NAMED: usize = 20;

/// Something to know about files that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// What was found in folders.
    Found {
        /// The folders.
        folders: Vec<PathBuf>,
        /// Files that are read.
        files: usize,
        /// Files that are not.
        skipped: Skipped,
    },
    /// Files of samples that a folder is read from, and what is beside them.
    Parts {
        /// The files that are read.
        files: Vec<PathBuf>,
        /// Files that are not.
        skipped: Skipped,
    },
    /// Files in folders that hold no text.
    Empty {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// Files in another encoding than UTF-8.
    Encoded {
        /// The first of them.
        first: PathBuf,
        /// Its encoding.
        encoding: Encoding,
        /// How many there are.
        files: usize,
    },
    /// Texts whose lines end in a carriage return and a line feed.
    WindowsLineEnds {
        /// The first file that has such.
        first: PathBuf,
        /// Files that have such.
        files: usize,
        /// Such lines.
        lines: u64,
    },
}

impl Note {
    /// Whether something is probably not as it was meant.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Empty { .. })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { folders, files, skipped } => {
                write!(f, "{}: {files} {}", named(folders), if *files == 1 { "file" } else { "files" })?;
                if skipped.count() > 0 { write!(f, "; skipped: {skipped}") } else { Ok(()) }
            }
            Self::Parts { files, skipped } => write!(f, "samples: {}; skipped: {skipped}", named(files)),
            Self::Empty { files } if files.len() == 1 => write!(f, "skipped an empty file: {}", named(files)),
            Self::Empty { files } => write!(f, "skipped {} empty files: {}", files.len(), named(files)),
            Self::Encoded { first, encoding, files } => {
                write!(f, "{}{}: read as {encoding}", first.display(), and_more(*files))
            }
            Self::WindowsLineEnds { first, files, lines } => {
                write!(
                    f,
                    "{}{}: {lines} Windows line ends (CR LF), kept as they are",
                    first.display(),
                    and_more(*files)
                )?;
                if *files == 1 {
                    write!(f, "; to remove them: {}", converted(first, "tr -d '\\r'", "lf", None))
                } else {
                    Ok(())
                }
            }
        }
    }
}

/// `a.txt, b.txt and 3 more`
pub(crate) fn named(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let more = files.len().saturating_sub(NAMED);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
}

/// ` and 3 more`; one is named already.
fn and_more(files: usize) -> String {
    if files > 1 { format!(" and {} more", files - 1) } else { String::new() }
}

impl Corpus {
    /// Notes on the files, by their `stats`.
    pub fn notes(&self, stats: &[FileStats]) -> Vec<Note> {
        let mut notes = Vec::new();
        if !self.folders.is_empty() {
            let (folders, skipped) = (self.folders.clone(), self.skipped.clone());
            notes.push(Note::Found { folders, files: self.files.len(), skipped });
        }
        if !self.empty.is_empty() {
            notes.push(Note::Empty { files: self.empty.clone() });
        }
        let all = || self.files.iter().zip(stats);
        let mut encoded = all().filter(|(_, stats)| stats.encoding != Encoding::Utf8);
        if let Some((first, FileStats { encoding, .. })) = encoded.next() {
            notes.push(Note::Encoded { first: first.clone(), encoding: *encoding, files: 1 + encoded.count() });
        }
        let mut windows = all().filter(|(_, stats)| stats.windows_line_ends > 0).peekable();
        if let Some((first, _)) = windows.peek().copied() {
            let (files, lines) = windows.fold((0, 0), |(n, sum), (_, stats)| (n + 1, sum + stats.windows_line_ends));
            notes.push(Note::WindowsLineEnds { first: first.clone(), files, lines });
        }
        notes
    }
}

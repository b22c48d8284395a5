//! Text files as a stream of documents.
//!
//! A corpus is a list of files: `.txt`, `.md`, `.jsonl`, and each of them with `.gz` or `.zst`. Folders are searched
//! recursively and in sorted order, so that the same folder always gives the same tokens. Documents come out in
//! [`Segment`]s of about [`SEGMENT_BYTES`], so that one file of many gigabytes needs no more memory than a small one.

mod blocks;
mod lines;
mod source;
mod text;

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DataError;
pub(crate) use blocks::for_each_block;
pub use source::Segments;
pub(crate) use text::cut;

/// Documents longer than this many bytes are handed out in several segments.
pub(crate) const SEGMENT_BYTES: usize = 256 << 10;

/// How the files of a corpus are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusOptions {
    /// Key of a `.jsonl` line that holds the text.
    pub text_key: String,
    /// Replace invalid UTF-8 by U+FFFD instead of stopping.
    pub lossy: bool,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { text_key: "text".into(), lossy: false }
    }
}

/// A piece of a document, or all of it.
///
/// Longer documents are cut between a letter or digit and the space after it, where no usual tokenizer has a token,
/// so that segments can be tokenized on their own. Only a text without such a place for 256 KiB is cut elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The text; empty only if a document ends exactly where its last segment was cut.
    pub text: String,
    /// Whether a document starts here.
    pub starts_document: bool,
    /// Whether a document ends here.
    pub ends_document: bool,
}

/// What is known of a file after reading it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStats {
    /// Size on disk in bytes.
    pub size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub modified: u64,
    /// blake3 of the bytes on disk, in hex.
    pub hash: String,
    /// Documents in the file.
    pub documents: u64,
    /// Characters of these documents.
    pub characters: u64,
    /// UTF-8 bytes of these documents.
    pub bytes: u64,
}

/// Files that are read as one text.
#[derive(Debug, Clone)]
pub struct Corpus {
    files: Vec<PathBuf>,
    options: CorpusOptions,
}

impl Corpus {
    /// Finds the files. Their contents are not read yet.
    ///
    /// # Errors
    /// [`DataError::NoPaths`], [`DataError::Missing`], [`DataError::UnknownExtension`] for a file named outright,
    /// [`DataError::NothingToRead`] for a folder without readable files (others in it are passed over),
    /// [`DataError::Empty`] for a file of zero bytes.
    pub fn open(paths: &[PathBuf], options: CorpusOptions) -> Result<Self, DataError> {
        if paths.is_empty() {
            return Err(DataError::NoPaths);
        }
        let mut files = Vec::new();
        for path in paths {
            let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
            if meta.is_dir() {
                let before = files.len();
                walk(path, &mut files)?;
                if files.len() == before {
                    return Err(DataError::NothingToRead { path: path.clone() });
                }
            } else if source::Format::of(path).is_none() {
                return Err(DataError::UnknownExtension { path: path.clone() });
            } else {
                files.push(path.clone());
            }
        }
        for path in &files {
            if std::fs::metadata(path).map_err(|e| DataError::io(path, e))?.len() == 0 {
                return Err(DataError::Empty { path: path.clone() });
            }
        }
        Ok(Self { files, options })
    }

    /// Whether the name of a file is that of plain text: `.txt` or `.md`, also with `.gz` or `.zst`. A `.jsonl` file may
    /// hold texts, or something else.
    pub fn is_text(path: &Path) -> bool {
        matches!(source::Format::of(path), Some(source::Format::Text | source::Format::Markdown))
    }

    /// Leaves out the files that `other` has too, and returns how many those are.
    ///
    /// # Errors
    /// [`DataError::OnlyValidation`] where none would be left.
    pub(crate) fn leave_out(&mut self, other: &Self) -> Result<usize, DataError> {
        let place = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let others: Vec<_> = other.files.iter().map(place).collect();
        let before = self.files.len();
        let first = self.files.first().cloned().unwrap_or_default();
        self.files.retain(|path| !others.contains(&place(path)));
        if self.files.is_empty() {
            return Err(DataError::OnlyValidation { path: first });
        }
        Ok(before - self.files.len())
    }

    /// The files, in the order in which they are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// How they are read.
    pub fn options(&self) -> &CorpusOptions {
        &self.options
    }

    /// Size of all files on disk in bytes: the total that [`Segments::bytes_read`] counts towards.
    ///
    /// # Errors
    /// When a file is gone.
    pub fn disk_bytes(&self) -> Result<u64, DataError> {
        self.files.iter().map(|path| Ok(std::fs::metadata(path).map_err(|e| DataError::io(path, e))?.len())).sum()
    }

    /// All documents, one after the other, with memory for one segment only.
    pub fn segments(&self) -> Segments<'_> {
        Segments::new(&self.files, &self.options)
    }

    /// Reads one file from end to end: hash and counts, and every error that is in it.
    ///
    /// # Errors
    /// Whatever is wrong with the file, [`DataError::Empty`] when there is nothing but white space in it.
    pub fn scan(&self, path: &Path) -> Result<FileStats, DataError> {
        let (size, modified) = stamp(path)?;
        let mut hasher = blake3::Hasher::new();
        let file = std::fs::File::open(path).map_err(|e| DataError::io(path, e))?;
        hasher.update_reader(file).map_err(|e| DataError::io(path, e))?;
        let hash = hasher.finalize().to_hex().to_string();
        let mut stats = FileStats { size, modified, hash, documents: 0, characters: 0, bytes: 0 };
        let files = [path.to_owned()];
        for segment in Segments::new(&files, &self.options) {
            let segment = segment?;
            stats.documents += u64::from(segment.ends_document);
            stats.characters += segment.text.chars().count() as u64;
            stats.bytes += segment.text.len() as u64;
        }
        if stats.documents == 0 {
            return Err(DataError::Empty { path: path.to_owned() });
        }
        Ok(stats)
    }

    /// [`scan`](Self::scan) of every file, in parallel, in the order of [`files`](Self::files). `known` may already
    /// have the answer for a file.
    ///
    /// # Errors
    /// The first error in the order of the files.
    pub fn scan_all(&self, known: impl Fn(&Path) -> Option<FileStats> + Sync) -> Result<Vec<FileStats>, DataError> {
        let results: Vec<_> =
            self.files.par_iter().map(|path| known(path).map_or_else(|| self.scan(path), Ok)).collect();
        results.into_iter().collect()
    }
}

/// Size and time of the last change of a file.
pub(crate) fn stamp(path: &Path) -> Result<(u64, u64), DataError> {
    let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
    let modified =
        meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos() as u64);
    Ok((meta.len(), modified))
}

/// Adds the readable files under `folder`, sorted by path; hidden ones are passed over.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let mut entries = std::fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>())
        .map_err(|e| DataError::io(folder, e))?;
    entries.sort();
    for path in entries {
        if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            walk(&path, files)?;
        } else if path.is_file() && source::Format::of(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
}

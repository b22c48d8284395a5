//! Text files as a stream of documents.
//!
//! A corpus is a list of files: `.txt`, `.md`, `.jsonl`, and each of them with `.gz` or `.zst`. Folders are searched
//! recursively, through links too, and read in sorted order, so that the same folder always gives the same tokens. What
//! was skipped, and how the files are written, is told by [`Corpus::notes`]. Documents come out in
//! [`Segment`]s of about a quarter of a MiB, so that one file of many gigabytes needs no more memory than a small one.

mod blocks;
mod lines;
mod note;
mod segment;
mod source;
mod text;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::files::{Encoding, Skipped, find};
pub(crate) use blocks::for_each_block;
pub use note::Note;
pub(crate) use note::named;
pub(crate) use segment::cut;
pub use segment::{CorpusOptions, Segment};
pub use source::Segments;

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
    /// Lines of these documents that end in a carriage return and a line feed.
    pub windows_line_ends: u64,
    /// How the file is encoded.
    pub encoding: Encoding,
}

/// Files that are read as one text.
#[derive(Debug, Clone)]
pub struct Corpus {
    files: Vec<PathBuf>,
    options: CorpusOptions,
    /// Folders that were named, and what is in them beside the files.
    folders: Vec<PathBuf>,
    skipped: Skipped,
    /// Files in these folders that hold no text; they are not among the others.
    empty: Vec<PathBuf>,
    /// Files that were named themselves, which may not be empty.
    named: HashSet<PathBuf>,
}

impl Corpus {
    /// Finds the files. Their contents are not read yet.
    ///
    /// # Errors
    /// [`DataError::NoPaths`], [`DataError::Missing`], [`DataError::UnknownExtension`] for a file named outright,
    /// [`DataError::NothingToRead`] for a folder without readable files (others in it are skipped),
    /// [`DataError::Empty`] for a file of zero bytes that was named, [`DataError::OnlyEmpty`] where folders have no
    /// others.
    pub fn open(paths: &[PathBuf], options: CorpusOptions) -> Result<Self, DataError> {
        if paths.is_empty() {
            return Err(DataError::NoPaths);
        }
        let mut corpus = Self {
            files: Vec::new(),
            options,
            folders: Vec::new(),
            skipped: Skipped::default(),
            empty: Vec::new(),
            named: HashSet::new(),
        };
        for path in paths {
            let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
            if meta.is_dir() {
                corpus.add_folder(path)?;
            } else if source::Format::of(path).is_none() {
                return Err(DataError::UnknownExtension { path: path.clone() });
            } else if meta.len() == 0 {
                return Err(DataError::Empty { path: path.clone() });
            } else {
                corpus.named.insert(path.clone());
                corpus.files.push(path.clone());
            }
        }
        corpus.check_any()?;
        Ok(corpus)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), DataError> {
        let (files, skipped) = find(folder, |path| source::Format::of(path).is_some())?;
        if files.is_empty() {
            return Err(DataError::NothingToRead { path: folder.to_owned(), skipped });
        }
        for path in files {
            let is_empty = std::fs::metadata(&path).map_err(|e| DataError::io(&path, e))?.len() == 0;
            if is_empty { self.empty.push(path) } else { self.files.push(path) }
        }
        self.folders.push(folder.to_owned());
        self.skipped.extend(skipped);
        Ok(())
    }

    fn check_any(&self) -> Result<(), DataError> {
        if self.files.is_empty() { Err(DataError::OnlyEmpty { files: self.empty.clone() }) } else { Ok(()) }
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
        let mut reader = source::Reader::open(path, &self.options, Arc::default())?;
        let encoding = reader.encoding();
        let mut stats =
            FileStats { size, modified, hash, documents: 0, characters: 0, bytes: 0, windows_line_ends: 0, encoding };
        while let Some(segment) = reader.next_segment()? {
            stats.documents += u64::from(segment.ends_document);
            stats.characters += segment.text.chars().count() as u64;
            stats.bytes += segment.text.len() as u64;
            let text = segment.text.as_bytes();
            let line_ends = memchr::memchr_iter(b'\r', text).filter(|&at| text.get(at + 1) == Some(&b'\n'));
            stats.windows_line_ends += line_ends.count() as u64;
        }
        if stats.documents == 0 {
            return Err(DataError::Empty { path: path.to_owned() });
        }
        Ok(stats)
    }

    /// [`scan`](Self::scan) of every file, in parallel, in the order of [`files`](Self::files), from which those of
    /// folders that turn out to hold no text are removed. `known` may already have the answer for a file.
    ///
    /// # Errors
    /// What is wrong with the files, all of them; [`DataError::OnlyEmpty`].
    pub fn scan_all(&mut self, known: impl Fn(&Path) -> Option<FileStats> + Sync) -> Result<Vec<FileStats>, DataError> {
        let scan = |path: &PathBuf| known(path).map_or_else(|| self.scan(path), Ok);
        let results: Vec<_> = self.files.par_iter().map(scan).collect();
        let (mut stats, mut errors) = (Vec::with_capacity(results.len()), Vec::new());
        for (path, result) in std::mem::take(&mut self.files).into_iter().zip(results) {
            match result {
                Ok(known) => {
                    stats.push(known);
                    self.files.push(path);
                }
                Err(DataError::Empty { path }) if !self.named.contains(&path) => self.empty.push(path),
                Err(error) => errors.push(error),
            }
        }
        match errors.len() {
            0 => self.check_any().map(|()| stats),
            1 => Err(errors.remove(0)),
            _ => Err(DataError::Several { errors }),
        }
    }
}

/// Size and time of the last change of a file.
pub(crate) fn stamp(path: &Path) -> Result<(u64, u64), DataError> {
    let meta = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
    let modified =
        meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos() as u64);
    Ok((meta.len(), modified))
}

//! Files in folders.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::extension;
use crate::DataError;

/// Files in folders that are not read, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    kinds: BTreeMap<String, usize>,
}

impl Skipped {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.kinds.values().sum()
    }

    pub(crate) fn add(&mut self, kind: &str) {
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
    }

    /// A file of a kind that is not read.
    pub(crate) fn add_file(&mut self, path: &Path) {
        match extension(path).as_deref() {
            // With what is compressed, as in `.tar.gz`.
            Some(kind @ ("gz" | "zst")) => {
                let inner = path.file_stem().and_then(|stem| extension(Path::new(stem)));
                self.add(&inner.map_or(format!(".{kind}"), |inner| format!(".{inner}.{kind}")));
            }
            Some(kind) => self.add(&format!(".{kind}")),
            None => self.add("without an extension"),
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Skipped {
    /// `2 .json, 1 .html`: the most frequent first, and eight kinds at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let rest: usize = kinds.iter().skip(SHOWN).map(|(_, count)| **count).sum();
        let mut shown: Vec<_> = kinds.iter().take(SHOWN).map(|(kind, count)| format!("{count} {kind}")).collect();
        if rest > 0 {
            shown.push(format!("{rest} more"));
        }
        f.write_str(&shown.join(", "))
    }
}

/// The files under `folder` that `readable` takes, sorted by path, and what was skipped. Hidden files and folders are
/// skipped. Symbolic links are followed, but a folder that is reached a second time is not read again, so neither are
/// loops.
pub(crate) fn find(folder: &Path, readable: fn(&Path) -> bool) -> Result<(Vec<PathBuf>, Skipped), DataError> {
    let mut search = Search {
        readable,
        files: Vec::new(),
        skipped: Skipped::default(),
        links: BTreeSet::new(),
        seen: HashSet::new(),
    };
    search.walk(folder)?;
    // Links come last, so that what is here and also linked to is read under its own name.
    while let Some(link) = search.links.pop_first() {
        if !search.walk(&link)? {
            search.skipped.add("link to a folder already read");
        }
    }
    search.files.sort();
    Ok((search.files, search.skipped))
}

struct Search {
    readable: fn(&Path) -> bool,
    files: Vec<PathBuf>,
    skipped: Skipped,
    /// Linked folders that are still to be looked into.
    links: BTreeSet<PathBuf>,
    /// Folders that were looked into, by their real path.
    seen: HashSet<PathBuf>,
}

impl Search {
    /// Looks into a folder and those in it; `false` if that was done before.
    fn walk(&mut self, folder: &Path) -> Result<bool, DataError> {
        let real = folder.canonicalize().map_err(|e| DataError::io(folder, e))?;
        if !self.seen.insert(real) {
            return Ok(false);
        }
        let entries = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>())
            .map_err(|e| DataError::io(folder, e))?;
        for path in entries {
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) {
                // What nobody would want to be read is not worth a word.
                if (self.readable)(&path) {
                    self.skipped.add("hidden");
                }
            } else if path.is_dir() {
                if path.is_symlink() {
                    self.links.insert(path);
                } else {
                    self.walk(&path)?;
                }
            } else if !path.exists() {
                self.skipped.add("broken link");
            } else if path.is_file() && (self.readable)(&path) {
                self.files.push(path);
            } else {
                self.skipped.add_file(&path);
            }
        }
        Ok(true)
    }
}

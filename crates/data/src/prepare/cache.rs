//! The folder of everything that was prepared before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Source;
use crate::DataError;
use crate::corpus::{Corpus, FileStats, stamp};
use crate::tokenizer::write_beside;

/// Changes whenever the same text would give other files.
const FORMAT: &str = "1";
const INDEX: &str = "files.json";

/// `$XDG_CACHE_HOME/llm`, else `~/.cache/llm` (`%LOCALAPPDATA%\llm` on Windows), else a folder for temporary files.
pub fn default_cache_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME")
        .or_else(|| set("LOCALAPPDATA"))
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("llm")
}

/// A file name made of what its contents depend on.
pub(super) fn name(kind: &str, parts: &[&str]) -> String {
    let hash = blake3::hash(format!("{FORMAT}\n{}", parts.join("\n")).as_bytes());
    format!("{kind}-{}", &hash.to_hex()[..24])
}

pub(super) struct Cache {
    folder: PathBuf,
    /// What is known of files, by path and by how they are read.
    index: BTreeMap<String, FileStats>,
    changed: bool,
}

impl Cache {
    pub(super) fn open(folder: PathBuf) -> Result<Self, DataError> {
        std::fs::create_dir_all(&folder).map_err(|e| DataError::write(&folder, 0, e))?;
        // Without a readable index the files are simply read again.
        let index = std::fs::read(folder.join(INDEX)).ok();
        let index = index.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Ok(Self { folder, index, changed: false })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Reads the files that are not known, or not as they are now.
    pub(super) fn scan(&mut self, corpus: Corpus) -> Result<Source, DataError> {
        let key = |path: &Path| {
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            format!("{} {:?}", path.display(), corpus.options())
        };
        let stats = corpus.scan_all(|path| {
            let known = self.index.get(&key(path))?;
            (stamp(path).ok()? == (known.size, known.modified)).then(|| known.clone())
        })?;
        for (path, stats) in corpus.files().iter().zip(&stats) {
            self.changed |= self.index.insert(key(path), stats.clone()).as_ref() != Some(stats);
        }
        Ok(Source { corpus, stats })
    }

    pub(super) fn save_index(&self) -> Result<(), DataError> {
        let path = self.path(INDEX);
        match serde_json::to_vec(&self.index) {
            Ok(json) if self.changed => write_beside(&path, &json),
            _ => Ok(()),
        }
    }
}

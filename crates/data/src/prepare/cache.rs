//! The folder of everything that was prepared before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Source;
use crate::DataError;
use crate::corpus::{Corpus, FileStats, stamp};
use crate::shards::PARTIAL;
use crate::tokenizer::write_beside;

/// Changes whenever the same text would give other files.
const FORMAT: &str = "2";
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

/// Removes what a killed preparation left half written, once it is certain that nobody is at it any more.
fn remove_abandoned(folder: &Path) {
    const DAY: Duration = Duration::from_hours(24);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        let partial = entry.file_name().to_string_lossy().starts_with(PARTIAL);
        if partial && age.is_some_and(|age| age > DAY) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
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
        remove_abandoned(&folder);
        // Without a readable index the files are simply read again.
        let index = std::fs::read(folder.join(INDEX)).ok();
        let index = index.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Ok(Self { folder, index, changed: false })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Reads the files that are not known, or not as they are now.
    pub(super) fn scan(&mut self, mut corpus: Corpus) -> Result<Source, DataError> {
        let options = format!("{:?}", corpus.options());
        let key = |path: &Path| {
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            format!("{} {options}", path.display())
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

//! The cache on disk, in the layout of the Python library.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use llm_gguf::is_gguf_name;

use crate::files::{INDEX, PICKLED, PICKLED_INDEX, WEIGHTS, files_of, is_later_part, shards};
use crate::{HubError, HubId};

/// `models--ORG--NAME` in the cache.
#[derive(Debug)]
pub(crate) struct Repository {
    folder: PathBuf,
}

impl Repository {
    pub(crate) fn new(cache: &Path, id: &HubId) -> Self {
        Self { folder: cache.join(format!("models--{}--{}", id.org, id.name)) }
    }

    /// Where the content named `etag` is or will be.
    pub(crate) fn blob(&self, etag: &str) -> Result<PathBuf, HubError> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if etag.is_empty() || etag.len() > 128 || !etag.chars().all(known) {
            return Err(refused(etag));
        }
        create(&self.folder.join("blobs"))?;
        Ok(self.folder.join("blobs").join(etag))
    }

    /// The folder of a commit.
    pub(crate) fn snapshot(&self, sha: &str) -> Result<PathBuf, HubError> {
        if !is_commit(sha) {
            return Err(refused(sha));
        }
        Ok(self.folder.join("snapshots").join(sha))
    }

    /// Where a file of a commit is or will be; never outside the commit's folder, whatever the hub says.
    pub(crate) fn place(&self, sha: &str, name: &str) -> Result<PathBuf, HubError> {
        let inside = !name.contains('\\') && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if inside { Ok(self.snapshot(sha)?.join(name)) } else { Err(refused(name)) }
    }

    /// Makes the file of a commit out of its content.
    pub(crate) fn link(&self, sha: &str, name: &str, blob: &Path) -> Result<(), HubError> {
        let place = self.place(sha, name)?;
        let parent = place.parent().unwrap_or(&self.folder);
        create(parent)?;
        let linked = point(blob, &place, name.split('/').count() + 1);
        match linked {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(|source| HubError::Io { path: place, source }),
        }
    }

    /// Keeps which commit a branch or tag is.
    pub(crate) fn remember(&self, revision: &str, sha: &str) -> Result<(), HubError> {
        if revision == sha {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        create(path.parent().unwrap_or(&self.folder))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.partial"));
        let filled = File::create(&partial).and_then(|mut file| {
            file.write_all(sha.as_bytes())?;
            file.sync_all()
        });
        let written = filled.and_then(|()| fs::rename(&partial, &path));
        written.map_err(|source| HubError::Io { path, source })
    }

    /// The model as the cache has it, if it is whole.
    pub(crate) fn cached(&self, id: &HubId) -> Result<Option<PathBuf>, HubError> {
        let sha = fs::read_to_string(self.folder.join("refs").join(&id.revision)).ok();
        let sha = sha.map(|sha| sha.trim().to_owned()).or_else(|| is_commit(&id.revision).then(|| id.revision.clone()));
        let Some(sha) = sha.filter(|sha| is_commit(sha)) else { return Ok(None) };
        let snapshot = self.snapshot(&sha)?;
        if let Some(file) = &id.file {
            let part = file.to_lowercase();
            let entries = fs::read_dir(&snapshot).into_iter().flatten().filter_map(Result::ok);
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let fits = |name: &String| name.to_lowercase().contains(&part) && !is_later_part(name);
            let mut fitting = names.filter(|name| is_gguf_name(Path::new(name)) && fits(name));
            let one = fitting.next().filter(|_| fitting.next().is_none());
            let named = Some(file.clone()).filter(|file| snapshot.join(file).is_file());
            let whole = |name: &String| files_of(name).all(|part| snapshot.join(part).is_file());
            return Ok(named.or(one).filter(whole).map(|name| snapshot.join(name)));
        }
        let there = |name: &&str| snapshot.join(name).is_file();
        let weights = match [WEIGHTS, INDEX, PICKLED, PICKLED_INDEX].into_iter().find(there) {
            Some(index @ (INDEX | PICKLED_INDEX)) => shards(&snapshot.join(index))?,
            Some(single) => vec![single.to_owned()],
            None => return Ok(None),
        };
        let whole = snapshot.join("config.json").is_file() && weights.iter().all(|name| snapshot.join(name).is_file());
        Ok(whole.then_some(snapshot))
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// The error of a name from the hub that would be a path elsewhere.
fn refused(name: &str) -> HubError {
    HubError::Answer { url: format!("{name:?}"), message: "the hub gives a name that is not a file name".to_owned() }
}

pub(crate) fn create(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(|source| HubError::Io { path: folder.to_owned(), source })
}

/// A relative link, `up` folders up, so that the cache can be moved.
#[cfg(unix)]
fn point(blob: &Path, place: &Path, up: usize) -> io::Result<()> {
    let target = Path::new(&"../".repeat(up)).join("blobs").join(blob.file_name().unwrap_or_default());
    std::os::unix::fs::symlink(target, place)
}

#[cfg(not(unix))]
fn point(blob: &Path, place: &Path, _: usize) -> io::Result<()> {
    fs::hard_link(blob, place).or_else(|_| fs::copy(blob, place).map(|_| ()))
}

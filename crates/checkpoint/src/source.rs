//! Where a model is read from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::CheckpointError;
use crate::gguf::{GgufFile, is_gguf};

/// A model on disk: a directory, or a GGUF file, whose metadata is read once for all that is asked of it.
#[derive(Clone)]
pub struct ModelSource {
    path: PathBuf,
    gguf: Option<Arc<GgufFile>>,
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelSource").field(&self.path).finish()
    }
}

impl ModelSource {
    /// Opens a GGUF file and reads its metadata; of a directory, nothing is read yet.
    ///
    /// # Errors
    /// A GGUF file that is missing or damaged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let gguf = is_gguf(path).then(|| GgufFile::open(path)).transpose()?;
        Ok(Self { path: path.to_owned(), gguf: gguf.map(Arc::new) })
    }

    /// The directory or the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The GGUF file, if it is one.
    pub(crate) fn gguf(&self) -> Option<&Arc<GgufFile>> {
        self.gguf.as_ref()
    }
}

//! Read-only memory maps of whole files: the only `unsafe` of this room.

use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

use crate::DataError;

/// A file whose bytes are read where the system keeps them.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// A missing file, or one that cannot be mapped, for example a folder.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        map(&file, path).map(Self)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps the whole of `file`, which lies at `path`, for reading.
///
/// # Errors
/// When the operating system refuses the map, for example for a folder or a pipe.
#[allow(unsafe_code)]
pub(crate) fn map(file: &File, path: &Path) -> Result<Mmap, DataError> {
    // SAFETY: `Mmap::map` is unsafe because the bytes change under the slice if someone writes to the file while it
    // is mapped. Shards and models are written beside under another name, renamed, and never opened for writing again,
    // so within this program nobody does. The readers copy numbers out of the bytes before they use them, every bit
    // pattern is a valid number as far as memory is concerned, and what is used as an index is checked after the copy:
    // a foreign write can give wrong values or an error, never an invalid one. A foreign truncation ends the process
    // with SIGBUS; that is what mapping files costs in any language.
    unsafe { Mmap::map(file) }.map_err(|source| DataError::io(path, source))
}

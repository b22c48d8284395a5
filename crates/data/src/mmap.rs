//! A read-only memory map of one shard file: the only `unsafe` of this room.

use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

use crate::DataError;

/// Maps the whole of `file`, which lies at `path`, for reading.
///
/// # Errors
/// When the operating system refuses the map, for example for a folder or a pipe.
#[allow(unsafe_code)]
pub(crate) fn map(file: &File, path: &Path) -> Result<Mmap, DataError> {
    // SAFETY: `Mmap::map` is unsafe because the bytes change under the slice if someone writes to the file while it
    // is mapped. Shards are written beside under another name, renamed, and never opened for writing again, so within
    // this program nobody does. The readers copy single ids out of the bytes, every bit pattern is a valid id as far
    // as memory is concerned, and ids are checked against the vocabulary after the copy: a foreign write can give
    // wrong tokens or an error, never an invalid value. A foreign truncation ends the process with SIGBUS; that is
    // what mapping files costs in any language.
    unsafe { Mmap::map(file) }.map_err(|source| DataError::io(path, source))
}

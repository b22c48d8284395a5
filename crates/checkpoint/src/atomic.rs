//! Files that are either there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::CheckpointError;

/// Writes a file so that a kill at any moment leaves the old content or the new: `write` fills a hidden file beside
/// `path`, which is synced to the disk and renamed. The hidden file's name is fixed, so that the next save overwrites
/// what a killed one left.
///
/// # Errors
/// Those of `write` and of the file system. The hidden file is removed, and what `path` held stays.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CheckpointError> {
    write_sized(path, None, |out| write(out).map_err(|e| CheckpointError::write(path, e, None)))
}

/// [`write_atomic`] of a file that will take `needed` bytes, for a `write` with errors of its own.
pub(crate) fn write_sized(
    path: &Path,
    needed: Option<u64>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let failed = |e| CheckpointError::write(path, e, needed);
    let partial = partial(path);
    let filled = File::create(&partial).map_err(failed).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().map_err(failed)
    });
    let renamed = filled.and_then(|()| fs::rename(&partial, path).map_err(failed));
    if let Err(error) = renamed {
        // Nothing better can be done if this fails too; the next save overwrites it.
        let _ = fs::remove_file(&partial);
        return Err(error.after_cleanup(needed));
    }
    sync_parent(path).map_err(failed)
}

/// The hidden name beside `path` under which it is made.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

/// Makes the rename of `path` itself durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the names in a directory durable. Only Unix can open one to do so.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

//! The run directory: which process may write it, and what it holds to resume from.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use llm_checkpoint::{latest_training, training_before};

use super::options::RunOptions;
use crate::error::Occupant;
use crate::{ConfigFile, TrainError};

/// Drawn with every checkpoint: where it lies, there was one.
pub(super) const CHART: &str = "loss.svg";

/// `training/` in a run directory.
pub(crate) fn training_dir(out: &Path) -> PathBuf {
    out.join("training")
}

/// The right to train in a run directory: a lock on `training/lock`, in which the process id stands. The system releases
/// it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock of the run in `out`, whose folder `training` must exist.
    ///
    /// # Errors
    /// [`TrainError::Locked`] while another process has it.
    pub(super) fn take(out: &Path) -> Result<Self, TrainError> {
        let path = training_dir(out).join("lock");
        let failed = || TrainError::io(&path);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {
                let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                written.map_err(failed())?;
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Windows lets nobody else read a locked file.
                let _ = file.rewind().and_then(|()| (&file).take(20).read_to_string(&mut holder));
                return Err(TrainError::Locked { dir: out.to_path_buf(), holder: holder.trim().parse().ok() });
            }
            // Some network file systems have no locks. A run there is worth more than its protection.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(Self { _file: file })
    }
}

/// Refuses to overwrite, and to resume what is not there, is running or was another run.
pub(super) fn check_directory<C: ConfigFile>(config: &C, options: &RunOptions) -> Result<(), TrainError> {
    let dir = options.out.clone();
    if dir.exists() && !dir.is_dir() {
        return Err(TrainError::NotADirectory { path: dir });
    }
    let saved = training_dir(&dir).join("config.toml");
    if options.group.rank() > 0 {
        // Process 0 of a group writes the directory; the others read what there is to resume.
        return if options.resume { Ok(config.check_resume(&C::load(&saved)?)?) } else { Ok(()) };
    }
    if options.resume {
        if !saved.is_file() {
            return Err(TrainError::NothingToResume { dir });
        }
        drop(RunLock::take(&dir)?); // known before hours of preparation
        return Ok(config.check_resume(&C::load(&saved)?)?);
    }
    check_unused(&dir)?;
    if ["config.json", "model.safetensors", "adapter_config.json"].iter().any(|name| dir.join(name).exists()) {
        return Err(TrainError::Occupied { dir, what: Occupant::Model });
    }
    Ok(())
}

fn check_unused(dir: &Path) -> Result<(), TrainError> {
    if !training_dir(dir).join("config.toml").is_file() {
        return Ok(());
    }
    Err(TrainError::Occupied { dir: dir.to_path_buf(), what: Occupant::Run })
}

/// Makes the folder of the run and takes its lock.
///
/// # Errors
/// [`TrainError::Locked`], [`TrainError::Occupied`] where another process has begun a run since [`check_directory`], and
/// a folder that cannot be written.
pub(super) fn claim(options: &RunOptions) -> Result<RunLock, TrainError> {
    let (out, training) = (&options.out, training_dir(&options.out));
    fs::create_dir_all(&training).map_err(|source| TrainError::CannotCreate { path: training, source })?;
    let lock = RunLock::take(out)?;
    if !options.resume {
        check_unused(out)?;
    }
    Ok(lock)
}

/// The checkpoint to resume from. `None` for a run that was killed before its first one, which begins again: until then
/// it has saved nothing but its first weights.
///
/// # Errors
/// [`TrainError::CheckpointsGone`] where there was one.
pub(super) fn resume_point(out: &Path) -> Result<Option<PathBuf>, TrainError> {
    match latest_training(out)? {
        Some((_, path)) => Ok(Some(path)),
        None if training_dir(out).join(CHART).exists() => Err(TrainError::CheckpointsGone { dir: out.to_path_buf() }),
        None => Ok(None),
    }
}

/// `error`, met while reading the checkpoint at `path`, with the way around it.
pub(super) fn damaged(path: &Path, error: &TrainError) -> TrainError {
    let text = error.to_string();
    let problem = text.split("\nhint: ").next().unwrap_or(&text).to_owned();
    let before = training_before(path).ok().flatten().map(|(step, _)| step);
    TrainError::DamagedCheckpoint { path: path.to_path_buf(), problem, before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_names_its_holder() -> Result<(), TrainError> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(training_dir(dir.path())).unwrap();
        let lock = RunLock::take(dir.path())?;
        let error = RunLock::take(dir.path()).unwrap_err();
        let id = std::process::id();
        assert!(error.to_string().contains(&format!("process {id} is training here")), "{error}");
        drop(lock);
        RunLock::take(dir.path())?;
        Ok(())
    }
}

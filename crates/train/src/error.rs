use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use llm_checkpoint::CheckpointError;
use llm_data::DataError;
use llm_model::{ConfigError, LoraError};

use crate::optim::StateMismatch;
use crate::{Advice, GroupError, NotFinite, RunConfigError};

/// Why a run did not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] RunConfigError),
    /// Its section `[model]`.
    #[error(transparent)]
    Model(#[from] ConfigError),
    /// The text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Saving or loading.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Saved optimizer state of another model.
    #[error("{}: {source}\nhint: the checkpoint is from another run; start a new one in another folder", path.display())]
    Optimizer {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        source: StateMismatch,
    },
    /// A file of the run.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A folder that cannot be made.
    #[error("{}: {source}", path.display())]
    CannotCreate {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file where the run directory should be.
    #[error("{}: this is a file, but a run needs a folder", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// A run directory in which another process trains.
    #[error(
        "{}: {} is training here\nhint: wait until it ends, or stop it with Ctrl-C; then resume", dir.display(),
        holder.map_or("another process".into(), |id| format!("process {id}"))
    )]
    Locked {
        /// The run directory.
        dir: PathBuf,
        /// Its process id, where it can be read.
        holder: Option<u32>,
    },
    /// A run whose checkpoints were deleted.
    #[error(
        "{0}: the checkpoints of this run are gone, so it cannot be resumed; nothing was changed", dir.display()
    )]
    CheckpointsGone {
        /// The run directory.
        dir: PathBuf,
    },
    /// A checkpoint that cannot be read.
    #[error("{}", damaged_checkpoint(path, problem, *before))]
    DamagedCheckpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// Step of the checkpoint before it.
        before: Option<u64>,
    },
    /// A text that is not where it was when the run began.
    #[error("{}: the text of this run no longer exists", path.display())]
    TextMoved {
        /// The file or folder.
        path: PathBuf,
    },
    /// A resumption without a run.
    #[error("{}: no run to resume", dir.display())]
    NothingToResume {
        /// The folder.
        dir: PathBuf,
    },
    /// A new run where something is.
    #[error("{}: already holds {what}, which is not overwritten", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
        /// What is there.
        what: Occupant,
    },
    /// The text or tokenizer changed between a run and its resumption.
    #[error(
        "{what} was {saved} when the run started and is {now} now, so the run cannot be resumed\nhint: restore \
         it, or start a new run in another folder"
    )]
    Changed {
        /// What changed.
        what: &'static str,
        /// What it was.
        saved: String,
        /// What it is.
        now: String,
    },
    /// An adapter that does not fit the model.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// A number type that the device cannot compute with.
    #[error("device {device} does not support {precision}; it supports {supported}")]
    Precision {
        /// The device.
        device: String,
        /// What was asked for.
        precision: &'static str,
        /// What there is.
        supported: String,
        /// The first of them.
        first: &'static str,
    },
    /// A step whose micro-batches cannot be shared out.
    #[error(
        "a step has {micro_batches} micro-batches, which {processes} processes cannot share evenly\n\
         hint: start as many processes as divide {micro_batches}, or set train.micro_batch_size so that they do"
    )]
    Indivisible {
        /// Of a step.
        micro_batches: usize,
        /// Of the group.
        processes: usize,
    },
    /// The other processes are gone.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A model that cannot fit.
    #[error("weights and gradients of this model take {needed:.1} GiB, but this machine has {available:.1} GiB")]
    TooLarge {
        /// GiB of weights and gradients.
        needed: f64,
        /// GiB of the machine.
        available: f64,
    },
    /// NaN or infinity.
    #[error(transparent)]
    NotFinite(Box<NotFinite>),
    /// The device failed while it computed.
    #[error("the device failed: {0}\nhint: a smaller train.micro_batch_size uses less memory")]
    Device(String),
    /// The chart could not be drawn.
    #[error("loss.svg cannot be drawn: {0}")]
    Chart(String),
}

/// What is in the way of a new run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupant {
    /// A model that no run of ours has left.
    Model,
    /// Another run.
    Run,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "a model",
            Self::Run => "a training run",
        })
    }
}

impl TrainError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Config(error) => return error.advice(),
            Self::Data(error) => Advice::Data(error.advice()?),
            Self::Checkpoint(error) => Advice::Checkpoint(error.advice()?),
            Self::CannotCreate { .. } => Advice::WritableFolder,
            Self::NotADirectory { .. } | Self::Occupied { what: Occupant::Model, .. } => Advice::OtherFolder,
            Self::CheckpointsGone { dir } => Advice::TrainFurther { dir: dir.clone() },
            Self::TextMoved { .. } => Advice::NewPlace,
            Self::NothingToResume { .. } => Advice::BeginRun,
            Self::Occupied { what: Occupant::Run, .. } => Advice::ResumeRun,
            Self::Precision { first, .. } => Advice::Precision { supported: first },
            Self::TooLarge { .. } => Advice::SmallerModel,
            _ => return None,
        })
    }

    /// `error` of the text of a run; one that is resumed was there once.
    pub fn of_text(error: DataError, resume: bool) -> Self {
        match error {
            DataError::Missing { path, .. } if resume => Self::TextMoved { path },
            error => error.into(),
        }
    }

    /// An error of the file at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                CheckpointError::write(&path, source, None).into()
            }
            _ => Self::Io { path, source },
        }
    }
}

fn damaged_checkpoint(path: &Path, problem: &str, before: Option<u64>) -> String {
    let shown = path.display();
    let hint = match before {
        Some(step) => format!("delete {shown} to resume from step {step}"),
        None => format!("no older checkpoint exists; delete {shown} and start a new run in another folder"),
    };
    format!("cannot read the newest checkpoint: {problem}\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_says_so_wherever_it_is_met() {
        let error = std::fs::write("/dev/full", "text").unwrap_err();
        let error = TrainError::io("/dev/full")(error).to_string();
        assert!(
            error.contains("no space left on the disk") && error.ends_with("existing files are unchanged"),
            "{error}"
        );
    }
}

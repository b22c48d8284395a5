use std::io;
use std::path::PathBuf;

use llm_checkpoint::CheckpointError;
use llm_data::DataError;
use llm_model::{ConfigError, LoraError};

use crate::optim::StateMismatch;
use crate::{NotFinite, RunConfigError};

/// Why a run did not begin or did not go on.
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
    #[error("{}: {source}\nhint: delete this checkpoint to go on from the one before it", path.display())]
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
    /// `--resume` without a run.
    #[error("{}: there is no run to resume\nhint: begin one by leaving out --resume, or name its folder with --out", dir.display())]
    NothingToResume {
        /// The folder.
        dir: PathBuf,
    },
    /// A new run where something is.
    #[error("{}: there is {what} already, and it is not overwritten\nhint: {hint}", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
        /// What is there.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The text or tokenizer changed between a run and its resumption.
    #[error(
        "{what} was {saved} when the run began and is {now} now, so the run cannot go on as it was\nhint: bring back \
         what it was, or begin another run with another --out"
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
    #[error("device {device} cannot compute in {precision}; it can in {supported}\nhint: use --precision {first}")]
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
    /// A model that cannot fit.
    #[error(
        "weights and gradients of this model take {needed:.1} GiB, but this machine has {available:.1} GiB\nhint: a \
             smaller model, for example with --set model.num_layers or model.hidden_size; `llm plan` shows what takes how much"
    )]
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
    #[error("the device failed: {0}")]
    Device(String),
    /// The chart could not be drawn.
    #[error("loss.svg cannot be drawn: {0}")]
    Chart(String),
}

impl TrainError {
    /// An error of the file at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

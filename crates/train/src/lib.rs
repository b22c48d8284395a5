//! Training: one step, the loop, optimizers, schedules, evaluation, and what a run leaves on disk.
//!
//! ```text
//! RunConfig ── Trainer::open ──▶ Trainer ── run ──▶ run directory
//!                                   │  batches ─ Learner::gradients ─ Learner::apply ─ Event::Step
//!                                   │  evaluation ─ best model ─ checkpoint ─ sample
//! ```
//!
//! Nothing here prints: [`Event`]s report what happens.
#![warn(missing_docs)]

mod advice;
pub mod bench;
mod chart;
pub mod config;
mod diagnose;
mod error;
mod event;
mod forecast;
mod group;
mod learner;
mod loss_scale;
mod memory;
mod metrics;
mod objective;
pub mod optim;
mod peak;
mod plan;
mod preference;
mod recompute;
mod schedule;
mod tensorboard;
mod trainer;

pub use advice::Advice;
pub use config::{
    ConfigFile, EvalSection, FinetuneConfig, FinetuneSection, Method, PreferenceLoss, PreferenceSection, RunConfig,
    RunConfigError, SampleSection, TrainSection,
};
pub use diagnose::{NotFinite, Quantity};
pub use error::{Occupant, TrainError};
pub use event::{EvalRecord, Event, SampleRequest, StepRecord};
pub use forecast::{Forecast, Measurement};
pub use group::{Alone, Group, GroupError};
pub use learner::{Defect, Gradients, Learner, StepError};
pub use loss_scale::LossScale;
pub use memory::{peak_rss_mib, rss_mib};
pub use objective::{Measure, Objective};
pub use optim::{Optimizer, OptimizerKind, OptimizerSection};
pub use peak::matmul_peak;
pub use plan::{MemoryEstimate, ParameterCount, RunPlan, TextSummary, parameter_count, parameters_by_part};
pub use preference::Preferences;
pub use schedule::{ScheduleKind, ScheduleSection};
pub use trainer::{
    Best, Ending, Finetuning, Outcome, PreferenceSource, RunOptions, SampleSource, Source, TextSource, Trainer,
    precision_warning,
};

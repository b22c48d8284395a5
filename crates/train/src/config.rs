//! The configuration of a run: one section a part, one home for every default.

mod error;
mod file;
mod finetune;
mod overrides;
mod sections;

use llm_data::{DataSection, TokenizerSection};
use llm_model::ModelSection;
use serde::{Deserialize, Serialize};
use toml::Value;

pub use error::RunConfigError;
pub use file::ConfigFile;
use file::section;
pub use finetune::{FinetuneConfig, FinetuneSection, Method, PreferenceLoss, PreferenceSection};
pub use sections::{EvalSection, SampleSection, TrainSection};

use crate::{OptimizerSection, ScheduleSection};

/// Everything that decides what a run computes. Saved with the run as `training/config.toml`, it repeats it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// What is trained.
    pub model: ModelSection,
    /// How text becomes tokens.
    pub tokenizer: TokenizerSection,
    /// What it is trained on.
    pub data: DataSection,
    /// Batches, steps and checkpoints.
    pub train: TrainSection,
    /// How gradients become weights.
    pub optimizer: OptimizerSection,
    /// Course of the learning rate.
    pub schedule: ScheduleSection,
    /// Measuring on the validation text.
    pub eval: EvalSection,
    /// Samples on the way.
    pub sample: SampleSection,
}

impl ConfigFile for RunConfig {
    const SECTIONS: &'static [&'static str] =
        &["model", "tokenizer", "data", "train", "optimizer", "schedule", "eval", "sample"];

    const RESUMABLE: &'static [&'static str] = &[
        "train.max_steps",
        "train.epochs",
        "train.checkpoint_every",
        "train.keep_checkpoints",
        "eval.every",
        "eval.patience",
        "sample.every",
        "sample.prompt",
        "sample.tokens",
        "sample.temperature",
        "data.cache_dir",
        // The text may have moved; its contents are compared.
        "data.paths",
        "data.valid",
    ];

    fn set_section(&mut self, name: &str, value: Value, origin: &str) -> Result<bool, RunConfigError> {
        match name {
            "model" => self.model = section(name, value, origin)?,
            "tokenizer" => self.tokenizer = section(name, value, origin)?,
            "data" => self.data = section(name, value, origin)?,
            "train" => self.train = section(name, value, origin)?,
            "optimizer" => self.optimizer = section(name, value, origin)?,
            "schedule" => self.schedule = section(name, value, origin)?,
            "eval" => self.eval = section(name, value, origin)?,
            "sample" => self.sample = section(name, value, origin)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn validate(&self) -> Result<(), RunConfigError> {
        self.train.validate()?;
        sections::validate_optimizer(&self.optimizer)?;
        sections::validate_schedule(&self.schedule)?;
        self.eval.validate()?;
        self.sample.validate()
    }
}

#[cfg(test)]
mod tests;

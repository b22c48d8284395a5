use llm_model::Precision;
use serde::{Deserialize, Serialize};

use super::RunConfigError;
use crate::{OptimizerSection, ScheduleSection};

/// Steps of a run whose configuration gives neither `max_steps` nor `epochs`.
const DEFAULT_STEPS: u64 = 2000;
/// Bounds that no run comes near, for slips of the pen.
const MOST_SEQUENCES: usize = 1 << 20;
const MOST_STEPS: u64 = 1_000_000_000_000;

/// The section `[train]` of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSection {
    /// Decides the first weights, the order of the text and dropout.
    pub seed: u64,
    /// Steps of the optimizer (default: 2,000, or what `epochs` gives).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Passes over the training text, instead of `max_steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Sequences of `model.context_length` tokens per step.
    pub batch_size: usize,
    /// Sequences computed at once (default: `batch_size`); gradients add up over the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch_size: Option<usize>,
    /// Precision of matrix products.
    pub precision: Precision,
    /// Keep only what enters each block, and recompute its activations in the backward pass: about a quarter more
    /// time for a fraction of the memory.
    pub recompute: bool,
    /// Steps between checkpoints to resume from; 0 for one at the end.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep_checkpoints: usize,
    /// Train on the first batch only, without dropout and evaluation: its loss must fall towards zero.
    pub overfit_batch: bool,
}

impl Default for TrainSection {
    fn default() -> Self {
        Self {
            seed: 1337,
            max_steps: None,
            epochs: None,
            batch_size: 32,
            micro_batch_size: None,
            precision: Precision::F32,
            recompute: false,
            checkpoint_every: 500,
            keep_checkpoints: 2,
            overfit_batch: false,
        }
    }
}

impl TrainSection {
    /// Sequences computed at once.
    pub fn micro_batch_size(&self) -> usize {
        self.micro_batch_size.unwrap_or(self.batch_size)
    }

    /// Micro-batches per step.
    pub fn accumulation(&self) -> usize {
        self.batch_size / self.micro_batch_size().max(1)
    }

    /// Steps of the run, for a text with `steps_per_epoch`.
    pub fn steps(&self, steps_per_epoch: f64) -> u64 {
        match (self.max_steps, self.epochs) {
            (Some(steps), _) => steps,
            (None, Some(epochs)) => ((epochs * steps_per_epoch).ceil() as u64).min(MOST_STEPS),
            (None, None) => DEFAULT_STEPS,
        }
    }

    pub(super) fn validate(&self) -> Result<(), RunConfigError> {
        if self.max_steps.is_some() && self.epochs.is_some() {
            return Err(RunConfigError::Both { first: "train.max_steps", second: "train.epochs" });
        }
        at_least_one("train.batch_size", self.batch_size)?;
        if self.batch_size > MOST_SEQUENCES {
            let value = self.batch_size.to_string();
            return Err(RunConfigError::Invalid { key: "train.batch_size", value, rule: "must be at most 1,048,576" });
        }
        if let Some(steps) = self.max_steps.filter(|steps| *steps > MOST_STEPS) {
            let value = steps.to_string();
            return Err(RunConfigError::Invalid { key: "train.max_steps", value, rule: "must be at most 10^12" });
        }
        at_least_one("train.micro_batch_size", self.micro_batch_size())?;
        at_least_one("train.keep_checkpoints", self.keep_checkpoints)?;
        if let Some(epochs) = self.epochs {
            check("train.epochs", epochs, epochs.is_finite() && epochs > 0.0, "must be a positive number")?;
        }
        if !self.batch_size.is_multiple_of(self.micro_batch_size()) {
            return Err(RunConfigError::Indivisible {
                whole: "train.batch_size",
                whole_value: self.batch_size,
                part: "train.micro_batch_size",
                part_value: self.micro_batch_size(),
            });
        }
        Ok(())
    }
}

/// The section `[eval]` of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalSection {
    /// Steps between evaluations; 0 for none but the first and the last.
    pub every: u64,
    /// Sequences of the validation text that are measured, always the same, spread evenly over it.
    pub windows: usize,
    /// Evaluations without a new best after which training stops; 0 never stops early.
    pub patience: u64,
}

impl Default for EvalSection {
    fn default() -> Self {
        Self { every: 250, windows: 64, patience: 0 }
    }
}

impl EvalSection {
    pub(super) fn validate(&self) -> Result<(), RunConfigError> {
        at_least_one("eval.windows", self.windows)
    }
}

/// The section `[sample]` of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleSection {
    /// Steps between samples; 0 for none but the one at the end.
    pub every: u64,
    /// What the sample continues.
    pub prompt: String,
    /// Tokens of a sample; 0 for no samples at all.
    pub tokens: usize,
    /// Temperature of the sample; 0 for the likeliest token each time.
    pub temperature: f64,
}

impl Default for SampleSection {
    fn default() -> Self {
        Self { every: 0, prompt: "\n".into(), tokens: 100, temperature: 0.8 }
    }
}

impl SampleSection {
    pub(super) fn validate(&self) -> Result<(), RunConfigError> {
        let t = self.temperature;
        check("sample.temperature", t, t.is_finite() && t >= 0.0, "must not be negative")
    }
}

pub(super) fn validate_optimizer(section: &OptimizerSection) -> Result<(), RunConfigError> {
    const RATE: &str = "must be a positive number";
    const DECAY: &str = "must lie in [0, 1)";
    for (key, value) in
        [("optimizer.lr", section.lr), ("optimizer.muon_lr", section.muon_lr), ("optimizer.eps", section.eps)]
    {
        check(key, value, value.is_finite() && value > 0.0, RATE)?;
    }
    for (key, value) in [
        ("optimizer.betas[0]", section.betas[0]),
        ("optimizer.betas[1]", section.betas[1]),
        ("optimizer.momentum", section.momentum),
    ] {
        check(key, value, (0.0..1.0).contains(&value), DECAY)?;
    }
    for (key, value) in [("optimizer.weight_decay", section.weight_decay), ("optimizer.grad_clip", section.grad_clip)] {
        check(key, value, value.is_finite() && value >= 0.0, "must not be negative")?;
    }
    Ok(())
}

pub(super) fn validate_schedule(section: &ScheduleSection) -> Result<(), RunConfigError> {
    for (key, value) in
        [("schedule.min_lr_ratio", section.min_lr_ratio), ("schedule.decay_fraction", section.decay_fraction)]
    {
        check(key, value, (0.0..=1.0).contains(&value), "must lie in [0, 1]")?;
    }
    Ok(())
}

fn at_least_one(key: &'static str, value: usize) -> Result<(), RunConfigError> {
    if value == 0 {
        return Err(RunConfigError::Invalid { key, value: value.to_string(), rule: "must be at least 1" });
    }
    Ok(())
}

pub(super) fn check(key: &'static str, value: f64, good: bool, rule: &'static str) -> Result<(), RunConfigError> {
    if good { Ok(()) } else { Err(RunConfigError::Invalid { key, value: value.to_string(), rule }) }
}

//! The configuration of a run: one section a part, one home for every default.

mod error;
mod overrides;
mod sections;

use std::path::Path;

use llm_data::{DataSection, TokenizerSection};
use llm_model::ModelSection;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub use error::RunConfigError;
use error::{nearest, unknown_field};
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

/// The names of the sections.
const SECTIONS: [&str; 8] = ["model", "tokenizer", "data", "train", "optimizer", "schedule", "eval", "sample"];

/// Keys that may change when a run is resumed: they do not touch what the steps up to there have computed.
const RESUMABLE: [&str; 11] = [
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
];

impl RunConfig {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`RunConfigError`] names the file and the key.
    pub fn load(path: &Path) -> Result<Self, RunConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RunConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The configuration that `text` writes; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str, origin: &str) -> Result<Self, RunConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| RunConfigError::Syntax {
            origin: origin.to_string(),
            message: error.to_string().trim_end().to_string(),
        })?;
        Self::from_table(table, origin)
    }

    /// This configuration as TOML.
    ///
    /// # Errors
    /// A value that TOML cannot hold, such as a seed beyond 63 bits.
    pub fn to_toml(&self) -> Result<String, RunConfigError> {
        toml::to_string(self).map_err(|error| RunConfigError::Unwritable { message: error.to_string() })
    }

    /// Sets `section.key` to what `value` means in TOML; a word that means nothing there is a string.
    ///
    /// # Errors
    /// [`RunConfigError`] names the key and the nearest one there is.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), RunConfigError> {
        let mut table = self.to_table()?;
        // Two ways to say one thing: the later one counts.
        let other = match key {
            "train.max_steps" => "epochs",
            "train.epochs" => "max_steps",
            _ => "",
        };
        if let Some(Value::Table(train)) = table.get_mut("train") {
            train.remove(other);
        }
        overrides::insert(&mut table, key, overrides::parse_value(value))?;
        *self = Self::from_table(table, &format!("--set {key}={value}"))?;
        Ok(())
    }

    /// Rejects values that cannot be trained with.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    pub fn validate(&self) -> Result<(), RunConfigError> {
        self.train.validate()?;
        sections::validate_optimizer(&self.optimizer)?;
        sections::validate_schedule(&self.schedule)?;
        self.eval.validate()?;
        self.sample.validate()
    }

    /// The keys in which `self`, to resume with, differs from `saved`, and which must not change.
    ///
    /// # Errors
    /// [`RunConfigError::ChangedOnResume`] names the first key and both values.
    pub fn check_resume(&self, saved: &Self) -> Result<(), RunConfigError> {
        let [ours, theirs] = [self.to_table()?, saved.to_table()?].map(|table| overrides::flatten(&table));
        let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        for key in keys.into_iter().filter(|key| !RESUMABLE.contains(&key.as_str())) {
            if ours.get(key) != theirs.get(key) {
                let show = |value: Option<&Value>| value.map_or("not set".to_string(), ToString::to_string);
                return Err(RunConfigError::ChangedOnResume {
                    key: key.clone(),
                    saved: show(theirs.get(key)),
                    now: show(ours.get(key)),
                    allowed: RESUMABLE.join(", "),
                });
            }
        }
        Ok(())
    }

    fn to_table(&self) -> Result<Table, RunConfigError> {
        Table::try_from(self).map_err(|error| RunConfigError::Unwritable { message: error.to_string() })
    }

    fn from_table(table: Table, origin: &str) -> Result<Self, RunConfigError> {
        let mut config = Self::default();
        for (name, value) in table {
            match name.as_str() {
                "model" => config.model = section(&name, value, origin)?,
                "tokenizer" => config.tokenizer = section(&name, value, origin)?,
                "data" => config.data = section(&name, value, origin)?,
                "train" => config.train = section(&name, value, origin)?,
                "optimizer" => config.optimizer = section(&name, value, origin)?,
                "schedule" => config.schedule = section(&name, value, origin)?,
                "eval" => config.eval = section(&name, value, origin)?,
                "sample" => config.sample = section(&name, value, origin)?,
                _ => {
                    let known = SECTIONS.map(str::to_string);
                    return Err(RunConfigError::unknown(origin, &name, nearest(&name, &known), &known));
                }
            }
        }
        Ok(config)
    }
}

/// One section; where it does not fit, its keys are tried one by one to find the one to blame.
fn section<T: DeserializeOwned>(name: &str, value: Value, origin: &str) -> Result<T, RunConfigError> {
    let Value::Table(table) = value else {
        let message = format!("is {value}, but must be a section: [{name}]");
        return Err(RunConfigError::Value { origin: origin.into(), key: name.into(), message });
    };
    let error = match Value::Table(table.clone()).try_into() {
        Ok(section) => return Ok(section),
        Err(error) => error,
    };
    let fails = |key: &String| Value::Table(Table::from_iter([(key.clone(), table[key].clone())])).try_into::<T>();
    let (key, error) = table
        .keys()
        .find_map(|key| fails(key).err().map(|error| (format!("{name}.{key}"), error)))
        .unwrap_or((name.to_string(), error));
    let message = error.to_string().trim_end().to_string();
    Err(match unknown_field(&message) {
        Some((field, known)) => {
            // A table within the section, such as model.dropout, has fields of its own.
            let parent = if key.ends_with(&format!(".{field}")) { name } else { &key };
            let closest = nearest(&field, &known).map(|near| format!("{parent}.{near}"));
            RunConfigError::unknown(origin, &format!("{parent}.{field}"), closest, &known)
        }
        None => RunConfigError::Value { origin: origin.into(), key, message: format!("cannot be read: {message}") },
    })
}

#[cfg(test)]
mod tests;

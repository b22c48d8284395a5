//! `config.json` as it was written: typed readers that name the key and its value when they fail.

use std::path::{Path, PathBuf};

use llm_model::ConfigError;
use serde_json::{Map, Value};

use crate::CheckpointError;

/// Beyond this no size of a model is meant seriously.
const LARGEST: u64 = 1 << 28;

/// The keys of a `config.json` or of a table in it. `null` counts as absent, as in Python.
#[derive(Debug)]
pub(crate) struct RawConfig {
    path: PathBuf,
    table: String,
    values: Map<String, Value>,
}

impl RawConfig {
    /// The keys of the file at `path`.
    pub fn new(path: &Path, values: Map<String, Value>) -> Self {
        Self { path: path.to_owned(), table: String::new(), values }
    }

    /// The value of a key that has one.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there, be it `null`.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The same, with a value for a key that has none.
    pub fn or(self, key: &str, value: Value) -> Self {
        if self.get(key).is_some() { self } else { self.with(key, value) }
    }

    /// The same, with this value for a key.
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.values.insert(key.to_owned(), value);
        self
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.values.keys()
    }

    /// A size, from 1.
    pub fn size(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.read(key, &format!("a whole number from 1 to {LARGEST}"), |value| {
            value.as_u64().filter(|size| (1..=LARGEST).contains(size)).map(|size| size as usize)
        })
    }

    /// A size without which there is no model.
    pub fn required_size(&self, key: &str) -> Result<usize, CheckpointError> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A count, from 0.
    pub fn count(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        self.read(key, &format!("a whole number from 0 to {LARGEST}"), |value| {
            value.as_u64().filter(|&count| count <= LARGEST).map(|count| count as usize)
        })
    }

    /// A finite number above 0.
    pub fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.read(key, "a positive number", |value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// A number without which there is no model.
    pub fn required_number(&self, key: &str) -> Result<f64, CheckpointError> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    /// The probability of a dropout.
    pub fn probability(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.read(key, "a number from 0 to less than 1", |value| value.as_f64().filter(|p| (0.0..1.0).contains(p)))
    }

    /// Fails unless `size`, the value of `key`, is a multiple of `part`, the value of `part_key`.
    pub fn multiple(&self, key: &str, size: usize, part_key: &str, part: usize) -> Result<(), CheckpointError> {
        if size.is_multiple_of(part) {
            Ok(())
        } else {
            Err(self.bad(key, &format!("a multiple of {part_key} = {part}")))
        }
    }

    /// true or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<String>, CheckpointError> {
        self.read(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A list of strings.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, CheckpointError> {
        self.read(key, "a list of strings", |value| {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    /// A table.
    pub fn table(&self, key: &str) -> Result<Option<Self>, CheckpointError> {
        let values = self.read(key, "a table", |value| value.as_object().cloned())?;
        Ok(values.map(|values| Self { path: self.path.clone(), table: self.name(key) + ".", values }))
    }

    /// One of a few words, as what it means.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, CheckpointError> {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.read(key, &one_of(&known), |value| {
            let word = value.as_str()?;
            words.iter().find_map(|&(known, meaning)| (known == word).then_some(meaning))
        })
    }

    /// Fails unless the key is absent or has the one value that this program computes with.
    pub fn only(&self, key: &str, supported: &Value) -> Result<(), CheckpointError> {
        let same = |value: &Value| value == supported || (value.is_number() && value.as_f64() == supported.as_f64());
        self.read(key, &format!("{supported}; this program computes nothing else"), |value| same(value).then_some(()))?;
        Ok(())
    }

    /// Fails if the key is there with a value, where `expected` says why it must not be.
    pub fn absent(&self, key: &str, expected: &str) -> Result<(), CheckpointError> {
        self.get(key).map_or(Ok(()), |_| Err(self.bad(key, expected)))
    }

    /// A list of sizes, from 1.
    pub fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>, CheckpointError> {
        let size = |value: &Value| value.as_u64().filter(|n| (1..=LARGEST).contains(n)).map(|n| n as usize);
        self.read(key, "a list of whole numbers from 1", |value| value.as_array()?.iter().map(size).collect())
    }

    /// A list of finite numbers above 0.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        let positive = |value: &Value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        self.read(key, "a list of positive numbers", |value| value.as_array()?.iter().map(positive).collect())
    }

    /// A list of which each item is 0 or 1.
    pub fn flags(&self, key: &str) -> Result<Option<Vec<bool>>, CheckpointError> {
        let flag = |value: &Value| value.as_u64().filter(|&n| n < 2).map(|n| n == 1);
        self.read(key, "a list of zeros and ones", |value| value.as_array()?.iter().map(flag).collect())
    }

    /// The error of a key that is not there.
    pub fn missing(&self, key: &str) -> CheckpointError {
        CheckpointError::MissingKey { path: self.path.clone(), key: self.name(key) }
    }

    /// The error of a key with a value that cannot be.
    pub fn bad(&self, key: &str, expected: &str) -> CheckpointError {
        let value = self.get(key).map_or("absent".to_owned(), |value| shortened(&value.to_string()));
        CheckpointError::Value { path: self.path.clone(), key: self.name(key), value, expected: expected.to_owned() }
    }

    /// The error of a key that asks for what this program does not compute.
    pub fn unsupported(&self, key: &str, problem: &str, hint: &str) -> CheckpointError {
        let value = self.get(key).map_or("absent".to_owned(), |value| shortened(&value.to_string()));
        let (key, problem, hint) = (self.name(key), problem.to_owned(), hint.to_owned());
        CheckpointError::Unsupported { path: self.path.clone(), key, value, problem, hint }
    }

    /// The error of a table that is not what it should be.
    pub fn damaged(&self, error: &serde_json::Error) -> CheckpointError {
        CheckpointError::Json { path: self.path.clone(), message: error.to_string() }
    }

    /// The error of values that make no model together.
    pub fn invalid(&self, source: ConfigError) -> CheckpointError {
        CheckpointError::Config { path: self.path.clone(), source }
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        meaning: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        self.get(key).map(|value| meaning(value).ok_or_else(|| self.bad(key, expected))).transpose()
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.table)
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A value short enough for an error message.
fn shortened(value: &str) -> String {
    const LONGEST: usize = 80;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

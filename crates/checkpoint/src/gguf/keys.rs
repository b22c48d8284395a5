//! Metadata as it was written: typed readers that name the key and its value when they fail, and remember what was read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use llm_gguf::Value;

use crate::CheckpointError;

/// Beyond this no size of a model is meant seriously.
const LARGEST: u64 = 1 << 28;

/// The one value that a key may have.
#[derive(Debug, Clone, Copy)]
pub(super) enum Only {
    /// A number, whole or not.
    Number(f64),
    /// true or false.
    Flag(bool),
}

impl Only {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Number(only) => value.as_u64().map(|n| n as f64).or_else(|| value.as_f64()) == Some(only),
            Self::Flag(only) => value.as_bool() == Some(only),
        }
    }
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(only) => only.fmt(f),
            Self::Flag(only) => only.fmt(f),
        }
    }
}

/// The metadata of a file.
pub(super) struct Keys<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    /// The metadata of the file at `path`.
    pub fn new(path: &'a Path, metadata: &'a BTreeMap<String, Value>) -> Self {
        Self { path, metadata, read: RefCell::default() }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.read.borrow_mut().insert(key.to_owned());
        self.metadata.get(key)
    }

    /// A size, from 1.
    pub fn size(&self, key: &str) -> Result<Option<u64>, CheckpointError> {
        let expected = format!("a whole number from 1 to {LARGEST}");
        self.typed(key, &expected, |value| value.as_u64().filter(|size| (1..=LARGEST).contains(size)))
    }

    /// A size without which there is no model.
    pub fn required_size(&self, key: &str) -> Result<u64, CheckpointError> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A finite number above 0.
    pub fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.typed(key, "a positive number", |value| value.as_f64().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// A number without which there is no model.
    pub fn required_number(&self, key: &str) -> Result<f64, CheckpointError> {
        self.number(key)?.ok_or_else(|| self.missing(key))
    }

    /// true or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, CheckpointError> {
        self.typed(key, "a text", Value::as_str)
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Result<Option<&'a [String]>, CheckpointError> {
        self.typed(key, "a list of texts", Value::as_strings)
    }

    /// Fails unless somebody has read the key, it is absent, or it has the one value that this program computes with.
    pub fn only_unread(&self, key: &str, allowed: Only) -> Result<(), CheckpointError> {
        if self.read.borrow().contains(key) {
            return Ok(());
        }
        let expected = format!("{allowed}; this program computes nothing else");
        self.typed(key, &expected, |value| allowed.is(value).then_some(())).map(|_| ())
    }

    /// A value that `meaning` gives something for.
    pub fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        meaning: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        self.get(key).map(|value| meaning(value).ok_or_else(|| self.bad(key, expected))).transpose()
    }

    /// Fails if there is a key that begins with `prefix` and was not read.
    pub fn all_read(&self, prefix: &str) -> Result<(), CheckpointError> {
        let read = self.read.borrow();
        let unread = self.metadata.keys().find(|key| key.starts_with(prefix) && !read.contains(*key));
        unread.map_or(Ok(()), |key| Err(self.bad(key, "absent; what it changes is not known here")))
    }

    /// A value without which a file cannot be understood.
    pub fn required(&self, key: &str) -> Result<&'a Value, CheckpointError> {
        self.get(key).ok_or_else(|| self.missing(key))
    }

    /// The error of a key that is not there.
    pub fn missing(&self, key: &str) -> CheckpointError {
        CheckpointError::MissingKey { path: self.path.to_owned(), key: key.to_owned() }
    }

    /// The error of a key with a value that cannot be.
    pub fn bad(&self, key: &str, expected: &str) -> CheckpointError {
        CheckpointError::Value {
            path: self.path.to_owned(),
            key: key.to_owned(),
            value: self.metadata.get(key).map_or_else(|| "absent".to_owned(), Value::describe),
            expected: expected.to_owned(),
        }
    }
}

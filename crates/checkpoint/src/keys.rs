//! Keys with values as they were written, in JSON or in the metadata of a GGUF file: typed readers that name the key and its
//! value when they fail, and remember which keys were read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use llm_model::ConfigError;
use serde_json::{Map, Value as Json};

use crate::CheckpointError;

/// No real model has a larger dimension.
const LARGEST: u64 = 1 << 28;

/// Where keys have values.
pub(crate) trait Source: Clone {
    /// What a key may have for a value.
    type Value: KeyValue;

    /// A key and its value.
    fn entry(&self, key: &str) -> Option<(&String, &Self::Value)>;

    /// All keys, as they are ordered there.
    fn names(&self) -> impl Iterator<Item = &String>;
}

impl Source for Map<String, Json> {
    type Value = Json;

    fn entry(&self, key: &str) -> Option<(&String, &Json)> {
        self.get_key_value(key)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.keys()
    }
}

impl Source for BTreeMap<String, llm_gguf::Value> {
    type Value = llm_gguf::Value;

    fn entry(&self, key: &str) -> Option<(&String, &llm_gguf::Value)> {
        self.get_key_value(key)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.keys()
    }
}

/// What a key may have for a value.
pub(crate) trait KeyValue {
    /// Whether it stands for none.
    fn is_none(&self) -> bool;
    /// A whole number that is not negative.
    fn whole(&self) -> Option<u64>;
    /// A number.
    fn number(&self) -> Option<f64>;
    /// true or false.
    fn flag(&self) -> Option<bool>;
    /// A string.
    fn text(&self) -> Option<&str>;
    /// A short text of it for an error message.
    fn shown(&self) -> String;
}

impl KeyValue for Json {
    fn is_none(&self) -> bool {
        self.is_null()
    }
    fn whole(&self) -> Option<u64> {
        self.as_u64()
    }
    fn number(&self) -> Option<f64> {
        self.as_f64()
    }
    fn flag(&self) -> Option<bool> {
        self.as_bool()
    }
    fn text(&self) -> Option<&str> {
        self.as_str()
    }
    fn shown(&self) -> String {
        const LONGEST: usize = 80;
        let text = self.to_string();
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

impl KeyValue for llm_gguf::Value {
    fn is_none(&self) -> bool {
        false
    }
    fn whole(&self) -> Option<u64> {
        self.as_u64()
    }
    fn number(&self) -> Option<f64> {
        self.as_f64()
    }
    fn flag(&self) -> Option<bool> {
        self.as_bool()
    }
    fn text(&self) -> Option<&str> {
        self.as_str()
    }
    fn shown(&self) -> String {
        self.describe()
    }
}

/// The one value that a key may have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Only {
    /// A number, whole or not.
    Number(f64),
    /// true or false.
    Flag(bool),
}

impl Only {
    fn is(self, value: &impl KeyValue) -> bool {
        match self {
            Self::Number(only) => value.whole().map(|n| n as f64).or_else(|| value.number()) == Some(only),
            Self::Flag(only) => value.flag() == Some(only),
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

/// The keys of a file or of a table in it, with their values. A `null` counts as absent, as in Python.
#[derive(Debug)]
pub(crate) struct Keys<'a, S: Source> {
    path: PathBuf,
    /// What comes before the names of these keys in messages.
    table: String,
    /// Keys that go by another name in messages: that of the file that they were made from.
    origins: BTreeMap<String, String>,
    values: Cow<'a, S>,
    read: RefCell<BTreeSet<String>>,
}

/// The keys of a JSON file.
pub(crate) type JsonKeys = Keys<'static, Map<String, Json>>;
/// The metadata of a GGUF file.
pub(crate) type GgufKeys<'a> = Keys<'a, BTreeMap<String, llm_gguf::Value>>;

impl<'a, S: Source> Keys<'a, S> {
    fn of(path: &Path, table: String, values: Cow<'a, S>) -> Self {
        Self { path: path.to_owned(), table, origins: BTreeMap::new(), values, read: RefCell::default() }
    }

    /// The value of a key that has one.
    pub fn get(&self, key: &str) -> Option<&S::Value> {
        let (name, value) = self.values.entry(key)?;
        self.read.borrow_mut().insert(name.clone());
        Some(value).filter(|value| !value.is_none())
    }

    /// Whether the key is there, be it `null`.
    pub fn has(&self, key: &str) -> bool {
        self.values.entry(key).is_some()
    }

    /// The names of all keys.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.values.names()
    }

    /// Those that nobody has read.
    pub fn unread(&self) -> Vec<&String> {
        let read = self.read.borrow();
        self.values.names().filter(|key| !read.contains(*key)).collect()
    }

    /// What `meaning` makes of the value of a key, which must be something.
    pub fn typed<'k, T>(
        &'k self,
        key: &str,
        expected: &str,
        meaning: impl FnOnce(&'k S::Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        self.get(key).map(|value| meaning(value).ok_or_else(|| self.bad(key, expected))).transpose()
    }

    /// The value of a key that must be there.
    pub fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, CheckpointError> {
        value.ok_or_else(|| self.missing(key))
    }

    /// A size, from 1.
    pub fn size(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        let expected = format!("a whole number from 1 to {LARGEST}");
        self.typed(key, &expected, |value| value.whole().filter(|n| (1..=LARGEST).contains(n)).map(|n| n as usize))
    }

    /// A required size.
    pub fn required_size(&self, key: &str) -> Result<usize, CheckpointError> {
        self.required(key, self.size(key)?)
    }

    /// A count, from 0.
    pub fn count(&self, key: &str) -> Result<Option<usize>, CheckpointError> {
        let expected = format!("a whole number from 0 to {LARGEST}");
        self.typed(key, &expected, |value| value.whole().filter(|&n| n <= LARGEST).map(|n| n as usize))
    }

    /// A finite number above 0.
    pub fn number(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.typed(key, "a positive number", |value| value.number().filter(|x| x.is_finite() && *x > 0.0))
    }

    /// A required number.
    pub fn required_number(&self, key: &str) -> Result<f64, CheckpointError> {
        self.required(key, self.number(key)?)
    }

    /// The probability of a dropout.
    pub fn probability(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.typed(key, "a number from 0 to less than 1", |value| value.number().filter(|p| (0.0..1.0).contains(p)))
    }

    /// true or false.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.typed(key, "true or false", S::Value::flag)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        self.typed(key, "a string", S::Value::text)
    }

    /// One of a few words, as what it means.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, CheckpointError> {
        let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.typed(key, &one_of(&known), |value| {
            let word = value.text()?;
            words.iter().find_map(|&(known, meaning)| (known == word).then_some(meaning))
        })
    }

    /// Fails unless `size`, the value of `key`, is a multiple of `part`, the value of `part_key`.
    pub fn multiple(&self, key: &str, size: usize, part_key: &str, part: usize) -> Result<(), CheckpointError> {
        if size.is_multiple_of(part) {
            Ok(())
        } else {
            Err(self.bad(key, &format!("a multiple of {} = {part}", self.name(part_key))))
        }
    }

    /// Fails unless the key is absent or has the one value that this program computes with.
    pub fn only(&self, key: &str, only: Only) -> Result<(), CheckpointError> {
        let expected = format!("{only}; this program computes nothing else");
        self.typed(key, &expected, |value| only.is(value).then_some(())).map(|_| ())
    }

    /// The same, unless somebody has read the key.
    pub fn only_unread(&self, key: &str, only: Only) -> Result<(), CheckpointError> {
        let read = self.read.borrow().contains(key);
        if read { Ok(()) } else { self.only(key, only) }
    }

    /// Fails if the key is there with a value, where `expected` says why it must not be.
    pub fn absent(&self, key: &str, expected: &str) -> Result<(), CheckpointError> {
        self.get(key).map_or(Ok(()), |_| Err(self.bad(key, expected)))
    }

    /// The error of a key that is not there.
    pub fn missing(&self, key: &str) -> CheckpointError {
        CheckpointError::MissingKey { path: self.path.clone(), key: self.name(key) }
    }

    /// The error of a key with a value that cannot be.
    pub fn bad(&self, key: &str, expected: &str) -> CheckpointError {
        let (key, value, expected) = (self.name(key), self.shown(key), expected.to_owned());
        CheckpointError::Value { path: self.path.clone(), key, value, expected }
    }

    /// The error of a key that asks for what this program does not compute.
    pub fn unsupported(&self, key: &str, problem: &str, hint: &str) -> CheckpointError {
        let (value, key, problem, hint) = (self.shown(key), self.name(key), problem.to_owned(), hint.to_owned());
        CheckpointError::Unsupported { path: self.path.clone(), key, value, problem, hint }
    }

    /// The error of values that make no model together.
    pub fn invalid(&self, source: ConfigError) -> CheckpointError {
        CheckpointError::Config { path: self.path.clone(), source }
    }

    fn shown(&self, key: &str) -> String {
        self.get(key).map_or_else(|| "absent".to_owned(), S::Value::shown)
    }

    fn name(&self, key: &str) -> String {
        self.origins.get(key).cloned().unwrap_or_else(|| format!("{}{key}", self.table))
    }
}

impl JsonKeys {
    /// The keys of the file at `path`.
    pub fn new(path: &Path, values: Map<String, Json>) -> Self {
        Self::of(path, String::new(), Cow::Owned(values))
    }

    /// The keys that `text` has, in the file at `path`.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, CheckpointError> {
        let damaged = |e: serde_json::Error| CheckpointError::Json { path: path.to_owned(), message: e.to_string() };
        Ok(Self::new(path, serde_json::from_slice(text).map_err(damaged)?))
    }

    /// The same keys, where `origins` names those of the file that they were made from.
    #[must_use]
    pub fn made_from(self, origins: BTreeMap<String, String>) -> Self {
        Self { origins, ..self }
    }

    /// The same, with a value for a key that has none.
    #[must_use]
    pub fn or(self, key: &str, value: Json) -> Self {
        if self.get(key).is_some() { self } else { self.with(key, value) }
    }

    /// The same, with this value for a key.
    #[must_use]
    pub fn with(mut self, key: &str, value: Json) -> Self {
        self.values.to_mut().insert(key.to_owned(), value);
        self
    }

    /// A table.
    pub fn table(&self, key: &str) -> Result<Option<Self>, CheckpointError> {
        let values = self.typed(key, "a table", Json::as_object)?;
        Ok(values.map(|values| Self::of(&self.path, self.name(key) + ".", Cow::Owned(values.clone()))))
    }

    /// A list of strings.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, CheckpointError> {
        self.list(key, "a list of strings", |item| item.as_str().map(str::to_owned))
    }

    /// A list of sizes, from 1.
    pub fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>, CheckpointError> {
        let size = |item: &Json| item.as_u64().filter(|n| (1..=LARGEST).contains(n)).map(|n| n as usize);
        self.list(key, "a list of whole numbers from 1", size)
    }

    /// A list of finite numbers above 0.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, CheckpointError> {
        let positive = |item: &Json| item.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        self.list(key, "a list of positive numbers", positive)
    }

    /// A list whose items are 0 or 1.
    pub fn flags(&self, key: &str) -> Result<Option<Vec<bool>>, CheckpointError> {
        let flag = |item: &Json| item.as_u64().filter(|&n| n < 2).map(|n| n == 1);
        self.list(key, "a list of zeros and ones", flag)
    }

    fn list<T>(
        &self,
        key: &str,
        expected: &str,
        item: impl Fn(&Json) -> Option<T>,
    ) -> Result<Option<Vec<T>>, CheckpointError> {
        self.typed(key, expected, |value| value.as_array()?.iter().map(item).collect())
    }

    /// The error of a table that is not what it should be.
    pub fn damaged(&self, error: &serde_json::Error) -> CheckpointError {
        CheckpointError::Json { path: self.path.clone(), message: error.to_string() }
    }
}

impl<'a> GgufKeys<'a> {
    /// The metadata of the file at `path`.
    pub fn new(path: &Path, metadata: &'a BTreeMap<String, llm_gguf::Value>) -> Self {
        Self::of(path, String::new(), Cow::Borrowed(metadata))
    }

    /// A list of strings.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, CheckpointError> {
        self.typed(key, "a list of strings", llm_gguf::Value::as_strings)
    }

    /// Fails if there is a key that begins with `prefix` and was not read.
    pub fn all_read(&self, prefix: &str) -> Result<(), CheckpointError> {
        let unread = self.unread().into_iter().find(|key| key.starts_with(prefix));
        unread.map_or(Ok(()), |key| Err(self.bad(key, "absent; what it changes is not known here")))
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

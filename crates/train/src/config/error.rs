use std::io;
use std::path::PathBuf;

use crate::Advice;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunConfigError {
    /// The file cannot be read.
    #[error(
        "{}: {source}\nhint: the bundled configurations are in configs/; paths are relative to the current \
         folder", path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML.
    #[error("{origin}: {message}\nhint: see the configurations in configs/ for examples")]
    Syntax {
        /// File or flag.
        origin: String,
        /// Position and reason.
        message: String,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key {key}\nhint: {hint}")]
    UnknownKey {
        /// File or flag.
        origin: String,
        /// The key as written.
        key: String,
        /// The nearest key, or all there are.
        hint: String,
    },
    /// A value of the wrong kind.
    #[error("{origin}: {key} {message}")]
    Value {
        /// File or flag.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// A value that makes no sense.
    #[error("{key} is {value}, but {rule}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// Weights of few bits that are to be trained.
    #[error(
        "finetune.quantize holds weights in few bits, which cannot be trained, but finetune.method = \"{method}\" trains \
         them\nhint: remove one of the two, or train an adapter (finetune.method = \"lora\" or \"dpo\")"
    )]
    Quantized {
        /// What trains them.
        method: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("{first} and {second} are both set\nhint: keep one of them")]
    Both {
        /// One key.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// What cannot be known without a text.
    #[error("{key} depends on the text, but none is given")]
    OpenWithoutText {
        /// The key.
        key: &'static str,
    },
    /// One size does not divide another.
    #[error("{whole} = {whole_value} is not a multiple of {part} = {part_value}\nhint: change one of them")]
    Indivisible {
        /// Key of the whole.
        whole: &'static str,
        /// Its value.
        whole_value: usize,
        /// Key of the part.
        part: &'static str,
        /// Its value.
        part_value: usize,
    },
    /// A key that a resumed run must not change.
    #[error(
        "{key} was {saved} when the run started and is {now} now\nhint: resume without changing it, or start a new run \
         in another folder; keys that may change: {allowed}"
    )]
    ChangedOnResume {
        /// The key.
        key: String,
        /// Value of the saved run.
        saved: String,
        /// Value given now.
        now: String,
        /// Keys that may change.
        allowed: String,
    },
    /// A configuration that TOML cannot hold.
    #[error("the configuration cannot be written as TOML: {message}\nhint: TOML integers must be below 2^63")]
    Unwritable {
        /// Why.
        message: String,
    },
}

impl RunConfigError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        matches!(self, Self::OpenWithoutText { .. }).then_some(Advice::NameText)
    }

    pub(super) fn unknown(origin: &str, key: &str, nearest: Option<String>, known: &[String]) -> Self {
        let hint = match nearest {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the keys are {}", known.join(", ")),
        };
        Self::UnknownKey { origin: origin.to_string(), key: key.to_string(), hint }
    }
}

/// The field and the known fields in serde's "unknown field `x`, expected one of `a`, `b`".
pub(super) fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message[message.find("unknown field `")?..].lines().next()?;
    let mut quoted = rest.split('`').skip(1).step_by(2).map(str::to_string);
    Some((quoted.next()?, quoted.collect()))
}

/// The name in `known` that `name` was probably meant to be.
pub(super) fn nearest(name: &str, known: &[String]) -> Option<String> {
    let (distance, near) = known.iter().map(|k| (edit_distance(name, k), k)).min()?;
    (distance <= name.chars().count().max(near.chars().count()).div_ceil(3)).then(|| near.clone())
}

/// Levenshtein's distance: insertions, deletions and replacements of characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

//! Files and folders of samples.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{BadLine, parse};
use super::json::{self, Values};
use super::split::{Share, split};
use super::{Origin, Sample, SampleSection};
use crate::DataError;
use crate::corpus::Note;
use crate::files::{Skipped, kind, read_to_string};

/// Names that a part of a folder has, the usual one first.
const TRAIN: &[&str] = &["train"];
const VALID: &[&str] = &["valid", "validation", "val", "dev"];
const TEST: &[&str] = &["test"];

/// Samples of files and folders.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampleSet {
    /// To train on.
    pub train: Vec<Sample>,
    /// To validate on; may be empty.
    pub valid: Vec<Sample>,
    /// To test on; mostly empty.
    pub test: Vec<Sample>,
    /// By what `valid` was set aside, where it has no file of its own.
    pub(super) share: Option<Share>,
    /// What one should know about the folders.
    pub notes: Vec<Note>,
}

impl SampleSet {
    /// Reads the samples at `section.paths`. Unless a folder among them has a file to validate on, they are split by
    /// `section.valid_fraction` and `seed`: equal samples come to the same side, and a sample stays on its side
    /// whatever stands around it in the file.
    ///
    /// # Errors
    /// [`DataError::BadSamples`] with every line that cannot be used; [`DataError::NoTrainFile`];
    /// [`DataError::UnknownSamples`]; [`DataError::SpansLines`]; [`DataError::Empty`];
    /// [`DataError::BadSampleFraction`]; what is wrong with a file's compression or encoding.
    pub fn load(section: &SampleSection, seed: u64) -> Result<Self, DataError> {
        let (set, bad) = Self::read(section, seed)?;
        if bad.is_empty() { Ok(set) } else { Err(DataError::BadSamples { lines: bad }) }
    }

    /// As [`load`](Self::load), but gives what can be used beside what cannot.
    ///
    /// # Errors
    /// As [`load`](Self::load), but for bad lines.
    pub fn read(section: &SampleSection, seed: u64) -> Result<(Self, Vec<BadLine>), DataError> {
        if !(0.0..1.0).contains(&section.valid_fraction) {
            return Err(DataError::BadSampleFraction { fraction: section.valid_fraction });
        }
        if section.paths.is_empty() {
            return Err(DataError::NoPaths);
        }
        let mut bad = Vec::new();
        let mut set = Self::default();
        let mut is_split = false;
        for path in &section.paths {
            if !path.is_dir() {
                set.train.extend(read_file(path, &mut bad)?);
                continue;
            }
            let train = part(path, TRAIN).ok_or_else(|| DataError::NoTrainFile { path: path.clone() })?;
            set.train.extend(read_file(&train, &mut bad)?);
            let (valid, test) = (part(path, VALID), part(path, TEST));
            if let Some(valid) = &valid {
                set.valid.extend(read_file(valid, &mut bad)?);
                is_split = true;
            }
            if let Some(test) = &test {
                set.test.extend(read_file(test, &mut bad)?);
            }
            let parts = [Some(train), valid, test].into_iter().flatten().collect();
            set.notes.extend(beside(path, parts)?);
        }
        if !is_split {
            let share = Share { fraction: section.valid_fraction, seed };
            (set.train, set.valid) = split(set.train, share, |sample| sample);
            set.share = Some(share);
        }
        Ok((set, bad))
    }

    /// Whether `path` is what samples are read from, by its name: a file of their kinds, or a folder with one to train
    /// on. Anything else is a text.
    pub fn is_at(path: &Path) -> bool {
        if path.is_dir() {
            part(path, TRAIN).is_some()
        } else {
            matches!(kind(path).as_deref(), Some("jsonl" | "json"))
        }
    }

    /// All samples of all parts.
    pub fn all(&self) -> impl Iterator<Item = &Sample> {
        self.train.iter().chain(&self.valid).chain(&self.test)
    }
}

/// The file of a part in a folder.
fn part(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let kinds = ["jsonl", "json", "jsonl.gz", "json.gz", "jsonl.zst", "json.zst"];
    let mut candidates = names.iter().flat_map(|name| kinds.map(|kind| folder.join(format!("{name}.{kind}"))));
    candidates.find(|path| path.is_file())
}

/// What is in a folder beside the files of its parts, if anything.
fn beside(folder: &Path, parts: Vec<PathBuf>) -> Result<Option<Note>, DataError> {
    let mut skipped = Skipped::default();
    for entry in fs::read_dir(folder).map_err(|e| DataError::io(folder, e))? {
        let path = entry.map_err(|e| DataError::io(folder, e))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !is_hidden && !parts.contains(&path) {
            skipped.add_file(&path);
        }
    }
    Ok((skipped.count() > 0).then_some(Note::Parts { files: parts, skipped }))
}

/// The samples of a file; what cannot be used is appended to `bad`.
fn read_file(path: &Path, bad: &mut Vec<BadLine>) -> Result<Vec<Sample>, DataError> {
    let is_json = match kind(path).as_deref() {
        Some("json") => true,
        // What has no extension, such as a pipe, is read by lines.
        Some("jsonl") | None => false,
        Some(_) if !path.exists() => return Err(DataError::missing(path)),
        Some(_) => return Err(DataError::UnknownSamples { path: path.to_owned() }),
    };
    let text = read_to_string(path)?;
    let file: Arc<Path> = path.into();
    let bad_before = bad.len();
    let mut values = Vec::new();
    let whole = if is_json {
        json::document(&text, &file, &mut values)
    } else {
        json::is_array(&text).then(|| json::array(&text, &file, &mut values))
    };
    match whole {
        Some(outcome) => bad.extend(outcome.err()),
        None => lines(&text, &file, &mut values, bad)?,
    }
    let mut samples = Vec::with_capacity(values.len());
    for (origin, value) in values {
        match parse(&value) {
            Ok(line) => samples.push(line.at(origin)),
            Err(problem) => bad.push(problem.at(origin)),
        }
    }
    bad[bad_before..].sort_by_key(|line| line.origin.line);
    if samples.is_empty() && bad.len() == bad_before {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    Ok(samples)
}

/// One value per line.
fn lines(text: &str, file: &Arc<Path>, values: &mut Values, bad: &mut Vec<BadLine>) -> Result<(), DataError> {
    let mut start = 0;
    let bad_before = bad.len();
    for (number, line) in text.split('\n').enumerate() {
        let rest = &text[start..];
        start += line.len() + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let origin = Origin { file: Arc::clone(file), line: number as u64 + 1 };
        match serde_json::from_str(line) {
            Ok(value) => values.push((origin, value)),
            // Of a file that is written so, every line would be wrong.
            Err(error) if error.is_eof() && bad.len() == bad_before && json::object_spans_lines(rest) => {
                return Err(DataError::SpansLines { path: file.to_path_buf(), line: origin.line });
            }
            Err(error) => bad.push(BadLine::no_json(origin, &error, line)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

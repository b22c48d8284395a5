//! Files and folders of samples.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Deserializer, Value};

use super::format::{BadLine, parse};
use super::split::{Share, split};
use super::{Origin, Sample, SampleSection};
use crate::DataError;

/// Names that a part of a folder has, the usual one first.
const TRAIN: &[&str] = &["train"];
const VALID: &[&str] = &["valid", "validation", "val", "dev"];
const TEST: &[&str] = &["test"];

/// Samples of a file or a folder.
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
}

impl SampleSet {
    /// Reads the samples at `section.path`. A folder without a file to validate on, or a file, is split by
    /// `section.valid_fraction` and `seed`: equal samples come to the same side, and a sample stays on its side
    /// whatever stands around it in the file.
    ///
    /// # Errors
    /// [`DataError::BadSamples`] with every line that cannot be used; [`DataError::NoTrainFile`];
    /// [`DataError::Empty`]; [`DataError::BadSampleFraction`].
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
        let mut bad = Vec::new();
        let path = &section.path;
        let mut set = Self::default();
        let mut is_split = false;
        if path.is_dir() {
            let train = part(path, TRAIN).ok_or_else(|| DataError::NoTrainFile { path: path.clone() })?;
            set.train = read_file(&train, &mut bad)?;
            if let Some(valid) = part(path, VALID) {
                set.valid = read_file(&valid, &mut bad)?;
                is_split = true;
            }
            if let Some(test) = part(path, TEST) {
                set.test = read_file(&test, &mut bad)?;
            }
        } else {
            set.train = read_file(path, &mut bad)?;
        }
        if !is_split {
            let share = Share { fraction: section.valid_fraction, seed };
            (set.train, set.valid) = split(set.train, share, |sample| sample);
            set.share = Some(share);
        }
        Ok((set, bad))
    }

    /// All samples of all parts.
    pub fn all(&self) -> impl Iterator<Item = &Sample> {
        self.train.iter().chain(&self.valid).chain(&self.test)
    }
}

/// The file of a part in a folder.
fn part(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let candidates = names.iter().flat_map(|name| ["jsonl", "json"].map(|kind| folder.join(format!("{name}.{kind}"))));
    candidates.into_iter().find(|path| path.is_file())
}

/// The samples of a file; what cannot be used is appended to `bad`.
fn read_file(path: &Path, bad: &mut Vec<BadLine>) -> Result<Vec<Sample>, DataError> {
    let bytes = fs::read(path).map_err(|error| DataError::io(path, error))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let file: Arc<Path> = path.into();
    let bad_before = bad.len();
    let is_array = bytes.trim_ascii_start().starts_with(b"[") && path.extension().is_none_or(|kind| kind != "jsonl");
    let values = if is_array { elements(bytes, &file, bad) } else { lines(bytes, &file, bad) };
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

/// One value a line.
fn lines(bytes: &[u8], file: &Arc<Path>, bad: &mut Vec<BadLine>) -> Vec<(Origin, Value)> {
    let mut values = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let origin = Origin { file: file.clone(), line: number as u64 + 1 };
        match serde_json::from_slice(line) {
            Ok(value) => values.push((origin, value)),
            Err(error) => bad.push(BadLine::no_json(origin, &error, line)),
        }
    }
    values
}

/// The elements of an array. Behind what is no JSON, nothing more is read.
fn elements(bytes: &[u8], file: &Arc<Path>, bad: &mut Vec<BadLine>) -> Vec<(Origin, Value)> {
    let mut values = Vec::new();
    let skip_space = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let (mut line, mut counted) = (1, 0);
    let mut origin_of = |at: usize| {
        line += bytes[counted..at].split(|&byte| byte == b'\n').count() as u64 - 1;
        counted = at;
        Origin { file: file.clone(), line }
    };
    let mut at = skip_space(skip_space(0) + 1);
    while at < bytes.len() && bytes[at] != b']' {
        let origin = origin_of(at);
        let mut stream = Deserializer::from_slice(&bytes[at..]).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => values.push((origin, value)),
            Some(Err(error)) => {
                let line = origin.line + error.line() as u64 - 1;
                bad.push(BadLine::no_json(Origin { line, ..origin }, &error, &bytes[at..]));
                return values;
            }
            None => break,
        }
        at = skip_space(at + stream.byte_offset());
        match bytes.get(at) {
            Some(b',') => at = skip_space(at + 1),
            Some(b']') => {}
            _ => {
                bad.push(BadLine::no_array_end(origin_of(at.min(bytes.len())), &bytes[at.min(bytes.len())..]));
                return values;
            }
        }
    }
    if at >= bytes.len() {
        bad.push(BadLine::no_array_end(origin_of(bytes.len()), &[]));
    } else if skip_space(at + 1) < bytes.len() {
        let after = skip_space(at + 1);
        bad.push(BadLine::no_array_end(origin_of(after), &bytes[after..]));
    }
    values
}

#[cfg(test)]
mod tests;

//! A model in several files, as `llama-gguf-split` and `convert_hf_to_gguf.py` make them: `NAME-00001-of-00003.gguf` and so on.
//! The first has the metadata; each says by `split.no` and `split.count` which one it is, and has some of the tensors.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use llm_data::MappedFile;
use llm_gguf::{Gguf, GgufError, Value, part_name, sibling};

use crate::CheckpointError;
use crate::keys::GgufKeys;

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";
/// Most files of a model: the number has 16 bits.
const MOST: u64 = u16::MAX as u64;

/// One file of a model.
pub(super) struct Part {
    pub path: PathBuf,
    pub gguf: Gguf<Bytes>,
}

impl Part {
    fn open(path: &Path) -> Result<Self, CheckpointError> {
        let hint = "check the path; a model is a directory or a .gguf file";
        std::fs::metadata(path).map_err(|e| CheckpointError::read(path, e, hint))?;
        let gguf = Gguf::parse(Bytes::from_owner(MappedFile::open(path)?));
        let gguf = gguf.map_err(|source| CheckpointError::Gguf { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), gguf })
    }

    fn refused(&self, problem: String, hint: &str) -> CheckpointError {
        CheckpointError::GgufParts { path: self.path.clone(), problem, hint: hint.to_owned() }
    }

    /// As how many this one counts itself, 1 if it is whole.
    fn count(&self) -> Result<usize, CheckpointError> {
        let keys = GgufKeys::new(&self.path, self.gguf.metadata());
        let expected = format!("a whole number up to {MOST}");
        let count = keys.typed(COUNT, &expected, |value| value.as_u64().filter(|count| *count <= MOST))?;
        Ok(count.map_or(1, |count| count.max(1) as usize))
    }

    /// Fails unless this is part `at`, from 1, of `count`.
    fn check(&self, at: usize, count: usize) -> Result<(), CheckpointError> {
        let keys = GgufKeys::new(&self.path, self.gguf.metadata());
        for (key, value) in [(COUNT, count), (NUMBER, at - 1)] {
            let found = keys.typed(key, &format!("{value}, as its name says"), |found| {
                found.as_u64().filter(|&found| found == value as u64)
            })?;
            keys.required(key, found)?;
        }
        Ok(())
    }

    /// Fails if this says anything about the model that `first` does not.
    fn agrees_with(&self, first: &Self) -> Result<(), CheckpointError> {
        let own = |key: &str| key.starts_with("split.") || key == "general.alignment";
        let of_first = first.gguf.metadata();
        let other = self.gguf.metadata().iter().find(|(key, value)| !own(key) && of_first.get(*key) != Some(*value));
        let Some((key, value)) = other else { return Ok(()) };
        let theirs = of_first.get(key).map_or_else(|| "absent".to_owned(), Value::describe);
        let problem = format!("{key} is {} here, but {theirs} in {}", value.describe(), first.path.display());
        Err(self.refused(problem, "these are parts of different models; get all of one"))
    }
}

/// The file at `path`, or all parts of its model, the first one first.
pub(super) fn open(path: &Path) -> Result<Vec<Part>, CheckpointError> {
    let given = Part::open(path)?;
    let count = given.count()?;
    if count == 1 {
        return Ok(vec![given]);
    }
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let Some((_, own, _)) = part_name(name).filter(|(.., named)| *named == count) else {
        let problem = format!("it is one of {count} files of a model, but its name does not end like a part's");
        let hint = format!("restore the files' original names: NAME-00001-of-{count:05}.gguf and so on");
        return Err(given.refused(problem, &hint));
    };
    let paths: Vec<PathBuf> = (1..=count).filter_map(|at| Some(path.with_file_name(sibling(name, at)?))).collect();
    let missing: Vec<&PathBuf> = paths.iter().filter(|path| !path.exists()).collect();
    if let [first, others @ ..] = missing.as_slice() {
        let others = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
        let name = first.file_name().unwrap_or_default().display();
        let problem = format!("it is one of the {count} files of a model; {name} is missing{others}");
        return Err(given.refused(problem, &format!("put all {count} files into one folder")));
    }
    let mut given = Some(given);
    let mut parts: Vec<Part> = Vec::new();
    for (at, path) in (1..).zip(&paths) {
        let part = if at == own { given.take() } else { None };
        let part = part.map_or_else(|| Part::open(path), Ok)?;
        part.check(at, count)?;
        if let Some(first) = parts.first() {
            part.agrees_with(first)?;
        }
        parts.push(part);
    }
    Ok(parts)
}

/// For each tensor, the part that has it.
pub(super) fn homes(parts: &[Part]) -> Result<BTreeMap<String, usize>, CheckpointError> {
    let mut homes = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        for name in part.gguf.tensors().keys() {
            if let Some(other) = homes.insert(name.clone(), at) {
                let what = format!("tensor {name}, which is in {} too,", parts[other].path.display());
                return Err(CheckpointError::Gguf { path: part.path.clone(), source: GgufError::Duplicate { what } });
            }
        }
    }
    let [first, _, ..] = parts else { return Ok(homes) };
    let keys = GgufKeys::new(&first.path, first.gguf.metadata());
    let total = keys.typed(TENSORS, "a whole number", Value::as_u64)?;
    if let Some(total) = total.filter(|&total| total != homes.len() as u64) {
        let problem = format!("{TENSORS} is {total}, but the {} files have {} together", parts.len(), homes.len());
        return Err(
            first.refused(problem, "these are parts of different models, or one is damaged; download them again")
        );
    }
    Ok(homes)
}

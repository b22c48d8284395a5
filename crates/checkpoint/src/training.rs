//! Training checkpoints: everything that an interrupted run needs to resume bit for bit.
//!
//! `RUN/training/checkpoints/step-00001000/` holds `config.json` and `model.safetensors` (so that it loads as a model),
//! `optimizer.safetensors` and `state.json`; that of a run which trains some of the weights only has those in
//! `trained.safetensors`, in place of the first two. It is made in a hidden directory beside, synced, and renamed as a
//! whole: one that has its name is complete.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use llm_model::{CausalLm, ParamInfo, named_params, params, replace_params, trainable_params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic::{partial, sync_dir};
use crate::{CheckpointError, load_tensors, load_weights, save_config, save_tensors, save_weights, write_atomic};

const OPTIMIZER: &str = "optimizer.safetensors";
const TRAINED: &str = "trained.safetensors";
const STATE: &str = "state.json";
/// What is appended to the name of a checkpoint while another of the same step takes its place.
const REPLACED: &str = ".replaced";

/// Which weights a checkpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavedWeights {
    /// All: with its `config.json` it loads as a model.
    All,
    /// Those that are trained, by their names in the program, in `trained.safetensors`.
    Trained,
}

impl SavedWeights {
    fn of(self, model: &CausalLm) -> Vec<ParamInfo> {
        match self {
            Self::All => params(model),
            Self::Trained => trainable_params(model),
        }
    }
}

/// Writes the checkpoint of `step` and returns its directory; then removes what earlier killed saves left, all but the
/// newest `keep` checkpoints (this one always stays), and those of later steps, which belong to a run that this one
/// replaces.
///
/// Of a model with adapters, the adapters alone are written: the rest is frozen, and where it came from.
///
/// `state` is whatever else the run needs; numbers in it must be finite, as JSON has no others.
///
/// # Errors
/// Those of [`write_atomic`]. Older checkpoints stay as they are then.
pub fn save_training(
    run_dir: &Path,
    step: u64,
    model: (&CausalLm, SavedWeights),
    optimizer: &[(String, TensorData)],
    state: &impl Serialize,
    keep: usize,
) -> Result<PathBuf, CheckpointError> {
    let all = checkpoints_dir(run_dir);
    let target = all.join(format!("step-{step:08}"));
    let made = partial(&target);
    let failed = |e| CheckpointError::write(&target, e, None);
    fs::create_dir_all(&all).map_err(failed)?;
    remove_leftovers(&all).map_err(failed)?;
    let filled = fs::create_dir(&made).map_err(failed).and_then(|()| fill(&made, model, optimizer, state));
    if let Err(error) = filled {
        // Frees the disk; if this fails too, the next save removes it.
        let _ = fs::remove_dir_all(&made);
        let weights: usize = model.1.of(model.0).iter().map(ParamInfo::len).sum::<usize>() * size_of::<f32>();
        let moments: usize = optimizer.iter().map(|(_, data)| data.as_bytes().len()).sum();
        return Err(error.after_cleanup(Some((weights + moments) as u64)));
    }
    put_in_place(&made, &target).map_err(failed)?;
    prune(&all, step, keep).map_err(failed)?;
    Ok(target)
}

fn fill(
    dir: &Path,
    (model, weights): (&CausalLm, SavedWeights),
    optimizer: &[(String, TensorData)],
    state: &impl Serialize,
) -> Result<(), CheckpointError> {
    match weights {
        SavedWeights::All => {
            save_config(dir, model.config(), None, &[])?;
            save_weights(dir, model)?;
        }
        SavedWeights::Trained => save_tensors(&dir.join(TRAINED), &trained_weights(model))?,
    }
    save_tensors(&dir.join(OPTIMIZER), optimizer)?;
    write_atomic(&dir.join(STATE), |out| {
        serde_json::to_writer_pretty(&mut *out, state)?;
        writeln!(out)
    })
}

/// Renames `made` to `target`. A checkpoint that is there already keeps another name until this is done, under which
/// [`latest_training`] finds it.
fn put_in_place(made: &Path, target: &Path) -> io::Result<()> {
    let parent = target.parent().unwrap_or(Path::new("."));
    let replaced = replaced(target);
    if target.exists() {
        fs::rename(target, &replaced)?;
    }
    fs::rename(made, target)?;
    sync_dir(parent)?;
    if replaced.exists() { fs::remove_dir_all(replaced) } else { Ok(()) }
}

fn replaced(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!("{name}{REPLACED}"))
}

fn prune(all: &Path, step: u64, keep: usize) -> io::Result<()> {
    let mut found = complete(all)?;
    let later = found.split_off(&(step + 1));
    let superfluous = found.len().saturating_sub(keep.max(1));
    later.values().chain(found.values().take(superfluous)).try_for_each(fs::remove_dir_all)
}

/// Removes what saves that were killed left behind.
fn remove_leftovers(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let unfinished = name.starts_with(".step-") && name.ends_with(".partial");
        let replaced = name.strip_suffix(REPLACED).is_some_and(|name| all.join(name).exists());
        if unfinished || replaced {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The newest complete checkpoint of a run and its step; `None` if there is none.
///
/// # Errors
/// When the directory cannot be read.
pub fn latest_training(run_dir: &Path) -> Result<Option<(u64, PathBuf)>, CheckpointError> {
    let all = checkpoints_dir(run_dir);
    match complete(&all) {
        Ok(mut found) => Ok(found.pop_last()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CheckpointError::Io { path: all, source }),
    }
}

/// The newest checkpoint before the one at `checkpoint`, and its step.
///
/// # Errors
/// When the directory cannot be read.
pub fn training_before(checkpoint: &Path) -> Result<Option<(u64, PathBuf)>, CheckpointError> {
    let all = checkpoint.parent().unwrap_or(Path::new("."));
    let found = complete(all).map_err(|source| CheckpointError::Io { path: all.to_owned(), source })?;
    Ok(found.into_iter().take_while(|(_, path)| path != checkpoint).last())
}

/// Complete checkpoints by step.
fn complete(all: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let plain = name.strip_suffix(REPLACED);
        let Some(digits) = plain.unwrap_or(name).strip_prefix("step-") else { continue };
        let Ok(step) = digits.parse() else { continue };
        // One that is being replaced counts as long as the new one is not in its place.
        if plain.is_none() || !all.join(plain.unwrap_or(name)).exists() {
            found.insert(step, path);
        }
    }
    Ok(found)
}

/// Reads a checkpoint: `model` with its weights, or if it has adapters, those of the adapters alone, the optimizer's
/// tensors by name, and the state.
///
/// # Errors
/// Those of [`load_weights`] and [`load_tensors`], and a state that is not the JSON that `S` asks for.
pub fn load_training<S: DeserializeOwned>(
    checkpoint: &Path,
    model: CausalLm,
    weights: SavedWeights,
) -> Result<(CausalLm, BTreeMap<String, TensorData>, S), CheckpointError> {
    let path = checkpoint.join(STATE);
    let hint = "the checkpoint is incomplete; delete it to resume from the one before";
    let text = fs::read(&path).map_err(|e| CheckpointError::read(&path, e, hint))?;
    let state = serde_json::from_slice(&text)
        .map_err(|e| CheckpointError::Json { path: path.clone(), message: e.to_string() })?;
    let optimizer = load_tensors(&checkpoint.join(OPTIMIZER))?;
    let model = match weights {
        SavedWeights::All => load_weights(checkpoint, model)?,
        SavedWeights::Trained => load_trained(&checkpoint.join(TRAINED), model)?,
    };
    Ok((model, optimizer, state))
}

fn trained_weights(model: &CausalLm) -> Vec<(String, TensorData)> {
    let names: HashSet<String> = trainable_params(model).into_iter().map(|info| info.name).collect();
    let mut tensors = Vec::new();
    named_params(model, &mut |info, data| {
        if names.contains(&info.name) {
            tensors.push((info.name.clone(), data));
        }
    });
    tensors
}

/// `model` with those of its weights that are trained from the file at `path`.
fn load_trained(path: &Path, model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let mut tensors = load_tensors(path)?;
    let trained: HashSet<String> = trainable_params(&model).into_iter().map(|info| info.name).collect();
    let model = replace_params(model, &mut |info| {
        if !trained.contains(&info.name) {
            return Ok(None);
        }
        let tensor = info.name.clone();
        let Some(data) = tensors.remove(&tensor) else {
            let hint = "the run trained other weights; start a new run".to_string();
            return Err(CheckpointError::MissingTensor { path: path.to_path_buf(), tensor, hint });
        };
        if data.shape().as_slice() != info.shape {
            let (found, expected) = (data.shape().to_vec(), info.shape.clone());
            return Err(CheckpointError::Shape { path: path.to_path_buf(), tensor, found, expected });
        }
        Ok(Some(data.into()))
    })?;
    let names: Vec<String> = tensors.into_keys().collect();
    if names.is_empty() {
        return Ok(model);
    }
    Err(CheckpointError::ExtraTensors { path: path.to_path_buf(), count: names.len(), names })
}

fn checkpoints_dir(run_dir: &Path) -> PathBuf {
    run_dir.join("training").join("checkpoints")
}

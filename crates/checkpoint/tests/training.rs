//! Training checkpoints: what is written comes back, and a kill or a full disk at any moment loses nothing.

mod common;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use common::{GOLDEN, golden_model};
use llm_checkpoint::{
    Advice, CheckpointError, SavedWeights, latest_training, load_model, load_tensors, load_training, save_tensors,
    save_training, write_atomic,
};
use llm_model::{CausalLm, named_params};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    step: u64,
    best_loss: Option<f32>,
    text: String,
}

fn state(step: u64) -> State {
    State { step, best_loss: Some(0.1 + 0.2), text: "ünïcode\n".into() }
}

fn moments() -> Vec<(String, TensorData)> {
    vec![
        ("moment.2".into(), TensorData::new(vec![f32::MIN_POSITIVE, -0.0, 1e-45, f32::NAN], [2, 2])),
        ("moment.1".into(), TensorData::new(vec![0.1f32, 0.2], [2])),
        ("time".into(), TensorData::new(vec![i64::MAX], [1])),
        ("empty".into(), TensorData::new(Vec::<f32>::new(), [0, 3])),
    ]
}

fn save(run: &Path, step: u64, keep: usize) -> Result<PathBuf, CheckpointError> {
    save_training(run, step, (&golden_model("gpt2"), SavedWeights::All), &moments(), &state(step), keep)
}

fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("training/checkpoints")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn parameters(model: &CausalLm) -> Vec<TensorData> {
    let mut all = Vec::new();
    named_params(model, &mut |_, data| all.push(data));
    all
}

#[test]
fn weights_optimizer_and_state_come_back_bit_for_bit() {
    let run = tempfile::tempdir().unwrap();
    let device = Device::flex();
    for (i, name) in GOLDEN.iter().enumerate() {
        let model = golden_model(name);
        let step = 1000 + i as u64;
        let path = save_training(run.path(), step, (&model, SavedWeights::All), &moments(), &state(step), 2).unwrap();
        assert_eq!(latest_training(run.path()).unwrap(), Some((step, path.clone())));

        let fresh = CausalLm::new(model.config(), &device).initialize(1);
        let (loaded, optimizer, found) = load_training::<State>(&path, fresh, SavedWeights::All).unwrap();
        assert_eq!(parameters(&loaded), parameters(&model), "{name}");
        assert_eq!(found, state(step));
        assert_eq!(optimizer.len(), moments().len());
        for (name, data) in moments() {
            assert_eq!(optimizer[&name].as_bytes(), data.as_bytes(), "{name}");
            assert_eq!((optimizer[&name].shape(), optimizer[&name].dtype()), (data.shape(), data.dtype()), "{name}");
        }
        // It is a model directory too.
        assert_eq!(parameters(&load_model(&path, &device).unwrap()), parameters(&model), "{name}");
    }
}

#[test]
fn the_last_checkpoints_are_kept_and_those_of_a_replaced_run_removed() {
    let run = tempfile::tempdir().unwrap();
    assert_eq!(latest_training(run.path()).unwrap(), None);
    for step in [10, 20, 30, 40] {
        save(run.path(), step, 2).unwrap();
    }
    assert_eq!(checkpoints(run.path()), ["step-00000030", "step-00000040"]);
    save(run.path(), 35, 2).unwrap();
    assert_eq!(checkpoints(run.path()), ["step-00000030", "step-00000035"]);
    save(run.path(), 35, 0).unwrap();
    assert_eq!(checkpoints(run.path()), ["step-00000035"]);
    save(run.path(), 123_456_789_000, 1).unwrap();
    assert_eq!(latest_training(run.path()).unwrap().unwrap().0, 123_456_789_000);
}

#[test]
fn what_a_killed_save_left_is_not_taken_for_a_checkpoint_and_goes_with_the_next() {
    let run = tempfile::tempdir().unwrap();
    let first = save(run.path(), 10, 3).unwrap();
    let all = run.path().join("training/checkpoints");
    // Killed while it was being written, and while one of the same step was being replaced.
    fs::create_dir(all.join(".step-00000020.partial")).unwrap();
    fs::write(all.join(".step-00000020.partial/model.safetensors"), "half").unwrap();
    fs::rename(&first, all.join("step-00000010.replaced")).unwrap();
    fs::write(all.join("notes.txt"), "mine").unwrap();
    let (step, path) = latest_training(run.path()).unwrap().unwrap();
    assert_eq!((step, path.file_name().unwrap()), (10, "step-00000010.replaced".as_ref()));
    load_training::<State>(&path, golden_model("gpt2"), SavedWeights::All).unwrap();

    save(run.path(), 20, 3).unwrap();
    assert_eq!(latest_training(run.path()).unwrap().unwrap().0, 20);
    save(run.path(), 10, 3).unwrap();
    assert_eq!(checkpoints(run.path()), ["notes.txt", "step-00000010"]);
}

/// What writing gives when the disk is full.
fn disk_full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

#[test]
fn a_full_disk_is_an_error_and_the_old_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    write_atomic(&path, |out| out.write_all(b"old")).unwrap();
    let error = write_atomic(&path, |out| {
        out.write_all(&vec![b'n'; 3 << 20])?;
        Err(disk_full())
    })
    .unwrap_err();
    assert!(error.to_string().contains("config.json: no space left on the disk (free "), "{error}");
    assert_eq!(error.advice(), Some(Advice::FreeSpace));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the partial file is still there");
    write_atomic(&path, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[cfg(target_os = "linux")]
#[test]
fn the_error_of_a_device_without_space_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let error = write_atomic(&dir.path().join("x"), |_| {
        let mut full = fs::File::options().write(true).open("/dev/full")?;
        full.write_all(b"x")
    });
    assert!(matches!(error, Err(CheckpointError::DiskFull { .. })), "{error:?}");
}

/// A state that cannot be written: it comes last, when the weights are on the disk already.
struct Failing;

impl Serialize for Failing {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no more"))
    }
}

#[test]
fn a_save_that_fails_leaves_the_older_checkpoint_and_nothing_else() {
    let run = tempfile::tempdir().unwrap();
    let older = save(run.path(), 10, 1).unwrap();
    save_training(run.path(), 20, (&golden_model("gpt2"), SavedWeights::All), &moments(), &Failing, 1).unwrap_err();
    assert_eq!(checkpoints(run.path()), ["step-00000010"]);
    assert_eq!(latest_training(run.path()).unwrap(), Some((10, older.clone())));
    load_training::<State>(&older, golden_model("gpt2"), SavedWeights::All).unwrap();
}

#[test]
fn a_damaged_state_names_its_file() {
    let run = tempfile::tempdir().unwrap();
    let path = save(run.path(), 10, 1).unwrap();
    fs::write(path.join("state.json"), "{\"step\": \"ten\"}").unwrap();
    let error = load_training::<State>(&path, golden_model("gpt2"), SavedWeights::All).unwrap_err().to_string();
    assert!(error.contains("state.json") && error.contains("line 1"), "{error}");
    fs::remove_file(path.join("state.json")).unwrap();
    let error = load_training::<State>(&path, golden_model("gpt2"), SavedWeights::All).unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");

    let path = save(run.path(), 10, 1).unwrap();
    let error = load_training::<State>(&path, golden_model("llama"), SavedWeights::All).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}

#[test]
fn tensors_of_every_type_come_back_and_two_of_one_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.safetensors");
    let floats = TensorData::new(vec![0.5f32, 1.25, 3.0], [3]);
    let tensors: Vec<_> = [
        burn::tensor::DType::F64,
        burn::tensor::DType::F16,
        burn::tensor::DType::BF16,
        burn::tensor::DType::I8,
        burn::tensor::DType::U32,
    ]
    .into_iter()
    .map(|dtype| (format!("{dtype:?}"), floats.clone().convert_dtype(dtype)))
    .collect();
    save_tensors(&path, &tensors).unwrap();
    let loaded = load_tensors(&path).unwrap();
    for (name, data) in &tensors {
        assert_eq!((loaded[name].as_bytes(), loaded[name].dtype()), (data.as_bytes(), data.dtype()), "{name}");
    }
    let twice = vec![("a".to_owned(), floats.clone()), ("a".to_owned(), floats)];
    let error = save_tensors(&path, &twice).unwrap_err().to_string();
    assert!(error.contains("two tensors are named a"), "{error}");
    assert_eq!(load_tensors(&path).unwrap().len(), tensors.len(), "the old file stays");
}

//! What the tests of this room share: the tiny models of `scripts/golden.py` and comparisons.
#![allow(dead_code)] // every test file uses a part of it

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_checkpoint::{CheckpointError, load_config, load_model, load_tensors, save_config};
use llm_gguf::{Gguf, Layout, TensorInfo, TensorPlan};
use llm_model::{CausalLm, ModelConfig};
use serde_json::{Value, json};

/// The models in `crates/model/tests/golden`.
pub const GOLDEN: [&str; 23] = [
    "gpt2",
    "llama",
    "llama_linear",
    "llama_llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_window",
    "smollm3",
    "olmo2",
    "gemma3",
    "gemma3_parameters",
    "phi3",
    "phi3_longrope",
    "phi3_partial",
    "qwen2_yarn",
    "llama_yarn",
    "qwen3_yarn",
    "llama_dynamic",
    "olmo3",
    "olmo3_parameters",
    "granite",
    "granite_biases",
];

/// Metadata of a GGUF file, in order.
pub type Metadata = Vec<(String, llm_gguf::Value)>;
/// Tensors of a GGUF file with their values.
pub type Tensors = Vec<(TensorPlan, Vec<f32>)>;

/// What the GGUF file at `path` holds.
pub fn read_gguf(path: &Path) -> (Metadata, Tensors) {
    let bytes = fs::read(path).unwrap();
    let gguf = Gguf::parse(bytes.as_slice()).unwrap();
    let tensor = |(name, info): (&String, &TensorInfo)| {
        let plan = TensorPlan { name: name.clone(), shape: info.shape.clone(), kind: info.kind };
        (plan, gguf.values(name).unwrap())
    };
    let metadata = gguf.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    (metadata, gguf.tensors().iter().map(tensor).collect())
}

/// Writes a GGUF file.
pub fn write_gguf(path: &Path, metadata: &Metadata, tensors: &Tensors) {
    let plans: Vec<TensorPlan> = tensors.iter().map(|(plan, _)| plan.clone()).collect();
    let layout = Layout::new(metadata, &plans).unwrap();
    let mut out = Vec::new();
    let mut writer = layout.start(&mut out).unwrap();
    tensors.iter().for_each(|(_, values)| writer.write(values).unwrap());
    fs::write(path, out).unwrap();
}

/// The directory of a golden model.
pub fn golden_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden").join(name)
}

/// What `PyTorch` computed with a golden model.
pub fn golden_values(name: &str) -> BTreeMap<String, TensorData> {
    load_tensors(&golden_dir(name).join("golden.safetensors")).unwrap()
}

/// A golden model on the CPU.
pub fn golden_model(name: &str) -> CausalLm {
    load_model(&golden_dir(name), &Device::flex()).unwrap()
}

/// Integers as a tensor of their own shape.
pub fn ints<const D: usize>(data: &TensorData, device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(data.clone(), device)
}

/// Row-major values.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Fails with the largest difference and its place unless all are within `tolerance`; a NaN fails too.
#[track_caller]
pub fn assert_close(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}: number of values");
    let worst = (0..ours.len()).max_by(|&i, &j| {
        let difference = |i: usize| (ours[i] - theirs[i]).abs();
        difference(i).total_cmp(&difference(j))
    });
    let Some(i) = worst else { return };
    let difference = (ours[i] - theirs[i]).abs();
    assert!(difference <= tolerance, "{what}: {} against {} at {i}, differ by {difference:e}", ours[i], theirs[i]);
}

/// What a `config.json` of these keys means.
pub fn resolve(config: &Value) -> Result<ModelConfig, CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    load_config(dir.path())
}

/// `base` with some keys set; a `null` removes a key.
pub fn with(base: &Value, changes: &Value) -> Value {
    let mut config = base.clone();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

pub fn llama() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512,
    })
}

pub fn qwen3() -> Value {
    with(&llama(), &json!({"model_type": "qwen3", "head_dim": 8}))
}

/// `config`, written and read.
pub fn round_trip(dir: &Path, config: &ModelConfig) -> ModelConfig {
    save_config(dir, config, Some(1), &[2]).unwrap();
    load_config(dir).unwrap()
}

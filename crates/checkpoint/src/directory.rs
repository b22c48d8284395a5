//! A model directory as a whole.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use llm_data::Tokenizer;
use llm_gguf::is_gguf_name;
use llm_model::{CausalLm, ModelConfig};
use serde_json::Value;

use crate::config::{publishable, special_ids, write_config, write_json};
use crate::gguf::GgufFile;
use crate::weights::write_weights;
use crate::{CheckpointError, Dtype, ModelSource, Quantize};

/// Loads the model in `dir`, `config.json` and its weights, or in a GGUF file, in float32 on `device`.
///
/// # Errors
/// Those of [`load_config`](crate::load_config) and [`load_weights`](crate::load_weights).
pub fn load_model(dir: &Path, device: &Device) -> Result<CausalLm, CheckpointError> {
    ModelSource::open(dir)?.load(device)
}

/// Loads the model in `dir` for inference: see [`ModelSource::load_for_inference`].
///
/// # Errors
/// Those of [`load_model`].
pub fn load_for_inference(dir: &Path, device: &Device) -> Result<CausalLm, CheckpointError> {
    ModelSource::open(dir)?.load_for_inference(device)
}

/// Loads the model in `dir` for its weights to stay as they are: see [`ModelSource::load_frozen`].
///
/// # Errors
/// Those of [`ModelSource::load_frozen`].
pub fn load_frozen(dir: &Path, device: &Device, quantize: Option<Quantize>) -> Result<CausalLm, CheckpointError> {
    ModelSource::open(dir)?.load_frozen(device, quantize)
}

/// Loads the tokenizer in `dir`, or in a GGUF file, and checks that it belongs to a model of `config`.
///
/// # Errors
/// A missing or unusable tokenizer, and those of [`check_vocabulary`].
pub fn load_tokenizer(dir: &Path, config: &ModelConfig) -> Result<Tokenizer, CheckpointError> {
    ModelSource::open(dir)?.tokenizer(config)
}

/// Loads a tokenizer: a `tokenizer.json`, the one in a directory, or the one in a GGUF file.
///
/// # Errors
/// A missing or unusable tokenizer.
pub fn open_tokenizer(path: &Path) -> Result<Tokenizer, CheckpointError> {
    if is_gguf_name(path) {
        return GgufFile::open(path)?.tokenizer();
    }
    Ok(Tokenizer::load(path)?)
}

/// Checks that `tokenizer` may be that of a model of `config`. Embeddings are often padded to a round number of rows, so some
/// more rows than ids are well; a tenth more, and more than a thousand, are another model's. Tokens may have been added that
/// the model lacks (Gemma 3 names one for pictures, others a `<pad>`); without those that were added, all must have a row.
///
/// # Errors
/// [`CheckpointError::Vocabulary`], with both sizes.
pub fn check_vocabulary(tokenizer: &Tokenizer, config: &ModelConfig) -> Result<(), CheckpointError> {
    let [ids, rows] = [tokenizer.vocab_size(), config.vocab_size];
    if tokenizer.core_size() <= rows && rows.saturating_sub(ids) <= (rows / 10).max(1024) {
        return Ok(());
    }
    Err(CheckpointError::Vocabulary { tokenizer: ids, model: rows })
}

/// Writes a whole model directory: `config.json`, `generation_config.json`, the tokenizer's files and, last,
/// `model.safetensors`. Other files in `dir` stay. Where a published architecture computes the same but for biases that the
/// model lacks (a GPT-2 without them), they are written as zeros, so that others load it.
///
/// # Errors
/// Those of [`write_atomic`](crate::write_atomic) and of [`Tokenizer::save`].
pub fn save_model(dir: &Path, model: &CausalLm, tokenizer: &Tokenizer) -> Result<(), CheckpointError> {
    save_model_as(dir, model, tokenizer, Dtype::F32)
}

/// [`save_model`] with the weights in another type.
///
/// # Errors
/// As [`save_model`].
pub fn save_model_as(dir: &Path, model: &CausalLm, tokenizer: &Tokenizer, dtype: Dtype) -> Result<(), CheckpointError> {
    let (bos, eos) = (tokenizer.bos_id(), tokenizer.eos_ids());
    fs::create_dir_all(dir).map_err(|e| CheckpointError::write(dir, e, None))?;
    let model = publishable(model);
    write_config(dir, model.config(), bos, eos, dtype)?;
    let generation = special_ids(bos, eos);
    write_json(&dir.join("generation_config.json"), &Value::Object(generation))?;
    tokenizer.save(dir)?;
    write_weights(dir, &model, dtype)
}

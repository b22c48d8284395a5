//! A model directory as a whole.

use std::fs;
use std::path::Path;

use burn::tensor::{DType, Device};
use llm_data::Tokenizer;
use llm_gguf::is_gguf_name;
use llm_kernels::is_fused;
use llm_model::{CausalLm, ModelConfig};
use serde_json::Value;

use crate::config::{self, special_ids, write_config, write_json};
use crate::families::publishable;
use crate::generation::{self, GenerationDefaults};
use crate::gguf::{self, GgufFile};
use crate::weights::{self, Load, OtherParts, write_weights};
use crate::{CheckpointError, Dtype, ModelSource, Quantize};

impl ModelSource {
    /// What the model is: see [`load_config`](crate::load_config).
    ///
    /// # Errors
    /// Those of [`load_config`](crate::load_config).
    pub fn config(&self) -> Result<ModelConfig, CheckpointError> {
        self.gguf().map_or_else(|| config::read(self.path()), |file| gguf::config(file).cloned())
    }

    /// What of the model is not read, as text does not pass through it: of a model of text alone, nothing.
    ///
    /// # Errors
    /// Missing or damaged files of weights.
    pub fn other_parts(&self) -> Result<OtherParts, CheckpointError> {
        let may = self.gguf().is_none() && config::has_other_parts(self.path());
        if may { weights::other_parts(self) } else { Ok(OtherParts::default()) }
    }

    /// The tokenizer, which must belong to a model of `config`. Tokens that the model has no embedding for are errors where
    /// they stand in a text: see [`Tokenizer::for_rows`].
    ///
    /// # Errors
    /// A missing or unusable tokenizer, and those of [`check_vocabulary`].
    pub fn tokenizer(&self, config: &ModelConfig) -> Result<Tokenizer, CheckpointError> {
        let tokenizer = match self.gguf() {
            Some(file) => gguf::tokenizer(file)?,
            None => Tokenizer::load(self.path())?,
        };
        check_vocabulary(&tokenizer, config)?;
        Ok(tokenizer.for_rows(config.vocab_size))
    }

    /// How its publisher wants tokens drawn: see [`load_generation`](crate::load_generation).
    ///
    /// # Errors
    /// Those of [`load_generation`](crate::load_generation).
    pub fn generation(&self) -> Result<GenerationDefaults, CheckpointError> {
        generation::load_generation(self.path())
    }

    /// The model in float32 on `device`.
    ///
    /// # Errors
    /// Those of [`config`](Self::config) and of [`load_weights`](crate::load_weights).
    pub fn load(&self, device: &Device) -> Result<CausalLm, CheckpointError> {
        weights::load(self, CausalLm::new(&self.config()?, device), Load::Float32)
    }

    /// The model for inference only. On the CPU (Flex), tables and matrices stay in the number type in which they are
    /// stored, and those of safetensors files stay in the mapped file; elsewhere this is [`load`](Self::load). While the
    /// model is used, its files must not be written to; replacing them is safe.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_for_inference(&self, device: &Device) -> Result<CausalLm, CheckpointError> {
        if !is_fused(device, DType::F32) || device.is_autodiff() {
            return self.load(device);
        }
        weights::load(self, CausalLm::new(&self.config()?, device), Load::AsStored { blocks: true })
    }

    /// The model for its weights to stay as they are while an adapter is trained; they have no gradients. On the CPU (Flex),
    /// tables and matrices stay in the number type in which they are stored, and those of safetensors files in the mapped
    /// file, as in [`load_for_inference`](Self::load_for_inference); elsewhere they are float32.
    ///
    /// With `quantize`, the linear layers of the blocks are held in so few bits, on any device in the host's memory; a GGUF
    /// file's own blocks are kept where they have no more. Embeddings, norms and the head stay as they are.
    ///
    /// # Errors
    /// Those of [`load`](Self::load), and with `quantize` [`CheckpointError::Quantize`].
    pub fn load_frozen(&self, device: &Device, quantize: Option<Quantize>) -> Result<CausalLm, CheckpointError> {
        let how = match (quantize, is_fused(device, DType::F32)) {
            (Some(quantize), as_stored) => Load::Quantized { quantize, as_stored },
            (None, true) => Load::AsStored { blocks: false },
            (None, false) => Load::Float32,
        };
        let model = weights::load(self, CausalLm::new(&self.config()?, device), how)?;
        Ok(model.freeze_except(&|_| false))
    }
}

/// Reads `config.json` in `dir`, or the metadata of a GGUF file, and resolves it.
///
/// # Errors
/// A missing or damaged file; a missing key; a key whose value this program cannot compute with, with both named:
/// nothing that changes the result is passed over.
pub fn load_config(dir: &Path) -> Result<ModelConfig, CheckpointError> {
    ModelSource::open(dir)?.config()
}

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
        return gguf::tokenizer(&GgufFile::open(path)?);
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

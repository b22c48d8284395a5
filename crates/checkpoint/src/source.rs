//! Where a model is read from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, Device};
use llm_data::Tokenizer;
use llm_kernels::is_fused;
use llm_model::{CausalLm, ModelConfig};

use crate::generation::{self, GenerationDefaults};
use crate::gguf::{GgufFile, is_gguf};
use crate::weights::{self, Load, OtherParts};
use crate::{CheckpointError, Quantize, check_vocabulary, config};

/// A model on disk: a directory, or a GGUF file, whose metadata is read once for all that is asked of it.
#[derive(Clone)]
pub struct ModelSource {
    path: PathBuf,
    gguf: Option<Arc<GgufFile>>,
}

impl fmt::Debug for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModelSource").field(&self.path).finish()
    }
}

impl ModelSource {
    /// Opens a GGUF file and reads its metadata; of a directory, nothing is read yet.
    ///
    /// # Errors
    /// A GGUF file that is missing or damaged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let gguf = is_gguf(path).then(|| GgufFile::open(path)).transpose()?;
        Ok(Self { path: path.to_owned(), gguf: gguf.map(Arc::new) })
    }

    /// The directory or the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The GGUF file, if it is one.
    pub(crate) fn gguf(&self) -> Option<&Arc<GgufFile>> {
        self.gguf.as_ref()
    }

    /// What the model is: see [`load_config`](crate::load_config).
    ///
    /// # Errors
    /// Those of [`load_config`](crate::load_config).
    pub fn config(&self) -> Result<ModelConfig, CheckpointError> {
        self.gguf.as_ref().map_or_else(|| config::read(&self.path), |file| file.config().cloned())
    }

    /// What of the model is not read, as text does not pass through it: of a model of text alone, nothing.
    ///
    /// # Errors
    /// Missing or damaged files of weights.
    pub fn other_parts(&self) -> Result<OtherParts, CheckpointError> {
        let may = self.gguf.is_none() && config::has_other_parts(&self.path);
        if may { weights::other_parts(self) } else { Ok(OtherParts::default()) }
    }

    /// The tokenizer, which must belong to a model of `config`. Tokens that the model has no embedding for are errors where
    /// they stand in a text: see [`Tokenizer::for_rows`].
    ///
    /// # Errors
    /// A missing or unusable tokenizer, and those of [`check_vocabulary`].
    pub fn tokenizer(&self, config: &ModelConfig) -> Result<Tokenizer, CheckpointError> {
        let tokenizer = match &self.gguf {
            Some(file) => file.tokenizer()?,
            None => Tokenizer::load(&self.path)?,
        };
        check_vocabulary(&tokenizer, config)?;
        Ok(tokenizer.for_rows(config.vocab_size))
    }

    /// How its publisher wants tokens drawn: see [`load_generation`](crate::load_generation).
    ///
    /// # Errors
    /// Those of [`load_generation`](crate::load_generation).
    pub fn generation(&self) -> Result<GenerationDefaults, CheckpointError> {
        generation::load_generation(&self.path)
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
    /// model is used, its files must not be written to; replacing them is well.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_for_inference(&self, device: &Device) -> Result<CausalLm, CheckpointError> {
        if !is_fused(device, DType::F32) || device.is_autodiff() {
            return self.load(device);
        }
        weights::load(self, CausalLm::new(&self.config()?, device), Load::AsStored)
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
            (None, true) => Load::AsStored,
            (None, false) => Load::Float32,
        };
        let model = weights::load(self, CausalLm::new(&self.config()?, device), how)?;
        Ok(model.freeze_except(&|_| false))
    }
}

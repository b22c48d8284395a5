//! Everything that a model brings, opened in one place.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use burn::tensor::Device;
use llm_data::{ChatTemplate, Tokenizer};
use llm_model::{CausalLm, ModelConfig};

use crate::{CheckpointError, GenerationDefaults, ModelSource, OtherParts, Quantize, write_atomic};

/// The name of the file in which a model directory, or that of an adapter, has its chat template.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// A model but for its weights, which are loaded from here: its configuration, its tokenizer with the chat template and the
/// tokens that end a text, and how its publisher wants tokens drawn.
#[derive(Debug)]
pub struct ModelFiles {
    source: ModelSource,
    /// What the model is.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How its publisher wants tokens drawn.
    pub generation: GenerationDefaults,
}

impl ModelFiles {
    /// Opens a model directory or a GGUF file, and reads everything but the weights.
    ///
    /// # Errors
    /// Those of [`load_config`](crate::load_config), [`load_tokenizer`](crate::load_tokenizer) and
    /// [`load_generation`](crate::load_generation).
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Self::of(ModelSource::open(path)?)
    }

    /// [`open`](Self::open), of a model of which the metadata is read already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of(source: ModelSource) -> Result<Self, CheckpointError> {
        let config = source.config()?;
        let tokenizer = source.tokenizer(&config)?;
        let generation = source.generation()?;
        Ok(Self { source, config, tokenizer, generation })
    }

    /// [`of`](Self::of), and the weights on `device` for inference. The tokenizer, which takes as long as the weights of a
    /// small model, is made beside them.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of [`load_model`](crate::load_model).
    pub fn with_weights(source: ModelSource, device: &Device) -> Result<(Self, CausalLm), CheckpointError> {
        let config = source.config()?;
        let (tokenizer, model) = thread::scope(|scope| {
            let tokenizer = scope.spawn(|| source.tokenizer(&config));
            let model = source.load_for_inference(device);
            (tokenizer.join().unwrap_or_else(|panic| resume_unwind(panic)), model)
        });
        let (tokenizer, model) = (tokenizer?, model?);
        let generation = source.generation()?;
        Ok((Self { source, config, tokenizer, generation }, model))
    }

    /// The directory or the file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// What of the model is not read: see [`ModelSource::other_parts`].
    ///
    /// # Errors
    /// Missing or damaged files of weights.
    pub fn other_parts(&self) -> Result<OtherParts, CheckpointError> {
        self.source.other_parts()
    }

    /// The model's chat template, if it has one.
    ///
    /// # Errors
    /// A template that cannot be understood.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, CheckpointError> {
        Ok(ChatTemplate::of(&self.tokenizer)?)
    }

    /// The chat template in a file, which is given the special tokens of this model.
    ///
    /// # Errors
    /// A file that is missing, or no template.
    pub fn chat_template_in(&self, path: &Path) -> Result<ChatTemplate, CheckpointError> {
        Ok(ChatTemplate::with_tokens_of(&self.tokenizer, &read_template(path)?)?)
    }

    /// The tokens that end an answer or a text: the one that ends a turn of `template` first, then the tokenizer's own.
    pub fn stop_tokens(&self, template: Option<&ChatTemplate>) -> Vec<u32> {
        let end = template.and_then(|template| template.end_of_turn(&self.tokenizer));
        let mut stops: Vec<u32> = end.into_iter().chain(self.tokenizer.eos_ids().iter().copied()).collect();
        stops.dedup();
        stops
    }

    /// The weights in float32: see [`ModelSource::load`].
    ///
    /// # Errors
    /// Those of [`load_model`](crate::load_model).
    pub fn load(&self, device: &Device) -> Result<CausalLm, CheckpointError> {
        self.source.load(device)
    }

    /// The weights for inference only: see [`ModelSource::load_for_inference`].
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_for_inference(&self, device: &Device) -> Result<CausalLm, CheckpointError> {
        self.source.load_for_inference(device)
    }

    /// The weights to stay as they are: see [`ModelSource::load_frozen`].
    ///
    /// # Errors
    /// Those of [`ModelSource::load_frozen`].
    pub fn load_frozen(&self, device: &Device, quantize: Option<Quantize>) -> Result<CausalLm, CheckpointError> {
        self.source.load_frozen(device, quantize)
    }
}

/// Writes the chat template in the file `from` into the model directory `to`.
///
/// # Errors
/// A file that cannot be read, and those of [`write_atomic`].
pub fn copy_chat_template(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let text = read_template(from)?;
    write_atomic(&to.join(CHAT_TEMPLATE), |file| file.write_all(text.as_bytes()))
}

fn read_template(path: &Path) -> Result<String, CheckpointError> {
    std::fs::read_to_string(path).map_err(|source| CheckpointError::TemplateFile { path: path.to_owned(), source })
}

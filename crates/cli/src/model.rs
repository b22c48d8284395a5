//! `--model`: where a model is, and everything that is read before its weights.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;
use llm_checkpoint::{GenerationDefaults, load_config, load_for_inference, load_generation, load_tokenizer};
use llm_data::{ChatTemplate, DataError, Tokenizer};
use llm_model::{CausalLm, ModelConfig};

use crate::error::CliError;
use crate::hub;
use crate::printer::Printer;

/// A model to use.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// The model: a directory, as `llm train --out` or Hugging Face makes it, a .gguf file, or ORG/NAME on the hub.
    ///
    /// A model of the hub is downloaded once, into the cache that other programs use as well; ORG/NAME@REVISION names
    /// a branch, tag or commit of it. A directory of that name goes before.
    #[arg(short, long, value_name = "MODEL")]
    model: String,

    /// Branch, tag or commit of a model on the hub [default: main].
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
}

/// A model without its weights.
#[derive(Debug)]
pub struct ModelFiles {
    path: PathBuf,
    /// What the model is.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How its publisher wants tokens drawn.
    pub generation: GenerationDefaults,
}

impl ModelArgs {
    /// Where the model's files are, downloaded if need be.
    pub fn locate(&self, printer: Printer) -> Result<PathBuf, CliError> {
        locate(&self.model, self.revision.as_deref(), printer)
    }

    /// The model, but for its weights.
    pub fn open(&self, printer: Printer) -> Result<ModelFiles, CliError> {
        let path = self.locate(printer)?;
        let config = load_config(&path)?;
        let tokenizer = load_tokenizer(&path, &config)?;
        let generation = load_generation(&path)?;
        Ok(ModelFiles { path, config, tokenizer, generation })
    }
}

/// Where the files of `model` are: it is a path, or else the name of a model on the hub, which is downloaded if need be.
pub fn locate(model: &str, revision: Option<&str>, printer: Printer) -> Result<PathBuf, CliError> {
    let path = PathBuf::from(model);
    match (path.exists(), revision) {
        (false, revision) => hub::download(model, revision, printer),
        (true, None) => Ok(path),
        (true, Some(_)) => Err(CliError::LocalRevision { path }),
    }
}

impl ModelFiles {
    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model with its weights on `device`, for inference only.
    pub fn load(&self, device: &Device) -> Result<CausalLm, CliError> {
        Ok(load_for_inference(&self.path, device)?)
    }

    /// Its chat template, if it has one.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, DataError> {
        ChatTemplate::of(&self.tokenizer)
    }
}

//! `--model`: where a model is, and everything that is read before its weights.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use burn::tensor::Device;
use clap::Args;
use llm_checkpoint::{GenerationDefaults, ModelSource, OtherParts};
use llm_data::{ChatTemplate, DataError, Tokenizer};
use llm_model::{CausalLm, ModelConfig};
use llm_train::FinetuneSection;

use crate::adapters::AdapterArgs;
use crate::error::CliError;
use crate::hub;
use crate::numbers::grouped;
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
    source: ModelSource,
    /// What the model is.
    pub config: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How its publisher wants tokens drawn.
    pub generation: GenerationDefaults,
}

impl ModelArgs {
    /// What was typed.
    pub fn name(&self) -> &str {
        &self.model
    }

    /// Where the model's files are, downloaded if need be.
    pub fn locate(&self, printer: Printer) -> Result<PathBuf, CliError> {
        locate(&self.model, self.revision.as_deref(), printer)
    }

    /// The model's files, of which nothing but a GGUF file's header is read.
    pub fn source(&self, printer: Printer) -> Result<ModelSource, CliError> {
        open(&self.locate(printer)?, printer)
    }

    /// The model, but for its weights.
    pub fn open(&self, printer: Printer) -> Result<ModelFiles, CliError> {
        ModelFiles::read(self.source(printer)?)
    }
}

/// The model at `path`, of which nothing but a GGUF file's header is read. Says what of it will not be read.
pub fn open(path: &Path, printer: Printer) -> Result<ModelSource, CliError> {
    let source = ModelSource::open(path)?;
    let OtherParts { tensors, parameters } = source.other_parts()?;
    if tensors > 0 {
        let (tensors, parameters) = (grouped(tensors as u64), grouped(parameters as u64));
        printer.note(format_args!(
            "reading the text part only: {tensors} tensors of other parts ({parameters} parameters) are left out"
        ));
    }
    Ok(source)
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
    /// Reads everything but the weights.
    pub fn read(source: ModelSource) -> Result<Self, CliError> {
        let config = source.config()?;
        let tokenizer = source.tokenizer(&config)?;
        let generation = source.generation()?;
        Ok(Self { source, config, tokenizer, generation })
    }

    /// Reads everything, with the weights on `device` for inference only. The tokenizer, which takes as long as the weights
    /// of a small model, is made beside them.
    pub fn read_with_weights(source: ModelSource, device: &Device) -> Result<(Self, CausalLm), CliError> {
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

    /// The tokens that end an answer or a text: the one that ends a turn of its chat template first, then the
    /// tokenizer's own.
    pub fn stop_tokens(&self, template: Option<&ChatTemplate>) -> Vec<u32> {
        let end = template.and_then(|template| template.end_of_turn(&self.tokenizer));
        let mut stops: Vec<u32> = end.into_iter().chain(self.tokenizer.eos_ids().iter().copied()).collect();
        stops.dedup();
        stops
    }

    /// The model on the autodiff device of `device`, to train as `section` says.
    pub fn load_to_train(&self, device: &Device, section: &FinetuneSection) -> Result<CausalLm, CliError> {
        let device = device.clone().autodiff();
        let adapts = section.method_for(&self.config).adapts();
        Ok(if adapts { self.source.load_frozen(&device, section.quantize)? } else { self.source.load(&device)? })
    }

    /// The model with its weights on `device`, for inference only.
    pub fn load(&self, device: &Device) -> Result<CausalLm, CliError> {
        Ok(self.source.load_for_inference(device)?)
    }

    /// The chat template in the file `given`, or the model's own, or else that of one of its adapters.
    pub fn template(&self, given: Option<&Path>, adapters: &AdapterArgs) -> Result<Option<ChatTemplate>, CliError> {
        let path = if let Some(path) = given {
            path.to_owned()
        } else if let Some(template) = self.chat_template()? {
            return Ok(Some(template));
        } else if let Some(path) = adapters.chat_template() {
            path
        } else {
            return Ok(None);
        };
        let source = std::fs::read_to_string(&path).map_err(|source| CliError::TemplateFile { path, source })?;
        Ok(Some(ChatTemplate::with_tokens_of(&self.tokenizer, &source)?))
    }

    /// Its chat template, if it has one.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, DataError> {
        ChatTemplate::of(&self.tokenizer)
    }
}

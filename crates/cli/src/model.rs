//! `--model`: where a model is, and everything that is read before its weights.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;
use llm_checkpoint::{ModelFiles, ModelSource, OtherParts};
use llm_data::ChatTemplate;
use llm_model::CausalLm;
use llm_train::FinetuneSection;

use crate::adapters::AdapterArgs;
use crate::error::CliError;
use crate::hub;
use crate::numbers::grouped;
use crate::printer::Printer;

/// A model to use.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// The model: a directory, as from `llm train --out` or Hugging Face, a .gguf file, or ORG/NAME on the hub.
    ///
    /// A model on the hub is downloaded once, to the shared Hugging Face cache; ORG/NAME@REVISION selects a branch, tag
    /// or commit. A directory of that name takes precedence.
    #[arg(short, long, value_name = "MODEL")]
    model: String,

    /// Branch, tag or commit of a model on the hub [default: main].
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
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
        Ok(ModelFiles::of(self.source(printer)?)?)
    }
}

/// The model at `path`, of which nothing but a GGUF file's header is read. Says what of it will not be read.
pub fn open(path: &Path, printer: Printer) -> Result<ModelSource, CliError> {
    let source = ModelSource::open(path)?;
    let OtherParts { tensors, parameters } = source.other_parts()?;
    if tensors > 0 {
        let (tensors, parameters) = (grouped(tensors as u64), grouped(parameters as u64));
        printer.note(format_args!(
            "reading the text part only: {tensors} tensors of other parts ({parameters} parameters) are skipped"
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

/// The model on the autodiff device of `device`, to train as `section` says.
pub fn load_to_train(files: &ModelFiles, device: &Device, section: &FinetuneSection) -> Result<CausalLm, CliError> {
    let device = device.clone().autodiff();
    let adapts = section.method_for(&files.config).adapts();
    Ok(if adapts { files.load_frozen(&device, section.quantize)? } else { files.load(&device)? })
}

/// The chat template in the file `given`, or the model's own, or else that of one of its adapters.
pub fn template(
    files: &ModelFiles,
    given: Option<&Path>,
    adapters: &AdapterArgs,
) -> Result<Option<ChatTemplate>, CliError> {
    if let Some(path) = given {
        return Ok(Some(files.chat_template_in(path)?));
    }
    if let Some(template) = files.chat_template()? {
        return Ok(Some(template));
    }
    Ok(adapters.chat_template().map(|path| files.chat_template_in(&path)).transpose()?)
}

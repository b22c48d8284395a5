//! `llm inspect`: what a model is made of, what its weights are, and what it gives for some tokens.

pub mod logits;
mod tree;
mod weights;

use std::io;
use std::path::{Path, PathBuf};

use anstream::ColorChoice;
use burn::tensor::Device;
use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Table};
use llm_checkpoint::{load_config, load_model};
use llm_model::{CausalLm, ModelConfig};

use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::printer::Printer;

/// What `llm inspect` can look at.
#[derive(Debug, Subcommand)]
pub enum InspectCommand {
    /// Show the modules of a model with shapes and numbers of parameters.
    Model(tree::ModelArgs),
    /// Show mean, spread, range and norm of every weight tensor.
    Weights(weights::WeightsArgs),
    /// Show what a model gives for some tokens: the likeliest next ones, or all logits as JSON.
    Logits(logits::LogitsArgs),
}

pub fn run(command: &InspectCommand, printer: Printer) -> Result<(), CliError> {
    match command {
        InspectCommand::Model(args) => tree::run(args),
        InspectCommand::Weights(args) => weights::run(args, printer),
        InspectCommand::Logits(args) => logits::run(args, printer),
    }
}

/// A model to load.
#[derive(Debug, Args)]
struct LoadArgs {
    /// Directory of the model, as `llm train --out` or Hugging Face makes it, or a .gguf file.
    #[arg(short, long, value_name = "DIR|GGUF")]
    model: PathBuf,

    #[command(flatten)]
    device: DeviceArgs,
}

impl LoadArgs {
    fn load(&self, printer: Printer) -> Result<(CausalLm, ModelConfig, Device), CliError> {
        let config = load_config(&self.model)?;
        let device = self.device.open(printer)?.device;
        Ok((load_model(&self.model, &device)?, config, device))
    }

    fn dir(&self) -> &Path {
        &self.model
    }
}

/// A table without lines, its titles in bold where stdout shows colours.
fn table<const N: usize>(titles: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if anstream::AutoStream::choice(&io::stdout()) == ColorChoice::Never {
        table.force_no_tty();
    } else {
        table.enforce_styling();
    }
    table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table
}

/// `8192 × 256`.
fn shape_text(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_read_as_products() {
        assert_eq!(shape_text(&[8192, 256]), "8192 × 256");
    }
}

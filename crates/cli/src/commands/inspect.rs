//! `llm inspect`: what a model is made of, what its weights are, and what it gives for some tokens.

mod logits;
mod tree;
mod weights;

use std::io;

use anstream::ColorChoice;
use burn::tensor::Device;
use clap::{Args, Subcommand};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, Table};
use llm_checkpoint::ModelSource;
use llm_model::CausalLm;

use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::model::ModelArgs;
use crate::printer::Printer;

/// What `llm inspect` can look at.
#[derive(Debug, Subcommand)]
pub enum InspectCommand {
    /// Show the modules of a model with shapes and parameter counts.
    Model(tree::TreeArgs),
    /// Show mean, spread, range and norm of every weight tensor.
    Weights(weights::WeightsArgs),
    /// Show a model's most likely next tokens, or all logits as JSON.
    Logits(logits::LogitsArgs),
}

pub fn run(command: &InspectCommand, printer: Printer) -> Result<(), CliError> {
    match command {
        InspectCommand::Model(args) => tree::run(args, printer),
        InspectCommand::Weights(args) => weights::run(args, printer),
        InspectCommand::Logits(args) => logits::run(args, printer),
    }
}

/// A model to load.
#[derive(Debug, Args)]
struct LoadArgs {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

impl LoadArgs {
    /// The model in float32, and where it is.
    fn load(&self, printer: Printer) -> Result<(CausalLm, ModelSource, Device), CliError> {
        let source = self.model.source(printer)?;
        source.config()?; // before a device is looked for
        let device = self.device.open(printer)?.device;
        Ok((source.load(&device)?, source, device))
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

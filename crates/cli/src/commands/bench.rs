use std::io::Write;
use std::process::Command;

use clap::{Args, Subcommand};
use llm_model::Precision;
use llm_train::bench::{PRESETS, Preset, bench_train};

use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::printer::{Printer, stdout};

/// The commands under `llm bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure training steps; prints one JSON object a line.
    Train(BenchTrainArgs),
}

/// What `llm bench train` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm bench train --preset small --preset baby --device cpu --steps 20")]
pub struct BenchTrainArgs {
    /// Shape of the model and its batch (may be given several times) [default: all].
    #[arg(long, value_name = "NAME", value_parser = ["small", "baby", "gpt2"])]
    preset: Vec<String>,

    /// Steps that are measured, after three to warm up.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Number type of the matrix products.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = ["f32", "f16", "bf16"])]
    precision: String,

    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(command: &BenchCommand, printer: Printer) -> Result<(), CliError> {
    let BenchCommand::Train(args) = command;
    let wanted = |preset: &&Preset| args.preset.is_empty() || args.preset.iter().any(|name| name == preset.name);
    let presets: Vec<&Preset> = PRESETS.iter().filter(wanted).collect();
    match presets.as_slice() {
        [preset] => measure(preset, args, printer),
        presets => presets.iter().try_for_each(|preset| measure_apart(preset, args, printer)),
    }
}

fn measure(preset: &Preset, args: &BenchTrainArgs, printer: Printer) -> Result<(), CliError> {
    let device = args.device.open(printer)?;
    let precision = match args.precision.as_str() {
        "f16" => Precision::F16,
        "bf16" => Precision::Bf16,
        _ => Precision::F32,
    };
    let record = bench_train(preset, &device.device, &device.name, precision, args.steps)?;
    let line = serde_json::to_string(&record).map_err(std::io::Error::other)?;
    writeln!(stdout(), "{line}")?;
    Ok(())
}

/// Measures in a process of its own, so that the peak memory is that of one preset.
fn measure_apart(preset: &Preset, args: &BenchTrainArgs, printer: Printer) -> Result<(), CliError> {
    let status = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .args(["bench", "train", "--preset", preset.name, "--precision", &args.precision])
            .args(printer.is_quiet().then_some("--quiet"))
            .args(["--steps", &args.steps.to_string(), "--device", &args.device.device.to_string()])
            .status()
    });
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(CliError::Bench { preset: preset.name, reason: status.to_string() }),
        Err(error) => Err(CliError::Bench { preset: preset.name, reason: error.to_string() }),
    }
}

use std::io::Write;
use std::process::Command;

use clap::{Args, Subcommand};
use llm_model::Precision;
use llm_train::bench::{BenchOptions, BenchRecord, PRESETS, Preset, bench_train};

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

    /// Sequences a step, instead of the preset's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,

    /// Tokens of a sequence, instead of the preset's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context_length: Option<u32>,

    /// Compute activations anew in the backward pass, as `train.recompute` does.
    #[arg(long)]
    recompute: bool,

    /// Also tell where the time goes: a table of the fused operations of the CPU.
    #[arg(long)]
    profile: bool,

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
    let precision = match args.precision.as_str() {
        "f16" => Precision::F16,
        "bf16" => Precision::Bf16,
        _ => Precision::F32,
    };
    let device = args.device.open_to_train(precision, printer)?;
    let preset = Preset {
        batch: args.batch_size.map_or(preset.batch, |n| n as usize),
        context: args.context_length.map_or(preset.context, |n| n as usize),
        ..*preset
    };
    let with = BenchOptions { profile: args.profile, recompute: args.recompute };
    let record = bench_train(&preset, &device.device, &device.name, precision, args.steps, with)?;
    let line = serde_json::to_string(&record).map_err(std::io::Error::other)?;
    writeln!(stdout(), "{line}")?;
    if args.profile { print_profile(&record) } else { Ok(()) }
}

/// One line an operation, and the sum. "at best" is the time at the matrix-multiply peak or the memory's bandwidth.
fn print_profile(record: &BenchRecord) -> Result<(), CliError> {
    let mut out = stdout();
    writeln!(
        out,
        "\n{:<26} {:>7} {:>10} {:>7} {:>10} {:>9} {:>7}",
        "operation", "calls", "ms a step", "share", "at best", "GFLOP/s", "GB/s"
    )?;
    for r in &record.profile {
        let share = 100.0 * r.ms / record.ms_per_step;
        write!(out, "{:<26} {:>7.0} {:>10.2} {share:>5.1} %", r.operation, r.calls, r.ms)?;
        let rate = |amount: f64| if amount > 0.0 { format!("{:.1}", amount / r.ms * 1e3) } else { String::new() };
        let best = if r.best_ms > 0.0 { format!("{:.2}", r.best_ms) } else { String::new() };
        writeln!(out, " {best:>10} {:>9} {:>7}", rate(r.gflop), rate(r.gb))?;
    }
    let best: f64 = record.profile.iter().map(|r| r.best_ms).sum();
    writeln!(out, "{:<26} {:>7} {:>10.2} {:>7} {best:>10.2}", "a step", "", record.ms_per_step, "")?;
    Ok(())
}

/// Measures in a process of its own, so that the peak memory is that of one preset.
fn measure_apart(preset: &Preset, args: &BenchTrainArgs, printer: Printer) -> Result<(), CliError> {
    let status = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .args(["bench", "train", "--preset", preset.name, "--precision", &args.precision])
            .args(args.profile.then_some("--profile"))
            .args(args.recompute.then_some("--recompute"))
            .args(args.batch_size.map(|n| format!("--batch-size={n}")))
            .args(args.context_length.map(|n| format!("--context-length={n}")))
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

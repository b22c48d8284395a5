use std::process::Command;

use clap::{Args, Subcommand};
use llm_checkpoint::{Quantize, load_frozen, load_model};
use llm_model::{LoraConfig, Precision};
use llm_train::bench::{BenchOptions, BenchRecord, PRESETS, Preset, Shape, bench_model, bench_train};
use llm_train::{ConfigFile, FinetuneConfig, Method};

use crate::device::{DeviceArgs, PRECISIONS};
use crate::error::CliError;
use crate::model::locate;
use crate::printer::{Printer, stdout};

/// The commands under `llm bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure training steps; prints one JSON object per line.
    Train(BenchTrainArgs),
    /// Measure fine-tuning steps; prints one JSON object.
    Finetune(BenchFinetuneArgs),
}

/// What `llm bench train` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm bench train --preset small --preset baby --device cpu --steps 20")]
pub struct BenchTrainArgs {
    /// Model and batch shape (repeatable) [default: all].
    #[arg(long, value_name = "NAME", value_parser = ["small", "baby", "gpt2"])]
    preset: Vec<String>,

    /// Number of measured steps, after three warmup steps.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Precision of matrix products.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = PRECISIONS)]
    precision: String,

    /// Sequences per step, instead of the preset's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,

    /// Tokens per sequence, instead of the preset's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context_length: Option<u32>,

    /// Recompute activations in the backward pass, as `train.recompute` does.
    #[arg(long)]
    recompute: bool,

    /// Also print where the time goes: a table of the fused CPU operations.
    #[arg(long)]
    profile: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What `llm bench finetune` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm bench finetune --model HuggingFaceTB/SmolLM2-135M --method lora --profile")]
pub struct BenchFinetuneArgs {
    /// The model: a directory, a .gguf file, or ORG/NAME on the hub.
    #[arg(short, long, value_name = "MODEL")]
    model: String,

    /// What to train: a LoRA adapter, a DoRA adapter, or all weights.
    #[arg(long, value_name = "METHOD", default_value = "lora", value_parser = ["lora", "dora", "full"])]
    method: String,

    /// Hold the frozen linear layers in 8 or 4 bits (q8 or q4).
    #[arg(long, value_name = "BITS")]
    quantize: Option<Quantize>,

    /// Rank of the adapter.
    #[arg(long, value_name = "R", default_value_t = 8)]
    rank: usize,

    /// Sequences per step.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,

    /// Tokens per sequence.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    context_length: u32,

    /// Number of measured steps, after three warmup steps.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Also print where the time goes: a table of the fused CPU operations.
    #[arg(long)]
    profile: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(command: &BenchCommand, printer: Printer) -> Result<(), CliError> {
    match command {
        BenchCommand::Train(args) => train(args, printer),
        BenchCommand::Finetune(args) => finetune(args, printer),
    }
}

fn finetune(args: &BenchFinetuneArgs, printer: Printer) -> Result<(), CliError> {
    let mut config = FinetuneConfig::default();
    config.finetune.method = Some(if args.method == "full" { Method::Full } else { Method::Lora });
    config.finetune.quantize = args.quantize;
    config.validate()?;
    let path = locate(&args.model, None, printer)?;
    let device = args.device.open_to_train(Precision::F32, printer)?;
    let autodiff = device.device.clone().autodiff();
    let lora = LoraConfig { rank: args.rank, dora: args.method == "dora", ..LoraConfig::default() };
    let (name, model) = match args.method.as_str() {
        "full" => ("full", load_model(&path, &autodiff)?),
        "dora" => ("dora", load_frozen(&path, &autodiff, args.quantize)?.with_lora(&lora, 1)?),
        _ => ("lora", load_frozen(&path, &autodiff, args.quantize)?.with_lora(&lora, 1)?),
    };
    let shape = Shape { name, batch: args.batch_size as usize, context: args.context_length as usize };
    let with = BenchOptions { profile: args.profile, recompute: false };
    let mut record = bench_model(model, shape, &device.device, &device.name, Precision::F32, args.steps, with)?;
    record.quantize = args.quantize;
    print(&record)
}

fn train(args: &BenchTrainArgs, printer: Printer) -> Result<(), CliError> {
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
    print(&record)
}

fn print(record: &BenchRecord) -> Result<(), CliError> {
    writeln!(stdout(), "{}", serde_json::json!(record))?;
    if record.profile.is_empty() { Ok(()) } else { print_profile(record) }
}

/// One line per operation, and the sum. "at best" is the time at the matrix-multiply peak or the memory's bandwidth.
fn print_profile(record: &BenchRecord) -> Result<(), CliError> {
    let mut out = stdout();
    writeln!(
        out,
        "\n{:<26} {:>7} {:>10} {:>7} {:>10} {:>9} {:>7}",
        "operation", "calls", "ms per step", "share", "at best", "GFLOP/s", "GB/s"
    )?;
    for r in &record.profile {
        let share = 100.0 * r.ms / record.ms_per_step;
        write!(out, "{:<26} {:>7.0} {:>10.2} {share:>5.1} %", r.operation, r.calls, r.ms)?;
        let rate = |amount: f64| if amount > 0.0 { format!("{:.1}", amount / r.ms * 1e3) } else { String::new() };
        let best = if r.best_ms > 0.0 { format!("{:.2}", r.best_ms) } else { String::new() };
        writeln!(out, " {best:>10} {:>9} {:>7}", rate(r.gflop), rate(r.gb))?;
    }
    let best: f64 = record.profile.iter().map(|r| r.best_ms).sum();
    writeln!(out, "{:<26} {:>7} {:>10.2} {:>7} {best:>10.2}", "per step", "", record.ms_per_step, "")?;
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

use clap::Args;
use llm_train::{Forecast, Measurement};

use super::train::ConfigArgs;
use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::numbers::{duration, grouped};
use crate::printer::{Printer, stdout};
use crate::progress::PreparationBar;
use crate::training_view::plan_lines;

/// What `llm plan` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm plan -c configs/llama-small.toml --set train.micro_batch_size=4")]
pub struct PlanArgs {
    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &PlanArgs, printer: Printer) -> Result<(), CliError> {
    let config = args.config.resolve(None)?;
    let device = args.device.open_to_train(config.train.precision, printer)?;
    let mut bar = PreparationBar::new(printer);
    let forecast = Forecast::new(&config, &device.device, &device.name, &mut |progress| bar.update(progress))?;
    drop(bar);
    print_sizes(&forecast)?;
    printer.note("measuring a few steps");
    let measurement = forecast.measure(&config, &device.device)?;
    print_time(&measurement, forecast.flops_per_token)
}

fn print_sizes(forecast: &Forecast) -> Result<(), CliError> {
    let mut out = stdout();
    let plan = &forecast.plan;
    writeln!(out, "parameters")?;
    for part in &forecast.parameters {
        let share = 100.0 * part.count as f64 / plan.parameters.max(1) as f64;
        writeln!(out, "  {:<22} {:>15}  {share:>5.1} %", part.part, grouped(part.count as u64))?;
    }
    writeln!(out, "  {:<22} {:>15}", "total", grouped(plan.parameters as u64))?;

    let memory = forecast.memory;
    writeln!(out, "\nmemory, from the shapes (MiB)")?;
    for (name, bytes) in [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("activations, at most", memory.activations),
        ("total, at most", memory.total()),
    ] {
        writeln!(out, "  {name:<22} {:>15.1}", bytes as f64 / f64::from(1 << 20))?;
    }
    writeln!(out)?;
    Ok(())
}

fn print_time(measurement: &Measurement, flops_per_token: f64) -> Result<(), CliError> {
    let mut out = stdout();
    let plan = &measurement.plan;
    for line in plan_lines(plan) {
        writeln!(out, "{line}")?;
    }
    let seconds = plan.seconds_per_step;
    writeln!(out, "\nmeasured on a few steps")?;
    writeln!(out, "  {:<22} {:>15.1}", "ms per step", seconds * 1e3)?;
    writeln!(out, "  {:<22} {:>15}", "tokens per second", grouped((plan.tokens_per_step() as f64 / seconds) as u64))?;
    writeln!(out, "  {:<22} {:>15.2}", "MFLOP per token", flops_per_token / 1e6)?;
    writeln!(out, "  {:<22} {:>14.1} %", "of the device's peak", 100.0 * measurement.utilization)?;
    if let Some(mib) = measurement.mib {
        writeln!(out, "  {:<22} {mib:>15}", "MiB, on the host")?;
    }
    writeln!(out, "  {:<22} {:>15}", "time to finish", duration(plan.seconds()))?;
    Ok(())
}

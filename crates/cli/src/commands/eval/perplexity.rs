use clap::Args;
use serde_json::json;

use crate::adapters::AdapterArgs;
use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::measure::{MeasureArgs, MeasureView};
use crate::model::ModelArgs;
use crate::numbers::grouped;
use crate::printer::{Printer, stdout};

const EXAMPLES: &str = "Examples:
  llm eval perplexity --model runs/mine --data valid.txt
  llm eval perplexity --model org/name --data qa.jsonl --json";

/// What `llm eval perplexity` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PerplexityArgs {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    adapters: AdapterArgs,

    #[command(flatten)]
    data: MeasureArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print one JSON object: loss, perplexity, bits_per_byte, tokens, bytes.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &PerplexityArgs, printer: Printer) -> Result<(), CliError> {
    let files = args.model.open(printer)?;
    // What is wrong with the data is said before the model is loaded.
    let mut view = MeasureView::new(printer);
    let data = args.data.data().read(&files, &mut |event| view.show(event))?;
    let device = args.device.open(printer)?.device;
    let model = args.adapters.apply(files.load_for_inference(&device)?, printer)?;
    let score = data.score(&model, &device, &mut |event| view.show(event));
    let mut out = stdout();
    if args.json {
        let mut all = json!({ "model": files.path().display().to_string(), "data": args.data.name() });
        if let (Some(all), Some(score)) = (all.as_object_mut(), score.json().as_object_mut()) {
            all.append(score);
        }
        writeln!(out, "{all}")?;
        return Ok(());
    }
    writeln!(out, "loss           {:.4} nats per token", score.loss)?;
    writeln!(out, "perplexity     {:.4}", score.perplexity())?;
    writeln!(out, "bits per byte  {:.4}", score.bits_per_byte())?;
    let [tokens, bytes] = [score.tokens, score.bytes].map(|n| grouped(n as u64));
    writeln!(out, "over           {tokens} tokens, {bytes} bytes")?;
    Ok(())
}

use std::fs;
use std::path::PathBuf;

use clap::Args;
use llm_checkpoint::{copy_chat_template, copy_generation, save_model_as};

use super::convert::DirectoryType;
use crate::adapters::AdapterArgs;
use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::model::ModelArgs;
use crate::printer::{Printer, stdout};

/// What `llm merge` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: llm merge --model HuggingFaceTB/SmolLM2-135M --adapter-path runs/medical --out merged"
)]
pub struct MergeArgs {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    adapters: AdapterArgs,

    /// Output directory, for the merged model and its tokenizer.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Data type of the stored weights.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = DirectoryType::F32)]
    dtype: DirectoryType,

    /// Overwrite existing files.
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &MergeArgs, printer: Printer) -> Result<(), CliError> {
    if args.adapters.adapter_path.is_empty() {
        return Err(CliError::NothingToMerge);
    }
    if (args.out.join("config.json").exists() || args.out.is_file()) && !args.overwrite {
        return Err(CliError::Occupied { path: args.out.clone() });
    }
    let files = args.model.open(printer)?;
    let device = args.device.open(printer)?.device;
    let merged = args.adapters.apply(files.load(&device)?, printer)?.merge_lora();
    save_model_as(&args.out, &merged, &files.tokenizer, args.dtype.dtype())?;
    copy_generation(files.path(), &args.out)?;
    if let Some(template) =
        args.adapters.chat_template().filter(|_| files.tokenizer.config().get("chat_template").is_none())
    {
        copy_chat_template(&template, &args.out)?;
    }
    let megabytes = fs::metadata(args.out.join("model.safetensors")).map_or(0.0, |file| file.len() as f64 / 1e6);
    writeln!(stdout(), "{}: {megabytes:.1} MB", args.out.display())?;
    Ok(())
}

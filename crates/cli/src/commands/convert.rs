use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::{Args, ValueEnum};
use llm_checkpoint::{Dtype, ModelFiles, TensorType, copy_generation, is_gguf_name, save_gguf, save_model_as};
use llm_data::Tokenizer;
use llm_eval::Agreement;
use llm_model::CausalLm;

use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::model::{locate, open};
use crate::numbers::grouped;
use crate::printer::{Printer, stdout};

/// What both models are given in the check.
const TEXT: &str = "Once upon a time there was a small town by the sea. In 1848, 137 people lived there: fishermen, bakers \
                    and a teacher who said, \"It's never too late to learn!\"\n\nfn main() { println!(\"{}\", 3 * 7); }\n\
                    Äpfel, cafés and π ≈ 3.14159 — everything that one can write about.";

const EXAMPLES: &str = "Examples:
  llm convert runs/mine mine.gguf
  llm convert runs/mine mine.q4.gguf --type q4_k
  llm convert mine.gguf mine-again --dtype bf16";

/// What `llm convert` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ConvertArgs {
    /// The model: a directory, as from `llm train --out` or Hugging Face, a .gguf file, or ORG/NAME on the hub.
    #[arg(value_name = "SRC")]
    source: String,

    /// Output: a file if it ends in .gguf, else a directory.
    #[arg(value_name = "DST")]
    target: PathBuf,

    /// Data type of the weights in a directory [default: f32].
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<DirectoryType>,

    /// Type of the matrices in a .gguf file; everything else is float32 [default: f16].
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<GgufType>,

    /// Overwrite existing files.
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

/// How a directory stores weights.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DirectoryType {
    F32,
    F16,
    Bf16,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GgufType {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k")]
    Q4K,
}

impl GgufType {
    fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::Bf16 => TensorType::Bf16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q4_0 => TensorType::Q4_0,
            Self::Q4K => TensorType::Q4K,
        }
    }
}

impl DirectoryType {
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::Bf16,
        }
    }
}

pub fn run(args: &ConvertArgs, printer: Printer) -> Result<(), CliError> {
    let target = &args.target;
    let to_gguf = is_gguf_name(target);
    check_options(args, to_gguf)?;
    let path = locate(&args.source, None, printer)?;
    let files = ModelFiles::of(open(&path, printer)?)?;
    let device = args.device.open(printer)?.device;
    let model = files.load(&device)?;
    // Closes the source, as the target may be the same file.
    let tokenizer = { files }.tokenizer;
    if to_gguf {
        let kind = args.kind.unwrap_or(GgufType::F16).tensor_type();
        for note in save_gguf(target, &model, Some(&tokenizer), kind)? {
            printer.note(format_args!("note: {note}"));
        }
    } else {
        save_model_as(target, &model, &tokenizer, args.dtype.unwrap_or(DirectoryType::F32).dtype())?;
        copy_generation(&path, target)?;
    }
    let weights = if to_gguf { target.clone() } else { target.join("model.safetensors") };
    let megabytes = fs::metadata(&weights).map_or(0.0, |metadata| metadata.len() as f64 / 1e6);
    writeln!(stdout(), "{}: {megabytes:.1} MB", target.display())?;
    check(&model, &tokenizer, target, &device, printer)
}

fn check_options(args: &ConvertArgs, to_gguf: bool) -> Result<(), CliError> {
    let other = |option, what, instead| CliError::OtherKind { option, what, path: args.target.clone(), instead };
    match (to_gguf, args.dtype, args.kind) {
        (true, Some(_), _) => return Err(other("--dtype", "a directory", "--type")),
        (false, _, Some(_)) => return Err(other("--type", "a .gguf file", "--dtype")),
        _ => {}
    }
    let taken = args.target.join("config.json").exists() || args.target.is_file();
    if taken && !args.overwrite { Err(CliError::Occupied { path: args.target.clone() }) } else { Ok(()) }
}

/// Loads the result and says how far its logits are from the source's.
fn check(
    source: &CausalLm,
    tokenizer: &Tokenizer,
    target: &Path,
    device: &Device,
    printer: Printer,
) -> Result<(), CliError> {
    let written = ModelFiles::open(target)?;
    let result = written.load(device)?;
    let ids = tokenizer.encode_prompt(TEXT)?;
    if written.tokenizer.encode_prompt(TEXT)? != ids {
        printer.warn(format_args!("the tokenizer of {} splits the check's text differently", target.display()));
    }
    let Agreement { difference, largest, agreeing, positions } = Agreement::of([source, &result], &ids, device)?;
    let mut out = stdout();
    writeln!(out, "largest logit difference: {difference:.3e} (logits reach {largest:.1})")?;
    writeln!(out, "same most probable token: {agreeing} of {} positions", grouped(positions as u64))?;
    Ok(())
}

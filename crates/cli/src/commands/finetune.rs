use std::path::{Path, PathBuf};

use clap::Args;
use llm_checkpoint::Quantize;
use llm_data::{Corpus, DataSection, TrainOn};
use llm_train::{ConfigFile, FinetuneConfig, TrainError};

use crate::device::{DeviceArgs, PRECISIONS};
use crate::error::CliError;
use crate::input::key_value;
use crate::printer::Printer;
use crate::tuning::{MethodName, Start};

const EXAMPLES: &str = "Examples:
  llm finetune --model runs/base --data qa.jsonl --out runs/qa
  llm finetune --model org/name --data folder/ --rank 16 --out runs/adapter
  llm finetune --model runs/qa --data preferences.jsonl --method dpo --out runs/aligned
  llm finetune --out runs/qa --resume          go on after Ctrl-C or a kill
What is learned, token by token: llm data check qa.jsonl --model runs/base";

/// What `llm finetune` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FinetuneArgs {
    /// Configuration file; flags go before what it says.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The model to begin from: a directory, a .gguf file, or ORG/NAME on the hub (ORG/NAME@REVISION for one of its
    /// versions).
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,

    /// Samples: .jsonl and .json files, also with .gz or .zst, or folders with train.jsonl, valid.jsonl and test.jsonl; or
    /// plain text: .txt and .md.
    ///
    /// A sample has `messages`, or `instruction`, `input` and `output`, or `prompt` and `completion`, or `text`; for
    /// --method dpo `prompt`, `chosen` and `rejected`.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,

    /// The run directory: adapter or model, metrics, checkpoints [default: runs/NAME-METHOD, after the data].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Go on with the run in --out.
    #[arg(long)]
    resume: bool,

    /// What is trained [default: lora for models above 50 million parameters and with --quantize, else full].
    #[arg(long, value_enum)]
    method: Option<MethodName>,

    /// Blocks that --method head trains, counted from the last [default: 2].
    #[arg(long, value_name = "N")]
    layers: Option<usize>,

    /// Share of the samples that is set aside to validate on, where there is no file for it; 0 for none [default: 0.05].
    #[arg(long, value_name = "SHARE")]
    valid_fraction: Option<f64>,

    /// Which tokens of a conversation are learned: all answers, the last one, or everything [default: all].
    #[arg(long, value_name = "PART")]
    train_on: Option<TrainOn>,

    /// Most tokens of a sample; longer ones are left out, or cut with --truncate [default: the model's context].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,

    /// Cut longer samples at their end instead of leaving them out.
    #[arg(long)]
    truncate: bool,

    /// One sample a row, instead of as many as fit.
    #[arg(long)]
    no_packing: bool,

    /// Rank of the adapter [default: 8].
    #[arg(long, value_name = "N")]
    rank: Option<usize>,

    /// The adapter's addition is multiplied by ALPHA over the rank [default: 16].
    #[arg(long, value_name = "ALPHA")]
    alpha: Option<f64>,

    /// Hold the frozen linear layers in 8 or 4 bits (q8 or q4): less memory, a little less precise.
    ///
    /// For --method lora and dpo. Each 32 values share a scale. Embeddings, norms and the head stay as they are, and so
    /// do blocks of a .gguf file that have no more bits. The adapter is one for the model as it is, not as it is rounded.
    #[arg(long, value_name = "BITS")]
    quantize: Option<Quantize>,

    /// Passes over the samples [default: 3].
    #[arg(long, value_name = "N", conflicts_with = "max_steps")]
    epochs: Option<f64>,

    /// Steps of the optimizer, instead of --epochs.
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,

    /// Rows a step [default: 4].
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Height of the learning rate [default: 2e-4].
    #[arg(long, value_name = "LR")]
    lr: Option<f64>,

    /// Number type of the matrix products: f32, f16 or bf16, as far as the device has it.
    #[arg(long, value_name = "TYPE", value_parser = PRECISIONS, hide_possible_values = true)]
    precision: Option<String>,

    /// Decides the split, the adapter's first weights, the order of the samples and dropout.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Any key of the configuration, for example lora.dora=true or preference.loss=ipo (may be given several times).
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,

    /// Old data, to measure what is forgotten: texts as `llm train` takes them, or samples as --data does.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    keep: Vec<PathBuf>,

    /// Write event files for TensorBoard too, in training/tensorboard.
    #[arg(long)]
    tensorboard: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

/// Puts what was given into its place.
fn put<T: Clone>(place: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        place.clone_from(given);
    }
}

impl FinetuneArgs {
    /// The configuration, with flags and `--set` on top of the file, or of `saved` where no file is named.
    fn resolve(&self, saved: Option<&Path>) -> Result<FinetuneConfig, CliError> {
        let mut config = match self.config.as_deref().or(saved) {
            Some(path) => FinetuneConfig::load(path)?,
            None => FinetuneConfig::default(),
        };
        put(&mut config.finetune.model, self.model.as_ref());
        if !self.data.is_empty() && self.data.iter().all(|path| Corpus::is_text(path)) {
            // On a new run only: one that is resumed learns in the way it did.
            if saved.is_none() && self.config.is_none() {
                let finetune = config.finetune;
                config = FinetuneConfig { finetune, ..FinetuneConfig::on_text(DataSection::default()) };
            }
            config.text.get_or_insert_default().paths.clone_from(&self.data);
        } else if !self.data.is_empty() {
            config.data.paths.clone_from(&self.data);
        }
        put(&mut config.finetune.layers, self.layers.as_ref());
        put(&mut config.data.valid_fraction, self.valid_fraction.as_ref());
        if let Some(text) = &mut config.text {
            put(&mut text.valid_fraction, self.valid_fraction.as_ref());
        }
        put(&mut config.data.train_on, self.train_on.as_ref());
        put(&mut config.lora.rank, self.rank.as_ref());
        put(&mut config.lora.alpha, self.alpha.as_ref());
        put(&mut config.optimizer.lr, self.lr.as_ref());
        put(&mut config.train.batch_size, self.batch_size.as_ref());
        put(&mut config.train.seed, self.seed.as_ref());
        if let Some(method) = self.method {
            config.finetune.method = Some(method.into());
        }
        if self.quantize.is_some() {
            config.finetune.quantize = self.quantize;
        }
        if self.max_length.is_some() {
            config.data.max_length = self.max_length;
        }
        config.data.truncate |= self.truncate;
        config.data.packing &= !self.no_packing;
        if let Some(epochs) = self.epochs {
            config.set("train.epochs", &format!("{epochs:?}"))?;
        }
        if let Some(steps) = self.max_steps {
            config.set("train.max_steps", &steps.to_string())?;
        }
        if let Some(precision) = &self.precision {
            config.set("train.precision", precision)?;
        }
        for (key, value) in &self.set {
            config.set(key, value)?;
        }
        let no_data = config.data.paths.is_empty() && config.text.is_none();
        for (empty, flag) in [(config.finetune.model.is_empty(), "--model"), (no_data, "--data")] {
            if empty {
                return Err(CliError::Needed { flag });
            }
        }
        Ok(config)
    }
}

pub fn run(args: &FinetuneArgs, printer: Printer) -> Result<(), CliError> {
    let saved = match (&args.out, args.resume) {
        (_, false) => None,
        (None, true) => return Err(CliError::Needed { flag: "--out, the run to resume" }),
        (Some(out), true) => {
            let saved = out.join("training/config.toml");
            if !saved.is_file() {
                return Err(TrainError::NothingToResume { dir: out.clone() }.into());
            }
            if !FinetuneConfig::is_at(&saved) {
                return Err(CliError::Pretraining { dir: out.clone() });
            }
            Some(saved)
        }
    };
    let config = args.resolve(saved.as_deref())?;
    let start = Start {
        command: "finetune",
        config,
        config_file: args.config.as_deref(),
        out: args.out.clone(),
        resume: args.resume,
        tensorboard: args.tensorboard,
        device: &args.device,
        keep: &args.keep,
    };
    start.run(printer)
}

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
  llm finetune --out runs/qa --resume          resume after Ctrl-C or a kill
To see what is trained on, token by token: llm data check qa.jsonl --model runs/base";

/// What `llm finetune` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FinetuneArgs {
    /// Configuration file; flags override it.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The base model: a directory, a .gguf file, or ORG/NAME or ORG/NAME@REVISION on the hub.
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,

    /// Samples: .jsonl and .json files, also with .gz or .zst, or folders with train.jsonl, valid.jsonl and test.jsonl; or
    /// plain text: .txt and .md.
    ///
    /// A sample has `messages`, or `instruction`, `input` and `output`, or `prompt` and `completion`, or `text`; for
    /// --method dpo `prompt`, `chosen` and `rejected`.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,

    /// Run directory, for adapter or model, metrics and checkpoints [default: runs/NAME-METHOD, from the data].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Resume the run in --out.
    #[arg(long)]
    resume: bool,

    /// What to train [default: lora for models above 50 million parameters and with --quantize, else full].
    #[arg(long, value_enum)]
    method: Option<MethodName>,

    /// Number of last blocks that --method head trains [default: 2].
    #[arg(long, value_name = "N")]
    layers: Option<usize>,

    /// Fraction of the samples to hold out for validation, if there is no validation file; 0 for none [default: 0.05].
    #[arg(long, value_name = "SHARE")]
    valid_fraction: Option<f64>,

    /// Which tokens of a conversation to train on: all answers, the last one, or everything [default: all].
    #[arg(long, value_name = "PART")]
    train_on: Option<TrainOn>,

    /// Maximum tokens per sample; longer ones are skipped, or cut with --truncate [default: the model's context].
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,

    /// Truncate longer samples instead of skipping them.
    #[arg(long)]
    truncate: bool,

    /// Do not pack several samples into one row.
    #[arg(long)]
    no_packing: bool,

    /// Rank of the adapter [default: 8].
    #[arg(long, value_name = "N")]
    rank: Option<usize>,

    /// Scale of the adapter: its output is multiplied by ALPHA / rank [default: 16].
    #[arg(long, value_name = "ALPHA")]
    alpha: Option<f64>,

    /// Hold the frozen linear layers in 8 or 4 bits (q8 or q4): less memory, slightly less precise.
    ///
    /// For --method lora and dpo. Every 32 values share a scale. Embeddings, norms and the head are not quantized; blocks
    /// of a .gguf file that have no more bits are kept. The adapter fits the original model, not only the rounded one.
    #[arg(long, value_name = "BITS")]
    quantize: Option<Quantize>,

    /// Passes over the samples [default: 3].
    #[arg(long, value_name = "N", conflicts_with = "max_steps")]
    epochs: Option<f64>,

    /// Number of optimizer steps, instead of --epochs.
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,

    /// Sequences per step [default: 4].
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Peak learning rate [default: 2e-4].
    #[arg(long, value_name = "LR")]
    lr: Option<f64>,

    /// Precision of matrix products: f32, f16 or bf16, if the device supports it.
    #[arg(long, value_name = "TYPE", value_parser = PRECISIONS, hide_possible_values = true)]
    precision: Option<String>,

    /// Random seed for the split, the adapter's initial weights, data order and dropout.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Set any configuration key, for example lora.dora=true or preference.loss=ipo (repeatable).
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,

    /// Old data, to measure forgetting: texts as for `llm train`, or samples as for --data.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    keep: Vec<PathBuf>,

    /// Also write TensorBoard event files, to training/tensorboard.
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

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use clap::Args;
use llm_data::DataSection;
use llm_train::{ConfigFile, Ending, FinetuneConfig, Method, Outcome, RunConfig, TrainError, Trainer};

use crate::device::{DeviceArgs, PRECISIONS};
use crate::error::CliError;
use crate::input::key_value;
use crate::numbers::{duration, grouped};
use crate::printer::{Printer, stdout};
use crate::training_view::{TrainingView, resuming, stopped};
use crate::tuning::{MethodName, Start};

const EXAMPLES: &str = "Examples:
  llm train                                   the tales in data/, in a few minutes on two cores
  llm train --data my.txt --out runs/mine     any text
  llm train -c configs/llama-small.toml --lr 5e-4 --set optimizer.weight_decay=0.05
  llm train --model org/name --data book.txt  continue pretraining a model, with its tokenizer
  llm train --out runs/mine --resume          after Ctrl-C or a kill; with --max-steps, past the end";

/// What `llm train` does without `--config`.
const DEFAULT: &str = include_str!("../../../../configs/tales.toml");
const DEFAULT_NAME: &str = "configs/tales.toml";

/// What `llm train` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Continue pretraining this model, with its tokenizer: a directory, a .gguf file, or ORG/NAME on the hub.
    ///
    /// Trains on windows of --data, each as long as the model's context but at most 1,024 tokens (--set
    /// data.max_length=N). The defaults are one epoch and a peak learning rate of 2e-4. The keys for --set are those of
    /// llm finetune.
    #[arg(short, long, value_name = "MODEL", conflicts_with = "overfit_batch")]
    model: Option<String>,

    /// Which weights of --model to train: all or, to save memory, an adapter or the last blocks [default: full].
    #[arg(long, value_enum, requires = "model")]
    method: Option<MethodName>,

    /// Run directory, for model, tokenizer, metrics and checkpoints [default: runs/NAME, from the config or the text].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Resume the run in --out.
    #[arg(long)]
    resume: bool,

    /// Train on a single batch, whose loss must approach zero: checks a config or a corpus.
    #[arg(long)]
    overfit_batch: bool,

    /// Also write TensorBoard event files, to training/tensorboard.
    #[arg(long)]
    tensorboard: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

/// A configuration, from a file and flags.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: the tales in data/].
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Files and folders to train on: .txt, .md and .jsonl, also with .gz or .zst.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    data: Vec<PathBuf>,

    /// Files and folders to validate on [default: a share of the text].
    #[arg(long, value_name = "PATH", num_args = 1..)]
    valid: Vec<PathBuf>,

    /// Key of a .jsonl line that holds the text.
    #[arg(long, value_name = "KEY")]
    text_key: Option<String>,

    /// Replace invalid UTF-8 by U+FFFD instead of stopping.
    #[arg(long)]
    lossy: bool,

    /// Use this tokenizer.json, or the one in this directory, instead of training a tokenizer.
    #[arg(long, value_name = "FILE|DIR")]
    tokenizer: Option<PathBuf>,

    /// Passes over the training text.
    #[arg(long, value_name = "N", conflicts_with = "max_steps")]
    epochs: Option<f64>,

    /// Number of optimizer steps.
    #[arg(long, value_name = "N")]
    max_steps: Option<u64>,

    /// Sequences per step.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Peak learning rate.
    #[arg(long, value_name = "LR")]
    lr: Option<f64>,

    /// Precision of matrix products: f32, f16 or bf16, if the device supports it.
    #[arg(long, value_name = "TYPE", value_parser = PRECISIONS, hide_possible_values = true)]
    precision: Option<String>,

    /// Random seed for initial weights, data order and dropout.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Set any configuration key, for example optimizer.lr=1e-3 (repeatable).
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

impl ConfigArgs {
    /// The configuration, with flags and `--set` on top of the file, or of `saved` where no file is named.
    pub fn resolve(&self, saved: Option<&Path>) -> Result<RunConfig, CliError> {
        let mut config = match self.config.as_deref().or(saved) {
            Some(path) => RunConfig::load(path)?,
            None => RunConfig::parse(DEFAULT, DEFAULT_NAME)?,
        };
        if !self.data.is_empty() && self.config.is_none() && saved.is_none() {
            // "Once upon a time" begins tales, not any text.
            config.sample.prompt = RunConfig::default().sample.prompt;
        }
        if let (Some(_), Some(saved)) = (&self.config, saved)
            && config.data.paths.is_empty()
        {
            // The file was used with --data when the run began.
            config.data = RunConfig::load(saved)?.data;
        }
        self.set_text(&mut config.data, saved.is_some());
        if self.tokenizer.is_some() {
            config.tokenizer.path.clone_from(&self.tokenizer);
        }
        self.set_keys(&mut config)?;
        self.check_default(&config, saved)?;
        Ok(config)
    }

    /// The configuration of a run that begins with the model of `args`, or resumes with `saved`.
    fn resolve_further(&self, args: &TrainArgs, saved: Option<&Path>) -> Result<FinetuneConfig, CliError> {
        if self.tokenizer.is_some() {
            return Err(CliError::NewModelOnly { flag: "--tokenizer" });
        }
        let mut config = match self.config.as_deref().or(saved) {
            Some(path) => FinetuneConfig::load(path)?,
            None => FinetuneConfig::on_text(DataSection::default()),
        };
        self.set_text(config.text.get_or_insert_default(), saved.is_some());
        if let Some(model) = &args.model {
            config.finetune.model.clone_from(model);
        }
        if saved.is_none() {
            let method = args.method.map(Into::into).or(config.finetune.method);
            config.finetune.method = Some(method.unwrap_or(Method::Full));
        }
        self.set_keys(&mut config)?;
        if config.text.as_ref().is_none_or(|text| text.paths.is_empty()) {
            return Err(CliError::Needed { flag: "--data" });
        }
        Ok(config)
    }

    /// Puts what was given about the text into its section. Validation files of another text go, unless it is only said
    /// where the files of a run are now.
    fn set_text(&self, text: &mut DataSection, resumed: bool) {
        if !self.data.is_empty() {
            text.paths.clone_from(&self.data);
            if !resumed {
                text.valid.clear();
            }
        }
        if !self.valid.is_empty() {
            text.valid.clone_from(&self.valid);
        }
        if let Some(key) = &self.text_key {
            text.text_key.clone_from(key);
        }
        text.lossy |= self.lossy;
    }

    /// Puts flags that stand for keys, and `--set`, into `config`.
    fn set_keys(&self, config: &mut impl ConfigFile) -> Result<(), CliError> {
        let flags = [
            ("train.epochs", self.epochs.map(|epochs| format!("{epochs:?}"))),
            ("train.max_steps", self.max_steps.map(|steps| steps.to_string())),
            ("train.batch_size", self.batch_size.map(|size| size.to_string())),
            ("optimizer.lr", self.lr.map(|lr| format!("{lr:?}"))),
            ("train.seed", self.seed.map(|seed| seed.to_string())),
            ("train.precision", self.precision.clone()),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                config.set(key, &value)?;
            }
        }
        for (key, value) in &self.set {
            config.set(key, value)?;
        }
        Ok(())
    }

    /// The corpus of the default config comes with the source, not with the program.
    fn check_default(&self, config: &RunConfig, saved: Option<&Path>) -> Result<(), CliError> {
        let missing = config.data.paths.iter().find(|path| !path.exists());
        match missing {
            Some(path) if self.config.is_none() && saved.is_none() && self.data.is_empty() => {
                Err(CliError::NoDefaultCorpus { path: path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The name of what is trained: that of the text or of the config.
    fn name(&self) -> &Path {
        let text = self.data.first().map(PathBuf::as_path).filter(|_| self.config.is_none());
        let named = text.or(self.config.as_deref()).unwrap_or(Path::new(DEFAULT_NAME));
        named.file_stem().map_or(Path::new("run"), Path::new)
    }
}

pub fn run(args: &TrainArgs, printer: Printer) -> Result<(), CliError> {
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(args.config.name()));
    let saved = Some(out.join("training/config.toml")).filter(|path| args.resume && path.is_file());
    if args.resume && saved.is_none() {
        return Err(TrainError::NothingToResume { dir: out }.into());
    }
    if args.model.is_some() || saved.as_deref().is_some_and(FinetuneConfig::is_at) {
        let config = args.config.resolve_further(args, saved.as_deref())?;
        let start = Start {
            command: "train",
            config,
            config_file: args.config.config.as_deref(),
            out: Some(out),
            resume: args.resume,
            tensorboard: args.tensorboard,
            device: &args.device,
            keep: &[],
        };
        return start.run(printer);
    }
    let mut config = args.config.resolve(saved.as_deref())?;
    config.train.overfit_batch |= args.overfit_batch;
    let prompt = config.sample.prompt.clone();
    let device = args.device.open_to_train(config.train.precision, printer)?;
    let options = device.run_options(&out, args.resume, args.tensorboard);

    let mut view = TrainingView::new(printer, device.device);
    let trainer = Trainer::open(config, options, &mut |progress| view.preparing(progress))
        .map_err(|error| resuming(error, args.config.config.as_deref(), &out))?;
    let (outcome, stop) = view.run(trainer)?;
    report(&outcome, args, &out, &prompt, printer);
    if outcome.ending == Ending::Interrupted || stop.load(Ordering::SeqCst) {
        return Err(CliError::Interrupted);
    }
    stdout().flush()?;
    Ok(())
}

/// How it ended, and what to do next.
fn report(outcome: &Outcome, args: &TrainArgs, out: &Path, prompt: &str, printer: Printer) {
    let (step, time) = (grouped(outcome.step), duration(outcome.seconds));
    if outcome.ending == Ending::Interrupted {
        stopped(outcome, "train", out, &args.device, args.tensorboard, printer);
        return;
    }
    let out = out.display();
    let best = outcome.best.map_or(String::new(), |best| {
        let perplexity = f64::from(best.val_loss).exp();
        format!(
            "; best validation loss {:.4} (perplexity {perplexity:.2}) at step {}",
            best.val_loss,
            grouped(best.step)
        )
    });
    printer.note(format_args!("done: {step} steps in {time}{best}"));
    printer.note(format_args!("model: {out}; loss curve: {out}/training/loss.svg"));
    let prompt = if prompt.trim().is_empty() { "Once" } else { prompt };
    printer.note(format_args!("try it: llm generate --model {out} --prompt {prompt:?}"));
}

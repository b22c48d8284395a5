use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use burn::tensor::Device;
use clap::{Args, ValueEnum};
use llm_checkpoint::{Quantize, copy_generation, write_atomic};
use llm_data::{
    Corpus, DataError, DataSection, Finding, FindingKind, Origin, Place, Rendering, SampleSet, SampleSummary,
    TokenShards, TokenizedSample, TrainOn, check_samples, prepare_split,
};
use llm_train::{
    ConfigFile, Ending, FinetuneConfig, Finetuning, Method, Outcome, RunOptions, Source, TrainError, Trainer,
};

use crate::adapters::CHAT_TEMPLATE;
use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::interrupt;
use crate::measure::MeasureArgs;
use crate::model::{self, ModelFiles};
use crate::numbers::{duration, grouped};
use crate::printer::Printer;
use crate::progress::PreparationBar;
use crate::training_view::{TrainingView, resuming, stopped};

mod report;

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
    #[arg(long, value_name = "TYPE")]
    precision: Option<String>,

    /// Decides the split, the adapter's first weights, the order of the samples and dropout.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,

    /// Any key of the configuration, for example lora.dora=true or preference.loss=ipo (may be given several times).
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::train::key_value)]
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

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum MethodName {
    /// An adapter of low rank beside frozen weights.
    Lora,
    /// All weights.
    Full,
    /// The last blocks, the last norm and the head.
    Head,
    /// An adapter, by preferences.
    Dpo,
}

/// Puts what was given into its place.
fn put<T: Clone>(place: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        place.clone_from(given);
    }
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Lora => Self::Lora,
            MethodName::Full => Self::Full,
            MethodName::Head => Self::Head,
            MethodName::Dpo => Self::Dpo,
        }
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

/// A run that begins with a model, whichever command starts it.
pub struct Start<'a> {
    /// The command, by whose name the run is resumed.
    pub command: &'static str,
    pub config: FinetuneConfig,
    /// A configuration file that was named, and the run directory.
    pub config_file: Option<&'a Path>,
    pub out: Option<PathBuf>,
    pub resume: bool,
    pub tensorboard: bool,
    pub device: &'a DeviceArgs,
    /// Old data, to measure what is forgotten.
    pub keep: &'a [PathBuf],
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

impl Start<'_> {
    /// The run directory, by default named after the data.
    fn out(&self, method: Method) -> PathBuf {
        let text = self.config.text.as_ref().and_then(|text| text.paths.first());
        let first = text.or(self.config.data.paths.first());
        let first = first.and_then(|path| path.file_stem()).map(Path::new);
        // Of a compressed file there is another extension.
        let name =
            first.and_then(|name| if name.extension().is_some() { name.file_stem() } else { Some(name.as_os_str()) });
        let name = name.map_or("run".into(), |name| name.to_string_lossy());
        self.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("{name}-{}", method.name())))
    }

    /// Trains to the end, and reports what it changed.
    pub fn run(self, printer: Printer) -> Result<(), CliError> {
        let mut config = self.config.clone();
        let path = model::locate(&config.finetune.model, None, printer)?;
        let files = ModelFiles::read(model::open(&path, printer)?)?;
        let method = config.finetune.method_for(&files.config);
        config.finetune.method = Some(method);
        let out = self.out(method);
        let device = self.device.open_to_train(config.train.precision, printer)?;
        let options = RunOptions {
            out: out.clone(),
            resume: self.resume,
            tensorboard: self.tensorboard,
            device: device.device.clone(),
            device_name: device.name.clone(),
        };
        Finetuning::check(&config, &files.config, &options).map_err(|error| resuming(error, self.config_file, &out))?;

        // What is wrong with this data is said now, not after the training.
        let kept = match self.keep {
            [] => None,
            paths => Some(MeasureArgs::of(paths).read(&files, printer)?),
        };
        let learned = self.learn(&config, &files, &options, printer)?;
        let Learned { outcome, shown, stops } = &learned;
        if outcome.ending == Ending::Interrupted {
            stopped(outcome, self.command, &out, self.device, self.tensorboard, printer);
            return Err(CliError::Interrupted);
        }
        let result = report::Finished { files: &files, method, out: &out, device: &device.device, outcome };
        result.print(shown, kept.as_ref(), stops, printer)?;
        let time = duration(outcome.seconds);
        printer.note(format_args!("done: {} steps in {time}; the result: {}", grouped(outcome.step), out.display()));
        let (model, out) = (&config.finetune.model, out.display());
        let adapted = format!("--model {model} --adapter-path {out}");
        let named = if method.adapts() { adapted } else { format!("--model {out}") };
        let command = if config.text.is_some() { "generate" } else { "chat" };
        printer.note(format_args!("try it: llm {command} {named}"));
        Ok(())
    }

    /// Trains on what the configuration names.
    fn learn(
        &self,
        config: &FinetuneConfig,
        files: &ModelFiles,
        options: &RunOptions,
        printer: Printer,
    ) -> Result<Learned, CliError> {
        let (method, out, device) = (config.finetune.method, options.out.clone(), options.device.clone());
        let template = files.chat_template()?;
        let stops = files.stop_tokens(template.as_ref());
        let limits = config.data.limits(files.config.context_length);
        let tokenizer = &files.tokenizer;
        let tuning = || -> Result<Finetuning, CliError> {
            let model = files.load_to_train(&options.device, &config.finetune)?;
            let (layers, bytes) = model.quantized_size();
            if layers > 0 {
                let mib = bytes as f64 / f64::from(1 << 20);
                printer.note(format_args!("{layers} linear layers are held in {mib:.1} MiB"));
            }
            Ok(Finetuning { config: config.clone(), model, tokenizer: tokenizer.clone(), options: options.clone() })
        };
        let mut beside = Beside { out: &out, model: None, template: None };
        if !method.is_some_and(Method::adapts) {
            beside.model = Some(files.path());
        }
        if let Some(text) = &config.text {
            let mut bar = PreparationBar::new(printer);
            let split = prepare_split(text, tokenizer, &mut |progress| bar.update(progress))
                .map_err(|error| TrainError::of_text(error, self.resume))?;
            drop(bar);
            let shown = text_samples(if split.valid.is_empty() { &split.train } else { &split.valid })?;
            let outcome = train(tuning()?.on_text(split)?, &beside, printer, &device)?;
            return Ok(Learned { outcome, shown, stops });
        }
        let set = SampleSet::load(&config.data, config.train.seed)
            .map_err(|error| TrainError::of_text(error, self.resume))?;
        set.notes.iter().for_each(|note| printer.data_note(note));
        if template.is_none() && set.all().any(|sample| sample.content.is_conversation()) {
            // Whoever talks with the model writes as its samples were written.
            beside.template = Some(Rendering::default_of(tokenizer)?.1);
        }
        let (outcome, shown) = if method == Some(Method::Dpo) {
            let pairs = set.tokenize_pairs(tokenizer, template.as_ref(), &stops, limits)?;
            check(&set, &pairs.summary, tokenizer.eos_ids(), printer)?;
            let shown = if pairs.valid.is_empty() { &pairs.train } else { &pairs.valid };
            let shown = shown.iter().take(report::ANSWERS).map(|pair| pair.chosen.clone()).collect();
            (train(tuning()?.on_preferences(pairs)?, &beside, printer, &device)?, shown)
        } else {
            let samples = set.tokenize(tokenizer, template.as_ref(), &stops, limits)?;
            check(&set, &samples.summary, tokenizer.eos_ids(), printer)?;
            let shown = if samples.valid.is_empty() { &samples.train } else { &samples.valid };
            let shown = shown.iter().take(report::ANSWERS).cloned().collect();
            (train(tuning()?.on_samples(samples)?, &beside, printer, &device)?, shown)
        };
        Ok(Learned { outcome, shown, stops })
    }
}

/// A run that has ended, and samples to compare answers to.
struct Learned {
    outcome: Outcome,
    shown: Vec<TokenizedSample>,
    stops: Vec<u32>,
}

/// What a run directory has beside weights and tokenizer. Written before the first step, so that no kill can separate them.
struct Beside<'a> {
    out: &'a Path,
    /// The model whose generation settings the result keeps.
    model: Option<&'a Path>,
    /// A chat template, where the model has none.
    template: Option<String>,
}

impl Beside<'_> {
    fn write(&self) -> Result<(), CliError> {
        if let Some(model) = self.model {
            copy_generation(model, self.out)?;
        }
        if let Some(template) = &self.template {
            write_atomic(&self.out.join(CHAT_TEMPLATE), |file| file.write_all(template.as_bytes()))?;
        }
        Ok(())
    }
}

/// Beginnings of windows over a text, whose continuation is compared.
fn text_samples(text: &TokenShards) -> Result<Vec<TokenizedSample>, CliError> {
    /// Tokens of a sample: what is given and what follows.
    const TOKENS: u64 = 80;
    let origin = Origin { file: Path::new("the text").into(), line: 1 };
    let mut samples = Vec::new();
    for part in 0..report::ANSWERS as u64 {
        let start = text.len() / report::ANSWERS as u64 * part;
        let mut ids = Vec::new();
        text.read(start..(start + TOKENS).min(text.len()), &mut ids)?;
        if ids.len() as u64 == TOKENS {
            samples.push(TokenizedSample { trained: vec![true; ids.len()], ids, origin: origin.clone() });
        }
    }
    Ok(samples)
}

fn train<S: Source>(
    trainer: Trainer<S>,
    beside: &Beside,
    printer: Printer,
    device: &Device,
) -> Result<Outcome, CliError> {
    beside.write()?;
    let mut view = TrainingView::new(printer, device.clone());
    let stop = interrupt::watch(printer, Some("finishing this step and saving; Ctrl-C again quits at once"));
    let outcome = trainer.run(&mut |event| view.show(event), &stop);
    view.finish()?;
    let mut outcome = outcome?;
    if stop.load(Ordering::SeqCst) {
        outcome.ending = Ending::Interrupted;
    }
    Ok(outcome)
}

/// Refuses what would be learned wrong, and says what is not trained on and what may be otherwise than meant: what
/// `llm data check` finds.
fn check(set: &SampleSet, summary: &SampleSummary, eos_ids: &[u32], printer: Printer) -> Result<(), CliError> {
    summary.require_written()?;
    let findings = check_samples(set, &[], summary, eos_ids);
    let none_left = findings.iter().any(|finding| finding.kind == FindingKind::NoSamples);
    for Finding { message, places, .. } in findings.iter().filter(|finding| finding.kind != FindingKind::NoSamples) {
        let Some(Place { origin, note }) = places.first() else {
            printer.warn(message);
            continue;
        };
        let note = if note.is_empty() { String::new() } else { format!(": {note}") };
        let count = grouped(places.len() as u64);
        printer.warn(format_args!("{message}: {count}; the first, {origin}{note}; `llm data check` shows which"));
    }
    if none_left {
        return Err(DataError::NoSamples.into());
    }
    Ok(())
}

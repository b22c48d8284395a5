//! A run that begins with a model: what it learns, and what lies beside its result.

mod report;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use burn::tensor::Device;
use clap::ValueEnum;
use llm_checkpoint::{CHAT_TEMPLATE, ModelFiles, copy_generation, write_atomic};
use llm_data::{
    DataError, Finding, FindingKind, Origin, Place, Rendering, SampleSet, SampleSummary, TokenShards, TokenizedSample,
    check_samples, prepare_split,
};
use llm_eval::EvalData;
use llm_train::{Ending, FinetuneConfig, Finetuning, Method, Outcome, RunOptions, Source, TrainError, Trainer};

use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::measure::MeasureView;
use crate::model;
use crate::numbers::{duration, grouped};
use crate::printer::Printer;
use crate::progress::PreparationBar;
use crate::training_view::{TrainingView, resuming, stopped};

/// What is trained.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum MethodName {
    /// A low-rank adapter beside frozen weights.
    Lora,
    /// All weights.
    Full,
    /// The last blocks, the last norm and the head.
    Head,
    /// An adapter, trained on preferences.
    Dpo,
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
        let files = ModelFiles::of(model::open(&path, printer)?)?;
        let method = config.finetune.method_for(&files.config);
        config.finetune.method = Some(method);
        let out = self.out(method);
        let device = self.device.open_to_train(config.train.precision, printer)?;
        let options = device.run_options(&out, self.resume, self.tensorboard);
        Finetuning::check(&config, &files.config, &options).map_err(|error| resuming(error, self.config_file, &out))?;

        // What is wrong with this data is said now, not after the training.
        let kept = match self.keep {
            [] => None,
            paths => {
                let mut view = MeasureView::new(printer);
                Some(EvalData::new(paths.to_vec()).read(&files, &mut |event| view.show(event))?)
            }
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
        printer.note(format_args!("done: {} steps in {time}; result: {}", grouped(outcome.step), out.display()));
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
        let (method, device) = (config.finetune.method, &options.device);
        let template = files.chat_template()?;
        let stops = files.stop_tokens(template.as_ref());
        let limits = config.data.limits(files.config.context_length);
        let tokenizer = &files.tokenizer;
        let tuning = || -> Result<Finetuning, CliError> {
            let model = model::load_to_train(files, device, &config.finetune)?;
            let (layers, bytes) = model.size_in_blocks();
            if layers > 0 {
                let mib = bytes as f64 / f64::from(1 << 20);
                printer.note(format_args!("{layers} linear layers take {mib:.1} MiB"));
            }
            Ok(Finetuning { config: config.clone(), model, tokenizer: tokenizer.clone(), options: options.clone() })
        };
        let model = (!method.is_some_and(Method::adapts)).then(|| files.path());
        let mut beside = Beside { out: &options.out, model, template: None };
        if let Some(text) = &config.text {
            let mut bar = PreparationBar::new(printer);
            let split = prepare_split(text, tokenizer, &mut |progress| bar.update(progress))
                .map_err(|error| TrainError::of_text(error, self.resume))?;
            drop(bar);
            let shown = text_samples(if split.valid.is_empty() { &split.train } else { &split.valid })?;
            let outcome = train(tuning()?.on_text(split)?, &beside, printer, device)?;
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
            (train(tuning()?.on_preferences(pairs)?, &beside, printer, device)?, shown)
        } else {
            let samples = set.tokenize(tokenizer, template.as_ref(), &stops, limits)?;
            check(&set, &samples.summary, tokenizer.eos_ids(), printer)?;
            let shown = if samples.valid.is_empty() { &samples.train } else { &samples.valid };
            let shown = shown.iter().take(report::ANSWERS).cloned().collect();
            (train(tuning()?.on_samples(samples)?, &beside, printer, device)?, shown)
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
    let (mut outcome, stop) = TrainingView::new(printer, device.clone()).run(trainer)?;
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

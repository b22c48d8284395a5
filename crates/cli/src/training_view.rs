//! What a person sees of a training run: bars on a terminal, plain lines elsewhere.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use llm_data::Progress;
use llm_generate::{ContextOverflow, Generator, Options, Sampling};
use llm_train::{
    EvalRecord, Event, Outcome, RunConfigError, RunPlan, SampleRequest, Source, StepRecord, TrainError, Trainer,
};

use crate::device::{DeviceArgs, DeviceChoice};
use crate::error::CliError;
use crate::interrupt;
use crate::numbers::{duration, grouped};
use crate::printer::{OutputError, Printer, stdout};
use crate::progress::PreparationBar;

/// Time between two lines about steps where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{msg} {bar:24.cyan} {pos}/{len} {elapsed}<{eta}";

/// Shows the events of a run.
pub struct TrainingView {
    printer: Printer,
    device: Device,
    preparation: Option<PreparationBar>,
    bar: Option<ProgressBar>,
    steps: u64,
    last_line: Instant,
    loss: Smoothed,
    /// Writing a sample to stdout failed.
    failed: Option<OutputError>,
}

/// A mean that forgets, so that a noisy loss can be read.
#[derive(Default)]
struct Smoothed {
    sum: f64,
    weight: f64,
}

impl Smoothed {
    fn push(&mut self, value: f64) -> f64 {
        const DECAY: f64 = 0.95;
        self.sum = DECAY * self.sum + (1.0 - DECAY) * value;
        self.weight = DECAY * self.weight + (1.0 - DECAY);
        self.sum / self.weight
    }
}

impl TrainingView {
    /// Shows samples of models on `device`.
    pub fn new(printer: Printer, device: Device) -> Self {
        Self {
            printer,
            device,
            preparation: Some(PreparationBar::new(printer)),
            bar: None,
            steps: 0,
            last_line: Instant::now(),
            loss: Smoothed::default(),
            failed: None,
        }
    }

    /// Shows how far the preparation of the text is.
    pub fn preparing(&mut self, progress: Progress) {
        if let Some(bar) = &mut self.preparation {
            bar.update(progress);
        }
    }

    /// Shows an event.
    fn show(&mut self, event: Event) {
        self.preparation = None;
        match event {
            Event::Preparing(progress) => self.preparing(progress),
            Event::Plan(plan) => self.plan(plan),
            Event::Step(record) => self.step(record),
            Event::Evaluating(done, all) => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("evaluating {done}/{all}"));
                }
            }
            Event::Evaluation(record) => self.evaluation(record),
            Event::BestSaved { .. } => {}
            Event::CheckpointSaved { step, path } => {
                if step < self.steps {
                    self.note(&format!("step {}: checkpoint {}", grouped(step), path.display()));
                }
            }
            Event::Sample(request) => self.sample(&request),
            Event::EarlyStop { evaluations } => {
                let hint = format!("to train longer, resume with --set eval.patience={}", 2 * evaluations);
                self.note(&format!("stopping early: no better validation loss in {evaluations} evaluations; {hint}"));
            }
            Event::NothingLeft { done, steps } => {
                let (done, steps) = (grouped(done), grouped(steps));
                self.note(&format!(
                    "nothing to do: {done} steps are done, and {steps} were requested; nothing was changed; \
                     --max-steps beyond {done} trains longer"
                ));
            }
            Event::LossScale { step, scale } => {
                self.note(&format!("step {}: gradients overflowed, loss scale is now {scale}", grouped(step)));
            }
        }
    }

    /// Trains to the end, or until a signal asks to stop, which sets the flag beside the outcome.
    ///
    /// # Errors
    /// Those of the run, and a sample that could not be written to stdout.
    pub fn run<S: Source>(mut self, trainer: Trainer<S>) -> Result<(Outcome, Arc<AtomicBool>), CliError> {
        // Until here, a signal ends the program: whatever was prepared is in the cache.
        let stop = interrupt::watch(self.printer, Some("finishing this step and saving; Ctrl-C again quits at once"));
        let outcome = trainer.run(&mut |event| self.show(event), &stop);
        self.finish()?;
        Ok((outcome?, stop))
    }

    /// Removes the bar.
    fn finish(&mut self) -> Result<(), CliError> {
        self.preparation = None;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.failed.take().map_or(Ok(()), |error| Err(error.into()))
    }

    fn plan(&mut self, plan: &RunPlan) {
        for line in plan_lines(plan) {
            self.note(&line);
        }
        if let Some(warning) = warmup_warning(plan) {
            self.printer.warn(warning);
        }
        self.steps = plan.steps;
        if self.printer.interactive() {
            let bar = ProgressBar::with_draw_target(Some(plan.steps), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style);
            }
            bar.set_position(plan.first_step);
            bar.reset_eta();
            self.bar = Some(bar);
        }
        self.last_line = Instant::now();
    }

    fn step(&mut self, record: &StepRecord) {
        let loss = self.loss.push(f64::from(record.loss));
        let speed = record.tokens_per_s;
        let text = format!(
            "loss {loss:.3}, {} tokens/s, {:.0} % of peak",
            grouped(speed as u64),
            100.0 * record.flops_utilization
        );
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.set_position(record.step);
        } else if self.last_line.elapsed() >= BETWEEN_LINES {
            let tokens_a_step = record.tokens as f64 / record.step.max(1) as f64;
            let left = self.steps.saturating_sub(record.step) as f64 * tokens_a_step / speed;
            let (step, all, left) = (grouped(record.step), grouped(self.steps), duration(left));
            self.printer.note(format_args!("step {step} of {all}: {text}, {left} left"));
            self.last_line = Instant::now();
        }
    }

    fn evaluation(&mut self, record: &EvalRecord) {
        let best = if record.best { ", the best so far" } else { "" };
        let step = grouped(record.step);
        // The loss of preferences is no likelihood.
        let meaning = match record.accuracy {
            Some(right) => format!("{:.0} % right", 100.0 * right),
            None => format!("perplexity {:.2}", f64::from(record.val_loss).exp()),
        };
        self.note(&format!("step {step}: validation loss {:.4} ({meaning}){best}", record.val_loss));
    }

    /// Generates a sample; the last one is the result and goes to stdout.
    fn sample(&mut self, request: &SampleRequest) {
        if self.printer.is_quiet() && !request.last {
            return;
        }
        let text = match generate(request, &self.device) {
            Ok(text) => text,
            Err(error) => return self.printer.warn(format_args!("no sample: {error}")),
        };
        if !request.last {
            self.note(&format!("step {}: sample: {text}", grouped(request.step)));
            return;
        }
        self.note(&format!("sample at step {}:", grouped(request.step)));
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let mut out = stdout();
        self.failed = writeln!(out, "{text}").and_then(|()| out.flush()).err();
    }

    /// A line above the bar.
    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.printer.note(text)),
            None => self.printer.note(text),
        }
    }
}

/// The prompt and what the model makes of it.
fn generate(request: &SampleRequest, device: &Device) -> Result<String, CliError> {
    let section = request.section;
    let prompt = request.tokenizer.encode_prompt(&section.prompt)?;
    let sampling = Sampling { temperature: section.temperature as f32, ..Sampling::default() };
    let options = Options {
        sampling,
        max_tokens: section.tokens,
        context_overflow: ContextOverflow::Slide,
        ..Options::default()
    };
    let mut generator = Generator::new(&request.model, request.tokenizer, device);
    let made = generator.generate(&prompt, &options, &mut |_| ControlFlow::Continue(()))?;
    Ok(format!("{}{}", section.prompt.trim_start_matches('\n'), made.text))
}

/// What will happen, in two lines.
pub fn plan_lines(plan: &RunPlan) -> [String; 2] {
    let left = plan.steps.saturating_sub(plan.first_step);
    let begin = match plan.first_step {
        0 => "training".to_string(),
        step => format!("resuming after step {}", grouped(step)),
    };
    let micro = if plan.accumulation > 1 { format!(" × {} micro-batches", plan.accumulation) } else { String::new() };
    let trained = if plan.trained_parameters == plan.parameters {
        String::new()
    } else {
        let share = 100.0 * plan.trained_parameters as f64 / plan.parameters as f64;
        format!(", {} of them trained ({share:.2} %)", grouped(plan.trained_parameters as u64))
    };
    let first = format!(
        "{begin} on {}: {} parameters{}; {} sequences × {} tokens{micro} = {} tokens per step; {} steps = {} tokens{} \
         in about {}; first loss {:.3}{}",
        plan.device,
        grouped(plan.parameters as u64),
        trained,
        plan.micro_batch_size,
        plan.context_length,
        grouped(plan.tokens_per_step() as u64),
        grouped(left),
        grouped(left.saturating_mul(plan.tokens_per_step() as u64)),
        if plan.epochs > 0.0 { format!(" ({:.1} epochs)", plan.epochs) } else { String::new() },
        duration(plan.seconds()),
        plan.first_loss,
        plan.uniform_loss
            .filter(|_| plan.first_step == 0)
            .map_or(String::new(), |loss| { format!(", expected ln({}) = {loss:.3}", plan.vocab_size) }),
    );
    if plan.train_tokens == 0 {
        return [first, "text: none given; time and loss are for random tokens".into()];
    }
    let second = format!(
        "text: {} tokens to train on, {} to validate on; {}{}",
        grouped(plan.train_tokens),
        grouped(plan.valid_tokens),
        plan.split,
        if plan.cached { "; from the cache" } else { "" },
    );
    [first, second]
}

/// What to know of a warmup that does not end before the run does.
fn warmup_warning(plan: &RunPlan) -> Option<String> {
    let (warmup, steps) = (plan.warmup_steps, plan.steps);
    (warmup >= steps && steps > 0).then(|| {
        format!(
            "warmup takes {} steps, but the run has {}: the learning rate never reaches its peak; --set \
             schedule.warmup_steps={} for a tenth of the run",
            grouped(warmup),
            grouped(steps),
            grouped(steps / 10)
        )
    })
}

/// Says how to resume an interrupted run, by `command` and the flags that are not part of its configuration.
pub fn stopped(outcome: &Outcome, command: &str, out: &Path, device: &DeviceArgs, tensorboard: bool, printer: Printer) {
    let (step, steps, out) = (grouped(outcome.step), grouped(outcome.steps), out.display());
    printer.note(format_args!("stopped after step {step} of {steps}; everything is saved"));
    let device = match device.device {
        DeviceChoice::Auto => String::new(),
        device => format!(" --device {device}"),
    };
    let tensorboard = if tensorboard { " --tensorboard" } else { "" };
    printer.note(format_args!("resume with: llm {command} --out {out} --resume{device}{tensorboard}"));
}

/// `error` of a run in `out` that is resumed with a configuration file, which is what it may be about.
pub fn resuming(error: TrainError, config_file: Option<&Path>, out: &Path) -> CliError {
    match (error, config_file) {
        (TrainError::Config(error @ RunConfigError::ChangedOnResume { .. }), Some(file)) => {
            let (file, out) = (file.to_path_buf(), out.to_path_buf());
            CliError::ConfigOnResume { file, out, error: Box::new(error) }
        }
        (error, _) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> RunPlan {
        RunPlan {
            device: "cpu".into(),
            precision: llm_model::Precision::F32,
            parameters: 10_000,
            trained_parameters: 10_000,
            micro_batch_size: 16,
            context_length: 512,
            accumulation: 4,
            steps: 100,
            first_step: 0,
            warmup_steps: 100,
            epochs: 2.5,
            train_tokens: 1_310_720,
            valid_tokens: 1000,
            split: "validation: last 10 % of the text".into(),
            cached: false,
            vocab_size: 65,
            uniform_loss: Some(65_f64.ln()),
            first_loss: 4.2,
            seconds_per_step: 1.5,
        }
    }

    #[test]
    fn the_first_line_spells_out_the_tokens_of_a_step() {
        let plan = plan();
        let [first, _] = plan_lines(&plan);
        assert_eq!(
            first,
            "training on cpu: 10,000 parameters; 16 sequences × 512 tokens × 4 micro-batches = 32,768 tokens per step; \
             100 steps = 3,276,800 tokens (2.5 epochs) in about 2 min 30 s; first loss 4.200, expected ln(65) = 4.174"
        );
        let [resumed, _] = plan_lines(&RunPlan { first_step: 40, ..plan });
        assert!(resumed.starts_with("resuming after step 40 on cpu: ") && resumed.contains("; 60 steps = "));
        assert!(!resumed.contains("expected"));
    }

    #[test]
    fn a_warmup_that_is_as_long_as_the_run_is_told() {
        assert_eq!(warmup_warning(&RunPlan { warmup_steps: 99, ..plan() }), None);
        let warning = warmup_warning(&plan()).unwrap();
        assert!(warning.contains("warmup takes 100 steps, but the run has 100"), "{warning}");
        assert!(warning.contains("schedule.warmup_steps=10 "), "{warning}");
    }
}

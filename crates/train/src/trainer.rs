//! The loop: from a configuration to a run directory with a trained model in it.

mod directory;
mod evaluate;
mod finetune;
mod open;
mod options;
mod product;
mod records;
mod run;
mod source;
mod state;
mod work;

use std::path::PathBuf;
use std::time::Instant;

use llm_checkpoint::save_training;

pub use finetune::Finetuning;
pub use open::precision_warning;
pub(crate) use open::{check_precision, learner, precision_name, sampler};
pub use options::RunOptions;
pub use run::{Ending, Outcome};
pub use source::{PreferenceSource, SampleSource, Source, TextSource};
pub use state::Best;

use product::Product;
use records::Records;
use state::RunState;
use work::Work;

use crate::diagnose::Quantity;
use crate::learner::StepError;
use crate::metrics::Line;
use crate::{
    EvalSection, Event, Learner, OptimizerSection, RunPlan, SampleSection, ScheduleSection, TrainError, TrainSection,
};

/// The sections that the loop goes by, whatever is learned.
#[derive(Debug)]
struct Settings {
    train: TrainSection,
    optimizer: OptimizerSection,
    schedule: ScheduleSection,
    eval: EvalSection,
    sample: SampleSection,
}

/// A run that is ready to begin or to go on.
#[derive(Debug)]
pub struct Trainer<S> {
    config: Settings,
    options: RunOptions,
    source: S,
    product: Product,
    learner: Learner,
    state: RunState,
    steps: u64,
    work: Work,
    /// Kept by one process of a group.
    records: Option<Records>,
    checkpoint: Option<PathBuf>,
    saved_step: Option<u64>,
    begin: Instant,
    seconds_before: f64,
}

impl<S: Source> Trainer<S> {
    /// The micro-batches of a step, counted from 0, that are this process's share.
    fn batches(&self, step: u64) -> Result<Vec<S::Batch>, TrainError> {
        let step = if self.config.train.overfit_batch { 0 } else { step };
        let seed = self.config.train.seed;
        let batch = |rank| Ok(self.source.batch(seed, step, rank)?);
        let group = &self.options.group;
        let share = self.config.train.accumulation() / group.size();
        let first = group.rank() * share;
        (first as u32..(first + share) as u32).map(batch).collect()
    }

    /// What the run will do. Measures the loss of the next step's first micro-batch and the time that its gradients take.
    fn plan(&mut self) -> Result<RunPlan, TrainError> {
        let batches = &self.batches(self.state.step)?[..1];
        // What is measured leaves no trace.
        let loss_scale = self.learner.loss_scale;
        let mut first_loss = 0.0;
        let mut seconds = 0.0;
        // The first time warms up caches and threads.
        for _ in 0..2 {
            let start = Instant::now();
            let gradients = self.learner.gradients(self.state.step, batches);
            first_loss = gradients.map_err(|error| self.stopped_by(error))?.loss;
            seconds = start.elapsed().as_secs_f64();
        }
        self.learner.loss_scale = loss_scale;
        let seconds_per_step = seconds * (self.config.train.accumulation() / self.options.group.size()) as f64;
        let mut plan = RunPlan::new(&self.config.train, self.source.summary(), &self.learner.model);
        plan.device.clone_from(&self.options.device_name);
        plan.first_step = self.state.step;
        plan.first_loss = first_loss;
        plan.warmup_steps = self.config.schedule.warmup_steps;
        plan.uniform_loss = plan.uniform_loss.filter(|_| self.product == Product::Model);
        plan.seconds_per_step = seconds_per_step;
        Ok(plan)
    }

    /// Saves everything that going on needs.
    fn save_checkpoint(&mut self, on_event: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        if !self.evaluates() {
            self.save_best()?; // there is no better one than the last
        }
        self.state.seconds = self.seconds();
        self.saved_step = Some(self.state.step);
        let Some(records) = &self.records else { return Ok(()) };
        records.sync()?;
        let path = save_training(
            &self.options.out,
            self.state.step,
            (&self.learner.model, self.product.weights()),
            &self.learner.optimizer.save(),
            &self.state,
            self.config.train.keep_checkpoints,
        )?;
        records.draw(&self.options)?;
        on_event(Event::CheckpointSaved { step: self.state.step, path: &path });
        self.checkpoint = Some(path);
        Ok(())
    }

    /// Makes the model of this step the one that the run directory holds.
    fn save_best(&self) -> Result<(), TrainError> {
        if self.records.is_none() {
            return Ok(());
        }
        Ok(self.product.save(&self.options.out, &self.learner.inference_model(), self.source.tokenizer())?)
    }

    /// Keeps a line for the file and the chart.
    fn record(&mut self, line: &Line) -> Result<(), TrainError> {
        self.records.as_mut().map_or(Ok(()), |records| records.write(line))
    }

    /// Seconds of training so far.
    fn seconds(&self) -> f64 {
        self.seconds_before + self.begin.elapsed().as_secs_f64()
    }

    fn stopped_by(&self, error: StepError) -> TrainError {
        // Losses and gradients belong to the next step, an evaluation to the last one.
        let evaluated = matches!(&error, StepError::Defect(defect) if defect.quantity == Quantity::ValidationLoss);
        let step = self.state.step.saturating_sub(u64::from(evaluated));
        error.at(step, &self.config.optimizer, &self.config.schedule, self.checkpoint.clone())
    }
}

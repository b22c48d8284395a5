use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use llm_checkpoint::load_model;

use super::{Best, Source, Trainer};
use crate::loss_scale::LossScale;
use crate::metrics::Line;
use crate::objective::Objective;
use crate::peak::matmul_peak;
use crate::{Event, SampleRequest, StepRecord, TrainError, memory};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// No new best for too long.
    EarlyStop,
    /// Told to stop; everything is saved to go on.
    Interrupted,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Steps done.
    pub step: u64,
    /// Steps that were to be done.
    pub steps: u64,
    /// Loss of the last step, if one was done.
    pub loss: Option<f32>,
    /// Mean validation loss before the first step.
    pub first_val_loss: Option<f32>,
    /// The best evaluation, whose model is in the run directory.
    pub best: Option<Best>,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds of training.
    pub seconds: f64,
}

impl<S: Source> Trainer<S> {
    /// Trains to the end, or until `stop` is set: then the step is finished and everything saved to go on.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] where training breaks down, and failures of reading and writing.
    pub fn run(mut self, on_event: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<Outcome, TrainError> {
        let peak = matmul_peak(&self.options.device, self.config.train.precision);
        let first_step = self.state.step;
        let mut loss = None;
        if first_step > self.steps {
            on_event(Event::NothingLeft { done: first_step, steps: self.steps });
            return Ok(self.outcome(Ending::Finished, loss));
        }
        if self.out_of_patience() {
            on_event(Event::EarlyStop { evaluations: self.state.evaluations_since_best });
        } else if first_step < self.steps {
            on_event(Event::Plan(&self.plan()?));
        }
        self.begin = Instant::now();
        let ending = loop {
            let step = self.state.step;
            if self.evaluation_due() {
                self.evaluate(on_event, stop)?;
            }
            if self.is_told_to(stop)? {
                break Ending::Interrupted;
            }
            if step >= self.steps {
                break Ending::Finished;
            }
            if self.out_of_patience() {
                break Ending::EarlyStop;
            }
            self.sample(on_event);

            let start = Instant::now();
            let batches = self.batches(step)?;
            let scale_before = self.learner.loss_scale;
            let gradients = self.learner.gradients(step, &batches).map_err(|error| self.stopped_by(error))?;
            let gradients_took = start.elapsed();
            self.report_loss_scale(scale_before, on_event);
            // Only now is it known that the weights give a finite loss, so that what is saved on the way is good.
            let every = self.config.train.checkpoint_every;
            if step > first_step && every > 0 && step.is_multiple_of(every) {
                self.save_checkpoint(on_event)?;
            }
            let start = Instant::now();
            let (step_loss, norm) = (gradients.loss, gradients.norm);
            let lr_factor = self.config.schedule.factor(step, self.steps);
            self.learner = self.learner.apply(gradients, lr_factor);
            self.state.step += 1;
            self.state.loss_scale = self.learner.loss_scale;
            let rows = || batches.iter().flat_map(Objective::batches);
            let own_tokens: usize = rows().map(|batch| batch.inputs.len()).sum();
            let mut of_all = [own_tokens as f64, self.work.of_batches(rows())];
            self.options.group.sum_numbers(&mut of_all)?;
            let [tokens, work] = of_all;
            self.state.tokens += tokens as u64;

            loss = Some(step_loss);
            let seconds = (gradients_took + start.elapsed()).as_secs_f64();
            let record = StepRecord {
                step: self.state.step,
                tokens: self.state.tokens,
                loss: step_loss,
                lr: self.config.optimizer.lr * lr_factor,
                grad_norm: norm,
                tokens_per_s: tokens / seconds,
                flops_utilization: work / seconds / peak,
                peak_rss_mib: memory::peak_rss_mib(),
                seconds: self.seconds(),
            };
            on_event(Event::Step(&record));
            self.record(&Line::Step(record))?;
        };
        if self.saved_step != Some(self.state.step) {
            self.save_checkpoint(on_event)?;
        }
        if ending != Ending::Interrupted {
            self.last_sample(on_event)?;
        }
        Ok(self.outcome(ending, loss))
    }

    /// Whether this process or another of the group has been told to stop.
    fn is_told_to(&self, stop: &AtomicBool) -> Result<bool, TrainError> {
        let mut told = [f64::from(u8::from(stop.load(Ordering::Relaxed)))];
        self.options.group.sum_numbers(&mut told)?;
        Ok(told[0] > 0.0)
    }

    fn outcome(&self, ending: Ending, loss: Option<f32>) -> Outcome {
        Outcome {
            ending,
            step: self.state.step,
            steps: self.steps,
            loss,
            first_val_loss: self.state.first_val_loss,
            best: self.state.best,
            checkpoint: self.checkpoint.clone(),
            tokens: self.state.tokens,
            seconds: self.seconds(),
        }
    }

    fn report_loss_scale(&self, before: Option<LossScale>, on_event: &mut dyn FnMut(Event)) {
        if let (Some(before), Some(now)) = (before, self.learner.loss_scale)
            && now.value() < before.value()
        {
            on_event(Event::LossScale { step: self.state.step + 1, scale: now.value() });
        }
    }

    /// Asks for a sample when one is due.
    fn sample(&self, on_event: &mut dyn FnMut(Event)) {
        let (section, step) = (&self.config.sample, self.state.step);
        let due = section.every > 0 && step > 0 && step.is_multiple_of(section.every);
        if due && section.tokens > 0 {
            let (model, tokenizer) = (self.learner.inference_model(), self.source.tokenizer());
            on_event(Event::Sample(Box::new(SampleRequest { step, model, tokenizer, section, last: false })));
        }
    }

    /// Asks for a sample of the best model.
    fn last_sample(&self, on_event: &mut dyn FnMut(Event)) -> Result<(), TrainError> {
        let (section, tokenizer) = (&self.config.sample, self.source.tokenizer());
        if section.tokens == 0 || self.records.is_none() {
            return Ok(());
        }
        let step = self.state.best.map_or(self.state.step, |best| best.step);
        let model = if step == self.state.step {
            self.learner.inference_model()
        } else {
            load_model(&self.options.out, &self.options.device)?
        };
        on_event(Event::Sample(Box::new(SampleRequest { step, model, tokenizer, section, last: true })));
        Ok(())
    }
}

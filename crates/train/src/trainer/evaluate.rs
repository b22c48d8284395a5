use std::sync::atomic::{AtomicBool, Ordering};

use super::state::Best;
use super::{Source, Trainer};
use crate::diagnose::{self, Quantity};
use crate::learner::Defect;
use crate::metrics::Line;
use crate::objective::Objective;
use crate::{EvalRecord, Event, TrainError};

impl<S: Source> Trainer<S> {
    /// Whether there is anything to validate on; else the last weights are the result.
    pub(super) fn evaluates(&self) -> bool {
        !self.config.train.overfit_batch && self.source.validates()
    }

    /// Whether the validation text is to be measured before the next step.
    pub(super) fn evaluation_due(&self) -> bool {
        let (step, every) = (self.state.step, self.config.eval.every);
        let due = step == 0 || step >= self.steps || every > 0 && step.is_multiple_of(every);
        due && self.state.evaluated != Some(step) && self.evaluates()
    }

    /// Measures the validation text and saves the model if it is the best so far. Gives up, without a trace, when
    /// told to stop.
    pub(super) fn evaluate(&mut self, on_event: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<(), TrainError> {
        let Some((val_loss, accuracy)) = self.validation_loss(on_event, stop)? else { return Ok(()) };
        let step = self.state.step;
        let best = self.state.best.is_none_or(|best| val_loss < best.val_loss);
        if best {
            if step > 0 && self.checkpoint.is_none() {
                // A trained model never lies in a run directory that could only begin again, and overwrite it.
                self.save_checkpoint(on_event)?;
            }
            self.save_best()?;
            self.state.best = Some(Best { step, val_loss });
            self.state.evaluations_since_best = 0;
        } else {
            self.state.evaluations_since_best += 1;
        }
        if step == 0 {
            self.state.first_val_loss = Some(val_loss);
        }
        self.state.evaluated = Some(step);
        self.saved_step = None;
        let record = EvalRecord { step, tokens: self.state.tokens, val_loss, accuracy, seconds: self.seconds(), best };
        on_event(Event::Evaluation(&record));
        self.record(&Line::Eval(record))?;
        if best {
            on_event(Event::BestSaved { step });
        }
        if self.out_of_patience() {
            on_event(Event::EarlyStop { evaluations: self.state.evaluations_since_best });
        }
        Ok(())
    }

    /// Whether there has been no new best for too long.
    pub(super) fn out_of_patience(&self) -> bool {
        self.config.eval.patience > 0 && self.state.evaluations_since_best >= self.config.eval.patience
    }

    /// Mean loss over the validation windows and, of preferences, the share that the model gets right; `None` when told to
    /// stop.
    fn validation_loss(
        &self,
        on_event: &mut dyn FnMut(Event),
        stop: &AtomicBool,
    ) -> Result<Option<(f32, Option<f32>)>, TrainError> {
        let model = self.learner.inference_model();
        let device = self.options.device.clone();
        let (batches, evaluation) =
            self.source.evaluation(self.config.eval.windows, self.config.train.micro_batch_size())?;
        let (mut sum, mut count, mut right) = (0.0, 0, None);
        for (done, batch) in evaluation.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let batch = batch?;
            let measure = batch.measure(&model, &device);
            if !measure.loss.is_finite() {
                let place = diagnose::forward(&model, &[batch], &device);
                let defect = Defect { quantity: Quantity::ValidationLoss, place };
                return Err(self.stopped_by(defect.into()));
            }
            sum += measure.loss;
            count += measure.count;
            right = measure.right.map(|now| now + right.unwrap_or(0));
            on_event(Event::Evaluating(done + 1, batches));
        }
        let share = |of: f64| (of / count.max(1) as f64) as f32;
        Ok(Some((share(sum), right.map(|right| share(right as f64)))))
    }
}

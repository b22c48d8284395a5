use std::sync::atomic::{AtomicBool, Ordering};

use llm_data::evaluation_windows;

use super::Trainer;
use super::state::Best;
use crate::diagnose::{self, Quantity};
use crate::learner::{Defect, batch_loss, counted_targets};
use crate::metrics::Line;
use crate::{EvalRecord, Event, TrainError};

impl Trainer {
    /// Whether the validation text is to be measured before the next step.
    pub(super) fn evaluation_due(&self) -> bool {
        let (step, every) = (self.state.step, self.config.eval.every);
        let due = step == 0 || step >= self.steps || every > 0 && step.is_multiple_of(every);
        due && self.state.evaluated != Some(step) && !self.config.train.overfit_batch
    }

    /// Measures the validation text and saves the model if it is the best so far. Gives up, without a trace, when
    /// told to stop.
    pub(super) fn evaluate(&mut self, on_event: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<(), TrainError> {
        let Some(val_loss) = self.validation_loss(on_event, stop)? else { return Ok(()) };
        let step = self.state.step;
        let best = self.state.best.is_none_or(|best| val_loss < best.val_loss);
        if best {
            self.save_best()?;
            self.state.best = Some(Best { step, val_loss });
            self.state.evaluations_since_best = 0;
        } else {
            self.state.evaluations_since_best += 1;
        }
        self.state.evaluated = Some(step);
        self.saved_step = None;
        let record = EvalRecord { step, tokens: self.state.tokens, val_loss, seconds: self.seconds(), best };
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

    /// Mean loss over the validation windows; `None` when told to stop.
    fn validation_loss(&self, on_event: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<Option<f32>, TrainError> {
        let model = self.learner.inference_model();
        let device = self.options.device.clone();
        let (b, t) = (self.config.train.micro_batch_size(), model.config().context_length);
        let windows = self.config.eval.windows;
        let batches = windows.div_ceil(b);
        let (mut sum, mut targets) = (0.0, 0);
        for (done, batch) in evaluation_windows(&self.data.split.valid, windows, b, t)?.enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let batch = batch?;
            let loss = f64::from(batch_loss(&model, &batch, &device).into_scalar::<f32>());
            if !loss.is_finite() {
                let place = diagnose::forward(&model, &[batch], &device);
                return Err(self.stopped_by(&Defect { quantity: Quantity::ValidationLoss, place }));
            }
            sum += loss;
            targets += counted_targets(&batch);
            on_event(Event::Evaluating(done + 1, batches));
        }
        Ok(Some((sum / targets.max(1) as f64) as f32))
    }
}

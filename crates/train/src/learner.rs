//! A model and its optimizer: one training step.

use std::path::PathBuf;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use llm_kernels::in_thread_pool;
use llm_model::{CausalLm, Precision};

use crate::diagnose::{self, NotFinite, Quantity};
use crate::loss_scale::LossScale;
use crate::objective::Objective;
use crate::optim::{Optimizer, OptimizerSection, StepScale, clip_factor, squared_norms};
use crate::{ScheduleSection, TrainError, recompute};

/// A model on an autodiff device and the optimizer that trains it.
#[derive(Debug)]
pub struct Learner {
    /// The model.
    pub model: CausalLm,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The loss scale, for float16.
    pub loss_scale: Option<LossScale>,
    device: Device,
    seed: u64,
    grad_clip: f64,
    recompute: bool,
}

/// The gradients of one step, and what is known of them.
#[derive(Debug)]
pub struct Gradients {
    grads: GradientsParams,
    /// Mean loss over what counts in the step, in nats.
    pub loss: f32,
    /// Global norm before clipping.
    pub norm: f64,
    step: u64,
}

/// A loss or gradients that are NaN or infinite, and where that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// What is not finite.
    pub quantity: Quantity,
    /// Where it begins.
    pub place: String,
}

impl Defect {
    /// The error that ends a run of these settings at `step`, counted from 0, after saving `checkpoint`.
    pub(crate) fn at(
        &self,
        step: u64,
        optimizer: &OptimizerSection,
        schedule: &ScheduleSection,
        checkpoint: Option<PathBuf>,
    ) -> TrainError {
        TrainError::NotFinite(Box::new(NotFinite {
            step: step + 1,
            quantity: self.quantity,
            place: self.place.clone(),
            checkpoint,
            lr: optimizer.lr.to_string(),
            warmup_steps: schedule.warmup_steps,
            grad_clip: optimizer.grad_clip.to_string(),
        }))
    }
}

impl Learner {
    /// A learner for `model`, whose weights are on the autodiff device `device`.
    pub fn new(model: CausalLm, device: &Device, section: &OptimizerSection, precision: Precision, seed: u64) -> Self {
        let optimizer = Optimizer::new(section, &model, &device.clone().inner());
        Self {
            model: model.with_precision(precision),
            optimizer,
            loss_scale: (precision == Precision::F16).then(LossScale::default),
            device: device.clone(),
            seed,
            grad_clip: section.grad_clip,
            recompute: false,
        }
    }

    /// The same learner; with `recompute`, the backward pass computes activations anew instead of keeping them.
    #[must_use]
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// The gradients of the mean loss over what counts in `batches`, the micro-batches of step `step`.
    ///
    /// With a loss scale, gradients that overflow halve it and the same step is computed again.
    ///
    /// # Errors
    /// [`Defect`] where loss or gradients are not finite.
    pub fn gradients<O: Objective>(&mut self, step: u64, batches: &[O]) -> Result<Gradients, Defect> {
        loop {
            let gradients = self.backward(step, batches);
            if !gradients.loss.is_finite() {
                let place = diagnose::forward(&self.model, batches, &self.device);
                return Err(Defect { quantity: Quantity::Loss, place });
            }
            if gradients.norm.is_finite() {
                if let Some(scale) = &mut self.loss_scale {
                    scale.succeeded();
                }
                return Ok(gradients);
            }
            if !self.loss_scale.as_mut().is_some_and(LossScale::overflowed) {
                let place = diagnose::gradients(&self.model, &gradients.grads);
                return Err(Defect { quantity: Quantity::Gradient, place });
            }
        }
    }

    fn backward<O: Objective>(&self, step: u64, batches: &[O]) -> Gradients {
        in_thread_pool(&self.device, || self.backward_here(step, batches))
    }

    fn backward_here<O: Objective>(&self, step: u64, batches: &[O]) -> Gradients {
        let targets: usize = batches.iter().map(Objective::count).sum();
        let scale = self.loss_scale.as_ref().map_or(1.0, LossScale::value);
        let mut accumulator = GradientsAccumulator::new();
        let mut loss: Option<Tensor<1>> = None;
        for (micro, batch) in batches.iter().enumerate() {
            let seed = mix(mix(self.seed, step), micro as u64);
            let (share, grads) = if let Some(batch) = batch.language_modelling().filter(|_| self.recompute) {
                let seed = |part: u64| self.device.seed(mix(seed, part));
                recompute::loss_and_gradients(&self.model, batch, &self.device, targets, scale, seed)
            } else {
                self.device.seed(seed);
                let share = batch.loss(&self.model, &self.device) / targets.max(1) as f64;
                let grads = (share.clone() * scale).backward();
                (share.inner(), GradientsParams::from_grads(grads, &self.model))
            };
            accumulator.accumulate(&self.model, grads);
            loss = Some(loss.map_or(share.clone(), |loss| loss + share));
        }
        let grads = accumulator.grads();
        let loss = loss.map_or(0.0, Tensor::into_scalar::<f32>);
        let squares = squared_norms(&self.model, &grads).map_or(0.0, Tensor::into_scalar::<f32>);
        Gradients { grads, loss, norm: f64::from(squares).sqrt() / scale, step }
    }

    /// The learner after a step along `gradients`, clipped, at `lr_factor` of the configured learning rates.
    #[must_use]
    pub fn apply(mut self, gradients: Gradients, lr_factor: f64) -> Self {
        let scale = self.loss_scale.as_ref().map_or(1.0, LossScale::of_last_step);
        let grad_factor = clip_factor(gradients.norm, self.grad_clip) / scale;
        let scale = StepScale { step: gradients.step, lr_factor, grad_factor };
        let device = self.device.clone();
        in_thread_pool(&device, move || {
            self.model = self.optimizer.step(self.model, gradients.grads, scale);
            self
        })
    }

    /// The model for inference: without gradients and dropout.
    pub fn inference_model(&self) -> CausalLm {
        self.model.valid()
    }

    /// The autodiff device.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// A seed for part `number` of what `seed` decides (the finalizer of `SplitMix64`).
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = (seed ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

//! A model and its optimizer: one training step.

use std::path::PathBuf;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use llm_kernels::in_thread_pool;
use llm_model::{CausalLm, ParamInfo, ParamVisitor, Precision, visit_params};

use crate::diagnose::{self, NotFinite, Quantity};
use crate::group::{Alone, Group, GroupError};
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
    group: Arc<dyn Group>,
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

/// Why a step has no gradients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// They are not finite.
    Defect(Defect),
    /// The other processes have theirs no longer.
    Group(GroupError),
}

impl StepError {
    /// The error that ends a run of these settings at `step`, counted from 0, after saving `checkpoint`.
    pub(crate) fn at(
        self,
        step: u64,
        optimizer: &OptimizerSection,
        schedule: &ScheduleSection,
        checkpoint: Option<PathBuf>,
    ) -> TrainError {
        match self {
            Self::Group(error) => error.into(),
            Self::Defect(defect) => TrainError::NotFinite(Box::new(NotFinite {
                step: step + 1,
                quantity: defect.quantity,
                place: defect.place,
                checkpoint,
                lr: optimizer.lr.to_string(),
                warmup_steps: schedule.warmup_steps,
                grad_clip: optimizer.grad_clip.to_string(),
            })),
        }
    }
}

impl From<Defect> for StepError {
    fn from(defect: Defect) -> Self {
        Self::Defect(defect)
    }
}

impl From<GroupError> for StepError {
    fn from(error: GroupError) -> Self {
        Self::Group(error)
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
            group: Arc::new(Alone),
        }
    }

    /// The same learner; with `recompute`, the backward pass computes activations anew instead of keeping them.
    #[must_use]
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// The same learner as one process of `group`.
    #[must_use]
    pub fn with_group(self, group: Arc<dyn Group>) -> Self {
        Self { group, ..self }
    }

    /// The gradients of the mean loss over what counts in step `step`, of which `batches` are this process's micro-batches:
    /// every process has as many, and gets the same gradients.
    ///
    /// With a loss scale, gradients that overflow halve it and the same step is computed again.
    ///
    /// # Errors
    /// [`Defect`] where loss or gradients are not finite, and a group that breaks up.
    pub fn gradients<O: Objective>(&mut self, step: u64, batches: &[O]) -> Result<Gradients, StepError> {
        let mut counts = [batches.iter().map(Objective::count).sum::<usize>() as f64];
        self.group.sum_numbers(&mut counts)?;
        let targets = counts[0] as usize;
        loop {
            let local = in_thread_pool(&self.device, || self.local(step, batches, targets));
            let own_loss = local.loss;
            let gradients = self.summed(local, step)?;
            if !gradients.loss.is_finite() {
                let place = if own_loss.is_finite() {
                    "the batches of another process".to_owned()
                } else {
                    diagnose::forward(&self.model, batches, &self.device)
                };
                return Err(Defect { quantity: Quantity::Loss, place }.into());
            }
            if gradients.norm.is_finite() {
                if let Some(scale) = &mut self.loss_scale {
                    scale.succeeded();
                }
                return Ok(gradients);
            }
            if !self.loss_scale.as_mut().is_some_and(LossScale::overflowed) {
                let place = diagnose::gradients(&self.model, &gradients.grads);
                return Err(Defect { quantity: Quantity::Gradient, place }.into());
            }
        }
    }

    /// This process's part of the gradients of a step over `targets` of what counts.
    fn local<O: Objective>(&self, step: u64, batches: &[O], targets: usize) -> Local {
        let first = self.group.rank() * batches.len();
        let scale = self.loss_scale.as_ref().map_or(1.0, LossScale::value);
        let mut accumulator = GradientsAccumulator::new();
        let mut loss: Option<Tensor<1>> = None;
        for (micro, batch) in batches.iter().enumerate() {
            let seed = mix(mix(self.seed, step), (first + micro) as u64);
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
        Local { grads: accumulator.grads(), loss: loss.map_or(0.0, Tensor::into_scalar::<f32>) }
    }

    /// The gradients of all processes together.
    fn summed(&self, Local { mut grads, loss }: Local, step: u64) -> Result<Gradients, GroupError> {
        let mut losses = [loss];
        if self.group.size() > 1 {
            self.group.sum(&mut losses)?;
            grads = sum_gradients(&self.model, grads, &*self.group)?;
        }
        let scale = self.loss_scale.as_ref().map_or(1.0, LossScale::value);
        in_thread_pool(&self.device, move || {
            let squares = squared_norms(&self.model, &grads).map_or(0.0, Tensor::into_scalar::<f32>);
            Ok(Gradients { grads, loss: losses[0], norm: f64::from(squares).sqrt() / scale, step })
        })
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

/// What one process has computed of a step.
struct Local {
    grads: GradientsParams,
    /// Its share of the mean loss.
    loss: f32,
}

/// The gradients of `model` summed over the processes of `group`, one parameter after the other.
fn sum_gradients(model: &CausalLm, grads: GradientsParams, group: &dyn Group) -> Result<GradientsParams, GroupError> {
    struct Summing<'a> {
        grads: GradientsParams,
        group: &'a dyn Group,
        summed: GradientsParams,
        error: Option<GroupError>,
    }
    impl ParamVisitor for Summing<'_> {
        fn visit<const D: usize>(&mut self, _: &ParamInfo, param: &Param<Tensor<D>>) {
            let Some(grad) = self.grads.remove::<D>(param.id).filter(|_| self.error.is_none()) else { return };
            let (device, mut data) = (grad.device(), grad.into_data());
            // Gradients are float32, and `data` is the only owner of them.
            let values = data.as_mut_slice::<f32>().unwrap_or_default();
            self.error = self.group.sum(values).err();
            self.summed.register(param.id, Tensor::<D>::from_data(data, &device));
        }
    }
    let mut summing = Summing { grads, group, summed: GradientsParams::new(), error: None };
    visit_params(model, &mut summing);
    summing.error.map_or(Ok(summing.summed), Err)
}

/// A seed for part `number` of what `seed` decides (the finalizer of `SplitMix64`).
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = (seed ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

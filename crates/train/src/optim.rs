//! Optimizers: how gradients become new weights.
//!
//! They are our own rather than Burn's, for three reasons. Burn 0.22.1 keys the state of its optimizers by parameter
//! ids that are drawn at random in every process, restores it onto `Device::default()` (which is a GPU in a build that
//! has one), and clips every tensor by itself, while language models are trained with one norm over all parameters.
//! Here the state is kept by the name of the parameter, saved as plain tensors, and comes back bit for bit.

mod adam;
mod clip;
mod muon;
mod section;
mod sgd;

use std::collections::{BTreeMap, HashMap};

use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use llm_model::{CausalLm, ParamInfo, ParamMapper, Role, map_params, params, trainable_params};

pub(crate) use clip::{clip_factor, squared_norms};
pub use section::{OptimizerKind, OptimizerSection};

/// An optimizer and what it remembers of each parameter.
#[derive(Debug)]
pub struct Optimizer {
    section: OptimizerSection,
    rules: HashMap<String, Rule>,
    state: BTreeMap<String, Moments>,
}

/// What is remembered of one parameter: one tensor for each of [`Rule::slots`], flat.
type Moments = Vec<Tensor<1>>;

/// How one parameter is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Adam { decay: bool },
    Sgd { decay: bool },
    Muon,
}

/// What is the same for all parameters in one step.
#[derive(Debug, Clone, Copy)]
pub struct StepScale {
    /// Steps done before this one; Adam's bias correction needs it.
    pub step: u64,
    /// Share of the configured learning rates, from the schedule.
    pub lr_factor: f64,
    /// What gradients are multiplied by first: clipping, and the inverse of a loss scale.
    pub grad_factor: f64,
}

/// Saved optimizer state that does not belong to the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("optimizer state: {name} {problem}")]
pub struct StateMismatch {
    /// Name of the tensor.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Rule {
    fn slots(self, section: &OptimizerSection) -> &'static [&'static str] {
        match self {
            Self::Adam { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Sgd { .. } if section.momentum == 0.0 => &[],
            Self::Sgd { .. } | Self::Muon => &["momentum_buffer"],
        }
    }
}

impl Optimizer {
    /// An optimizer for the parameters of `model` that are not frozen, before its first step. It keeps what it
    /// remembers on `device`.
    ///
    /// All of that is taken at once, before any gradient: tensors that live as long as the run then do not lie scattered
    /// among those of a step.
    pub fn new(section: &OptimizerSection, model: &CausalLm, device: &Device) -> Self {
        let rules = rules(section, model);
        // `Tensor::zeros` of the CPU backend takes the memory twice, and leaves a hole behind the one it keeps.
        let zeros = |n: usize| Tensor::from_data(TensorData::new(vec![0.0_f32; n], [n]), device);
        let moments =
            |p: &ParamInfo| -> Moments { rules[&p.name].slots(section).iter().map(|_| zeros(p.len())).collect() };
        let state = trainable_params(model).into_iter().map(|p| (p.name.clone(), moments(&p))).collect();
        Self { section: section.clone(), rules, state }
    }

    /// `model` after one step along `grads`. Parameters without a gradient stay as they are.
    pub fn step(&mut self, model: CausalLm, grads: GradientsParams, scale: StepScale) -> CausalLm {
        map_params(model, &mut Updater { optimizer: self, grads, scale })
    }

    /// Numbers remembered for `model`, of four bytes each.
    pub fn state_len(section: &OptimizerSection, model: &CausalLm) -> usize {
        let rules = rules(section, model);
        trainable_params(model).iter().map(|p| p.len() * rules[&p.name].slots(section).len()).sum()
    }

    /// Everything remembered, as `NAME.SLOT`.
    pub fn save(&self) -> Vec<(String, TensorData)> {
        let mut tensors = Vec::new();
        for (name, moments) in &self.state {
            for (slot, tensor) in self.rules[name].slots(&self.section).iter().zip(moments) {
                tensors.push((format!("{name}.{slot}"), tensor.clone().into_data()));
            }
        }
        tensors
    }

    /// Remembers what [`Self::save`] gave for the same kind of model.
    ///
    /// # Errors
    /// Names the first tensor that is missing or has another length.
    pub fn restore(
        &mut self,
        mut tensors: BTreeMap<String, TensorData>,
        model: &CausalLm,
        device: &Device,
    ) -> Result<(), StateMismatch> {
        if tensors.is_empty() {
            return Ok(()); // saved before the first step, by an early version
        }
        for info in trainable_params(model) {
            let mut moments = Vec::new();
            for slot in self.rules[&info.name].slots(&self.section) {
                let name = format!("{}.{slot}", info.name);
                let Some(data) = tensors.remove(&name) else {
                    return Err(StateMismatch { name, problem: "is missing".into() });
                };
                if data.shape().as_slice() != [info.len()] {
                    let problem = format!("has the shape {:?}, but must have {:?}", data.shape(), [info.len()]);
                    return Err(StateMismatch { name, problem });
                }
                moments.push(Tensor::from_data(data, device));
            }
            self.state.insert(info.name, moments);
        }
        Ok(())
    }

    /// One parameter `(n)` of `shape` after a step along `grad` `(n)`.
    fn update(&mut self, name: &str, weight: Tensor<1>, grad: Tensor<1>, shape: &[usize], s: StepScale) -> Tensor<1> {
        let Some(&rule) = self.rules.get(name) else { return weight };
        let moments = self.state.remove(name).unwrap_or_default();
        let (weight, moments) = match rule {
            Rule::Adam { decay } => adam::update(&self.section, decay, weight, grad, moments, s),
            Rule::Sgd { decay } => sgd::update(&self.section, decay, weight, grad, moments, s),
            Rule::Muon => muon::update(&self.section, [shape[0], shape[1]], weight, grad, moments, s),
        };
        self.state.insert(name.to_string(), moments);
        weight
    }
}

/// How each parameter of `model` is updated. Matrices, the embeddings among them, decay; norms and biases do not.
fn rules(section: &OptimizerSection, model: &CausalLm) -> HashMap<String, Rule> {
    let rule = |role: Role, rank: usize| {
        let decay = rank >= 2;
        match section.kind {
            OptimizerKind::Sgd => Rule::Sgd { decay },
            OptimizerKind::Muon if role == Role::Matrix && rank == 2 => Rule::Muon,
            OptimizerKind::AdamW | OptimizerKind::Muon => Rule::Adam { decay },
            OptimizerKind::Adam => Rule::Adam { decay: false },
        }
    };
    params(model).into_iter().map(|p| (p.name, rule(p.role, p.shape.len()))).collect()
}

/// Walks over the model and replaces each parameter by its successor.
struct Updater<'a> {
    optimizer: &'a mut Optimizer,
    grads: GradientsParams,
    scale: StepScale,
}

impl ParamMapper for Updater<'_> {
    fn map<const D: usize>(&mut self, info: &ParamInfo, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove::<D>(param.id) else { return param };
        let (id, tensor, mapper) = param.consume();
        let strategy = tensor.gradient_checkpointing_strategy();
        let shape = tensor.dims();
        let n = shape.iter().product::<usize>();
        let weight = tensor.inner().reshape([n]);
        let updated = self.optimizer.update(&info.name, weight, grad.reshape([n]), &shape, self.scale);
        let mut updated = Tensor::from_inner(updated.reshape(shape));
        if let Some(strategy) = strategy {
            updated = updated.with_gradient_checkpointing_strategy(strategy);
        }
        Param::from_mapped_value(id, updated.require_grad(), mapper)
    }
}

/// The factor of decoupled weight decay, `1 − lr·weight_decay`.
fn decayed(weight: Tensor<1>, decay: bool, lr: f64, weight_decay: f64) -> Tensor<1> {
    if decay && weight_decay > 0.0 { weight * (1.0 - lr * weight_decay) } else { weight }
}

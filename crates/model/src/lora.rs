//! LoRA: a low-rank addition to frozen linear layers (Hu et al., 2021, arXiv:2106.09685), computed on the activations,
//! so that neither a gradient of a weight's size nor a merged weight is ever made.

mod model;
mod targets;

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use llm_kernels::{Adapter, Input, Precision, Weight, linear};
use serde::{Deserialize, Serialize};

pub use targets::TargetModules;

/// What LoRA adds to a model, in the words of PEFT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rows of `lora_a`, columns of `lora_b`.
    pub rank: usize,
    /// The addition is multiplied by `alpha / rank`, with `rslora` by `alpha / √rank`.
    pub alpha: f64,
    /// Probability with which inputs of the adapters are dropped in training.
    pub dropout: f64,
    /// Which linear layers get one.
    pub target_modules: TargetModules,
    /// Rank-stabilized scale (Kalajdzievski, 2023, arXiv:2312.03732).
    pub rslora: bool,
    /// Weight-decomposed (Liu et al., 2024, arXiv:2402.09353): every row of the weight has a trained magnitude.
    pub dora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let target_modules = TargetModules::default();
        Self { rank: 8, alpha: 16.0, dropout: 0.0, target_modules, rslora: false, dora: false }
    }
}

impl LoraConfig {
    /// What the addition of an adapter of `rank` and `alpha` is multiplied by.
    pub fn scale(&self, rank: usize, alpha: f64) -> f64 {
        let rank = rank as f64;
        alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    fn check(&self) -> Result<(), LoraError> {
        let bad = |key, value: String, expected| Err(LoraError::Value { key, value, expected });
        if self.rank == 0 {
            return bad("rank", self.rank.to_string(), "1 or more");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return bad("alpha", self.alpha.to_string(), "a number, more than 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", self.dropout.to_string(), "a number from 0 to below 1");
        }
        Ok(())
    }
}

/// Why a model does not get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoraError {
    /// A setting outside its range.
    #[error("lora: {key} is {value}, but it must be {expected}")]
    Value {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is possible.
        expected: &'static str,
    },

    /// A pattern that is no regular expression.
    #[error(
        "lora: target_modules is {pattern:?}, which is not a regular expression: {problem}\n\
         hint: to name modules by the end of their names, give a list: [\"q_proj\", \"v_proj\"]"
    )]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the parser says.
        problem: String,
    },

    /// A target that no linear layer goes by.
    #[error("lora: no linear layer is named {target}\nhint: the model has {}", names.join(", "))]
    NoTarget {
        /// What was asked for.
        target: String,
        /// The last parts of the names that there are.
        names: Vec<String>,
    },

    /// A second adapter over the first.
    #[error("lora: the model has an adapter already\nhint: merge it first")]
    Adapted,
}

/// The adapter of one linear layer: `y += scale · (x·Aᵀ)·Bᵀ`.
#[derive(Module, Debug)]
pub struct Lora {
    /// `(r, in)`.
    pub lora_a: Param<Tensor<2>>,
    /// `(out, r)`.
    pub lora_b: Param<Tensor<2>>,
    /// `(out)`: the norm that every row of the merged weight is brought to; DoRA only.
    pub magnitude: Option<Param<Tensor<1>>>,
    scale: f64,
    dropout: f64,
}

impl Lora {
    /// An adapter of `a` `(r, in)`, `b` `(out, r)` and, for DoRA, a magnitude `(out)`, on `device`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn new(
        [a, b]: [TensorData; 2],
        magnitude: Option<TensorData>,
        scale: f64,
        dropout: f64,
        device: &Device,
    ) -> Self {
        assert_eq!(a.shape()[0], b.shape()[1], "rank of both factors");
        let matrix = |data| trained(Tensor::<2>::from_data(data, device));
        let magnitude = magnitude.map(|data| trained(Tensor::<1>::from_data(data, device)));
        Self { lora_a: matrix(a), lora_b: matrix(b), magnitude, scale, dropout }
    }

    /// Rows of `lora_a`.
    pub fn rank(&self) -> usize {
        self.lora_a.lazy_shape()[0]
    }

    /// What the product is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The layer's output `(n, out)` for `input` `(n, in)`, adapter included.
    ///
    /// With DoRA and dropout, the adapter's input alone is dropped; PEFT also drops that of the frozen weight in the part
    /// by which the magnitude differs from the norm. Without dropout both are the same.
    pub(crate) fn forward(
        &self,
        input: Input,
        weight: Weight,
        bias: Option<Tensor<1>>,
        precision: Precision,
    ) -> Tensor<2> {
        let dropout = if self.lora_a.is_autodiff() { self.dropout } else { 0.0 };
        let adapter = Adapter { a: self.lora_a.val(), b: self.lora_b.val(), scale: self.scale, dropout };
        let Some(magnitude) = &self.magnitude else {
            return linear(input, weight, bias, Some(adapter), precision);
        };
        let norm = self.row_norms(&weight);
        let y = linear(input, weight, None, Some(adapter), precision) * (magnitude.val() / norm).unsqueeze();
        match bias {
            Some(bias) => y + bias.unsqueeze(),
            None => y,
        }
    }

    /// The norms `(out)` of the rows of the merged weight; a constant to the backward pass, as the paper proposes.
    pub(crate) fn row_norms(&self, weight: &Weight) -> Tensor<1> {
        /// Rows that are merged at a time.
        const ROWS: usize = 256;
        let [a, b] = [self.lora_a.val(), self.lora_b.val()].map(constant);
        let [rows, _] = weight.dims();
        let norms = (0..rows).step_by(ROWS).map(|start| {
            let range = start..rows.min(start + ROWS);
            let weight = constant(weight.rows(range.clone(), &a.device()));
            let merged = weight + b.clone().slice_dim(0, range.clone()).matmul(a.clone()) * self.scale;
            merged.square().sum_dim(1).sqrt().reshape([range.len()])
        });
        Tensor::cat(norms.collect(), 0)
    }

    /// The weight `(out, in)` that computes what the frozen `weight` and this adapter do together.
    pub(crate) fn merged(&self, weight: &Weight) -> Tensor<2> {
        let norm = self.magnitude.as_ref().map(|_| self.row_norms(weight));
        let [a, b] = [self.lora_a.val(), self.lora_b.val()].map(constant);
        let merged = constant(weight.in_float32(&a.device())) + b.matmul(a) * self.scale;
        match (&self.magnitude, norm) {
            (Some(magnitude), Some(norm)) => {
                let [rows] = norm.dims();
                merged * (constant(magnitude.val()) / norm).reshape([rows, 1])
            }
            _ => merged,
        }
    }
}

/// The values of `x`, without a gradient. `detach` alone makes of a parameter another that is tracked.
fn constant<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.detach().set_require_grad(false)
}

/// A new parameter, trained from `value` on.
fn trained<const D: usize>(value: Tensor<D>) -> Param<Tensor<D>> {
    Param::initialized(ParamId::new(), value.detach()).set_require_grad(true)
}

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use llm_kernels::{layer_norm, rms_norm};

use crate::NormKind;
use crate::matrix::zeros;

/// Normalization over the last axis: LayerNorm (with a bias) or RMSNorm (with `offset` added to the weight).
#[derive(Module, Debug)]
pub struct Norm {
    /// `(d)`.
    pub weight: Param<Tensor<1>>,
    /// `(d)`, LayerNorm only.
    pub bias: Option<Param<Tensor<1>>>,
    eps: f64,
    offset: f64,
}

impl Norm {
    /// A normalization of width `d`; `eps` is added to the variance or mean square.
    pub fn new(kind: NormKind, d: usize, eps: f64, device: &Device) -> Self {
        let bias = (kind == NormKind::LayerNorm).then(|| zeros([d], device));
        Self { weight: zeros([d], device), bias, eps, offset: if kind == NormKind::RmsNorm1p { 1.0 } else { 0.0 } }
    }

    /// `(…, d)` → `(…, d)`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match &self.bias {
            Some(bias) => layer_norm(x, self.weight.val(), bias.val(), self.eps),
            None if self.offset != 0.0 => rms_norm(x, self.weight.val() + self.offset, self.eps),
            None => rms_norm(x, self.weight.val(), self.eps),
        }
    }
}

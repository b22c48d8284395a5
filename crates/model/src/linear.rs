use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};

use llm_kernels::linear;

use crate::Precision;

/// A linear layer, `y = x·Wᵀ + bias`, with the weight laid out as checkpoints store it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `(out, in)`.
    pub weight: Param<Tensor<2>>,
    /// `(out)`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer from `d_in` to `d_out` features whose weights are zero until they are loaded or initialized.
    pub fn new(d_in: usize, d_out: usize, bias: bool, device: &Device) -> Self {
        Self { weight: zeros([d_out, d_in], device), bias: bias.then(|| zeros([d_out], device)) }
    }

    /// `(b, t, in)` → `(b, t, out)`, in float32; the product is computed in `precision`.
    pub fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        let [b, t, d_in] = x.dims();
        let x = x.reshape([b * t, d_in]);
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(Param::val));
        let [d_out, _] = weight.dims();
        let y = match precision {
            Precision::F32 => linear(x, weight, bias),
            lower => {
                let y = lower.raise(linear(lower.lower(x), lower.lower(weight), None));
                bias.map_or(y.clone(), |bias| y + bias.unsqueeze())
            }
        };
        y.reshape([b, t, d_out])
    }
}

/// A trained parameter that takes no memory until it is used or replaced.
pub(crate) fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| Tensor::zeros(shape, device).set_require_grad(require_grad),
        device.clone(),
        true,
        shape.into(),
    )
}

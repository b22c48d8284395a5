use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use llm_kernels::{Activation, Input, Precision, linear};

use crate::matrix::zeros;
use crate::{Lora, Matrix};

/// A linear layer, `y = x·Wᵀ + bias`, with the weight laid out as checkpoints store it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `(out, in)`.
    pub weight: Matrix,
    /// `(out)`.
    pub bias: Option<Param<Tensor<1>>>,
    /// What is added to a frozen layer, if anything.
    pub lora: Option<Lora>,
}

impl Linear {
    /// A layer from `d_in` to `d_out` features whose weights are zero until they are loaded or initialized.
    pub fn new(d_in: usize, d_out: usize, bias: bool, device: &Device) -> Self {
        let bias = bias.then(|| zeros([d_out], device));
        Self { bias, ..Self::of(Matrix::zeros([d_out, d_in], device)) }
    }

    /// A layer of `weight` alone.
    pub(crate) fn of(weight: Matrix) -> Self {
        Self { weight, bias: None, lora: None }
    }

    /// Adds a bias of zeros where there is none.
    pub(crate) fn add_bias(&mut self, device: &Device) {
        let [d_out, _] = self.weight.shape();
        self.bias.get_or_insert_with(|| zeros([d_out], device));
    }

    /// `(b, t, in)` → `(b, t, out)`, in float32; the factors of the product are rounded to `precision`.
    pub fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        self.on_rows(x, Input::Plain, precision)
    }

    /// [`Self::forward`] of `activation(x)`, times `factor` `(b, t, in)` where there is one.
    pub(crate) fn forward_activated(
        &self,
        activation: Activation,
        x: Tensor<3>,
        factor: Option<Tensor<3>>,
        precision: Precision,
    ) -> Tensor<3> {
        let activated = |x: Tensor<2>| {
            let factor = factor.map(|factor| factor.reshape(x.dims()));
            Input::Activated(activation, x, factor)
        };
        self.on_rows(x, activated, precision)
    }

    /// The layer's output for what `input` makes of the tokens of all sequences in one matrix.
    fn on_rows(&self, x: Tensor<3>, input: impl FnOnce(Tensor<2>) -> Input, precision: Precision) -> Tensor<3> {
        let ([b, t, d_in], [d_out, _]) = (x.dims(), self.weight.shape());
        let (input, weight) = (input(x.reshape([b * t, d_in])), self.weight.stored());
        let bias = self.bias.as_ref().map(Param::val);
        let y = match &self.lora {
            None => linear(input, weight, bias, None, precision),
            Some(lora) => lora.forward(input, weight, bias, precision),
        };
        y.reshape([b, t, d_out])
    }
}

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};

use llm_kernels::{Activation, Input, Precision, QuantizedWeight, Weight, activated_linear, linear};

use crate::Lora;

/// A linear layer, `y = x·Wᵀ + bias`, with the weight laid out as checkpoints store it.
#[derive(Module, Debug)]
pub struct Linear {
    /// `(out, in)`. Where the layer is held in blocks, it tells the shape alone: see [`Self::values`].
    pub weight: Param<Tensor<2>>,
    /// `(out)`.
    pub bias: Option<Param<Tensor<1>>>,
    /// What is added to a frozen layer, if anything.
    pub lora: Option<Lora>,
    /// The weight, where it is frozen and held in few bits.
    #[module(skip)]
    pub(crate) quantized: Option<QuantizedWeight>,
}

impl Linear {
    /// A layer from `d_in` to `d_out` features whose weights are zero until they are loaded or initialized.
    pub fn new(d_in: usize, d_out: usize, bias: bool, device: &Device) -> Self {
        Self {
            weight: zeros([d_out, d_in], device),
            bias: bias.then(|| zeros([d_out], device)),
            lora: None,
            quantized: None,
        }
    }

    /// A layer without a bias that has the values of another parameter, as a parameter of its own.
    pub(crate) fn of(weight: &Param<Tensor<2>>) -> Self {
        let trained = weight.val().is_require_grad();
        let weight = Param::initialized(ParamId::new(), weight.val().detach()).set_require_grad(trained);
        Self { weight, bias: None, lora: None, quantized: None }
    }

    /// Adds a bias of zeros where there is none.
    pub(crate) fn add_bias(&mut self) {
        let [d_out, _] = self.weight.lazy_shape().dims();
        self.bias.get_or_insert_with(|| zeros([d_out], &self.weight.lazy_device()));
    }

    /// `(b, t, in)` → `(b, t, out)`, in float32; the factors of the product are rounded to `precision`.
    pub fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        self.on_rows(x, |x| match &self.lora {
            None => linear(x, self.stored(), self.bias(), precision),
            Some(lora) => lora.forward(Input::Plain(x), self.stored(), self.bias(), precision),
        })
    }

    /// [`Self::forward`] of `activation(x)`, times `factor` `(b, t, in)` where there is one.
    pub(crate) fn forward_activated(
        &self,
        activation: Activation,
        x: Tensor<3>,
        factor: Option<Tensor<3>>,
        precision: Precision,
    ) -> Tensor<3> {
        self.on_rows(x, |x| {
            let factor = factor.map(|factor| factor.reshape(x.dims()));
            match (&self.lora, factor) {
                (None, factor) => activated_linear(activation, x, factor, self.stored(), self.bias(), precision),
                (Some(lora), factor) => {
                    let input = Input::Activated(activation, x, factor);
                    lora.forward(input, self.stored(), self.bias(), precision)
                }
            }
        })
    }

    /// The weight as it is held.
    pub(crate) fn stored(&self) -> Weight {
        self.quantized.clone().map_or_else(|| self.weight.val().into(), Weight::Quantized)
    }

    /// The values of the weight, `(out, in)`, in float32.
    pub fn values(&self) -> Tensor<2> {
        self.stored().in_float32(&self.weight.lazy_device())
    }

    fn bias(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(Param::val)
    }

    /// `f` of the tokens of all sequences in one matrix.
    fn on_rows(&self, x: Tensor<3>, f: impl FnOnce(Tensor<2>) -> Tensor<2>) -> Tensor<3> {
        let ([b, t, d_in], [d_out, _]) = (x.dims(), self.weight.dims());
        f(x.reshape([b * t, d_in])).reshape([b, t, d_out])
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

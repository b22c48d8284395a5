use burn::tensor::Tensor;

use crate::{Activation, Precision, Weight, dropout_reference};

/// What enters a linear layer.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one lives for a call
pub enum Input {
    /// `(n, in)`, as it is.
    Plain(Tensor<2>),
    /// The activation of the first `(n, in)`, times the second where there is one, elementwise: the second half of a
    /// feed-forward network.
    Activated(Activation, Tensor<2>, Option<Tensor<2>>),
}

impl From<Tensor<2>> for Input {
    fn from(x: Tensor<2>) -> Self {
        Self::Plain(x)
    }
}

impl Input {
    /// The tensor that the layer's input is computed from, `(n, in)`.
    fn x(&self) -> &Tensor<2> {
        match self {
            Self::Plain(x) | Self::Activated(_, x, _) => x,
        }
    }

    /// `(n, in)`.
    fn value(self) -> Tensor<2> {
        match self {
            Self::Plain(x) => x,
            Self::Activated(activation, x, None) => activation.forward(x),
            Self::Activated(activation, x, Some(factor)) => activation.forward(x) * factor,
        }
    }
}

/// The low-rank addition `scale · (x·aᵀ)·bᵀ` to a linear layer (Hu et al., 2021, arXiv:2106.09685).
#[derive(Debug, Clone)]
pub struct Adapter {
    /// `(r, in)`.
    pub a: Tensor<2>,
    /// `(out, r)`.
    pub b: Tensor<2>,
    /// What the product is multiplied by.
    pub scale: f64,
    /// Probability with which values of `x` are dropped, in the addition only.
    pub dropout: f64,
}

/// `x · weightᵀ + bias`, with the input `x` `(n, in)`, `weight` `(out, in)` as checkpoints store it, `bias` `(out)`, and
/// what an adapter adds → `(n, out)`. The factors of this product, and of those in its backward pass, are rounded to
/// `precision`; what the adapter adds is float32.
///
/// A weight that is not stored in float32 has no gradient of its own. The fused version computes activations anew in the
/// backward pass rather than keep them, for a frozen weight keeps no input that only its gradient would need, adds in
/// place, and widens weights in parts of 16 MB.
pub fn linear(
    input: impl Into<Input>,
    weight: impl Into<Weight>,
    bias: Option<Tensor<1>>,
    adapter: Option<Adapter>,
    precision: Precision,
) -> Tensor<2> {
    let input = input.into();
    #[cfg(feature = "cpu")]
    if crate::is_fused(&input.x().device(), input.x().dtype()) {
        return crate::flex::linear(input, weight.into(), bias, adapter, precision);
    }
    linear_reference(input, weight, bias, adapter, precision)
}

/// [`linear`], composed of Burn operations.
pub fn linear_reference(
    input: impl Into<Input>,
    weight: impl Into<Weight>,
    bias: Option<Tensor<1>>,
    adapter: Option<Adapter>,
    precision: Precision,
) -> Tensor<2> {
    let x = input.into().value();
    let weight = weight.into().in_float32(&x.device());
    let mut y = precision.raise(precision.lower(x.clone()).matmul(precision.lower(weight).transpose()));
    if let Some(bias) = bias {
        y = y + bias.unsqueeze();
    }
    match adapter {
        None => y,
        Some(Adapter { a, b, scale, dropout }) => {
            let x = if dropout > 0.0 { dropout_reference(x, dropout) } else { x };
            y + x.matmul(a.transpose()).matmul(b.transpose()) * scale
        }
    }
}

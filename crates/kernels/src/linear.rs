use burn::tensor::Tensor;

use crate::{Activation, Precision, Weight};

/// `x · weightᵀ + bias`, with `x` `(n, in)`, `weight` `(out, in)` as checkpoints store it, `bias` `(out)`. The factors of
/// this product, and of those in the backward pass, are rounded to `precision`.
///
/// A quantized weight has no gradient of its own. It is widened to float32 for each product, in parts of 16 MB by the
/// fused version and as a whole by the reference.
pub fn linear(x: Tensor<2>, weight: impl Into<Weight>, bias: Option<Tensor<1>>, precision: Precision) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::linear(x, weight.into(), bias, precision);
    }
    linear_reference(x, weight, bias, precision)
}

/// [`linear`], composed of Burn operations.
pub fn linear_reference(
    x: Tensor<2>,
    weight: impl Into<Weight>,
    bias: Option<Tensor<1>>,
    precision: Precision,
) -> Tensor<2> {
    let weight = match weight.into() {
        Weight::Tensor(weight) => weight,
        quantized @ Weight::Quantized(_) => quantized.in_float32(&x.device()),
    };
    let y = precision.raise(precision.lower(x).matmul(precision.lower(weight).transpose()));
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// [`linear`] of `activation(x)`, or of `activation(x)·factor` where there is one, elementwise. `x` and `factor` are
/// `(n, in)`.
///
/// This is the second half of a feed-forward network. The fused version computes the activation anew in the backward
/// pass rather than keep it.
pub fn activated_linear(
    activation: Activation,
    x: Tensor<2>,
    factor: Option<Tensor<2>>,
    weight: impl Into<Weight>,
    bias: Option<Tensor<1>>,
    precision: Precision,
) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::activated_linear(activation, x, factor, weight.into(), bias, precision);
    }
    activated_linear_reference(activation, x, factor, weight, bias, precision)
}

/// [`activated_linear`], composed of Burn operations.
pub fn activated_linear_reference(
    activation: Activation,
    x: Tensor<2>,
    factor: Option<Tensor<2>>,
    weight: impl Into<Weight>,
    bias: Option<Tensor<1>>,
    precision: Precision,
) -> Tensor<2> {
    let hidden = activation.forward(x);
    let hidden = match factor {
        Some(factor) => hidden * factor,
        None => hidden,
    };
    linear_reference(hidden, weight, bias, precision)
}

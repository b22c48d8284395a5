use burn::tensor::Tensor;

use crate::{Activation, Precision, Weight, dropout_reference, linear_reference};

/// What enters a linear layer.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one lives for a call
pub enum Input {
    /// `(n, in)`, as it is.
    Plain(Tensor<2>),
    /// The activation of the first `(n, in)`, times the second where there is one, as in
    /// [`activated_linear`](crate::activated_linear).
    Activated(Activation, Tensor<2>, Option<Tensor<2>>),
}

impl Input {
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

/// `x · weightᵀ + bias + scale · (x·aᵀ)·bᵀ`, with `weight` `(out, in)`, `bias` `(out)` → `(n, out)`. The factors of the
/// first product, and of those in its backward pass, are rounded to `precision`; the addition is float32.
///
/// The fused version adds in place and, for a frozen weight, keeps nothing but the inputs and `x·aᵀ`.
pub fn adapted_linear(
    input: Input,
    weight: impl Into<Weight>,
    bias: Option<Tensor<1>>,
    adapter: Adapter,
    precision: Precision,
) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&adapter.a.device(), adapter.a.dtype()) {
        return crate::flex::adapted_linear(input, weight.into(), bias, adapter, precision);
    }
    adapted_linear_reference(input, weight, bias, adapter, precision)
}

/// [`adapted_linear`], composed of Burn operations.
pub fn adapted_linear_reference(
    input: Input,
    weight: impl Into<Weight>,
    bias: Option<Tensor<1>>,
    adapter: Adapter,
    precision: Precision,
) -> Tensor<2> {
    let x = input.value();
    let y = linear_reference(x.clone(), weight, bias, precision);
    let x = if adapter.dropout > 0.0 { dropout_reference(x, adapter.dropout) } else { x };
    y + x.matmul(adapter.a.transpose()).matmul(adapter.b.transpose()) * adapter.scale
}

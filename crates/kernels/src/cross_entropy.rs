use burn::tensor::{Int, Tensor, activation::log_softmax};

use crate::{Precision, Weight, linear_reference};

/// A target that does not count, as in PyTorch.
pub const IGNORED: i32 = -100;

/// Cross-entropy of `logits` `(n, v)` against `targets` `(n)`: the negative log-likelihood of each target in nats,
/// zero where the target is [`IGNORED`]. Shape `(n)`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&logits.device(), logits.dtype()) {
        return crate::flex::cross_entropy(logits, targets);
    }
    cross_entropy_reference(logits, targets)
}

/// [`cross_entropy`], composed of Burn operations.
pub fn cross_entropy_reference(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [n, _] = logits.dims();
    let ignored = targets.clone().equal_elem(IGNORED);
    let indices = targets.clamp_min(0).reshape([n, 1]);
    let log_likelihood = log_softmax(logits, 1).gather(1, indices).reshape([n]);
    log_likelihood.neg().mask_fill(ignored, 0.0)
}

/// The head and the loss of a language model in one: the sum of the cross-entropies of the logits `x·weightᵀ`, with `x`
/// `(n, d)`, `weight` `(v, d)` and `targets` `(n)` as for [`cross_entropy`]. Shape `(1)`. The factors of the products,
/// those of the backward pass too, are rounded to `precision`. A weight that is not stored in float32 has no gradient.
///
/// The fused version works in blocks of rows, and computes the gradients along with the loss, so that the logits
/// `(n, v)`, the largest tensor of a small model with a large vocabulary, never exist as a whole.
pub fn linear_cross_entropy(
    x: Tensor<2>,
    weight: impl Into<Weight>,
    targets: Tensor<1, Int>,
    precision: Precision,
) -> Tensor<1> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::linear_cross_entropy(x, weight.into(), targets, precision);
    }
    linear_cross_entropy_reference(x, weight, targets, precision)
}

/// [`linear_cross_entropy`], composed of Burn operations.
pub fn linear_cross_entropy_reference(
    x: Tensor<2>,
    weight: impl Into<Weight>,
    targets: Tensor<1, Int>,
    precision: Precision,
) -> Tensor<1> {
    cross_entropy_reference(linear_reference(x, weight, None, None, precision), targets).sum()
}

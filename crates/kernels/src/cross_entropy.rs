use burn::tensor::{Int, Tensor, activation::log_softmax};

/// A target that does not count, as in PyTorch.
pub const IGNORED: i32 = -100;

/// Cross-entropy of `logits` `(n, v)` against `targets` `(n)`: the negative log-likelihood of each target in nats,
/// zero where the target is [`IGNORED`]. Shape `(n)`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    #[cfg(feature = "cpu")]
    if crate::fused(&logits.device(), logits.dtype()) {
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

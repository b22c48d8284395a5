//! Adam and AdamW.

use burn::tensor::Tensor;
use llm_kernels::{AdamStep, adam};

use super::{Moments, OptimizerSection, StepScale};

/// One step, as PyTorch computes it:
///
/// ```text
/// m ← β₁·m + (1 − β₁)·g      v ← β₂·v + (1 − β₂)·g²
/// w ← (1 − lr·λ)·w − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)
/// ```
///
/// The bias corrections are drawn out of the tensors into the two scalars `rate` and `eps`.
pub(super) fn update(
    section: &OptimizerSection,
    decay: bool,
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: Moments,
    scale: StepScale,
) -> (Tensor<1>, Moments) {
    let [beta1, beta2] = section.betas;
    let lr = section.lr * scale.lr_factor;
    let t = (scale.step + 1) as f64;
    let correction1 = 1.0 - beta1.powf(t);
    let correction2 = (1.0 - beta2.powf(t)).sqrt();

    let moments = <[_; 2]>::try_from(moments).unwrap_or_else(|_| [weight.zeros_like(), weight.zeros_like()]);
    let decays = decay && section.weight_decay > 0.0;
    let step = AdamStep {
        betas: section.betas,
        grad_factor: scale.grad_factor,
        decay_factor: if decays { 1.0 - lr * section.weight_decay } else { 1.0 },
        rate: lr * correction2 / correction1,
        eps: section.eps * correction2,
    };
    let (weight, moments) = adam(weight, grad, moments, step);
    (weight, moments.into())
}

//! Adam and AdamW.

use burn::tensor::Tensor;

use super::{Moments, OptimizerSection, StepScale, decayed};

/// One step, as PyTorch computes it:
///
/// ```text
/// m ← β₁·m + (1 − β₁)·g      v ← β₂·v + (1 − β₂)·g²
/// w ← (1 − lr·λ)·w − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)
/// ```
///
/// The bias corrections are drawn out of the tensors into the two scalars `rate` and `eps`, and so is the factor of the
/// gradient: every pass over a tensor costs memory bandwidth.
pub(super) fn update(
    section: &OptimizerSection,
    decay: bool,
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: Option<Moments>,
    scale: StepScale,
) -> (Tensor<1>, Moments) {
    let [beta1, beta2] = section.betas;
    let lr = section.lr * scale.lr_factor;
    let t = (scale.step + 1) as f64;
    let correction1 = 1.0 - beta1.powf(t);
    let correction2 = (1.0 - beta2.powf(t)).sqrt();

    let fresh1 = grad.clone() * ((1.0 - beta1) * scale.grad_factor);
    let fresh2 = grad.square() * ((1.0 - beta2) * scale.grad_factor * scale.grad_factor);
    let [m, v] = match moments.and_then(|moments| <[_; 2]>::try_from(moments).ok()) {
        Some([m, v]) => [m * beta1 + fresh1, v * beta2 + fresh2],
        None => [fresh1, fresh2],
    };
    let rate = lr * correction2 / correction1;
    let eps = section.eps * correction2;
    let update = m.clone() / (v.clone().sqrt() + eps) * rate;
    (decayed(weight, decay, lr, section.weight_decay) - update, vec![m, v])
}

//! Stochastic gradient descent.

use burn::tensor::Tensor;

use super::{Moments, OptimizerSection, StepScale};

/// One step with PyTorch's meaning of momentum (no dampening): `b ← μ·b + g`, `w ← w − lr·b`, and with Nesterov's look
/// ahead `w ← w − lr·(g + μ·b)`. Weight decay is L2: `g` is the gradient plus `λ·w`.
pub(super) fn update(
    section: &OptimizerSection,
    decay: bool,
    weight: Tensor<1>,
    grad: Tensor<1>,
    mut moments: Moments,
    scale: StepScale,
) -> (Tensor<1>, Moments) {
    let lr = section.lr * scale.lr_factor;
    let mut grad = grad * scale.grad_factor;
    if decay && section.weight_decay > 0.0 {
        grad = grad + weight.clone() * section.weight_decay;
    }
    if section.momentum == 0.0 {
        return (weight - grad * lr, Vec::new());
    }
    let buffer = match moments.pop() {
        Some(buffer) => buffer * section.momentum + grad.clone(),
        None => grad.clone(),
    };
    let step = if section.nesterov { grad + buffer.clone() * section.momentum } else { buffer.clone() };
    (weight - step * lr, vec![buffer])
}

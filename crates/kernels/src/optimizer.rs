use burn::tensor::Tensor;

/// The numbers of one step of Adam, the same for all parameters that share a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// What gradients are multiplied by first.
    pub grad_factor: f64,
    /// What the weights are multiplied by: decoupled weight decay.
    pub decay_factor: f64,
    /// Learning rate, with both bias corrections in it.
    pub rate: f64,
    /// Added to the root of the second moment, with its bias correction in it.
    pub eps: f64,
}

/// One step of Adam (Kingma & Ba, 2015, arXiv:1412.6980) over one parameter `(n)`, its gradient and its two moments:
///
/// ```text
/// m ← β₁·m + (1 − β₁)·g      v ← β₂·v + (1 − β₂)·g²      w ← decay·w − rate · m / (√v + ε)
/// ```
///
/// The fused version makes one pass, in place where nobody else holds the tensors. No gradient flows through it.
pub fn adam(
    weight: Tensor<1>,
    grad: Tensor<1>,
    moments: [Tensor<1>; 2],
    step: AdamStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&weight.device(), weight.dtype()) {
        return crate::flex::adam(weight, grad, moments, step);
    }
    adam_reference(weight, grad, moments, step)
}

/// [`adam`], composed of Burn operations.
pub fn adam_reference(
    weight: Tensor<1>,
    grad: Tensor<1>,
    [m, v]: [Tensor<1>; 2],
    step: AdamStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let [beta1, beta2] = step.betas;
    let m = m * beta1 + grad.clone() * ((1.0 - beta1) * step.grad_factor);
    let v = v * beta2 + grad.square() * ((1.0 - beta2) * step.grad_factor * step.grad_factor);
    let update = m.clone() / (v.clone().sqrt() + step.eps) * step.rate;
    (weight * step.decay_factor - update, [m, v])
}

/// Sum of the squares of a tensor, `(1)`. No gradient flows through it.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::sum_of_squares(x);
    }
    sum_of_squares_reference(x)
}

/// [`sum_of_squares`], composed of Burn operations.
pub fn sum_of_squares_reference<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    x.square().sum()
}

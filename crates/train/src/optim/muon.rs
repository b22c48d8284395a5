//! Muon: momentum, orthogonalized (Jordan et al., 2024, <https://kellerjordan.github.io/posts/muon>).

use burn::tensor::Tensor;

use super::{Moments, OptimizerSection, StepScale, decayed};

/// Coefficients of the quintic that drives all singular values towards 1.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
const STEPS: usize = 5;

/// One step of the matrix `weight` of `[out, in]`, with Nesterov momentum `μ`:
///
/// ```text
/// b ← μ·b + (1 − μ)·g      u = orthogonal((1 − μ)·g + μ·b)
/// w ← (1 − lr·λ)·w − lr · √max(1, out/in) · u
/// ```
pub(super) fn update(
    section: &OptimizerSection,
    [rows, columns]: [usize; 2],
    weight: Tensor<1>,
    grad: Tensor<1>,
    mut moments: Moments,
    scale: StepScale,
) -> (Tensor<1>, Moments) {
    let lr = section.muon_lr * scale.lr_factor;
    let fresh = grad * ((1.0 - section.momentum) * scale.grad_factor);
    let buffer = match moments.pop() {
        Some(buffer) => buffer * section.momentum + fresh.clone(),
        None => fresh.clone(),
    };
    let direction = (fresh + buffer.clone() * section.momentum).reshape([rows, columns]);
    let direction = orthogonalize(direction).reshape([rows * columns]);
    let rate = lr * (rows as f64 / columns as f64).max(1.0).sqrt();
    (decayed(weight, true, lr, section.weight_decay) - direction * rate, vec![buffer])
}

/// `U·Vᵀ` of the singular value decomposition `U·S·Vᵀ` of `g`, roughly, by the Newton–Schulz iteration
/// `x ← a·x + (b·xxᵀ + c·(xxᵀ)²)·x`.
fn orthogonalize(g: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = g.dims();
    // xxᵀ is the smaller of the two products when x is wide.
    let tall = rows > columns;
    let x = if tall { g.transpose() } else { g };
    let norm = x.clone().square().sum().sqrt().reshape([1, 1]);
    let mut x = x / (norm + 1e-7);
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..STEPS {
        let product = x.clone().matmul(x.clone().transpose());
        let polynomial = product.clone() * b + product.clone().matmul(product) * c;
        x = x.clone() * a + polynomial.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

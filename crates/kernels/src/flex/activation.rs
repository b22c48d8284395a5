//! Activations of feed-forward networks, and their slopes.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::Activation;
use crate::profile::measured;

use super::simd::{BLOCK, exp, map1, map2, sigmoid, tensor_like, values, vectorized};

/// Evaluates an expression with the value and the slope of an activation as functions, once for each kind, so that the
/// choice is not made in the loop.
macro_rules! with_activation {
    ($kind:expr, |$value:ident, $slope:ident| $body:expr) => {
        match $kind {
            Activation::Gelu => with_activation!(@ gelu, gelu_slope, $value, $slope, $body),
            Activation::GeluTanh => with_activation!(@ gelu_tanh, gelu_tanh_slope, $value, $slope, $body),
            Activation::Relu2 => with_activation!(@ relu2, relu2_slope, $value, $slope, $body),
            Activation::Silu => with_activation!(@ silu, silu_slope, $value, $slope, $body),
        }
    };
    (@ $f:ident, $df:ident, $value:ident, $slope:ident, $body:expr) => {{
        #[allow(unused_variables)]
        let ($value, $slope) = ($f, $df);
        $body
    }};
}

const SLOPE: f32 = 2.0 * 0.797_884_6; // 2·√(2/π)
const CUBIC: f32 = 0.044_715;

/// GELU in its tanh approximation, `x·(1 + tanh(z/2))/2`, is `x·σ(z)`; this is `σ(z)`.
#[inline(always)]
fn gelu_sigmoid(x: f32) -> f32 {
    sigmoid(SLOPE * x * (CUBIC * x).mul_add(x, 1.0))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    x * gelu_sigmoid(x)
}

#[inline(always)]
fn gelu_tanh_slope(x: f32) -> f32 {
    let s = gelu_sigmoid(x);
    let inner = SLOPE * (3.0 * CUBIC * x).mul_add(x, 1.0); // dz/dx
    (x * s * (1.0 - s)).mul_add(inner, s)
}

/// The normal distribution within 1e-7 (Abramowitz & Stegun, 1964, 7.1.26), and its density times √(2π).
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / 0.327_591_1_f32.mul_add(z, 1.0);
    let p = 1.061_405_4_f32.mul_add(t, -1.453_152_1);
    let p = p.mul_add(t, 1.421_413_8).mul_add(t, -0.284_496_72).mul_add(t, 0.254_829_6) * t;
    let density = exp(-z * z);
    let tail = 0.5 * p * density; // Φ(−|x|)
    (if x < 0.0 { tail } else { 1.0 - tail }, density)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    let (below, density) = normal(x);
    (x * 0.398_942_3).mul_add(density, below) // 1/√(2π)
}

/// `max(x, 0)`, but NaN stays NaN.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn relu2(x: f32) -> f32 {
    relu(x) * relu(x)
}

#[inline(always)]
fn relu2_slope(x: f32) -> f32 {
    2.0 * relu(x)
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    (x * s).mul_add(1.0 - s, s)
}

/// `activation(x)`, times `factor` where there is one.
pub(super) fn forward(kind: Activation, x: &FlexTensor, factor: Option<&FlexTensor>) -> FlexTensor {
    let tensors = if factor.is_some() { 3 } else { 2 };
    measured("activation forward", 0, tensors * values(x).len(), || {
        let y = with_activation!(kind, |value, slope| match factor {
            Some(factor) => map2(values(x), values(factor), |x, factor| value(x) * factor),
            None => map1(values(x), value),
        });
        tensor_like(y, x)
    })
}

/// Gradients by `x`, in place of the gradient from above, and by `factor`.
pub(super) fn backward(
    kind: Activation,
    x: &FlexTensor,
    factor: Option<&FlexTensor>,
    mut grad: FlexTensor,
) -> (FlexTensor, Option<FlexTensor>) {
    let tensors = if factor.is_some() { 6 } else { 3 };
    measured("activation backward", 0, tensors * values(x).len(), || {
        let Some(factor) = factor else {
            let blocks = grad.storage_mut::<f32>().par_chunks_mut(BLOCK).zip(values(x).par_chunks(BLOCK));
            with_activation!(kind, |value, slope| blocks.for_each(|(grad, x)| {
                vectorized!(grad.iter_mut().zip(x).for_each(|(grad, x)| *grad *= slope(*x)));
            }));
            return (grad, None);
        };
        let by_factor = with_activation!(kind, |value, slope| map2(values(x), values(&grad), |x, g| value(x) * g));
        let inputs = values(x).par_chunks(BLOCK).zip(values(factor).par_chunks(BLOCK));
        let blocks = grad.storage_mut::<f32>().par_chunks_mut(BLOCK).zip(inputs);
        with_activation!(kind, |value, slope| blocks.for_each(|(grad, (x, factor))| {
            vectorized!({
                for (grad, (x, factor)) in grad.iter_mut().zip(x.iter().zip(factor)) {
                    *grad *= slope(*x) * factor;
                }
            });
        }));
        (grad, Some(tensor_like(by_factor, x)))
    })
}

//! GELU (tanh), squared ReLU and SwiGLU.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::profile::measured;

use super::simd::{BLOCK, map1, map2, sigmoid, tensor_like, values, vectorized};

const SLOPE: f32 = 2.0 * 0.797_884_6; // 2·√(2/π)
const CUBIC: f32 = 0.044_715;

/// GELU in its tanh approximation, `x·(1 + tanh(z/2))/2`, is `x·σ(z)`; this is `σ(z)`.
#[inline(always)]
fn gelu_sigmoid(x: f32) -> f32 {
    sigmoid(SLOPE * x * (CUBIC * x).mul_add(x, 1.0))
}

pub(super) fn gelu(x: &FlexTensor) -> FlexTensor {
    measured("activation forward", 0, 2 * values(x).len(), || tensor_like(map1(values(x), |x| x * gelu_sigmoid(x)), x))
}

#[inline(always)]
fn gelu_gradient(x: f32, grad: f32) -> f32 {
    let s = gelu_sigmoid(x);
    let inner = SLOPE * (3.0 * CUBIC * x).mul_add(x, 1.0); // dz/dx
    grad * (x * s * (1.0 - s)).mul_add(inner, s)
}

pub(super) fn gelu_backward(x: &FlexTensor, grad: &FlexTensor) -> FlexTensor {
    measured("activation backward", 0, 3 * values(x).len(), || {
        tensor_like(map2(values(x), values(grad), gelu_gradient), x)
    })
}

/// `max(x, 0)`, but NaN stays NaN.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

pub(super) fn relu2(x: &FlexTensor) -> FlexTensor {
    measured("activation forward", 0, 2 * values(x).len(), || tensor_like(map1(values(x), |x| relu(x) * relu(x)), x))
}

pub(super) fn relu2_backward(x: &FlexTensor, grad: &FlexTensor) -> FlexTensor {
    measured("activation backward", 0, 3 * values(x).len(), || {
        tensor_like(map2(values(x), values(grad), |x, g| 2.0 * relu(x) * g), x)
    })
}

pub(super) fn swiglu(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
    measured("activation forward", 0, 3 * values(gate).len(), || {
        tensor_like(map2(values(gate), values(up), |gate, up| gate * sigmoid(gate) * up), gate)
    })
}

/// Gradients by the gate and by `up`.
pub(super) fn swiglu_backward(gate: &FlexTensor, up: &FlexTensor, grad: &FlexTensor) -> (FlexTensor, FlexTensor) {
    let n = values(gate).len();
    measured("activation backward", 0, 5 * n, || {
        let (mut d_gate, mut d_up) = (vec![0.0; n], vec![0.0; n]);
        let outputs = d_gate.par_chunks_mut(BLOCK).zip(d_up.par_chunks_mut(BLOCK));
        let inputs =
            values(gate).par_chunks(BLOCK).zip(values(up).par_chunks(BLOCK)).zip(values(grad).par_chunks(BLOCK));
        outputs.zip(inputs).for_each(|((d_gate, d_up), ((gate, up), grad))| {
            vectorized!({
                let inputs = gate.iter().zip(up).zip(grad);
                for ((d_gate, d_up), ((gate, up), grad)) in d_gate.iter_mut().zip(d_up.iter_mut()).zip(inputs) {
                    let s = sigmoid(*gate);
                    *d_up = grad * gate * s;
                    *d_gate = grad * up * s * (1.0 + gate * (1.0 - s));
                }
            });
        });
        (tensor_like(d_gate, gate), tensor_like(d_up, up))
    })
}

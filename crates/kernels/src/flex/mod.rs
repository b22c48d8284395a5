//! The fused versions: float32 on the Flex CPU backend.
//!
//! `mod.rs` and `ops.rs` tie the kernels to Burn's dispatch and autodiff; the other files compute on slices.

mod activation;
mod adapter;
mod attention;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod cross_entropy;
mod dropout;
mod embedding;
mod gemm;
mod half;
mod linear;
mod norm;
mod ops;
mod optimizer;
mod rotary;
mod simd;
mod weight;

use burn::backend::{Dispatch, DispatchTensor};
use burn::tensor::{Device, Int, Tensor};

use crate::{Activation, AdamStep, Adapter, Causal, Input, Precision, Weight};
use adapter::How;
use dropout::Mask;
use ops::FusedOps;
use optimizer::OptimizerOps;
use weight::Multiplied;

pub(crate) fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::embedding_rows(weight.into_dispatch(), ids.into_dispatch()))
}

pub(crate) fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::layer_norm(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), eps))
}

pub(crate) fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps))
}

pub(crate) fn linear(x: Tensor<2>, weight: Weight, bias: Option<Tensor<1>>, precision: Precision) -> Tensor<2> {
    let (weight, how) = dispatched(weight, precision, &x.device());
    with_bias(Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight, how)), bias)
}

pub(crate) fn activated_linear(
    activation: Activation,
    x: Tensor<2>,
    factor: Option<Tensor<2>>,
    weight: Weight,
    bias: Option<Tensor<1>>,
    precision: Precision,
) -> Tensor<2> {
    let (weight, how) = dispatched(weight, precision, &x.device());
    let x = x.into_dispatch();
    let y = match factor {
        Some(factor) => Dispatch::gated_linear(x, factor.into_dispatch(), weight, activation, how),
        None => Dispatch::activated_linear(x, weight, activation, how),
    };
    with_bias(Tensor::from_dispatch(y), bias)
}

pub(crate) fn adapted_linear(
    input: Input,
    weight: Weight,
    bias: Option<Tensor<1>>,
    adapter: Adapter,
    precision: Precision,
) -> Tensor<2> {
    let mask = (adapter.dropout > 0.0).then(|| Mask::draw(adapter.dropout));
    let (weight, multiplied) = dispatched(weight, precision, &adapter.a.device());
    let how = How { scale: adapter.scale as f32, mask, weight: multiplied };
    let (a, b) = (adapter.a.into_dispatch(), adapter.b.into_dispatch());
    let y = match input {
        Input::Plain(x) => Dispatch::adapted_linear(x.into_dispatch(), weight, a, b, how),
        Input::Activated(kind, x, None) => {
            Dispatch::adapted_activated_linear(x.into_dispatch(), weight, a, b, kind, how)
        }
        Input::Activated(kind, x, Some(factor)) => {
            Dispatch::adapted_gated_linear(x.into_dispatch(), factor.into_dispatch(), weight, a, b, kind, how)
        }
    };
    with_bias(Tensor::from_dispatch(y), bias)
}

/// A weight as it goes through Burn's dispatch, which knows tensors only: beside blocks goes one that nobody reads.
fn dispatched(weight: Weight, precision: Precision, device: &Device) -> (DispatchTensor, Multiplied) {
    let (tensor, quantized) = match weight {
        Weight::Tensor(tensor) => (tensor, None),
        Weight::Quantized(quantized) => (Tensor::zeros([1, 1], device), Some(quantized)),
    };
    (tensor.into_dispatch(), Multiplied { quantized, precision })
}

fn with_bias(y: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    match bias {
        Some(bias) => Tensor::from_dispatch(Dispatch::add_bias(y.into_dispatch(), bias.into_dispatch())),
        None => y,
    }
}

pub(crate) fn dropout<const D: usize>(x: Tensor<D>, probability: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::dropout(x.into_dispatch(), Mask::draw(probability)))
}

pub(crate) fn rotate(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::rotate(x.into_dispatch(), cos.into_dispatch(), sin.into_dispatch()))
}

pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::cross_entropy(logits.into_dispatch(), targets.into_dispatch()))
}

pub(crate) fn linear_cross_entropy(
    x: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    precision: Precision,
) -> Tensor<1> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(Dispatch::linear_cross_entropy(x, weight, targets.into_dispatch(), precision))
}

pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: &Causal, dropout: f64) -> Tensor<4> {
    let mask = (dropout > 0.0).then(|| Mask::draw(dropout));
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(Dispatch::causal_attention(q, k, v, causal.clone(), mask))
}

pub(crate) fn adam(
    w: Tensor<1>,
    grad: Tensor<1>,
    [m, v]: [Tensor<1>; 2],
    step: AdamStep,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let (m, v) = (m.into_dispatch(), v.into_dispatch());
    let (w, m, v) = Dispatch::adam(w.into_dispatch(), grad.into_dispatch(), m, v, step);
    (Tensor::from_dispatch(w), [m, v].map(Tensor::from_dispatch))
}

pub(crate) fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sum_of_squares(x.into_dispatch()))
}

//! The fused versions: float32 on the Flex CPU backend.
//!
//! `mod.rs` and `ops.rs` tie the kernels to Burn's dispatch and autodiff; the other files compute on slices.

mod activation;
mod adapter;
mod attention;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod blocks;
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

use burn::backend::{BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind};
use burn::tensor::{Int, Tensor};

use crate::{AdamStep, Adapter, Input, Precision, QuantizedWeight, Segment, Visible, Weight};
use adapter::AdapterPlan;
use attention::Sizes;
use dropout::Mask;
use linear::LinearPlan;
use ops::FusedOps;
use optimizer::OptimizerOps;

pub(crate) fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::embedding_rows(weight.into_dispatch(), ids.into_dispatch()))
}

pub(crate) fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::layer_norm(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch(), eps))
}

pub(crate) fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps))
}

pub(crate) fn linear(
    input: Input,
    weight: Weight,
    bias: Option<Tensor<1>>,
    adapter: Option<Adapter>,
    precision: Precision,
) -> Tensor<2> {
    let (activation, x, factor) = match input {
        Input::Plain(x) => (None, x, None),
        Input::Activated(activation, x, factor) => (Some(activation), x, factor),
    };
    let of_adapter = |Adapter { scale, dropout, .. }: &Adapter| AdapterPlan {
        scale: *scale as f32,
        mask: (*dropout > 0.0).then(|| Mask::draw(*dropout)),
    };
    let adapter_plan = adapter.as_ref().map(of_adapter);
    let gated = factor.is_some();
    let x = x.into_dispatch();
    let present = |tensor: Option<Tensor<2>>| tensor.map_or_else(|| x.clone(), Tensor::into_dispatch);
    let (weight, quantized) = by_dispatch(weight);
    let (a, b) = adapter.map(|adapter| (adapter.a, adapter.b)).unzip();
    let [factor, weight, a, b] = [factor, weight, a, b].map(present);
    let plan = LinearPlan { activation, gated, quantized, adapter: adapter_plan, precision };
    let y = Tensor::from_dispatch(Dispatch::linear(x, factor, weight, a, b, plan));
    match bias {
        Some(bias) => Tensor::from_dispatch(Dispatch::add_bias(y.into_dispatch(), bias.into_dispatch())),
        None => y,
    }
}

/// A weight as the tensor that goes through Burn's dispatch, or the blocks that go beside it.
fn by_dispatch(weight: Weight) -> (Option<Tensor<2>>, Option<QuantizedWeight>) {
    match weight {
        Weight::Tensor(tensor) => (Some(tensor), None),
        Weight::Quantized(quantized) => (None, Some(quantized)),
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
    weight: Weight,
    targets: Tensor<1, Int>,
    precision: Precision,
) -> Tensor<1> {
    let (x, (weight, quantized)) = (x.into_dispatch(), by_dispatch(weight));
    let weight = weight.map_or_else(|| x.clone(), Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::linear_cross_entropy(x, weight, targets.into_dispatch(), quantized, precision))
}

pub(crate) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, visible: &Visible, dropout: f64) -> Tensor<4> {
    let mask = (dropout > 0.0).then(|| Mask::draw(dropout));
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(Dispatch::attention(q, k, v, visible.clone(), mask))
}

/// Not by Burn's dispatch, which knows operations of a fixed number of tensors only. `q` is on Flex, without autodiff.
pub(crate) fn segment_attention(q: Tensor<4>, segments: Vec<Segment>) -> Tensor<4> {
    let primitive = |x: Tensor<4>| {
        let DispatchTensorKind::Flex(x) = x.into_dispatch().kind else { unreachable!("tensors of one device") };
        attention::readable(x.float())
    };
    let q = primitive(q);
    let with_sizes = |Segment { tokens, keys, values, visible }: Segment| {
        let [keys, values] = [keys, values].map(primitive);
        let sizes = Sizes::of_segment(tokens, &q, &keys, visible);
        ([keys, values], sizes)
    };
    let segments: Vec<_> = segments.into_iter().map(with_sizes).collect();
    let y = BackendTensor::Float(attention::forward_segments(&q, &segments));
    let kind = DispatchTensorKind::Flex(y);
    Tensor::from_dispatch(DispatchTensor { kind, autodiff: DispatchAutodiffContext::Disabled })
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

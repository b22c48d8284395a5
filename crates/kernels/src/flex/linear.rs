//! Linear layers, `x·Wᵀ` of an input that may be activated, with a low-rank addition if there is an adapter; the bias; and
//! their gradients.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::activation;
use super::adapter::{AdapterPlan, LowRank};
use super::gemm::{Matrix, new_product};
use super::simd::{BLOCK, column_sums, tensor, values, vectorized};
use super::weight::StoredWeight;
use crate::profile::measured;
use crate::{Activation, Precision, QuantizedWeight};

/// What goes with the tensors of a layer through Burn's dispatch. Operations there have a fixed number of tensors: what a
/// layer lacks of them is its input again, which nobody reads in that place.
#[derive(Debug, Clone)]
pub struct LinearPlan {
    /// What is applied to the input.
    pub activation: Option<Activation>,
    /// Whether the activated input is multiplied by a factor.
    pub gated: bool,
    /// The weight, where it is in blocks and no tensor.
    pub quantized: Option<QuantizedWeight>,
    /// Of the adapter, if there is one.
    pub adapter: Option<AdapterPlan>,
    /// What the factors of the layer's products are rounded to.
    pub precision: Precision,
}

/// A layer and what its backward pass needs. All tensors are contiguous.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    activation: Option<Activation>,
    /// `(n, in)`; there where a gradient asks for it.
    x: Option<FlexTensor>,
    factor: Option<FlexTensor>,
    weight: StoredWeight,
    /// With `x·aᵀ` `(n, r)`.
    adapter: Option<(LowRank, Vec<f32>)>,
}

impl Layer {
    /// The output `(n, out)` of the tensors `[x, factor, weight, a, b]`, and the layer. `trained` is whether the weight has
    /// a gradient.
    pub fn forward(tensors: [FlexTensor; 5], plan: LinearPlan, trained: bool) -> (FlexTensor, Self) {
        let [x, factor, weight, a, b] = tensors;
        let x = x.to_contiguous();
        let factor = plan.gated.then(|| factor.to_contiguous());
        let keeps_input = plan.activation.is_some() || plan.adapter.is_some() || trained && plan.quantized.is_none();
        let weight = StoredWeight::new(&weight, plan.quantized, plan.precision);
        // The result, which stays, is given its place in memory before the activated values, which go: behind them it
        // would leave a hole that nothing of the next layer fits.
        let place = plan.activation.map_or_else(Vec::new, |_| Vec::with_capacity(dims(&x)[0] * weight.dims()[0]));
        let hidden = plan.activation.map(|kind| activation::forward(kind, &x, factor.as_ref()));
        let hidden = hidden.as_ref().unwrap_or(&x);
        let mut y = weight.times(hidden, place);
        let adapter = plan.adapter.map(|plan| {
            let adapter = LowRank { a: a.to_contiguous(), b: b.to_contiguous(), plan };
            let low = adapter.add_to(&mut y, hidden);
            (adapter, low)
        });
        (y, Self { activation: plan.activation, x: keeps_input.then_some(x), factor, weight, adapter })
    }

    /// The gradients by `[x, factor, weight, a, b]`, those that are wanted, of the gradient `grad` `(n, out)` by the output.
    pub fn backward(self, grad: &FlexTensor, wanted: [bool; 5]) -> [Option<FlexTensor>; 5] {
        let [by_x, by_factor, by_weight, by_a, by_b] = wanted;
        let Self { activation, x, factor, weight, adapter } = self;
        let by_weight = by_weight && weight.is_tensor();
        let by_hidden = by_x || (by_factor && factor.is_some());
        let mut hidden = activation
            .filter(|_| by_weight || adapter.is_some())
            .and_then(|kind| x.as_ref().map(|x| activation::forward(kind, x, factor.as_ref())));
        let input = hidden.as_ref().or(x.as_ref());
        let dw = input.filter(|_| by_weight).map(|input| backward_weight(grad, input, weight.precision));
        if adapter.is_none() {
            hidden = None; // before the gradient by it takes as much memory
        }
        let mut dx = by_hidden.then(|| weight.times_transposed(grad));
        let [mut da, mut db] = [None, None];
        if let (Some((adapter, low)), Some(input)) = (adapter, hidden.as_ref().or(x.as_ref())) {
            (dx, [da, db]) = adapter.backward(input, &low, grad, dx, [by_a, by_b]);
        }
        let (Some(kind), Some(x)) = (activation, x) else { return [dx, None, dw, da, db] };
        let (dx, dfactor) = dx.map(|grad| activation::backward(kind, &x, factor.as_ref(), grad)).unzip();
        [dx, dfactor.flatten(), dw, da, db]
    }
}

pub(super) fn dims(x: &FlexTensor) -> [usize; 2] {
    let shape = x.layout().shape();
    [shape[0], shape[1]]
}

/// Records the cost of a product of `n × in × out`, whichever of its three matrices is the result.
pub(super) fn product_cost<R>(operation: &'static str, [n, d_in, d_out]: [usize; 3], f: impl FnOnce() -> R) -> R {
    measured(operation, 2 * n * d_in * d_out, n * d_in + d_in * d_out + n * d_out, f)
}

/// A contiguous tensor `(rows, columns)`.
pub(super) fn matrix(x: &FlexTensor) -> Matrix<'_> {
    let [rows, columns] = dims(x);
    Matrix::new(values(x), rows, columns, columns)
}

/// `y` `(n, out)` with `bias` `(out)` added to every row, in place where nobody else holds it.
pub(super) fn add_bias(mut y: FlexTensor, bias: &FlexTensor) -> FlexTensor {
    let bias = values(bias);
    let rows = (BLOCK / bias.len().max(1)).max(1);
    measured("linear forward, bias", 0, 2 * values(&y).len(), || {
        y.storage_mut::<f32>().par_chunks_mut(rows * bias.len()).for_each(|rows| {
            vectorized!({
                for row in rows.chunks_exact_mut(bias.len()) {
                    for (y, b) in row.iter_mut().zip(bias) {
                        *y += b;
                    }
                }
            });
        });
    });
    y
}

/// `y + other`, in place where nobody else holds `y`.
pub(super) fn sum(mut y: FlexTensor, other: &FlexTensor) -> FlexTensor {
    y.storage_mut::<f32>().par_chunks_mut(BLOCK).zip(values(other).par_chunks(BLOCK)).for_each(|(y, other)| {
        vectorized!(y.iter_mut().zip(other).for_each(|(y, other)| *y += other));
    });
    y
}

/// Gradient by the weight: `gᵀ·x`.
fn backward_weight(grad: &FlexTensor, x: &FlexTensor, precision: Precision) -> FlexTensor {
    let ([n, d_out], [_, d_in]) = (dims(grad), dims(x));
    let product = || new_product(matrix(grad).t(), matrix(x), precision);
    tensor(product_cost("linear backward, weight", [n, d_in, d_out], product), vec![d_out, d_in])
}

/// Gradient by the bias: the column sums of `g`.
pub(super) fn backward_bias(grad: &FlexTensor) -> FlexTensor {
    const ROWS: usize = 128;
    let [n, d_out] = dims(grad);
    measured("linear backward, bias", 0, n * d_out, || {
        let mut partial = vec![0.0; n.div_ceil(ROWS) * d_out];
        partial.par_chunks_mut(d_out).zip(values(grad).par_chunks(ROWS * d_out)).for_each(|(sum, rows)| {
            vectorized!({
                for row in rows.chunks_exact(d_out) {
                    sum.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
                }
            });
        });
        tensor(column_sums(&partial, d_out), vec![d_out])
    })
}

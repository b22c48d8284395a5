//! `x·Wᵀ` and the bias, and their gradients.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::gemm::{Matrix, add_product, new_product, put_product};
use super::weight::StoredWeight;
use super::{activation, half};
use crate::profile::measured;
use crate::{Activation, Precision};

use super::simd::{BLOCK, column_sums, tensor, values, vectorized};

pub(super) fn dims(x: &FlexTensor) -> [usize; 2] {
    let shape = x.layout().shape();
    [shape[0], shape[1]]
}

/// Records the cost of a product of `n × in × out`, whichever of its three matrices is the result.
fn product_cost<R>(operation: &'static str, [n, d_in, d_out]: [usize; 3], f: impl FnOnce() -> R) -> R {
    measured(operation, 2 * n * d_in * d_out, n * d_in + d_in * d_out + n * d_out, f)
}

/// A contiguous tensor `(rows, columns)`.
pub(super) fn matrix(x: &FlexTensor) -> Matrix<'_> {
    let [rows, columns] = dims(x);
    Matrix::new(values(x), rows, columns, columns)
}

/// `x·Wᵀ`, with `x` `(n, in)` contiguous → `(n, out)`.
pub(super) fn forward(x: &FlexTensor, weight: &StoredWeight) -> FlexTensor {
    forward_into(Vec::new(), x, weight)
}

/// [`forward`] of `activation(x)`, times `factor` where there is one. The result, which stays, is given its place in
/// memory before the activated values, which go: behind them it would leave a hole that nothing of the next layer fits.
pub(super) fn activated(
    kind: Activation,
    x: &FlexTensor,
    factor: Option<&FlexTensor>,
    weight: &StoredWeight,
) -> FlexTensor {
    let y = Vec::with_capacity(dims(x)[0] * weight.dims()[0]);
    forward_into(y, &activation::forward(kind, x, factor), weight)
}

/// [`forward`] with the memory of `y`.
fn forward_into(mut y: Vec<f32>, x: &FlexTensor, weight: &StoredWeight) -> FlexTensor {
    let ([n, d_in], [d_out, _]) = (dims(x), weight.dims());
    if let Some(weight) = weight.in_place(n) {
        return half::forward(x, weight);
    }
    for rows in weight.parts() {
        let values = weight.values(rows.clone());
        let part = Matrix::new(&values, rows.len(), d_in, d_in);
        product_cost("linear forward", [n, d_in, rows.len()], || {
            if rows.len() == d_out {
                return put_product(&mut y, matrix(x), part.t(), weight.precision);
            }
            let of_part = new_product(matrix(x), part.t(), weight.precision);
            y.resize(n * d_out, 0.0);
            let places = y.par_chunks_mut(d_out).zip(of_part.par_chunks(rows.len()));
            places.for_each(|(y, of_part)| y[rows.clone()].copy_from_slice(of_part));
        });
    }
    tensor(y, vec![n, d_out])
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

/// Gradient by `x`: `g·W`.
pub(super) fn backward_x(grad: &FlexTensor, weight: &StoredWeight) -> FlexTensor {
    let ([n, d_out], [_, d_in]) = (dims(grad), weight.dims());
    let mut dx = Vec::new();
    for rows in weight.parts() {
        let part_of_grad = values(grad).get(rows.start..).unwrap_or_default();
        let part_of_grad = Matrix::new(part_of_grad, n, rows.len(), d_out);
        let values = weight.values(rows.clone());
        let part = Matrix::new(&values, rows.len(), d_in, d_in);
        product_cost("linear backward, input", [n, d_in, rows.len()], || {
            if rows.start == 0 {
                dx = new_product(part_of_grad, part, weight.precision);
            } else {
                add_product(&mut dx, part_of_grad, part, weight.precision);
            }
        });
    }
    tensor(dx, vec![n, d_in])
}

/// Gradient by the weight: `gᵀ·x`.
pub(super) fn backward_weight(grad: &FlexTensor, x: &FlexTensor, precision: Precision) -> FlexTensor {
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

//! `x·Wᵀ` and the bias, and their gradients.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::gemm::{Matrix, new_product};
use super::half;
use crate::Precision;
use crate::profile::measured;

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

/// The values of a weight that is stored in two bytes a value.
fn widened(weight: &FlexTensor) -> Option<Vec<f32>> {
    half::is_half(weight.dtype()).then(|| half::widened(weight))
}

/// A weight, or its values where they had to be widened.
fn of_weight<'a>(weight: &'a FlexTensor, widened: Option<&'a [f32]>) -> Matrix<'a> {
    let [d_out, d_in] = dims(weight);
    widened.map_or_else(|| matrix(weight), |values| Matrix::new(values, d_out, d_in, d_in))
}

/// `x·Wᵀ`, with `x` `(n, in)` and `weight` `(out, in)`, both contiguous → `(n, out)`. A weight that is stored in two bytes
/// a value stays so, and has no gradient of its own.
pub(super) fn forward(x: &FlexTensor, weight: &FlexTensor, precision: Precision) -> FlexTensor {
    /// Rows from which on it is faster to widen all of a weight first.
    const MANY: usize = 128;
    let ([n, d_in], [d_out, _]) = (dims(x), dims(weight));
    if half::is_half(weight.dtype()) && n < MANY {
        return half::forward(x, weight);
    }
    let widened = widened(weight);
    let product = || new_product(matrix(x), of_weight(weight, widened.as_deref()).t(), precision);
    tensor(product_cost("linear forward", [n, d_in, d_out], product), vec![n, d_out])
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
pub(super) fn backward_x(grad: &FlexTensor, weight: &FlexTensor, precision: Precision) -> FlexTensor {
    let ([n, d_out], [_, d_in]) = (dims(grad), dims(weight));
    let widened = widened(weight);
    let product = || new_product(matrix(grad), of_weight(weight, widened.as_deref()), precision);
    tensor(product_cost("linear backward, input", [n, d_in, d_out], product), vec![n, d_in])
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

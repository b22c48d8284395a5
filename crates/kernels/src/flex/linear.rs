//! `y = x·Wᵀ + bias` and its gradients.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::gemm::{Matrix, new_product};
use crate::profile::measured;

use super::simd::{BLOCK, column_sums, tensor, values, vectorized};

fn dims(x: &FlexTensor) -> [usize; 2] {
    let shape = x.layout().shape();
    [shape[0], shape[1]]
}

/// Records the cost of a product of `n × in × out`, whichever of its three matrices is the result.
fn product_cost<R>(operation: &'static str, [n, d_in, d_out]: [usize; 3], f: impl FnOnce() -> R) -> R {
    measured(operation, 2 * n * d_in * d_out, n * d_in + d_in * d_out + n * d_out, f)
}

/// A contiguous tensor `(rows, columns)`.
fn matrix(x: &FlexTensor) -> Matrix<'_> {
    let [rows, columns] = dims(x);
    Matrix::new(values(x), rows, columns, columns)
}

/// `x` `(n, in)`, `weight` `(out, in)`, `bias` `(out)`, all contiguous → `(n, out)`.
pub(super) fn forward(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> FlexTensor {
    let ([n, d_in], [d_out, _]) = (dims(x), dims(weight));
    let mut y = product_cost("linear forward", [n, d_in, d_out], || new_product(matrix(x), matrix(weight).t()));
    if let Some(bias) = bias {
        add_bias(&mut y, values(bias));
    }
    tensor(y, vec![n, d_out])
}

/// Adds `bias` `(out)` to every row of `y` `(n, out)`.
fn add_bias(y: &mut [f32], bias: &[f32]) {
    let rows = (BLOCK / bias.len().max(1)).max(1);
    measured("linear forward, bias", 0, 2 * y.len(), || {
        y.par_chunks_mut(rows * bias.len()).for_each(|rows| {
            vectorized!({
                for row in rows.chunks_exact_mut(bias.len()) {
                    for (y, b) in row.iter_mut().zip(bias) {
                        *y += b;
                    }
                }
            });
        });
    });
}

/// Gradient by `x`: `g·W`.
pub(super) fn backward_x(grad: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let ([n, d_out], [_, d_in]) = (dims(grad), dims(weight));
    let dx = product_cost("linear backward, input", [n, d_in, d_out], || new_product(matrix(grad), matrix(weight)));
    tensor(dx, vec![n, d_in])
}

/// Gradient by the weight: `gᵀ·x`.
pub(super) fn backward_weight(grad: &FlexTensor, x: &FlexTensor) -> FlexTensor {
    let ([n, d_out], [_, d_in]) = (dims(grad), dims(x));
    let dw = product_cost("linear backward, weight", [n, d_in, d_out], || new_product(matrix(grad).t(), matrix(x)));
    tensor(dw, vec![d_out, d_in])
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

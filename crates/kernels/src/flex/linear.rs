//! `y = x·Wᵀ + bias` and its gradients.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::gemm::{Matrix, product, threads};
use crate::profile::measured;

use super::simd::{column_sums, tensor, values, vectorized};

fn dims(x: &FlexTensor) -> [usize; 2] {
    let shape = x.layout().shape();
    [shape[0], shape[1]]
}

/// `x` `(n, in)`, `weight` `(out, in)`, `bias` `(out)`, all contiguous → `(n, out)`.
pub(super) fn forward(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> FlexTensor {
    let ([n, d_in], [d_out, _]) = (dims(x), dims(weight));
    let mut y = match bias {
        Some(bias) => values(bias).repeat(n),
        None => vec![0.0; n * d_out],
    };
    let (x, weight) = (Matrix::new(values(x), n, d_in, d_in), Matrix::new(values(weight), d_out, d_in, d_in));
    let beta = if bias.is_some() { 1.0 } else { 0.0 };
    measured("linear forward", 2 * n * d_in * d_out, n * d_in + d_in * d_out + n * d_out, || {
        product(&mut y, d_out, beta, 1.0, x, weight.t(), threads(n, d_out, d_in));
    });
    tensor(y, vec![n, d_out])
}

/// Gradient by `x`: `g·W`.
pub(super) fn backward_x(grad: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let ([n, d_out], [_, d_in]) = (dims(grad), dims(weight));
    let mut dx = vec![0.0; n * d_in];
    let (grad, weight) = (Matrix::new(values(grad), n, d_out, d_out), Matrix::new(values(weight), d_out, d_in, d_in));
    measured("linear backward, input", 2 * n * d_in * d_out, n * d_in + d_in * d_out + n * d_out, || {
        product(&mut dx, d_in, 0.0, 1.0, grad, weight, threads(n, d_in, d_out));
    });
    tensor(dx, vec![n, d_in])
}

/// Gradient by the weight: `gᵀ·x`.
pub(super) fn backward_weight(grad: &FlexTensor, x: &FlexTensor) -> FlexTensor {
    let ([n, d_out], [_, d_in]) = (dims(grad), dims(x));
    let mut dw = vec![0.0; d_out * d_in];
    let (grad, x) = (Matrix::new(values(grad), n, d_out, d_out), Matrix::new(values(x), n, d_in, d_in));
    measured("linear backward, weight", 2 * n * d_in * d_out, n * d_in + d_in * d_out + n * d_out, || {
        product(&mut dw, d_in, 0.0, 1.0, grad.t(), x, threads(d_out, d_in, n));
    });
    tensor(dw, vec![d_out, d_in])
}

/// Gradient by the bias: the column sums of `g`.
pub(super) fn backward_bias(grad: &FlexTensor) -> FlexTensor {
    const ROWS: usize = 128;
    let [n, d_out] = dims(grad);
    measured("linear backward, bias", 0, n * d_out, || {
        let mut partial = vec![0.0; n.div_ceil(ROWS) * d_out];
        partial.par_chunks_mut(d_out).zip(values(grad).par_chunks(ROWS * d_out)).for_each(|(sum, rows)| {
            vectorized(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact(d_out) {
                        sum.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
                    }
                },
            );
        });
        tensor(column_sums(&partial, d_out), vec![d_out])
    })
}

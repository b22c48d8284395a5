//! `x·Wᵀ` with a weight in blocks of few bits, for few tokens: the blocks are read once, and their values stay in the cache.

use burn_flex::FlexTensor;
use llm_gguf::dequantize;
use rayon::prelude::*;

use super::half::{MANY, ROWS, dot, times_blocks};
use super::linear::dims;
use super::simd::{tensor, values, vectorized};
use crate::QuantizedWeight;
use crate::profile::measured;

/// `x` `(n, in)` contiguous → `(n, out)`; `None` for so many tokens that it is faster to widen the weight for all threads.
pub(super) fn forward(x: &FlexTensor, weight: &QuantizedWeight) -> Option<FlexTensor> {
    let ([n, d_in], [d_out, _]) = (dims(x), weight.shape());
    let touched = n * d_in + weight.size() / 4 + n * d_out;
    (n < MANY).then(|| {
        let y = measured("linear forward, blocks", 2 * n * d_in * d_out, touched, || {
            if n == 1 { times_vector(values(x), weight) } else { times_matrix(values(x), n, weight) }
        });
        tensor(y, vec![n, d_out])
    })
}

/// One token: each row is widened into the nearest cache, and multiplied there.
fn times_vector(x: &[f32], weight: &QuantizedWeight) -> Vec<f32> {
    let [d_out, d_in] = weight.shape();
    let mut y = vec![0.0; d_out];
    y.par_chunks_mut(ROWS).enumerate().for_each(|(task, y)| {
        let mut row = vec![0.0; d_in];
        for (i, y) in y.iter_mut().enumerate() {
            let at = task * ROWS + i;
            dequantize(weight.kind(), weight.stored(at..at + 1), &mut row);
            *y = vectorized!(dot(x, &row, |w| w));
        }
    });
    y
}

fn times_matrix(x: &[f32], n: usize, weight: &QuantizedWeight) -> Vec<f32> {
    let [d_out, d_in] = weight.shape();
    times_blocks(x, [n, d_in, d_out], |rows, block| dequantize(weight.kind(), weight.stored(rows), block))
}

//! `x·Wᵀ` with a weight in blocks of few bits, for few tokens: the blocks are read once, and their values stay in the cache.

use std::ops::Range;
use std::slice::ChunksExact;

use burn_flex::FlexTensor;
use half::f16;
use llm_gguf::{TensorType, dequantize};
use rayon::prelude::*;

use super::half::{self as halves, MANY, ROWS, times_blocks};
use super::linear::dims;
use super::simd::{filled, tensor, values, vectorized};
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

/// The values of some rows, row-major.
pub(super) fn widened(weight: &QuantizedWeight, rows: Range<usize>) -> Vec<f32> {
    let [_, columns] = weight.shape();
    let (count, stored) = (rows.len() * columns, weight.stored(rows));
    filled(count, |from, values| {
        let bytes = weight.bytes_of(from)..weight.bytes_of(from + values.len());
        dequantize(weight.kind(), &stored[bytes], values);
    })
}

/// One token.
fn times_vector(x: &[f32], weight: &QuantizedWeight) -> Vec<f32> {
    /// The products of all rows, by what adds those of a block.
    macro_rules! by_blocks {
        ($add:ident) => {
            times_rows(weight, |rows, y| {
                vectorized!({
                    for (y, row) in y.iter_mut().zip(rows.clone()) {
                        *y = dot(row, x, $add);
                    }
                });
            })
        };
    }
    match weight.kind() {
        TensorType::Q8_0 => by_blocks!(q8_0),
        TensorType::Q4_0 => by_blocks!(q4_0),
        TensorType::Q4_1 => by_blocks!(q4_1),
        TensorType::Q5_0 => by_blocks!(q5_0),
        TensorType::Q5_1 => by_blocks!(q5_1),
        // Each row is widened into the nearest cache, and multiplied there.
        kind => times_rows(weight, |rows, y| {
            let mut row = vec![0.0; x.len()];
            for (y, stored) in y.iter_mut().zip(rows) {
                dequantize(kind, stored, &mut row);
                *y = vectorized!(halves::dot(x, &row, |w| w));
            }
        }),
    }
}

/// What `product` makes of the stored rows of the weight, some at a time on all cores.
fn times_rows(weight: &QuantizedWeight, product: impl Fn(ChunksExact<u8>, &mut [f32]) + Sync) -> Vec<f32> {
    let [d_out, d_in] = weight.shape();
    let mut y = vec![0.0; d_out];
    y.par_chunks_mut(ROWS).enumerate().for_each(|(task, y)| {
        let rows = task * ROWS..task * ROWS + y.len();
        product(weight.stored(rows).chunks_exact(weight.bytes_of(d_in)), y);
    });
    y
}

/// Sum of the products of a row of blocks and `x`, in 16 lanes, so that the order does not depend on the CPU. `add` adds to
/// the lanes the products of a block.
#[inline(always)]
fn dot<const BYTES: usize>(row: &[u8], x: &[f32], add: impl Fn(&[u8; BYTES], &[f32; 32], &mut [f32; 16])) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (block, x) in row.as_chunks().0.iter().zip(x.as_chunks().0) {
        add(block, x, &mut lanes);
    }
    lanes.iter().sum()
}

/// The float16 at byte `at`, which is finite.
#[inline(always)]
fn scale(block: &[u8], at: usize) -> f32 {
    halves::widen_f16(f16::from_le_bytes([block[at], block[at + 1]]))
}

#[inline(always)]
fn q8_0(block: &[u8; 34], x: &[f32; 32], lanes: &mut [f32; 16]) {
    let d = scale(block, 0);
    for i in 0..16 {
        let [low, high] = [block[2 + i], block[18 + i]].map(|q| f32::from(q.cast_signed()));
        lanes[i] = (x[i].mul_add(low, x[i + 16] * high)).mul_add(d, lanes[i]);
    }
}

/// Four bits per value, the low halves of all bytes first: `(q − 8)·d`.
#[inline(always)]
fn q4_0(block: &[u8; 18], x: &[f32; 32], lanes: &mut [f32; 16]) {
    let d = scale(block, 0);
    for i in 0..16 {
        let q = block[2 + i];
        let [low, high] = [q & 15, q >> 4].map(|q| f32::from(q) - 8.0);
        lanes[i] = (x[i].mul_add(low, x[i + 16] * high)).mul_add(d, lanes[i]);
    }
}

/// The same, `q·d + m`.
#[inline(always)]
fn q4_1(block: &[u8; 20], x: &[f32; 32], lanes: &mut [f32; 16]) {
    let [d, m] = [scale(block, 0), scale(block, 2)];
    for i in 0..16 {
        let q = block[4 + i];
        let [low, high] = [q & 15, q >> 4].map(f32::from);
        let with_minimum = (x[i] + x[i + 16]).mul_add(m, lanes[i]);
        lanes[i] = (x[i].mul_add(low, x[i + 16] * high)).mul_add(d, with_minimum);
    }
}

/// The fifth bits of values `i` and `i + 16`, in their places.
#[inline(always)]
fn fifth(bits: u32, i: usize) -> [u8; 2] {
    [((bits >> i) as u8 & 1) << 4, ((bits >> (i + 16)) as u8 & 1) << 4]
}

/// Five bits per value: the fifth bits of all in four bytes, the others as in [`q4_0`]; `(q − 16)·d`.
#[inline(always)]
fn q5_0(block: &[u8; 22], x: &[f32; 32], lanes: &mut [f32; 16]) {
    let (d, bits) = (scale(block, 0), u32::from_le_bytes([block[2], block[3], block[4], block[5]]));
    for i in 0..16 {
        let (q, [low, high]) = (block[6 + i], fifth(bits, i));
        let [low, high] = [q & 15 | low, q >> 4 | high].map(|q| f32::from(q) - 16.0);
        lanes[i] = (x[i].mul_add(low, x[i + 16] * high)).mul_add(d, lanes[i]);
    }
}

/// The same, `q·d + m`.
#[inline(always)]
fn q5_1(block: &[u8; 24], x: &[f32; 32], lanes: &mut [f32; 16]) {
    let [d, m] = [scale(block, 0), scale(block, 2)];
    let bits = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for i in 0..16 {
        let (q, [low, high]) = (block[8 + i], fifth(bits, i));
        let [low, high] = [q & 15 | low, q >> 4 | high].map(f32::from);
        let with_minimum = (x[i] + x[i + 16]).mul_add(m, lanes[i]);
        lanes[i] = (x[i].mul_add(low, x[i + 16] * high)).mul_add(d, with_minimum);
    }
}

fn times_matrix(x: &[f32], n: usize, weight: &QuantizedWeight) -> Vec<f32> {
    let [d_out, d_in] = weight.shape();
    times_blocks(x, [n, d_in, d_out], |rows, block| dequantize(weight.kind(), weight.stored(rows), block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_widened_weight() {
        let value = |i: usize| ((i * 7_919 % 1_009) as f32 - 504.0) / 500.0;
        let (d_out, d_in) = (70, 96);
        let x: Vec<f32> = (0..d_in).map(|i| value(i + 3)).collect();
        let exact: Vec<f32> = (0..d_out * d_in).map(value).collect();
        for kind in [TensorType::Q8_0, TensorType::Q4_0, TensorType::Q4_1, TensorType::Q5_0, TensorType::Q5_1] {
            // Types that are only read have blocks of any bits; scales are small numbers.
            let weight = QuantizedWeight::quantize(kind, [d_out, d_in], &exact).unwrap_or_else(|| {
                let mut bytes: Vec<u8> =
                    (0..kind.bytes((d_out * d_in) as u64).unwrap()).map(|i| (i * 37) as u8).collect();
                for block in bytes.chunks_exact_mut(kind.block_bytes()) {
                    (block[1], block[3]) = (0x2C, 0xB0);
                }
                QuantizedWeight::new(kind, [d_out, d_in], &bytes).unwrap()
            });
            for (y, row) in times_vector(&x, &weight).iter().zip(weight.values().chunks_exact(d_in)) {
                let exact: f64 = x.iter().zip(row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                assert!((f64::from(*y) - exact).abs() < 2e-5, "{kind}: {y}, not {exact}");
            }
        }
    }
}

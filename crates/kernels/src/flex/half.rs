//! `x·Wᵀ` with a weight of two bytes a value, as published models are stored: in half the memory, and for few tokens,
//! which make the product wait for memory, in less time. The values are those of float32, the sums too.

use std::ops::Range;

use burn::tensor::DType;
use burn_flex::FlexTensor;
use gemm::Parallelism;
use half::{bf16, f16};
use rayon::prelude::*;

use super::gemm::{Matrix, product};
use super::simd::{map1, tensor, values, vectorized};
use crate::profile::measured;

/// Rows of a weight that one task works on.
pub(super) const ROWS: usize = 64;
/// From so many tokens on, it is faster to widen the weight for all threads, which then share its product.
pub(super) const MANY: usize = 16;

/// Whether a weight of this type is one for [`forward`].
pub(super) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// `x` `(n, in)` in float32 and `weight` `(out, in)` in float16 or bfloat16, both contiguous → `(n, out)` in float32.
/// For fewer than [`MANY`] tokens: the weight is read once, and its values stay in the cache.
pub(super) fn forward(x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let sizes = [x.layout().shape()[0], weight.layout().shape()[1], weight.layout().shape()[0]];
    let [n, d_in, d_out] = sizes;
    let touched = n * d_in + d_in * d_out / 2 + n * d_out;
    measured("linear forward, half", 2 * n * d_in * d_out, touched, || {
        let y = match weight.dtype() {
            DType::BF16 => times(values(x), weight.storage::<bf16>(), sizes, widen_bf16),
            _ => times(values(x), weight.storage::<f16>(), sizes, widen_f16),
        };
        tensor(y, vec![n, d_out])
    })
}

/// A range of the values of a contiguous tensor in float16 or bfloat16.
pub(super) fn widened(x: &FlexTensor, range: Range<usize>) -> Vec<f32> {
    match x.dtype() {
        DType::BF16 => map1(&x.storage::<bf16>()[range], widen_bf16),
        _ => map1(&x.storage::<f16>()[range], widen_f16),
    }
}

fn times<T: Copy + Sync>(
    x: &[f32],
    weight: &[T],
    [n, d_in, d_out]: [usize; 3],
    widen: impl Fn(T) -> f32 + Copy + Sync,
) -> Vec<f32> {
    if n != 1 {
        return times_blocks(x, [n, d_in, d_out], |rows, block| {
            let weight = &weight[rows.start * d_in..rows.end * d_in];
            vectorized!(block.iter_mut().zip(weight).for_each(|(value, half)| *value = widen(*half)));
        });
    }
    let mut y = vec![0.0; d_out];
    y.par_chunks_mut(ROWS).zip(weight.par_chunks(ROWS * d_in)).for_each(|(y, weight)| {
        vectorized!({
            for (y, row) in y.iter_mut().zip(weight.chunks_exact(d_in)) {
                *y = dot(x, row, widen);
            }
        });
    });
    y
}

/// `x·Wᵀ` of `x` `(n, in)`, `(n, out)`, where `widen` puts the values of some rows of `W` into its second argument.
pub(super) fn times_blocks(
    x: &[f32],
    [n, d_in, d_out]: [usize; 3],
    widen: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut y = vec![0.0; d_out * n]; // transposed, (out, n): the tasks write rows of it
    y.par_chunks_mut(ROWS * n.max(1)).enumerate().for_each(|(task, y)| {
        let rows = task * ROWS..d_out.min((task + 1) * ROWS);
        let mut block = vec![0.0; rows.len() * d_in];
        widen(rows.clone(), &mut block);
        let block = Matrix::new(&block, rows.len(), d_in, d_in);
        product(y, n, 0.0, 1.0, block, Matrix::new(x, n, d_in, d_in).t(), Parallelism::None);
    });
    transposed(&y, n)
}

/// `(out, n)` → `(n, out)`.
fn transposed(y: &[f32], n: usize) -> Vec<f32> {
    const COLUMNS: usize = 16; // the cache lines of so many rows stay in the cache
    let d_out = y.len() / n.max(1);
    let mut out = vec![0.0; y.len()];
    out.par_chunks_mut(COLUMNS * d_out.max(1)).enumerate().for_each(|(block, out)| {
        for (j, row) in y.chunks_exact(n).enumerate() {
            for (i, value) in row[block * COLUMNS..].iter().take(out.len() / d_out).enumerate() {
                out[i * d_out + j] = *value;
            }
        }
    });
    out
}

/// Sum of the products, in 16 lanes, so that the order does not depend on the CPU.
#[inline(always)]
pub(super) fn dot<T: Copy>(x: &[f32], y: &[T], widen: impl Fn(T) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (xs, ys) = (x.chunks_exact(16), y.chunks_exact(16));
    let rest = xs.remainder().iter().zip(ys.remainder());
    for (x, y) in xs.zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = x.mul_add(widen(*y), *lane);
        }
    }
    lanes.iter().sum::<f32>() + rest.map(|(x, y)| x * widen(*y)).sum::<f32>()
}

#[inline(always)]
fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// The value of a finite number, without branches: the sign and the rest moved into place, the exponent 112 too small.
#[inline(always)]
pub(super) fn widen_f16(x: f16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let extended = i32::from(x.to_bits() as i16) as u32; // the sign in all upper bits
    f32::from_bits(extended << 13 & 0x8FFF_E000) * TWO_TO_112
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_keeps_its_value() {
        for bits in 0..=u16::MAX {
            let (short, wide) = (f16::from_bits(bits), bf16::from_bits(bits));
            if short.is_finite() {
                assert_eq!(widen_f16(short).to_bits(), short.to_f32().to_bits(), "{bits:#06x}");
            }
            if wide.is_finite() {
                assert_eq!(widen_bf16(wide).to_bits(), wide.to_f32().to_bits(), "{bits:#06x}");
            }
        }
    }

    #[test]
    fn products_are_those_of_the_widened_weight() {
        for [n, d_in, d_out] in
            [[1, 1, 1], [1, 33, 130], [2, 31, 65], [17, 64, 7], [40, 5, 200], [16, 4_000, 1_100], [0, 4, 3]]
        {
            let value = |i: usize| ((i * 7_919 % 1_009) as f32 - 504.0) / 123.0;
            let x: Vec<f32> = (0..n * d_in).map(value).collect();
            let exact = |weight: &[f32]| -> Vec<f64> {
                let row = |i: usize, j: usize| {
                    let products = x[i * d_in..][..d_in].iter().zip(&weight[j * d_in..][..d_in]);
                    products.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
                };
                (0..n * d_out).map(|at| row(at / d_out, at % d_out)).collect()
            };
            let close = |ours: &[f32], exact: &[f64]| {
                assert_eq!(ours.len(), exact.len());
                let tolerance = if d_in < 100 { 1e-4 } else { 4e-6 * d_in as f64 }; // rounding grows with the sum
                for (ours, exact) in ours.iter().zip(exact) {
                    assert!(
                        (f64::from(*ours) - exact).abs() < tolerance,
                        "{n} × {d_in} × {d_out}: {ours}, not {exact}"
                    );
                }
            };
            let weight: Vec<f32> = (0..d_out * d_in).map(|i| value(i + 3) / 4.0).collect();
            let short: Vec<f16> = weight.iter().map(|&w| f16::from_f32(w)).collect();
            let wide: Vec<bf16> = weight.iter().map(|&w| bf16::from_f32(w)).collect();
            let sizes = [n, d_in, d_out];
            let widened: Vec<f32> = short.iter().map(|w| w.to_f32()).collect();
            close(&times(&x, &short, sizes, widen_f16), &exact(&widened));
            let widened: Vec<f32> = wide.iter().map(|w| w.to_f32()).collect();
            close(&times(&x, &wide, sizes, widen_bf16), &exact(&widened));
        }
    }
}

//! Products of bfloat16 with sums in float32, by the instructions of AVX512-BF16 (`vdpbf16ps`).
//!
//! The factors are float32 in memory, and are rounded while they are packed into panels, in the manner of Goto & van de
//! Geijn (2008): `b` in panels of [`NR`] columns, `a` in panels of [`MR`] rows, both in pairs of neighbours along the
//! inner axis, which the instruction multiplies and adds at once.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
};
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::gemm::{Matrix, round_to_bf16 as round};
use super::simd::vectorized;

/// Rows of a panel of `a`.
const MR: usize = 8;
/// Columns of a panel of `b`: three vectors.
const NR: usize = 3 * LANES;
/// Values of a vector.
const LANES: usize = 16;
/// Pairs along the inner axis that are packed at a time: a panel of `b` fills half of a first-level cache.
const PAIRS: usize = 96;
/// Columns of `b` that are packed at a time; with [`PAIRS`] they fill a second-level cache.
const COLUMNS: usize = 24 * NR;
/// Most rows of one task.
const ROWS: usize = 8 * MR;

/// Two neighbours as the instruction takes them.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    u32::from(round(second)) << 16 | u32::from(round(first))
}

/// Packs rows `from..` of the inner axis and columns `column..column + width` of `b` into one panel,
/// `(pairs, panel.len() / pairs)`. Where the matrix ends, zeros follow.
fn pack(panel: &mut [u32], pairs: usize, b: Matrix, from: usize, column: usize) {
    let width = panel.len() / pairs;
    let filled = width.min(b.columns().saturating_sub(column));
    panel.fill(0);
    vectorized!({
        for (p, out) in panel.chunks_exact_mut(width).enumerate() {
            let k = from + 2 * p;
            let second = k + 1 < b.rows();
            match (b.row(k), if second { b.row(k + 1) } else { None }) {
                (Some(first), Some(second)) => {
                    let values = first[column..].iter().zip(&second[column..]);
                    out[..filled].iter_mut().zip(values).for_each(|(out, (x, y))| *out = pair(*x, *y));
                }
                _ => {
                    for (j, out) in out[..filled].iter_mut().enumerate() {
                        let y = if second { b.at(k + 1, column + j) } else { 0.0 };
                        *out = pair(b.at(k, column + j), y);
                    }
                }
            }
        }
    });
}

/// `out = a·b`, or `out += a·b` with `accumulate`, for `out` with contiguous rows. All values are written.
///
/// # Panics
/// If the shapes do not fit.
///
/// # Safety
/// The CPU has AVX512-BF16 (see [`has_fast_bf16`](crate::has_fast_bf16)); with `accumulate`, `out` is initialized.
#[allow(unsafe_code)]
pub(super) unsafe fn product(out: &mut [MaybeUninit<f32>], a: Matrix, b: Matrix, accumulate: bool) {
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
    assert!(k == b.rows() && out.len() == m * n, "shapes of a product do not fit");
    if m == 0 || n == 0 {
        return;
    }
    let a = a.t(); // packed like `b`, along the inner axis
    let all_pairs = k.div_ceil(2).max(1);
    let rows = (m.div_ceil(2 * rayon::current_num_threads())).next_multiple_of(MR).min(ROWS);
    let mut packed = Vec::new();
    for columns in (0..n).step_by(COLUMNS) {
        let width = COLUMNS.min(n - columns);
        for first_pair in (0..all_pairs).step_by(PAIRS) {
            let pairs = PAIRS.min(all_pairs - first_pair);
            packed.resize(width.div_ceil(NR) * NR * pairs, 0);
            packed
                .par_chunks_mut(NR * pairs)
                .enumerate()
                .for_each(|(i, panel)| pack(panel, pairs, b, 2 * first_pair, columns + i * NR));
            let accumulate = accumulate || first_pair > 0;
            out.par_chunks_mut(rows * n).enumerate().for_each(|(task, out)| {
                let mut a_panel = [0; MR * PAIRS];
                let a_panel = &mut a_panel[..MR * pairs];
                for (i, out) in out.chunks_mut(MR * n).enumerate() {
                    pack(a_panel, pairs, a, 2 * first_pair, task * rows + i * MR);
                    for (j, b_panel) in packed.chunks_exact(NR * pairs).enumerate() {
                        let column = columns + j * NR;
                        // SAFETY: the panels hold `pairs` rows of `MR` and `NR` pairs; `out` are whole rows of `n`, up
                        // to `MR` of them, and `column < n`. The rest by the contract of this function; later pairs
                        // follow on the first, which have written all of `out`.
                        unsafe { tile(out, n, column, a_panel, b_panel, accumulate) };
                    }
                }
            });
        }
    }
}

/// One tile: up to [`MR`] rows, the whole of `out`, by up to [`NR`] columns from `column` on.
///
/// # Safety
/// The CPU has AVX512-BF16. `out` are rows of `n > column`, at most `MR`; `a` and `b` hold equally many pairs for `MR` rows
/// and `NR` columns. With `accumulate`, `out` is initialized.
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code)]
unsafe fn tile(out: &mut [MaybeUninit<f32>], n: usize, column: usize, a: &[u32], b: &[u32], accumulate: bool) {
    let mut sums = [[_mm512_setzero_ps(); 3]; MR];
    for (a, b) in a.chunks_exact(MR).zip(b.chunks_exact(NR)) {
        // SAFETY: `b` has 48 values of 32 bits, three vectors; all bit patterns are valid in every vector type.
        let b: [__m512bh; 3] = unsafe {
            let load =
                |at: usize| std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.as_ptr().add(at).cast()));
            [load(0), load(LANES), load(2 * LANES)]
        };
        for (sums, a) in sums.iter_mut().zip(a) {
            // SAFETY: as above.
            let a = unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*a as i32)) };
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
    }
    for (row, sums) in out.chunks_exact_mut(n).zip(sums) {
        for (part, sum) in row[column..].chunks_mut(LANES).zip(sums) {
            let mask = ((1u32 << part.len()) - 1) as u16;
            let at = part.as_mut_ptr().cast::<f32>();
            // SAFETY: the mask leaves out what lies beyond `part`; it is read only where it is initialized.
            unsafe {
                let sum: __m512 = if accumulate { _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, at)) } else { sum };
                _mm512_mask_storeu_ps(at, mask, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(x: f32) -> f32 {
        f32::from_bits(u32::from(round(x)) << 16)
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_nan() {
        for x in
            [0.0, -0.0, 1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 3.4e38, -1e-40, f32::INFINITY, f32::NEG_INFINITY]
        {
            assert_eq!(round(x), half::bf16::from_f32(x).to_bits(), "{x}");
        }
        assert!(rounded(f32::NAN).is_nan() && rounded(f32::from_bits(0x7F80_0001)).is_nan());
    }

    #[test]
    fn products_are_those_of_rounded_factors() {
        if !crate::has_fast_bf16() {
            eprintln!("skipped: this CPU has no AVX512-BF16; scripts/test_cpus.sh emulates one that has");
            return;
        }
        for (m, n, k) in [(1, 1, 1), (7, 129, 5), (129, 7, 193), (8, 48, 2), (70, 1_200, 400), (3, 50, 0)] {
            let value = |i: usize| ((i * 7_919 % 1_009) as f32 - 504.0) / 123.0;
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i + 3)).collect();
            let transposed: Vec<f32> = (0..k * n).map(|i| b[i % k.max(1) * n + i / k.max(1)]).collect();
            let mut out = vec![MaybeUninit::new(f32::NAN); m * n];
            for (b, accumulate) in [(Matrix::new(&b, k, n, n), false), (Matrix::new(&transposed, n, k, k).t(), true)] {
                // SAFETY: checked above, and `out` is initialized.
                #[allow(unsafe_code)]
                unsafe {
                    product(&mut out, Matrix::new(&a, m, k, k), b, accumulate);
                }
            }
            for (i, out) in out.iter().enumerate() {
                let terms = (0..k).map(|p| f64::from(rounded(a[i / n * k + p])) * f64::from(rounded(b[p * n + i % n])));
                let exact = 2.0 * terms.sum::<f64>();
                // SAFETY: initialized above.
                #[allow(unsafe_code)]
                let out = f64::from(unsafe { out.assume_init() });
                assert!((out - exact).abs() < 1e-5 * (k as f64 + 1.0), "({m}, {n}, {k}) at {i}: {out}, not {exact}");
            }
        }
    }
}

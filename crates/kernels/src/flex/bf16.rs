//! Products of bfloat16 with sums in float32, by the instructions of AVX512-BF16 (`vdpbf16ps`).
//!
//! The factors are float32 in memory, and are rounded while they are packed into panels, in the manner of Goto & van de
//! Geijn (2008): `b` in panels of [`NR`] columns, `a` in panels of [`MR`] rows, both in pairs of neighbours along the
//! inner axis, which the instruction multiplies and adds at once. Numbers below 2⁻¹²⁶ count as zero.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps,
    _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_permutexvar_epi16, _mm512_set1_epi32,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::gemm::Matrix;

/// Values of a vector, and columns of a panel.
const LANES: usize = 16;
/// Rows of a tile: half a panel of `a`.
const MR: usize = LANES / 2;
/// Panels of `b` that a tile takes, and its columns.
const VECTORS: usize = 3;
const NR: usize = VECTORS * LANES;
/// Pairs along the inner axis that a tile adds up: its part of `b`, and a panel of `a`, stay in a second-level cache.
const PAIRS: usize = 384;
/// Columns of `b` that are packed at a time: 8 MB, part of a last-level cache.
const COLUMNS: usize = 112 * NR;
/// Most rows of one task: its panels of `a`, and its part of `out`, stay in a second-level cache.
const ROWS: usize = 8 * LANES;

/// Pairs of rows that are asked of memory before they are packed: they lie too far apart for the CPU to foresee.
const AHEAD: usize = LANES;

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
    if m == 0 || n == 0 || k == 0 {
        if !accumulate {
            out.fill(MaybeUninit::new(0.0));
        }
        return;
    }
    let a = a.t(); // packed like `b`, along the inner axis
    let all_pairs = k.div_ceil(2);
    let tasks = m.div_ceil(ROWS).next_multiple_of(rayon::current_num_threads());
    let rows = m.div_ceil(tasks).next_multiple_of(LANES);
    let mut packed = Vec::with_capacity(COLUMNS.min(n.next_multiple_of(NR)) * PAIRS.min(all_pairs));
    for from in (0..n).step_by(COLUMNS) {
        let columns = COLUMNS.min(n - from).next_multiple_of(NR);
        for first in (0..all_pairs).step_by(PAIRS) {
            let pairs = PAIRS.min(all_pairs - first);
            let b_panels = &mut packed.spare_capacity_mut()[..columns * pairs];
            let width = (columns / LANES).div_ceil(4 * rayon::current_num_threads()) * LANES;
            b_panels.par_chunks_mut(width * pairs).enumerate().for_each(|(j, panels)| {
                // SAFETY: the CPU has the instructions, by the contract of this function.
                unsafe { pack(panels, pairs, b, 2 * first, from + j * width) };
            });
            // SAFETY: all of it has been packed.
            let b_panels = unsafe { b_panels.assume_init_ref() };
            out.par_chunks_mut(rows * n).enumerate().for_each(|(task, out)| {
                let mut a_panels = Vec::with_capacity(rows * pairs);
                let a_panels = &mut a_panels.spare_capacity_mut()[..rows * pairs];
                // SAFETY: the CPU has the instructions, and all that is read has been packed.
                let a_panels = unsafe {
                    pack(a_panels, pairs, a, 2 * first, task * rows);
                    a_panels.assume_init_ref()
                };
                for (j, b) in b_panels.chunks_exact(NR * pairs).enumerate() {
                    for (i, out) in out.chunks_mut(MR * n).enumerate() {
                        let a = &a_panels[i / 2 * LANES * pairs..][..LANES * pairs];
                        // SAFETY: the CPU has the instructions. The panels hold equally many pairs; `out` are whole rows
                        // of `n`, up to `MR` of them, and the column is below `n`. Later pairs follow on the first, which
                        // have written all of `out`.
                        unsafe { tile(out, n, from + j * NR, a, i % 2 * MR, b, accumulate || first > 0) };
                    }
                }
            });
        }
    }
}

/// Packs columns of `x`, from `column` on, and there rows from `from` on, into panels `(pairs, LANES)` of pairs of rows.
/// Where the matrix ends, zeros follow.
///
/// # Safety
/// The CPU has AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[allow(unsafe_code)]
unsafe fn pack(panels: &mut [MaybeUninit<u32>], pairs: usize, x: Matrix, from: usize, column: usize) {
    if x.row(0).is_some() {
        for p in 0..pairs {
            let [first, second] = [0, 1].map(|i| part(x, from + 2 * p + i, column));
            for i in 0..2 {
                prefetch(part(x, from + 2 * (p + AHEAD) + i, column), panels.len() / pairs);
            }
            for (i, panel) in panels.chunks_exact_mut(pairs * LANES).enumerate() {
                let [first, second] = [first, second].map(|row| load(row, i * LANES));
                store(&mut panel[p * LANES..][..LANES], interleaved(rounded(first, second)));
            }
        }
        return;
    }
    let columns = x.t(); // whose rows are the columns of `x`, contiguous
    for (i, panel) in panels.chunks_exact_mut(pairs * LANES).enumerate() {
        for (block, out) in panel.chunks_mut(LANES * LANES).enumerate() {
            let mut values = [_mm512_setzero_si512(); LANES];
            for (j, values) in values.iter_mut().enumerate() {
                let row = part(columns, column + i * LANES + j, from + 2 * LANES * block);
                prefetch(row.get(8 * LANES..).unwrap_or_default(), 2 * LANES);
                *values = rounded(load(row, 0), load(row, LANES));
            }
            for (out, pairs) in out.chunks_exact_mut(LANES).zip(transposed(&values)) {
                store(out, pairs);
            }
        }
    }
}

/// Asks for the cache lines of the first `len` values.
fn prefetch(values: &[f32], len: usize) {
    for line in values[..len.min(values.len())].chunks(LANES) {
        // SAFETY: every CPU that runs this has SSE; the address is that of a value.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        };
    }
}

/// Row `i` of `x` from element `from` on; nothing beyond the matrix.
fn part(x: Matrix<'_>, i: usize, from: usize) -> &[f32] {
    if i < x.rows() { x.row(i).and_then(|row| row.get(from..)).unwrap_or_default() } else { &[] }
}

/// The lanes of the first `len` values.
fn first_lanes(len: usize) -> u16 {
    if len < LANES { (1 << len) - 1 } else { u16::MAX }
}

/// A vector of the values from `at` on, and zeros after the last of them.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn load(values: &[f32], at: usize) -> __m512 {
    let values = values.get(at..).unwrap_or_default();
    // SAFETY: the mask leaves out what lies beyond the slice.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr()) }
}

/// Writes a vector.
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
fn store(out: &mut [MaybeUninit<u32>], pairs: __m512i) {
    assert!(out.len() >= LANES);
    // SAFETY: there is room for it.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs) }
}

/// Both vectors in bfloat16, one after the other.
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code)]
fn rounded(first: __m512, second: __m512) -> __m512i {
    // SAFETY: both types are 64 bytes in which every bit pattern is valid.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
}

/// Pairs of one value of the first half of a vector and one of the second.
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code)]
fn interleaved(halves: __m512i) -> __m512i {
    const PLACES: [u16; 2 * LANES] = {
        let mut places = [0; 2 * LANES];
        let mut i = 0;
        while i < 2 * LANES {
            places[i] = (i / 2 + i % 2 * LANES) as u16;
            i += 1;
        }
        places
    };
    // SAFETY: both types are 64 bytes in which every bit pattern is valid.
    let places = unsafe { std::mem::transmute::<[u16; 2 * LANES], __m512i>(PLACES) };
    _mm512_permutexvar_epi16(places, halves)
}

/// The transposed matrix of 16 × 16 values of 32 bits.
#[target_feature(enable = "avx512f")]
fn transposed(rows: &[__m512i; LANES]) -> [__m512i; LANES] {
    let mut out = *rows;
    for i in (0..LANES).step_by(2) {
        out[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        out[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    let rows = out;
    for i in (0..LANES).step_by(4) {
        for (j, (x, y)) in [(rows[i], rows[i + 2]), (rows[i + 1], rows[i + 3])].into_iter().enumerate() {
            out[i + 2 * j] = _mm512_unpacklo_epi64(x, y);
            out[i + 2 * j + 1] = _mm512_unpackhi_epi64(x, y);
        }
    }
    // Quarter `q` of `out[4·i + c]` is now column `4·q + c` of rows `4·i..4·i + 4`.
    let rows = out;
    for c in 0..4 {
        let even = |i: usize| _mm512_shuffle_i32x4::<0x88>(rows[4 * i + c], rows[4 * i + 4 + c]);
        let odd = |i: usize| _mm512_shuffle_i32x4::<0xDD>(rows[4 * i + c], rows[4 * i + 4 + c]);
        let [evens, odds] = [[even(0), even(2)], [odd(0), odd(2)]];
        out[c] = _mm512_shuffle_i32x4::<0x88>(evens[0], evens[1]);
        out[8 + c] = _mm512_shuffle_i32x4::<0xDD>(evens[0], evens[1]);
        out[4 + c] = _mm512_shuffle_i32x4::<0x88>(odds[0], odds[1]);
        out[12 + c] = _mm512_shuffle_i32x4::<0xDD>(odds[0], odds[1]);
    }
    out
}

/// Computes one tile: up to [`MR`] rows, the whole of `out`, of `n` columns each, and there up to [`NR`] columns from
/// `column` on, of the rows of panel `a` from `row` on, and the [`VECTORS`] panels `b`.
///
/// # Safety
/// The CPU has AVX512-BF16. `out` are rows of `n > column`, at most `MR`; all panels are equally long, and
/// `row + MR ≤ LANES`. With `accumulate`, `out` is initialized.
#[target_feature(enable = "avx512f,avx512bf16")]
#[allow(unsafe_code)]
unsafe fn tile(
    out: &mut [MaybeUninit<f32>],
    n: usize,
    column: usize,
    a: &[u32],
    row: usize,
    b: &[u32],
    accumulate: bool,
) {
    let panel = a.len();
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; MR];
    for (p, a) in a.chunks_exact(LANES).enumerate() {
        let b = [0, 1, 2].map(|v| {
            // SAFETY: every panel of `b` is as long as that of `a`; all bit patterns are valid in every vector type.
            unsafe {
                let at = b.as_ptr().add(v * panel + p * LANES).cast();
                std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(at))
            }
        });
        for (sums, a) in sums.iter_mut().zip(&a[row..row + MR]) {
            // SAFETY: as above.
            let a = unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(*a as i32)) };
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
    }
    for (row, sums) in out.chunks_exact_mut(n).zip(sums) {
        for (part, sum) in row[column..].chunks_mut(LANES).zip(sums) {
            let mask = first_lanes(part.len());
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

    fn through_bf16(x: f32) -> f64 {
        half::bf16::from_f32(x).to_f64()
    }

    /// Products of odd shapes against those in float64, once into uninitialized memory, then added to it.
    #[test]
    fn products_are_those_of_rounded_factors() {
        if !crate::has_fast_bf16() {
            eprintln!("skipped: this CPU has no AVX512-BF16");
            return;
        }
        for (m, n, k) in [
            (1, 1, 1),
            (7, 129, 5),
            (129, 7, 193),
            (8, 48, 2),
            (70, 1_200, 400),
            (3, 50, 0),
            (9, 2_500, 5_000),
            (2, 5_500, 3),
        ] {
            let value = |i: usize| ((i * 7_919 % 1_009) as f32 - 504.0) / 123.0;
            let a: Vec<f32> = (0..m * k).map(value).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i + 3)).collect();
            let turned = |x: &[f32], rows: usize| -> Vec<f32> {
                let columns = x.len() / rows.max(1);
                (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect()
            };
            let (a_turned, b_turned) = (turned(&a, m), turned(&b, k));
            let mut out = vec![MaybeUninit::uninit(); m * n];
            for (a, b, accumulate) in [
                (Matrix::new(&a, m, k, k), Matrix::new(&b, k, n, n), false),
                (Matrix::new(&a_turned, k, m, m).t(), Matrix::new(&b_turned, n, k, k).t(), true),
            ] {
                // SAFETY: the CPU has the instructions; the second time, `out` is initialized.
                #[allow(unsafe_code)]
                unsafe {
                    product(&mut out, a, b, accumulate);
                }
            }
            for (i, out) in out.iter().enumerate() {
                let terms = (0..k).map(|p| through_bf16(a[i / n * k + p]) * through_bf16(b[p * n + i % n]));
                let exact = 2.0 * terms.sum::<f64>();
                // SAFETY: written above.
                #[allow(unsafe_code)]
                let out = f64::from(unsafe { out.assume_init() });
                assert!((out - exact).abs() < 1e-5 * (k as f64 + 1.0), "({m}, {n}, {k}) at {i}: {out}, not {exact}");
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_and_keeps_what_is_not_a_number() {
        if !crate::has_fast_bf16() {
            eprintln!("skipped: this CPU has no AVX512-BF16");
            return;
        }
        let x =
            [0.0, -0.0, 1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 3.4e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        let mut panel = [MaybeUninit::uninit(); LANES];
        // SAFETY: the CPU has the instructions.
        #[allow(unsafe_code)]
        let panel = unsafe {
            pack(&mut panel, 1, Matrix::new(&x, 1, x.len(), x.len()), 0, 1);
            panel.assume_init_ref()
        };
        for (pair, x) in panel.iter().zip(&x[1..]) {
            let ours = half::bf16::from_bits(*pair as u16);
            assert!(
                ours.to_bits() == half::bf16::from_f32(*x).to_bits() || ours.is_nan() && x.is_nan(),
                "{x} became {ours}"
            );
        }
    }
}

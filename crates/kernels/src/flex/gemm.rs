//! Matrix products, through the `gemm` crate.

use gemm::Parallelism;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::Precision;
#[cfg(target_arch = "x86_64")]
use crate::has_fast_bf16;

use super::simd::{BLOCK, map1};

/// A matrix within a slice: element `(i, j)` is `data[i·row + j·column]`. One of both steps is 1.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows begin `row` elements apart and are contiguous.
    ///
    /// # Panics
    /// If the slice is too short for it.
    pub fn new(data: &'a [f32], rows: usize, columns: usize, row: usize) -> Self {
        assert!(rows == 0 || columns == 0 || data.len() >= (rows - 1) * row + columns, "matrix beyond its slice");
        Self { data, rows, columns, row, column: 1 }
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row: self.column, column: self.row, ..self }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row `i`, if its elements are neighbours.
    pub fn row(&self, i: usize) -> Option<&'a [f32]> {
        (self.column == 1).then(|| &self.data[i * self.row..][..self.columns])
    }
}

/// `out = beta·out + alpha·a·b`, with `out`'s rows `row` elements apart. `beta` is 0 or 1.
///
/// # Panics
/// If the shapes do not fit, or `out` is too short.
pub(super) fn product(out: &mut [f32], row: usize, beta: f32, alpha: f32, a: Matrix, b: Matrix, threads: Parallelism) {
    let (m, n) = (a.rows, b.columns);
    assert!(m == 0 || n == 0 || (row >= n && out.len() >= (m - 1) * row + n), "product beyond its slice");
    // SAFETY: the assertion above, and `out` is initialized and borrowed mutably, hence disjoint from `a` and `b`.
    #[allow(unsafe_code)]
    unsafe {
        product_at(out.as_mut_ptr(), row, beta, alpha, a, b, threads);
    }
}

/// `a·b` of factors rounded to `precision`, with all cores where that is worth it.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn new_product(a: Matrix, b: Matrix, precision: Precision) -> Vec<f32> {
    let mut out = Vec::new();
    put_product(&mut out, a, b, precision);
    out
}

/// Replaces what is in `out` by `a·b`, as [`new_product`]. Memory that `out` has is used again.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn put_product(out: &mut Vec<f32>, a: Matrix, b: Matrix, precision: Precision) {
    let (m, n) = (a.rows, b.columns);
    out.clear();
    out.reserve_exact(m * n);
    // SAFETY: the vector has room for `m` rows of `n`; without `accumulate` they are not read, and all are written.
    #[allow(unsafe_code)]
    unsafe {
        rounded_product_at(out.as_mut_ptr(), a, b, precision, false);
        out.set_len(m * n);
    }
}

/// `out += a·b`, as [`new_product`].
///
/// # Panics
/// If the shapes do not fit, `out` among them.
pub(super) fn add_product(out: &mut [f32], a: Matrix, b: Matrix, precision: Precision) {
    assert_eq!(out.len(), a.rows * b.columns, "product of another size than its place");
    // SAFETY: the assertion, and `out` is initialized and borrowed mutably, hence disjoint from `a` and `b`.
    #[allow(unsafe_code)]
    unsafe {
        rounded_product_at(out.as_mut_ptr(), a, b, precision, true);
    }
}

/// `out = a·b`, or `out += a·b` with `accumulate`.
///
/// # Safety
/// `out` has room for `a.rows` rows of `b.columns` elements that nothing else refers to. They are initialized if
/// `accumulate`; all of them are after the call.
#[allow(unsafe_code)]
unsafe fn rounded_product_at(out: *mut f32, a: Matrix, b: Matrix, precision: Precision, accumulate: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let in_float32 = |a: Matrix, b: Matrix| {
        let beta = if accumulate { 1.0 } else { 0.0 };
        // SAFETY: by the contract of this function.
        unsafe { product_at(out, n, beta, 1.0, a, b, threads(m, n, k)) }
    };
    match precision {
        Precision::F32 => in_float32(a, b),
        #[cfg(target_arch = "x86_64")]
        Precision::Bf16 if has_fast_bf16() => {
            // SAFETY: by the contract of this function, and the CPU has the instructions.
            unsafe {
                let out = std::slice::from_raw_parts_mut(out.cast::<std::mem::MaybeUninit<f32>>(), m * n);
                super::bf16::product(out, a, b, accumulate);
            }
        }
        Precision::Bf16 => {
            let [a_values, b_values] =
                [a.data, b.data].map(|data| map1(data, |x| f32::from_bits(u32::from(round_to_bf16(x)) << 16)));
            in_float32(Matrix { data: &a_values, ..a }, Matrix { data: &b_values, ..b });
        }
        Precision::F16 => {
            let [a_values, b_values] = [a.data, b.data].map(through_float16);
            in_float32(Matrix { data: &a_values, ..a }, Matrix { data: &b_values, ..b });
        }
    }
}

/// bfloat16 bits of `x`, rounded to nearest, ties to even.
#[inline(always)]
pub(super) fn round_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
    // Rounding may carry a NaN into infinity: keep it, and make it quiet.
    (if x.is_nan() { bits | 0x0040_0000 } else { rounded } >> 16) as u16
}

/// Values rounded to float16.
fn through_float16(x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| {
        let mut halves = vec![half::f16::ZERO; x.len()];
        halves.convert_from_f32_slice(x);
        halves.convert_to_f32_slice(y);
    });
    y
}

/// As [`product`].
///
/// # Safety
/// `out` has room for `a.rows` rows of `b.columns` elements, `row` apart without overlap, that nothing else refers to.
/// They are initialized unless `beta` is 0; then all of them are after the call.
#[allow(unsafe_code)]
unsafe fn product_at(out: *mut f32, row: usize, beta: f32, alpha: f32, a: Matrix, b: Matrix, threads: Parallelism) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "inner sizes differ");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: `Matrix::new` checked that the last element of `a` and of `b` lies within its slice (transposing keeps
    // the set of elements); strides are positive, so all others do too. `out` by the contract of this function.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            row as isize,
            beta != 0.0,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            beta,
            alpha,
            false,
            false,
            false,
            threads,
        );
    }
}

/// All cores for products large enough to gain by it.
pub(super) fn threads(m: usize, n: usize, k: usize) -> Parallelism {
    if m * n * k >= 1 << 21 { Parallelism::Rayon(0) } else { Parallelism::None }
}

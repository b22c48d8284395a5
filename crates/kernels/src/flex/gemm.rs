//! Matrix products, through the `gemm` crate.

use gemm::Parallelism;

/// A matrix within a slice: element `(i, j)` is `data[i·row + j·column]`.
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

/// `a·b`, with all cores where that is worth it.
///
/// # Panics
/// If the shapes do not fit.
pub(super) fn new_product(a: Matrix, b: Matrix) -> Vec<f32> {
    let (m, n) = (a.rows, b.columns);
    let mut out = Vec::with_capacity(m * n);
    let threads = threads(m, n, a.columns);
    // SAFETY: the new vector has room for `m` rows of `n`; with `beta` 0 they are not read, and all are written.
    #[allow(unsafe_code)]
    unsafe {
        product_at(out.as_mut_ptr(), n, 0.0, 1.0, a, b, threads);
        out.set_len(m * n);
    }
    out
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

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
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "inner sizes differ");
    if m == 0 || n == 0 {
        return;
    }
    assert!(row >= n && out.len() >= (m - 1) * row + n, "product beyond its slice");
    // SAFETY: `Matrix::new` checked that the last element of `a` and of `b` lies within its slice (transposing keeps
    // the set of elements), and the assertion above does the same for `out`; strides are positive, so all others do
    // too. `out` is borrowed mutably, hence disjoint from `a` and `b`, and rows do not overlap as `row >= n`.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
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

//! A weight as it is stored, in 32 bits per value or fewer, and its products.

use std::borrow::Cow;
use std::ops::Range;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::gemm::{Matrix, add_product, new_product, put_product};
use super::linear::{dims, matrix, product_cost};
use super::simd::{tensor, values};
use super::{blocks, half};
use crate::profile::measured;
use crate::{Precision, QuantizedWeight};

/// Values that are widened together: 16 MB, which stay in memory while a product reads them and are taken again for the
/// next.
const WIDENED: usize = 1 << 22;

/// A weight `(out, in)`. One that is stored in fewer than 32 bits per value stays so, and has no gradient of its own.
#[derive(Debug, Clone)]
pub(super) struct StoredWeight {
    stored: Stored,
    /// What the factors of its products are rounded to.
    pub precision: Precision,
}

#[derive(Debug, Clone)]
enum Stored {
    /// Contiguous, in float32.
    Wide(FlexTensor),
    /// Contiguous, in float16 or bfloat16.
    Half(FlexTensor),
    Blocks(QuantizedWeight),
}

impl StoredWeight {
    /// `weight`, or the blocks in its place.
    pub fn new(weight: &FlexTensor, blocks: Option<QuantizedWeight>, precision: Precision) -> Self {
        let stored = match blocks {
            Some(blocks) => Stored::Blocks(blocks),
            None if half::is_half(weight.dtype()) => Stored::Half(weight.to_contiguous()),
            None => Stored::Wide(weight.to_contiguous()),
        };
        Self { stored, precision }
    }

    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match &self.stored {
            Stored::Wide(tensor) | Stored::Half(tensor) => dims(tensor),
            Stored::Blocks(blocks) => blocks.shape(),
        }
    }

    /// Whether it is a tensor, so that it may have a gradient.
    pub fn is_tensor(&self) -> bool {
        !matches!(self.stored, Stored::Blocks(_))
    }

    /// `x·Wᵀ`, with `x` `(n, in)` contiguous → `(n, out)`, in the memory of `place` if that is enough.
    pub fn times(&self, x: &FlexTensor, mut place: Vec<f32>) -> FlexTensor {
        let ([n, _], [d_out, _]) = (dims(x), self.dims());
        if let Some(y) = self.times_in_place(x) {
            return y;
        }
        self.put_product("linear forward", matrix(x), &mut place);
        tensor(place, vec![n, d_out])
    }

    /// [`Self::times`] without widening, where a product with so few rows is best computed from what is stored.
    fn times_in_place(&self, x: &FlexTensor) -> Option<FlexTensor> {
        if self.precision != Precision::F32 {
            return None;
        }
        match &self.stored {
            Stored::Wide(_) => None,
            Stored::Half(weight) => (dims(x)[0] < half::MANY).then(|| half::forward(x, weight)),
            Stored::Blocks(weight) => blocks::forward(x, weight),
        }
    }

    /// Replaces what is in `y` by `x·Wᵀ` `(n, out)`.
    pub fn put_product(&self, operation: &'static str, x: Matrix, y: &mut Vec<f32>) {
        let ([d_out, d_in], n) = (self.dims(), x.rows());
        for rows in self.parts() {
            let values = self.values(rows.clone());
            let part = Matrix::new(&values, rows.len(), d_in, d_in);
            product_cost(operation, [n, d_in, rows.len()], || {
                if rows.len() == d_out {
                    return put_product(y, x, part.t(), self.precision);
                }
                let of_part = new_product(x, part.t(), self.precision);
                y.resize(n * d_out, 0.0);
                let places = y.par_chunks_mut(d_out).zip(of_part.par_chunks(rows.len()));
                places.for_each(|(y, of_part)| y[rows.clone()].copy_from_slice(of_part));
            });
        }
    }

    /// Gradient by `x`: `g·W`, with `g` `(n, out)` contiguous → `(n, in)`.
    pub fn times_transposed(&self, grad: &FlexTensor) -> FlexTensor {
        let ([n, d_out], [_, d_in]) = (dims(grad), self.dims());
        tensor(self.transposed_product("linear backward, input", values(grad), [n, d_out]), vec![n, d_in])
    }

    /// `g·W` of `g` `(n, out)`, row-major.
    pub fn transposed_product(&self, operation: &'static str, grad: &[f32], [n, d_out]: [usize; 2]) -> Vec<f32> {
        let [_, d_in] = self.dims();
        let mut dx = Vec::new();
        for rows in self.parts() {
            let part_of_grad = Matrix::new(grad.get(rows.start..).unwrap_or_default(), n, rows.len(), d_out);
            let values = self.values(rows.clone());
            let part = Matrix::new(&values, rows.len(), d_in, d_in);
            product_cost(operation, [n, d_in, rows.len()], || {
                if rows.start == 0 {
                    dx = new_product(part_of_grad, part, self.precision);
                } else {
                    add_product(&mut dx, part_of_grad, part, self.precision);
                }
            });
        }
        dx
    }

    /// The rows whose [`values`](Self::values) a product takes at a time.
    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let [rows, columns] = self.dims();
        let step = match self.stored {
            Stored::Wide(_) => rows.max(1),
            Stored::Half(_) | Stored::Blocks(_) => (WIDENED / columns.max(1)).max(1),
        };
        (0..rows).step_by(step).map(move |start| start..rows.min(start + step))
    }

    /// The values of some rows in float32.
    fn values(&self, rows: Range<usize>) -> Cow<'_, [f32]> {
        let columns = self.dims()[1];
        let (count, range) = (rows.len() * columns, rows.start * columns..rows.end * columns);
        match &self.stored {
            Stored::Wide(tensor) => values(tensor)[range].into(),
            Stored::Half(tensor) => measured("widening", 0, count * 3 / 2, || half::widened(tensor, range)).into(),
            Stored::Blocks(weight) => {
                let stored = weight.size() / 4 * rows.len() / weight.shape()[0].max(1);
                measured("widening", 0, count + stored, || blocks::widened(weight, rows)).into()
            }
        }
    }
}

//! A weight as it is stored, in 32 bits a value or fewer, and its values when a product needs them.

use std::borrow::Cow;
use std::ops::Range;

use burn_flex::FlexTensor;

use super::simd::values;
use super::{half, linear};
use crate::profile::measured;
use crate::{Precision, QuantizedWeight};

/// Values that are widened together: 16 MB, which stay in memory while a product reads them and are taken again for the
/// next.
const WIDENED: usize = 1 << 22;

/// What goes with a weight through Burn's dispatch.
#[derive(Debug, Clone)]
pub struct Multiplied {
    /// The weight itself, where it is in blocks.
    pub quantized: Option<QuantizedWeight>,
    /// What the factors of its products are rounded to.
    pub precision: Precision,
}

/// A weight `(out, in)`. One that is stored in fewer than 32 bits a value stays so, and has no gradient of its own.
#[derive(Debug, Clone)]
pub(super) struct StoredWeight {
    stored: Stored,
    /// What the factors of its products are rounded to.
    pub precision: Precision,
}

#[derive(Debug, Clone)]
enum Stored {
    /// Contiguous, in float32, float16 or bfloat16.
    Tensor(FlexTensor),
    Quantized(QuantizedWeight),
}

impl StoredWeight {
    /// `weight`, or the blocks in its place.
    pub fn new(weight: &FlexTensor, how: Multiplied) -> Self {
        let stored = how.quantized.map_or_else(|| Stored::Tensor(weight.to_contiguous()), Stored::Quantized);
        Self { stored, precision: how.precision }
    }

    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match &self.stored {
            Stored::Tensor(tensor) => linear::dims(tensor),
            Stored::Quantized(quantized) => quantized.shape(),
        }
    }

    /// The weight, if it is in two bytes a value and a product with `n` rows is best computed from these.
    pub fn in_place(&self, n: usize) -> Option<&FlexTensor> {
        match &self.stored {
            Stored::Tensor(tensor) if half::is_half(tensor.dtype()) => {
                (n < half::MANY && self.precision == Precision::F32).then_some(tensor)
            }
            _ => None,
        }
    }

    /// The rows whose [`values`](Self::values) a product takes at a time.
    pub fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let [rows, columns] = self.dims();
        let wide = matches!(&self.stored, Stored::Tensor(tensor) if !half::is_half(tensor.dtype()));
        let step = if wide { rows.max(1) } else { (WIDENED / columns.max(1)).max(1) };
        (0..rows).step_by(step).map(move |start| start..rows.min(start + step))
    }

    /// The values of some rows in float32.
    pub fn values(&self, rows: Range<usize>) -> Cow<'_, [f32]> {
        let columns = self.dims()[1];
        let count = rows.len() * columns;
        match &self.stored {
            Stored::Tensor(tensor) if half::is_half(tensor.dtype()) => {
                let range = rows.start * columns..rows.end * columns;
                measured("widening", 0, count * 3 / 2, || half::widened(tensor, range)).into()
            }
            Stored::Tensor(tensor) => values(tensor)[rows.start * columns..rows.end * columns].into(),
            Stored::Quantized(quantized) => {
                let stored = quantized.size() / 4 * rows.len() / quantized.shape()[0].max(1);
                measured("widening", 0, count + stored, || quantized.rows(rows)).into()
            }
        }
    }
}

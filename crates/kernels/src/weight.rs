//! The weight of a linear layer: a tensor, or blocks of few bits, widened when a product needs them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use llm_gguf::{TensorType, dequantize, quantize};
use rayon::prelude::*;

/// Values that one task widens or narrows; a multiple of every block's.
const PART: usize = 1 << 14;

/// A frozen weight `(out, in)` in blocks of 32 or 256 values of a row, each with a scale and a few bits per value: the
/// types of GGUF. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct QuantizedWeight {
    kind: TensorType,
    shape: [usize; 2],
    bytes: Arc<[u8]>,
}

impl fmt::Debug for QuantizedWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.shape;
        write!(f, "QuantizedWeight({}, {rows} × {columns})", self.kind)
    }
}

impl QuantizedWeight {
    /// The blocks that `bytes` hold, as in a GGUF file; `None` if rows of this `shape` do not fill blocks of this kind,
    /// or these are not their bytes.
    pub fn new(kind: TensorType, shape: [usize; 2], bytes: &[u8]) -> Option<Self> {
        let [rows, columns] = shape;
        let expected = kind.bytes(columns as u64)?.checked_mul(rows as u64)?;
        (expected == bytes.len() as u64).then(|| Self { kind, shape, bytes: bytes.into() })
    }

    /// The blocks nearest to finite `values`, row-major; `None` if rows of this `shape` do not fill blocks of this kind,
    /// or the kind is one that is only read.
    ///
    /// # Panics
    /// If `values` are not of this shape.
    pub fn quantize(kind: TensorType, shape: [usize; 2], values: &[f32]) -> Option<Self> {
        let [rows, columns] = shape;
        assert_eq!(values.len(), rows * columns, "values of a weight of {rows} × {columns}");
        kind.bytes(columns as u64)?;
        let part = |values: &[f32]| {
            let mut bytes = Vec::new();
            quantize(kind, values, &mut bytes).then_some(bytes)
        };
        let bytes: Vec<Vec<u8>> = values.par_chunks(PART).map(part).collect::<Option<_>>()?;
        Self::new(kind, shape, &bytes.concat())
    }

    /// How the values are stored.
    pub fn kind(&self) -> TensorType {
        self.kind
    }

    /// `(out, in)`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Bytes that the blocks take.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The values of some rows, row-major.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn rows(&self, rows: Range<usize>) -> Vec<f32> {
        let mut values = vec![0.0; rows.len() * self.shape[1]];
        let parts = values.par_chunks_mut(PART).zip(self.stored(rows).par_chunks(self.bytes_of(PART)));
        parts.for_each(|(values, bytes)| dequantize(self.kind, bytes, values));
        values
    }

    /// The values of the rows with the numbers `ids`, one behind the other.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn gather(&self, ids: &[i32]) -> Vec<f32> {
        let columns = self.shape[1];
        let mut values = vec![0.0; ids.len() * columns];
        for (id, values) in ids.iter().zip(values.chunks_exact_mut(columns.max(1))) {
            let row = *id as usize;
            dequantize(self.kind, self.stored(row..row + 1), values);
        }
        values
    }

    /// The place and the value of the first that is NaN or infinite, if one is.
    pub fn first_not_finite(&self) -> Option<(usize, f32)> {
        let parts = self.bytes.par_chunks(self.bytes_of(PART)).enumerate();
        parts.find_map_first(|(part, bytes)| {
            let mut values = vec![0.0; bytes.len() / self.kind.block_bytes() * self.kind.block_len()];
            dequantize(self.kind, bytes, &mut values);
            let index = values.iter().position(|value| !value.is_finite())?;
            Some((part * PART + index, values[index]))
        })
    }

    /// The bytes of some rows.
    pub(crate) fn stored(&self, rows: Range<usize>) -> &[u8] {
        let columns = self.shape[1];
        &self.bytes[self.bytes_of(rows.start * columns)..self.bytes_of(rows.end * columns)]
    }

    /// Bytes of so many values, which fill blocks.
    pub(crate) fn bytes_of(&self, values: usize) -> usize {
        values / self.kind.block_len() * self.kind.block_bytes()
    }

    /// All values, row-major.
    pub fn values(&self) -> Vec<f32> {
        self.rows(0..self.shape[0])
    }
}

/// The weight `(out, in)` of a linear layer, as checkpoints store it.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)] // one lives for a call
pub enum Weight {
    /// A tensor; on the CPU (Flex), a frozen one may be float16 or bfloat16.
    Tensor(Tensor<2>),
    /// Frozen, in blocks.
    Quantized(QuantizedWeight),
}

impl From<Tensor<2>> for Weight {
    fn from(tensor: Tensor<2>) -> Self {
        Self::Tensor(tensor)
    }
}

impl From<QuantizedWeight> for Weight {
    fn from(quantized: QuantizedWeight) -> Self {
        Self::Quantized(quantized)
    }
}

impl Weight {
    /// `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::Quantized(quantized) => quantized.shape,
        }
    }

    /// Some rows in float32, on `device` where they are blocks.
    pub fn rows(&self, rows: Range<usize>, device: &Device) -> Tensor<2> {
        match self {
            Self::Tensor(tensor) => in_float32(tensor.clone().slice_dim(0, rows)),
            Self::Quantized(quantized) => {
                let shape = [rows.len(), quantized.shape[1]];
                Tensor::from_data(TensorData::new(quantized.rows(rows), shape), device)
            }
        }
    }

    /// All values in float32, on `device` where they are blocks.
    pub fn in_float32(&self, device: &Device) -> Tensor<2> {
        match self {
            Self::Tensor(tensor) => in_float32(tensor.clone()),
            Self::Quantized(quantized) => self.rows(0..quantized.shape[0], device),
        }
    }
}

/// `tensor` in float32.
pub(crate) fn in_float32<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.dtype() == DType::F32 { tensor } else { tensor.cast(FloatDType::F32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7_919 % 1_009) as f32 - 504.0) / 123.0 * if i % 64 < 32 { 1.0 } else { 0.01 }).collect()
    }

    /// A value is off by at most half a step of its block and what rounding the scale to float16 adds: a step is the
    /// largest magnitude over 127, or over 8, of which the one furthest from zero has the last.
    #[test]
    fn quantized_values_are_within_a_step_of_their_block() {
        let shape = [50, 416]; // 1.3 parts
        let exact = values(50 * 416);
        for (kind, levels, steps) in [(TensorType::Q8_0, 127.0, 0.57), (TensorType::Q4_0, 8.0, 1.01)] {
            let quantized = QuantizedWeight::quantize(kind, shape, &exact).unwrap();
            let widened = quantized.values();
            for (i, (exact, widened)) in exact.chunks(32).zip(widened.chunks(32)).enumerate() {
                let largest = exact.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                for (x, y) in exact.iter().zip(widened) {
                    assert!((x - y).abs() <= steps * largest / levels, "{kind}, block {i}: {x} became {y}");
                }
            }
            // What is in blocks already stays as it is.
            assert_eq!(QuantizedWeight::quantize(kind, shape, &widened).unwrap().values(), widened, "{kind}");
            assert_eq!(quantized.rows(7..9), widened[7 * 416..9 * 416]);
            assert_eq!(quantized.size(), 50 * 416 / 32 * kind.block_bytes());
        }
    }

    #[test]
    fn rows_fill_blocks_and_bytes_are_as_many_as_the_shape_says() {
        assert_eq!(QuantizedWeight::quantize(TensorType::Q8_0, [2, 48], &values(96)), None, "48 is no multiple of 32");
        assert_eq!(QuantizedWeight::quantize(TensorType::Q6K, [1, 256], &values(256)), None, "only read");
        assert_eq!(QuantizedWeight::new(TensorType::Q8_0, [2, 48], &[0; 102]), None);
        assert_eq!(QuantizedWeight::new(TensorType::Q4_0, [2, 32], &[0; 35]), None);
        assert_eq!(QuantizedWeight::new(TensorType::Q4_0, [2, 32], &[0; 36]).unwrap().values(), [0.0; 64]);
    }
}

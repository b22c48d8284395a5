//! The values of a stored tensor, in the number type of the file.

use std::path::Path;

use burn::tensor::{AllocationProperty, DType, TensorData};
use bytes::Bytes;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::CheckpointError;
use crate::families::Place;

/// Number types of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatKind {
    F32,
    F16,
    Bf16,
}

/// Number types of 8 bits (Micikevicius et al., 2022, arXiv:2209.05433).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float8 {
    /// Four bits of exponent, three of mantissa, and no infinities.
    E4m3,
    /// Five bits of exponent, two of mantissa: the upper half of a float16.
    E5m2,
}

impl Float8 {
    /// The same value as float16.
    fn widen(self, bits: u8) -> f16 {
        match self {
            Self::E5m2 => f16::from_bits(u16::from(bits) << 8),
            Self::E4m3 if bits & 0x7F == 0x7F => f16::from_bits(u16::from(bits & 0x80) << 8 | 0x7E00),
            Self::E4m3 => {
                let [sign, magnitude] = [u16::from(bits & 0x80) << 8, u16::from(bits & 0x7F) << 7];
                // Read as float16, the exponent is 8 too small: 15 against 7.
                f16::from_bits(sign | (f16::from_bits(magnitude) * f16::from_f32_const(256.0)).to_bits())
            }
        }
    }
}

/// Values, little-endian and row-major. Clones share them; they may lie in a mapped file.
#[derive(Debug, Clone)]
pub(crate) struct Floats {
    pub kind: FloatKind,
    pub bytes: Bytes,
}

/// Values as the bytes that they are, without a copy.
struct Values(Vec<f32>);

impl AsRef<[u8]> for Values {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Floats {
    /// Values in float32.
    pub fn from_f32(values: Vec<f32>) -> Self {
        Self { kind: FloatKind::F32, bytes: Bytes::from_owner(Values(values)) }
    }

    /// Values that are stored in float64, as near as float32 has them.
    pub fn from_f64(bytes: &[u8]) -> Self {
        Self::from_f32(bytes.as_chunks().0.iter().map(|bits| f64::from_le_bytes(*bits) as f32).collect())
    }

    /// Values that are stored in 8 bits; float16 has all of them.
    pub fn from_float8(bytes: &[u8], kind: Float8) -> Self {
        let table: [f16; 256] = std::array::from_fn(|bits| kind.widen(bits as u8));
        let values: Vec<u8> = bytes.iter().flat_map(|&bits| table[usize::from(bits)].to_le_bytes()).collect();
        Self { kind: FloatKind::F16, bytes: values.into() }
    }

    /// The same in bfloat16, to the nearest.
    pub fn into_bf16(self) -> Self {
        let values: Vec<u8> = self.into_f32().iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        Self { kind: FloatKind::Bf16, bytes: values.into() }
    }

    /// Fails where a value is NaN or infinite, with the tensor's name and the value's place.
    pub fn check_finite(&self, path: &Path, tensor: &str) -> Result<(), CheckpointError> {
        /// Values that one task looks at.
        const BLOCK: usize = 1 << 16;
        let first = match self.kind {
            FloatKind::F32 => first_with_exponent(&self.bytes, BLOCK, u32::from_le_bytes, 0x7F80_0000),
            FloatKind::F16 => first_with_exponent(&self.bytes, BLOCK, u16::from_le_bytes, 0x7C00),
            FloatKind::Bf16 => first_with_exponent(&self.bytes, BLOCK, u16::from_le_bytes, 0x7F80),
        };
        first.map_or(Ok(()), |index| {
            let value = self.clone().into_f32()[index];
            Err(CheckpointError::NotFinite { path: path.to_owned(), tensor: tensor.to_owned(), value, index })
        })
    }

    /// All values as float32.
    pub fn into_f32(self) -> Vec<f32> {
        let halves = |widen: fn(u16) -> f32| self.bits().map(|bits| widen(u16::from_le_bytes(bits))).collect();
        match self.kind {
            FloatKind::F32 => self.bits().map(f32::from_le_bytes).collect(),
            FloatKind::F16 => halves(|bits| f16::from_bits(bits).to_f32()),
            FloatKind::Bf16 => halves(|bits| bf16::from_bits(bits).to_f32()),
        }
    }

    /// The parameter of `shape` at `place` of this tensor, in float32.
    pub fn parameter(self, place: &Place, shape: &[usize]) -> TensorData {
        if place.is_whole() {
            return match self.kind {
                // Not copied if nobody else holds them, and if they do not lie in a mapped file.
                FloatKind::F32 => TensorData::from_bytes_vec(self.bytes.into(), shape.to_vec(), DType::F32),
                _ => TensorData::new(self.into_f32(), shape.to_vec()),
            };
        }
        TensorData::new(place.extract(&self.into_f32(), shape), shape.to_vec())
    }

    /// The same in the number type of the file, and where possible in its memory.
    pub fn parameter_as_stored(self, place: &Place, shape: &[usize]) -> TensorData {
        let dtype = match self.kind {
            FloatKind::F32 => DType::F32,
            FloatKind::F16 => DType::F16,
            FloatKind::Bf16 => DType::BF16,
        };
        let width = dtype.size();
        if place.transposed {
            let bytes: Vec<u8> = match self.kind {
                FloatKind::F32 => return self.parameter(place, shape),
                FloatKind::F16 | FloatKind::Bf16 => {
                    let stored: Vec<u16> = self.bits().map(u16::from_le_bytes).collect();
                    place.extract(&stored, shape).into_iter().flat_map(u16::to_le_bytes).collect()
                }
            };
            return TensorData::from_bytes_vec(bytes, shape.to_vec(), dtype);
        }
        let columns: usize = shape[1..].iter().product();
        let start = place.part.map_or(0, |part| part.start) * columns * width;
        let bytes = self.bytes.slice(start..start + shape[0] * columns * width);
        if bytes.as_ptr().align_offset(width) != 0 {
            return TensorData::from_bytes_vec(bytes.to_vec(), shape.to_vec(), dtype);
        }
        let shared = burn::tensor::Bytes::from_shared(bytes, AllocationProperty::File);
        TensorData::from_bytes(shared, shape.to_vec(), dtype)
    }

    /// The bits of all values.
    fn bits<const N: usize>(&self) -> impl Iterator<Item = [u8; N]> + '_ {
        self.bytes.as_chunks().0.iter().copied()
    }
}

/// The first value all of whose exponent's bits are set: an infinity or NaN.
fn first_with_exponent<const N: usize, T>(
    bytes: &[u8],
    block: usize,
    from: impl Fn([u8; N]) -> T + Sync, // not a pointer, so that the loop vectorizes
    exponent: T,
) -> Option<usize>
where
    T: Copy + PartialEq + Sync + std::ops::BitAnd<Output = T>,
{
    let set = |bits: &[u8; N]| from(*bits) & exponent == exponent;
    let values = bytes.as_chunks().0;
    // Without an early end, so that the loop over a block vectorizes.
    let with_one =
        values.par_chunks(block).position_first(|block| block.iter().fold(false, |any, bits| any | set(bits)))?;
    let start = with_one * block;
    values[start..].iter().position(set).map(|at| start + at)
}

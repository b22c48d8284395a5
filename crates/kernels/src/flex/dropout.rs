//! Dropout masks that are computed from a seed and a place, never kept.

use burn::backend::Flex;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Distribution, FloatDType, Shape};
use burn_flex::{FlexDevice, FlexTensor};

use crate::profile::measured;

use super::simd::{map_in_blocks, tensor_like, values};

/// Which values of a tensor are dropped.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    seed: u64,
    /// A value is dropped if its number, of 32 bits, is below this.
    threshold: u32,
    /// What the others are multiplied by.
    scale: f32,
}

impl Mask {
    /// A mask of the next seed from the device's generator. Equal where the generator was seeded equally.
    pub fn draw(probability: f64) -> Self {
        let two = Flex::float_random(Shape::new([2]), Distribution::Uniform(0.0, 1.0), &FlexDevice, FloatDType::F32);
        let [high, low] = [0, 1].map(|i| (f64::from(values(&two)[i]) * f64::from(1 << 24)) as u64); // of 24 bits each
        let threshold = (probability * 2.0f64.powi(32)).min(f64::from(u32::MAX)) as u32;
        Self { seed: mix(high << 24 | low), threshold, scale: (1.0 / (1.0 - probability)) as f32 }
    }

    /// The mask of one block of values, or of one row.
    pub fn of(self, part: usize) -> PartOfMask {
        let key = mix(self.seed ^ mix(part as u64));
        PartOfMask { key: key as u32, threshold: self.threshold, scale: self.scale }
    }
}

/// A part of a [`Mask`].
#[derive(Clone, Copy)]
pub(super) struct PartOfMask {
    key: u32,
    threshold: u32,
    scale: f32,
}

impl PartOfMask {
    /// What value number `i` of the part is multiplied by.
    #[inline(always)]
    pub fn factor(self, i: usize) -> f32 {
        // The number of a value: its place, hashed by "lowbias32" (Wellons, 2018).
        let mut x = (i as u32).wrapping_mul(0x9E37_79B9).wrapping_add(self.key);
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        x ^= x >> 16;
        if x < self.threshold { 0.0 } else { self.scale }
    }
}

/// The finalizer of `SplitMix64`.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// `x` under the mask; the gradient is the gradient from above under the same mask.
pub(super) fn apply(x: &FlexTensor, mask: Mask) -> FlexTensor {
    measured("dropout", 0, 2 * values(x).len(), || {
        tensor_like(map_in_blocks(values(x), |block| mask.of(block), |part, i, x| x * part.factor(i)), x)
    })
}

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// Number type of the factors of a matrix product. The sums, all weights and all results are float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32.
    #[default]
    F32,
    /// float16: 5 bits of exponent, 10 of mantissa.
    F16,
    /// bfloat16: 8 bits of exponent, 7 of mantissa.
    Bf16,
}

impl Precision {
    /// Burn's name for the type.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::F16 => FloatDType::F16,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// `tensor` in this type.
    pub(crate) fn lower<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        if self == Self::F32 { tensor } else { tensor.cast(self.dtype()) }
    }

    /// A result of this type back in float32.
    pub(crate) fn raise<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        if self == Self::F32 { tensor } else { tensor.cast(FloatDType::F32) }
    }
}

/// Whether products of bfloat16 are faster than those of float32 on this CPU: whether it has AVX512-BF16, which
/// multiplies two pairs where float32 multiplies one.
pub fn has_fast_bf16() -> bool {
    #[cfg(all(feature = "cpu", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(all(feature = "cpu", target_arch = "x86_64")))]
    return false;
}

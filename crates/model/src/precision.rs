use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// Number type of the products of the linear layers. Weights, normalization, attention and the residual stream stay in
/// float32.
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

use std::str::FromStr;

use llm_gguf::TensorType;
use serde::{Deserialize, Serialize};

/// Bits in which the frozen linear layers of a model are held while an adapter is trained (`QLoRA`, Dettmers et al., 2023,
/// arXiv:2305.14314).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// 8 bits per value and a float16 scale for 32 of them: GGUF's `Q8_0`.
    Q8,
    /// 4 bits per value and a float16 scale for 32 of them: GGUF's `Q4_0`. On normally distributed weights its error is that
    /// of the paper's NF4 with scales as many: 8.6 % of the weights' size, against 8.7 %.
    Q4,
}

impl Quantize {
    /// The type that values are brought to.
    pub fn kind(self) -> TensorType {
        match self {
            Self::Q8 => TensorType::Q8_0,
            Self::Q4 => TensorType::Q4_0,
        }
    }

    /// Bits that a value takes, with its share of the scale.
    pub fn bits(self) -> f64 {
        (self.kind().block_bytes() * 8) as f64 / self.kind().block_len() as f64
    }

    /// Whether what a file has in blocks of `kind` stays in these: they have no more bits per value than wanted.
    pub(crate) fn keeps(self, kind: TensorType) -> bool {
        match self {
            Self::Q8 => kind.block_len() > 1,
            // Q4_1 has 5, for a minimum beside the scale.
            Self::Q4 => kind.block_len() > 1 && kind.block_bytes() * 8 <= 5 * kind.block_len(),
        }
    }
}

impl FromStr for Quantize {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            _ => Err("expected q8 or q4".to_owned()),
        }
    }
}

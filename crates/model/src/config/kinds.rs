use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The normalization around attention and feed-forward network and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// Mean and variance, weight and bias (Ba et al., 2016, arXiv:1607.06450).
    LayerNorm,
    /// Root mean square, weight only (Zhang & Sennrich, 2019, arXiv:1910.07467).
    RmsNorm,
    /// The same with a weight that is stored less one, as in Gemma.
    RmsNorm1p,
}

/// Where a block normalizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormPlacement {
    /// What enters attention and feed-forward network (Xiong et al., 2020, arXiv:2002.04745).
    #[default]
    Before,
    /// What leaves them, before it is added to the residual stream (OLMo 2).
    After,
    /// What enters and what leaves them (Gemma 3).
    Both,
}

/// What a normalization of queries and keys covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QkNorm {
    /// Each head by itself, all heads with the same weight.
    Head,
    /// All heads of a token at once.
    Width,
}

/// The feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedForwardKind {
    /// `down(gelu(up(x)))` with the exact GELU.
    Gelu,
    /// The same with the tanh approximation of GELU, as GPT-2.
    GeluTanh,
    /// `down(relu(up(x))²)` (So et al., 2021, arXiv:2109.08668).
    Relu2,
    /// `down(silu(gate(x)) · up(x))` (Shazeer, 2020, arXiv:2002.05202).
    #[serde(rename = "swiglu", alias = "swi-glu")]
    SwiGlu,
    /// `down(gelu(gate(x)) · up(x))` with the tanh approximation of GELU (Shazeer, 2020).
    #[serde(rename = "geglu", alias = "ge-glu")]
    GeGlu,
}

impl FeedForwardKind {
    /// Whether a third matrix gates the hidden units.
    pub fn gated(self) -> bool {
        matches!(self, Self::SwiGlu | Self::GeGlu)
    }

    /// The width where none is said, in a model of width `hidden_size`: 4 times that, or 8/3 of it rounded up to 32 when
    /// gated.
    pub(super) fn usual_width(self, hidden_size: usize) -> usize {
        if self.gated() {
            hidden_size.saturating_mul(8).div_ceil(3).div_ceil(32).saturating_mul(32)
        } else {
            hidden_size.saturating_mul(4)
        }
    }
}

/// How the model knows the order of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Position {
    /// One trained vector a position, added to the token's embedding.
    Learned,
    /// Rotation of queries and keys by the position.
    Rotary(Rotary),
}

/// Rotation of queries and keys by the position (Su et al., 2021, arXiv:2104.09864).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rotary {
    /// Base of the wavelengths.
    pub theta: f64,
    /// Stretching for contexts longer than those trained on.
    pub scaling: RopeScaling,
    /// Entries of a head that are turned, the first ones; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
}

impl Rotary {
    /// All entries of a head, as trained.
    pub fn new(theta: f64) -> Self {
        Self { theta, scaling: RopeScaling::None, width: None }
    }
}

/// Stretching of rotary wavelengths.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum RopeScaling {
    /// As trained.
    #[default]
    None,
    /// All positions divided by `factor` (Chen et al., 2023, arXiv:2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Long wavelengths divided by `factor`, short ones kept, a smooth ramp between (Llama 3.1).
    Llama3 {
        /// The divisor of long wavelengths.
        factor: f64,
        /// Wavelengths above `original_context_length / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_context_length / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context of pretraining, in tokens.
        original_context_length: usize,
    },
    /// Wavelengths that turn rarely within the original context divided by `factor`, those that turn often kept, a ramp
    /// between; sharper attention (Peng et al., 2023, arXiv:2309.00071).
    Yarn {
        /// The divisor of long wavelengths.
        factor: f64,
        /// The context of pretraining, in tokens.
        original_context_length: usize,
        /// Turns within the original context from which a wavelength is kept.
        #[serde(default = "Yarn::beta_fast")]
        beta_fast: f64,
        /// Turns within the original context up to which it is divided.
        #[serde(default = "Yarn::beta_slow")]
        beta_slow: f64,
        /// Whether the ramp begins and ends at whole wavelengths.
        #[serde(default = "Yarn::truncate")]
        truncate: bool,
        /// What rotated queries and keys are multiplied by; `None` for what the paper recommends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attention_factor: Option<f64>,
    },
    /// A longer base in sequences beyond the original context, the more so the longer they are ("dynamic NTK").
    Dynamic {
        /// How many times the original context is meant to be reached.
        factor: f64,
        /// The context of pretraining, in tokens.
        original_context_length: usize,
    },
    /// A factor for every wavelength, one set for sequences of the original context, another for longer ones
    /// (Ding et al., 2024, arXiv:2402.13753).
    LongRope {
        /// Divisors of the frequencies in sequences of up to `original_context_length` tokens.
        short_factors: Vec<f64>,
        /// Divisors of the frequencies in longer sequences.
        long_factors: Vec<f64>,
        /// The context of pretraining, in tokens.
        original_context_length: usize,
        /// What rotated queries and keys are multiplied by.
        attention_factor: f64,
    },
}

/// What YaRN takes where nothing is said.
pub struct Yarn;

impl Yarn {
    /// Turns from which a wavelength is kept.
    pub fn beta_fast() -> f64 {
        32.0
    }

    /// Turns up to which it is divided.
    pub fn beta_slow() -> f64 {
        1.0
    }

    /// The ramp begins and ends at whole wavelengths.
    pub fn truncate() -> bool {
        true
    }

    /// What rotated queries and keys are multiplied by, as the paper recommends, with its logarithm times `mscale`.
    pub fn attention_factor(factor: f64, mscale: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
    }
}

/// What LongRoPE takes where nothing is said.
pub struct LongRope;

impl LongRope {
    /// What rotated queries and keys are multiplied by in contexts `stretch` times as long as the original one of
    /// `original` tokens, as the paper recommends.
    pub fn attention_factor(stretch: f64, original: usize) -> f64 {
        if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() }
    }
}

impl RopeScaling {
    /// Tokens that a sequence can have, for a model that is said to be made for `stated`: stretched positions reach further
    /// than those of pretraining.
    pub fn context_length(&self, stated: usize) -> usize {
        match *self {
            Self::Yarn { factor, original_context_length, .. } => {
                stated.max((original_context_length as f64 * factor) as usize)
            }
            Self::Dynamic { factor, original_context_length } => {
                original_context_length.max((original_context_length as f64 * factor) as usize)
            }
            _ => stated,
        }
    }

    /// What rotated queries and keys are multiplied by.
    pub(crate) fn attention_factor(&self) -> f64 {
        match *self {
            Self::Yarn { factor, attention_factor, .. } => {
                attention_factor.unwrap_or_else(|| Yarn::attention_factor(factor, 1.0))
            }
            Self::LongRope { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }
}

/// Constants that scale what flows through a model (Yang et al., 2022, arXiv:2203.03466).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multipliers {
    /// Of the embeddings of tokens.
    pub embedding: f64,
    /// Of attention scores, in place of 1 / √`head_dim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<f64>,
    /// Of what attention and feed-forward network add to the residual stream.
    pub residual: f64,
    /// Logits are divided by this.
    pub logits_divisor: f64,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self { embedding: 1.0, attention: None, residual: 1.0, logits_divisor: 1.0 }
    }
}

impl Multipliers {
    /// Whether nothing is scaled.
    pub(crate) fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Dropout probabilities at the three usual places, used in training only. A configuration may give one number for all.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Dropout {
    /// After the embeddings.
    pub embedding: f64,
    /// On the attention weights.
    pub attention: f64,
    /// On what attention and feed-forward add to the residual stream.
    pub residual: f64,
}

impl From<f64> for Dropout {
    fn from(everywhere: f64) -> Self {
        Self { embedding: everywhere, attention: everywhere, residual: everywhere }
    }
}

impl<'de> Deserialize<'de> for Dropout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Places {
            embedding: f64,
            attention: f64,
            residual: f64,
        }

        struct NumberOrPlaces;

        impl<'de> Visitor<'de> for NumberOrPlaces {
            type Value = Dropout;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number, or the keys embedding, attention and residual")
            }

            fn visit_f64<E>(self, everywhere: f64) -> Result<Dropout, E> {
                Ok(everywhere.into())
            }

            fn visit_i64<E>(self, everywhere: i64) -> Result<Dropout, E> {
                Ok((everywhere as f64).into())
            }

            fn visit_u64<E>(self, everywhere: u64) -> Result<Dropout, E> {
                Ok((everywhere as f64).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dropout, A::Error> {
                let Places { embedding, attention, residual } = Places::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Dropout { embedding, attention, residual })
            }
        }

        deserializer.deserialize_any(NumberOrPlaces)
    }
}

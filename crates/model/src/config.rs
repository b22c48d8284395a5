//! What a model is: [`ModelSection`] is what a person writes, [`ModelConfig`] is what it means.

use serde::{Deserialize, Serialize};

/// A model config that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A size that must be positive is zero.
    #[error("model.{0} is 0, but it must be at least 1")]
    Zero(&'static str),
    /// One size must divide another.
    #[error(
        "model.{whole_name} is {whole}, which {part_name} = {part} does not divide\nhint: choose a multiple of {part}"
    )]
    Indivisible {
        /// Key of the size that is divided.
        whole_name: &'static str,
        /// Its value.
        whole: usize,
        /// Key of the divisor.
        part_name: &'static str,
        /// Its value.
        part: usize,
    },
    /// A probability outside `[0, 1)`.
    #[error("model.{0} is {1}, but a dropout probability lies in [0, 1)")]
    Probability(&'static str, String),
    /// A number that must be positive and finite.
    #[error("model.{0} is {1}, but it must be a positive number")]
    NotPositive(&'static str, String),
    /// Rotary positions turn pairs of entries.
    #[error(
        "model.head_dim is {0}, but rotary positions need an even head width\nhint: change hidden_size, num_heads or head_dim"
    )]
    OddHead(usize),
    /// A key that the rest of the section makes meaningless.
    #[error("model.{0} is set, but it has no effect with {1}\nhint: remove it, or set position = \"rotary\"")]
    NoEffect(&'static str, &'static str),
    /// A size beyond what any machine holds.
    #[error(
        "model.{0} is {1}, which is more than this program can address\nhint: check the config for a slip of the pen"
    )]
    TooLarge(&'static str, usize),

    /// The weights would be beyond any machine.
    #[error(
        "the model would have {0} parameters, more than the {1} that this program takes on\nhint: check the sizes for a slip of the pen"
    )]
    TooManyParameters(String, String),
}

/// Which published architecture gives the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// GPT-2 (Radford et al., 2019): LayerNorm, learned positions, GELU, biases.
    #[default]
    Gpt2,
    /// Llama (Touvron et al., 2023): RMSNorm, rotary positions, SwiGLU, no biases.
    Llama,
    /// Qwen3 (Yang et al., 2025): Llama with RMSNorm on queries and keys.
    Qwen3,
}

/// The normalization before attention, before the feed-forward network and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// Mean and variance, weight and bias (Ba et al., 2016, arXiv:1607.06450).
    LayerNorm,
    /// Root mean square, weight only (Zhang & Sennrich, 2019, arXiv:1910.07467).
    RmsNorm,
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
}

/// How the model knows the order of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Position {
    /// One trained vector a position, added to the token's embedding.
    Learned,
    /// Rotation of queries and keys by the position (Su et al., 2021, arXiv:2104.09864).
    Rotary {
        /// Base of the wavelengths.
        theta: f64,
        /// Stretching for contexts longer than those trained on.
        scaling: RopeScaling,
    },
}

/// Stretching of rotary wavelengths.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
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
}

/// Dropout probabilities at the three usual places, used in training only.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dropout {
    /// After the embeddings.
    pub embedding: f64,
    /// On the attention weights.
    pub attention: f64,
    /// On what attention and feed-forward add to the residual stream.
    pub residual: f64,
}

/// A decoder-only Transformer, resolved: every choice has a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The architecture that gave the defaults.
    pub family: Family,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Most positions the model was made for, in tokens.
    pub context_length: usize,
    /// Width `d` of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of query heads.
    pub num_heads: usize,
    /// Number of key/value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Kind of normalization.
    pub norm: NormKind,
    /// Added to the variance or mean square.
    pub norm_eps: f64,
    /// Kind of positions.
    pub position: Position,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on the output of attention.
    pub attention_output_bias: bool,
    /// Biases in the feed-forward network.
    pub mlp_bias: bool,
    /// RMSNorm over the head width of queries and keys, before rotation.
    pub qk_norm: bool,
    /// A token attends to this many tokens at most, itself included; `None` for all before it.
    pub sliding_window: Option<usize>,
    /// Layers before this one ignore `sliding_window`.
    pub first_windowed_layer: usize,
    /// Kind of feed-forward network.
    pub feed_forward: FeedForwardKind,
    /// The head shares the matrix of the token embedding.
    pub tied: bool,
    /// Dropout probabilities.
    pub dropout: Dropout,
}

impl ModelConfig {
    /// Rejects what cannot be computed.
    ///
    /// # Errors
    /// Names the key and its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const MOST: usize = 1 << 28;
        const MOST_LAYERS: usize = 10_000;
        const MOST_PARAMETERS: f64 = 1e12;
        for (name, size) in [
            ("vocab_size", self.vocab_size),
            ("context_length", self.context_length),
            ("hidden_size", self.hidden_size),
            ("num_layers", self.num_layers),
            ("num_heads", self.num_heads),
            ("num_kv_heads", self.num_kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ] {
            match size {
                0 => return Err(ConfigError::Zero(name)),
                size if size > MOST => return Err(ConfigError::TooLarge(name, size)),
                _ => {}
            }
        }
        if self.num_layers > MOST_LAYERS {
            return Err(ConfigError::TooLarge("num_layers", self.num_layers));
        }
        let parameters = self.parameters();
        if parameters > MOST_PARAMETERS {
            return Err(ConfigError::TooManyParameters(format!("{parameters:.1e}"), format!("{MOST_PARAMETERS:.0e}")));
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Err(ConfigError::Indivisible {
                whole_name: "num_heads",
                whole: self.num_heads,
                part_name: "num_kv_heads",
                part: self.num_kv_heads,
            });
        }
        for (name, p) in [
            ("dropout.embedding", self.dropout.embedding),
            ("dropout.attention", self.dropout.attention),
            ("dropout.residual", self.dropout.residual),
        ] {
            if !(0.0..1.0).contains(&p) {
                return Err(ConfigError::Probability(name, p.to_string()));
            }
        }
        positive("norm_eps", self.norm_eps)?;
        if let Position::Rotary { theta, scaling } = self.position {
            if !self.head_dim.is_multiple_of(2) {
                return Err(ConfigError::OddHead(self.head_dim));
            }
            positive("rope_theta", theta)?;
            match scaling {
                RopeScaling::None => {}
                RopeScaling::Linear { factor } => positive("rope_scaling.factor", factor)?,
                RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_length } => {
                    positive("rope_scaling.factor", factor)?;
                    positive("rope_scaling.low_freq_factor", low_freq_factor)?;
                    positive(
                        "rope_scaling.high_freq_factor minus low_freq_factor",
                        high_freq_factor - low_freq_factor,
                    )?;
                    positive("rope_scaling.original_context_length", original_context_length as f64)?;
                }
            }
        }
        Ok(())
    }

    /// The sliding window of layer `layer`, if it has one.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| layer >= self.first_windowed_layer)
    }

    /// About how many parameters there are: the matrices and the embeddings, without norms and biases.
    pub fn parameters(&self) -> f64 {
        let learned = if self.position == Position::Learned { self.context_length } else { 0 };
        let tables = learned + if self.tied { 0 } else { self.vocab_size };
        self.training_flops_per_token(0) / 6.0 + tables as f64 * self.hidden_size as f64
    }

    /// FLOPs to train on one token at context `t`: `6·N + 12·L·H·Q·T` (Chowdhery et al., 2022, appendix B), with `N`
    /// the parameters that are multiplied: all but the embeddings, plus the head.
    pub fn training_flops_per_token(&self, t: usize) -> f64 {
        let [d, f, v, l] =
            [self.hidden_size, self.intermediate_size, self.vocab_size, self.num_layers].map(|n| n as f64);
        let [h, kv, hd] = [self.num_heads, self.num_kv_heads, self.head_dim].map(|n| n as f64);
        let attention = d * hd * (2.0 * h + 2.0 * kv);
        let feed_forward = d * f * if self.feed_forward.gated() { 3.0 } else { 2.0 };
        6.0 * (l * (attention + feed_forward) + v * d) + 12.0 * l * h * hd * t as f64
    }
}

fn positive(name: &'static str, value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(ConfigError::NotPositive(name, value.to_string())) }
}

/// The `[model]` table of a training config: sizes, and what differs from the family's defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// Architecture that gives the defaults below.
    pub family: Family,
    /// Longest sequence, in tokens; training uses sequences of this length.
    pub context_length: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of query heads.
    pub num_heads: usize,
    /// Key/value heads (default: `num_heads`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_kv_heads: Option<usize>,
    /// Head width (default: `hidden_size / num_heads`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Feed-forward width (default: 4·`hidden_size`, or 8/3 of it rounded up to 32 when gated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    /// Normalization: `layernorm` or `rmsnorm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormKind>,
    /// Added to the variance or mean square.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_eps: Option<f64>,
    /// Positions: `learned` or `rotary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionKind>,
    /// Base of the rotary wavelengths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_theta: Option<f64>,
    /// Stretching of the rotary wavelengths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Biases on queries, keys and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qkv_bias: Option<bool>,
    /// Bias on the output of attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_output_bias: Option<bool>,
    /// Biases in the feed-forward network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlp_bias: Option<bool>,
    /// RMSNorm on queries and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qk_norm: Option<bool>,
    /// Tokens that a token attends to, itself included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Feed-forward network: `gelu`, `gelu-tanh`, `relu2`, `swiglu`, `geglu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward: Option<FeedForwardKind>,
    /// Share the matrix of the token embedding with the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tied: Option<bool>,
    /// Dropout probabilities.
    pub dropout: Dropout,
}

/// [`Position`] without its parameters, as a config names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionKind {
    /// See [`Position::Learned`].
    Learned,
    /// See [`Position::Rotary`].
    Rotary,
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            family: Family::Gpt2,
            context_length: 256,
            hidden_size: 128,
            num_layers: 4,
            num_heads: 4,
            num_kv_heads: None,
            head_dim: None,
            intermediate_size: None,
            norm: None,
            norm_eps: None,
            position: None,
            rope_theta: None,
            rope_scaling: None,
            qkv_bias: None,
            attention_output_bias: None,
            mlp_bias: None,
            qk_norm: None,
            sliding_window: None,
            feed_forward: None,
            tied: None,
            dropout: Dropout::default(),
        }
    }
}

impl ModelSection {
    /// The model that this section means, for a vocabulary of `vocab_size` tokens.
    ///
    /// # Errors
    /// Those of [`ModelConfig::validate`], and a hidden size that the heads do not divide.
    pub fn resolve(&self, vocab_size: usize) -> Result<ModelConfig, ConfigError> {
        let gpt2 = self.family == Family::Gpt2;
        let feed_forward =
            self.feed_forward.unwrap_or(if gpt2 { FeedForwardKind::GeluTanh } else { FeedForwardKind::SwiGlu });
        let head_dim = match self.head_dim {
            Some(width) => width,
            None if self.num_heads == 0 => return Err(ConfigError::Zero("num_heads")),
            None if !self.hidden_size.is_multiple_of(self.num_heads) => {
                return Err(ConfigError::Indivisible {
                    whole_name: "hidden_size",
                    whole: self.hidden_size,
                    part_name: "num_heads",
                    part: self.num_heads,
                });
            }
            None => self.hidden_size / self.num_heads,
        };
        let default_intermediate = if feed_forward.gated() {
            self.hidden_size.saturating_mul(8).div_ceil(3).div_ceil(32).saturating_mul(32)
        } else {
            self.hidden_size.saturating_mul(4)
        };
        let position = match self.position.unwrap_or(if gpt2 { PositionKind::Learned } else { PositionKind::Rotary }) {
            PositionKind::Learned => {
                for (name, set) in
                    [("rope_theta", self.rope_theta.is_some()), ("rope_scaling", self.rope_scaling.is_some())]
                {
                    if set {
                        return Err(ConfigError::NoEffect(name, "position = \"learned\""));
                    }
                }
                Position::Learned
            }
            PositionKind::Rotary => Position::Rotary {
                theta: self.rope_theta.unwrap_or(if self.family == Family::Qwen3 { 1e6 } else { 1e4 }),
                scaling: self.rope_scaling.unwrap_or_default(),
            },
        };
        let norm = self.norm.unwrap_or(if gpt2 { NormKind::LayerNorm } else { NormKind::RmsNorm });
        let config = ModelConfig {
            family: self.family,
            vocab_size,
            context_length: self.context_length,
            hidden_size: self.hidden_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads.unwrap_or(self.num_heads),
            head_dim,
            intermediate_size: self.intermediate_size.unwrap_or(default_intermediate),
            norm,
            norm_eps: self.norm_eps.unwrap_or(if self.family == Family::Qwen3 { 1e-6 } else { 1e-5 }),
            position,
            qkv_bias: self.qkv_bias.unwrap_or(gpt2),
            attention_output_bias: self.attention_output_bias.unwrap_or(gpt2),
            mlp_bias: self.mlp_bias.unwrap_or(gpt2),
            qk_norm: self.qk_norm.unwrap_or(self.family == Family::Qwen3),
            sliding_window: self.sliding_window,
            first_windowed_layer: 0,
            feed_forward,
            tied: self.tied.unwrap_or(gpt2),
            dropout: self.dropout,
        };
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_their_own_defaults() {
        let resolve = |family| ModelSection { family, ..ModelSection::default() }.resolve(100).unwrap();
        let [gpt2, llama, qwen3] = [Family::Gpt2, Family::Llama, Family::Qwen3].map(resolve);
        assert_eq!((gpt2.norm, gpt2.position, gpt2.intermediate_size), (NormKind::LayerNorm, Position::Learned, 512));
        assert!(gpt2.tied && gpt2.qkv_bias && gpt2.mlp_bias && !gpt2.qk_norm);
        assert_eq!(
            (llama.norm, llama.feed_forward, llama.intermediate_size),
            (NormKind::RmsNorm, FeedForwardKind::SwiGlu, 352)
        );
        assert!(!llama.tied && !llama.qkv_bias && !llama.qk_norm);
        assert!(qwen3.qk_norm);
        assert_eq!(qwen3.position, Position::Rotary { theta: 1e6, scaling: RopeScaling::None });
    }

    #[test]
    fn impossible_configs_are_named() {
        let error = |section: ModelSection| section.resolve(100).unwrap_err().to_string();
        let base = ModelSection::default;
        assert!(error(ModelSection { hidden_size: 130, ..base() }).contains("hidden_size is 130"));
        assert!(error(ModelSection { num_kv_heads: Some(3), ..base() }).contains("num_kv_heads = 3"));
        assert!(error(ModelSection { num_layers: 0, ..base() }).contains("num_layers is 0"));
        assert!(error(ModelSection { rope_theta: Some(1e4), ..base() }).contains("rope_theta is set"));
        assert!(error(ModelSection { head_dim: Some(7), family: Family::Llama, ..base() }).contains("even head width"));
        let dropout = Dropout { attention: 1.0, ..Dropout::default() };
        assert!(error(ModelSection { dropout, ..base() }).contains("dropout.attention is 1"));
    }

    #[test]
    fn flops_follow_the_formula() {
        let section = ModelSection { num_layers: 2, hidden_size: 8, num_heads: 2, ..ModelSection::default() };
        let config = section.resolve(10).unwrap();
        let n = 2 * (4 * 8 * 8 + 2 * 8 * 32) + 10 * 8;
        assert_eq!(config.training_flops_per_token(16), f64::from(6 * n + 12 * 2 * 8 * 16));
    }
}

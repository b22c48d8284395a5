//! What a model is: [`ModelSection`] is what a person writes, [`ModelConfig`] is what it means.

mod error;
mod family;
mod kinds;
mod section;

use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use family::{Family, Sizes};
pub use kinds::{
    Dropout, FeedForwardKind, LongRope, Multipliers, NormKind, NormPlacement, Position, QkNorm, RopeScaling, Rotary,
    Yarn,
};
pub use section::{ModelSection, PositionKind};

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
    /// Where a block normalizes.
    #[serde(default)]
    pub norm_placement: NormPlacement,
    /// Embeddings of tokens are multiplied by √`hidden_size`.
    #[serde(default)]
    pub scaled_embedding: bool,
    /// Kind of positions.
    pub position: Position,
    /// Rotation in the windowed layers, where it is not that of `position`.
    #[serde(default)]
    pub local_rotary: Option<Rotary>,
    /// Layers that do not rotate, by number from 0, ascending.
    #[serde(default)]
    pub unrotated_layers: Vec<usize>,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// Bias on the output of attention.
    pub attention_output_bias: bool,
    /// Biases in the feed-forward network.
    pub mlp_bias: bool,
    /// RMSNorm of queries and keys, before rotation.
    pub qk_norm: Option<QkNorm>,
    /// Scores are divided by the root of this; `None` for `head_dim`.
    #[serde(default)]
    pub query_pre_attn_scalar: Option<usize>,
    /// In the windowed layers, a token attends to this many tokens at most, itself included.
    pub sliding_window: Option<usize>,
    /// Layers with a window, by number from 0, ascending; none if `sliding_window` is `None`.
    #[serde(default)]
    pub windowed_layers: Vec<usize>,
    /// Kind of feed-forward network.
    pub feed_forward: FeedForwardKind,
    /// The head shares the matrix of the token embedding.
    pub tied: bool,
    /// Constants that scale embeddings, scores, residual stream and logits.
    #[serde(default, skip_serializing_if = "Multipliers::are_usual")]
    pub multipliers: Multipliers,
    /// Dropout probabilities.
    pub dropout: Dropout,
}

impl ModelConfig {
    /// No real model has more layers.
    pub const MOST_LAYERS: usize = 10_000;

    /// Rejects what cannot be computed.
    ///
    /// # Errors
    /// Names the key and its value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        const MOST: usize = 1 << 28;
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
            ("query_pre_attn_scalar", self.query_pre_attn_scalar.unwrap_or(1)),
        ] {
            match size {
                0 => return Err(ConfigError::Zero(name)),
                size if size > MOST => return Err(ConfigError::TooLarge(name, size)),
                _ => {}
            }
        }
        if self.num_layers > Self::MOST_LAYERS {
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
        let Multipliers { embedding, attention, residual, logits_divisor } = self.multipliers;
        positive("multipliers.embedding", embedding)?;
        positive("multipliers.attention", attention.unwrap_or(1.0))?;
        positive("multipliers.residual", residual)?;
        positive("multipliers.logits_divisor", logits_divisor)?;
        if attention.is_some() && self.query_pre_attn_scalar.is_some() {
            return Err(ConfigError::NoEffect("query_pre_attn_scalar", "multipliers.attention"));
        }
        self.validate_layers()?;
        if let Position::Rotary(rotary) = &self.position {
            self.validate_rotary(rotary)?;
        }
        self.local_rotary.as_ref().map_or(Ok(()), |rotary| self.validate_rotary(rotary))
    }

    fn validate_layers(&self) -> Result<(), ConfigError> {
        let num_layers = self.num_layers;
        for (name, layers) in [("windowed_layers", &self.windowed_layers), ("unrotated_layers", &self.unrotated_layers)]
        {
            let error = |besides| ConfigError::Layers { name, value: format!("{layers:?}"), num_layers, besides };
            if !layers.is_sorted_by(|a, b| a < b) || layers.last().is_some_and(|&last| last >= num_layers) {
                return Err(error(""));
            }
        }
        if self.sliding_window.is_some() == self.windowed_layers.is_empty() {
            let value = format!("{:?}", self.windowed_layers);
            let besides = ", and some if and only if there is a sliding_window";
            return Err(ConfigError::Layers { name: "windowed_layers", value, num_layers, besides });
        }
        let rotary = matches!(self.position, Position::Rotary(_));
        for (name, set, useful) in [
            ("unrotated_layers", !self.unrotated_layers.is_empty(), rotary),
            ("local_rotary", self.local_rotary.is_some(), rotary && self.sliding_window.is_some()),
        ] {
            if set && !useful {
                return Err(ConfigError::NoEffect(name, "position = \"learned\" or without a sliding_window"));
            }
        }
        Ok(())
    }

    fn validate_rotary(&self, rotary: &Rotary) -> Result<(), ConfigError> {
        if !self.head_dim.is_multiple_of(2) {
            return Err(ConfigError::OddHead(self.head_dim));
        }
        let width = rotary.width.unwrap_or(self.head_dim);
        if width == 0 || width > self.head_dim || !width.is_multiple_of(2) {
            return Err(ConfigError::RotaryWidth { name: "rotary_width", value: width, head_dim: self.head_dim });
        }
        positive("rope_theta", rotary.theta)?;
        match &rotary.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", *factor),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_length } => {
                positive("rope_scaling.factor", *factor)?;
                positive("rope_scaling.low_freq_factor", *low_freq_factor)?;
                positive("rope_scaling.high_freq_factor minus low_freq_factor", high_freq_factor - low_freq_factor)?;
                positive("rope_scaling.original_context_length", *original_context_length as f64)
            }
            RopeScaling::Yarn { factor, original_context_length, beta_fast, beta_slow, attention_factor, .. } => {
                positive("rope_scaling.factor", *factor)?;
                positive("rope_scaling.beta_fast", *beta_fast)?;
                positive("rope_scaling.beta_slow", *beta_slow)?;
                positive("rope_scaling.attention_factor", attention_factor.unwrap_or(1.0))?;
                positive("rope_theta minus 1", rotary.theta - 1.0)?;
                positive("rope_scaling.original_context_length", *original_context_length as f64)
            }
            RopeScaling::Dynamic { factor, original_context_length } => {
                positive("rope_scaling.factor", *factor)?;
                positive("rope_scaling.original_context_length", *original_context_length as f64)
            }
            RopeScaling::LongRope { short_factors, long_factors, original_context_length, attention_factor } => {
                for (name, factors) in
                    [("rope_scaling.short_factors", short_factors), ("rope_scaling.long_factors", long_factors)]
                {
                    if factors.len() != width / 2 {
                        return Err(ConfigError::Factors { name, found: factors.len(), expected: width / 2 });
                    }
                    factors.iter().try_for_each(|factor| positive(name, *factor))?;
                }
                positive("rope_scaling.attention_factor", *attention_factor)?;
                positive("rope_scaling.original_context_length", *original_context_length as f64)
            }
        }
    }

    /// The same without what has no effect: a window that no layer has, windowed layers without a window, a rotation of
    /// theirs that is that of all, layers that do not rotate where none does.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        if self.sliding_window.is_none() || self.windowed_layers.is_empty() {
            (self.sliding_window, self.windowed_layers) = (None, Vec::new());
        }
        match &self.position {
            Position::Learned => (self.local_rotary, self.unrotated_layers) = (None, Vec::new()),
            Position::Rotary(rotary) => {
                let windowed = self.sliding_window.is_some();
                self.local_rotary = self.local_rotary.filter(|local| windowed && local != rotary);
            }
        }
        self
    }

    /// The sliding window of layer `layer`, if it has one.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.sliding_window.filter(|_| self.windowed_layers.binary_search(&layer).is_ok())
    }

    /// The same model with a bias in every linear layer of its blocks.
    #[must_use]
    pub fn with_biases(&self) -> Self {
        Self { qkv_bias: true, attention_output_bias: true, mlp_bias: true, ..self.clone() }
    }

    /// Tokens of a sequence beyond which another set of rotary wavelengths serves for all of it (LongRoPE).
    pub fn rotary_switch(&self) -> Option<usize> {
        match &self.position {
            Position::Rotary(Rotary { scaling: RopeScaling::LongRope { original_context_length, .. }, .. }) => {
                Some(*original_context_length)
            }
            _ => None,
        }
    }

    /// Tokens of a sequence beyond which rotary wavelengths depend on its length (dynamic NTK).
    pub(crate) fn rotary_growth(&self) -> Option<usize> {
        let Position::Rotary(rotary) = &self.position else { return None };
        let original = |rotary: &Rotary| match rotary.scaling {
            RopeScaling::Dynamic { original_context_length, .. } => Some(original_context_length),
            _ => None,
        };
        [Some(rotary), self.local_rotary.as_ref()].into_iter().flatten().filter_map(original).min()
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

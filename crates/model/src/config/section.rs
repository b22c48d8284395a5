use serde::{Deserialize, Serialize};

use super::{
    ConfigError, Dropout, Family, FeedForwardKind, ModelConfig, NormKind, Position, QkNorm, RopeScaling, Rotary, Sizes,
};

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
        let base = self.family.defaults(Sizes {
            vocab_size,
            context_length: self.context_length,
            hidden_size: self.hidden_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            sliding_window: self.sliding_window,
        });
        let feed_forward = self.feed_forward.unwrap_or(base.feed_forward);
        let (position, local_rotary) = self.resolve_rotation(&base)?;
        let config = ModelConfig {
            num_kv_heads: self.num_kv_heads.unwrap_or(self.num_heads),
            head_dim: self.resolve_head_dim()?,
            intermediate_size: self.intermediate_size.unwrap_or_else(|| feed_forward.usual_width(self.hidden_size)),
            norm: self.norm.unwrap_or(base.norm),
            norm_eps: self.norm_eps.unwrap_or(base.norm_eps),
            position,
            local_rotary,
            qkv_bias: self.qkv_bias.unwrap_or(base.qkv_bias),
            attention_output_bias: self.attention_output_bias.unwrap_or(base.attention_output_bias),
            mlp_bias: self.mlp_bias.unwrap_or(base.mlp_bias),
            qk_norm: match self.qk_norm {
                Some(wanted) => wanted.then_some(base.qk_norm.unwrap_or(QkNorm::Head)),
                None => base.qk_norm,
            },
            feed_forward,
            tied: self.tied.unwrap_or(base.tied),
            dropout: self.dropout,
            ..base
        }
        .normalized();
        config.validate()?;
        Ok(config)
    }

    fn resolve_head_dim(&self) -> Result<usize, ConfigError> {
        match self.head_dim {
            Some(width) => Ok(width),
            None if self.num_heads == 0 => Err(ConfigError::Zero("num_heads")),
            None if !self.hidden_size.is_multiple_of(self.num_heads) => Err(ConfigError::Indivisible {
                whole_name: "hidden_size",
                whole: self.hidden_size,
                part_name: "num_heads",
                part: self.num_heads,
            }),
            None => Ok(self.hidden_size / self.num_heads),
        }
    }

    /// The positions, and the rotation of windowed layers where it is another.
    fn resolve_rotation(&self, base: &ModelConfig) -> Result<(Position, Option<Rotary>), ConfigError> {
        let (usual, rotary) = match &base.position {
            Position::Learned => (PositionKind::Learned, Rotary::new(1e4)),
            Position::Rotary(rotary) => (PositionKind::Rotary, rotary.clone()),
        };
        if self.position.unwrap_or(usual) == PositionKind::Rotary {
            let theta = self.rope_theta.unwrap_or(rotary.theta);
            let scaling = self.rope_scaling.clone().unwrap_or_default();
            // Windowed layers with the same base keep it the same; they are not scaled.
            let own = |local: &Rotary| if local.theta == rotary.theta { theta } else { local.theta };
            let local_rotary = base.local_rotary.as_ref().map(|local| Rotary::new(own(local)));
            return Ok((Position::Rotary(Rotary { theta, scaling, ..rotary }), local_rotary));
        }
        for (name, set) in [("rope_theta", self.rope_theta.is_some()), ("rope_scaling", self.rope_scaling.is_some())] {
            if set {
                return Err(ConfigError::NoEffect(name, "position = \"learned\""));
            }
        }
        Ok((Position::Learned, None))
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
        assert!(gpt2.tied && gpt2.qkv_bias && gpt2.mlp_bias && gpt2.qk_norm.is_none());
        assert_eq!(
            (llama.norm, llama.feed_forward, llama.intermediate_size),
            (NormKind::RmsNorm, FeedForwardKind::SwiGlu, 352)
        );
        assert!(!llama.tied && !llama.qkv_bias && llama.qk_norm.is_none());
        assert_eq!(qwen3.qk_norm, Some(QkNorm::Head));
        assert_eq!(qwen3.position, Position::Rotary(Rotary::new(1e6)));
    }

    #[test]
    fn layers_differ_where_the_family_says_so() {
        let section =
            |family| ModelSection { family, num_layers: 8, sliding_window: Some(4), ..ModelSection::default() };
        let resolve = |family| section(family).resolve(100).unwrap();
        let [mistral, smollm3, gemma3] = [Family::Mistral, Family::SmolLm3, Family::Gemma3].map(resolve);
        assert_eq!((mistral.windowed_layers.len(), mistral.unrotated_layers.len()), (8, 0));
        assert_eq!((smollm3.windowed_layers, smollm3.unrotated_layers), (vec![3, 7], vec![3, 7]));
        assert_eq!(gemma3.windowed_layers, [0, 1, 2, 3, 4, 6, 7]);
        assert_eq!(gemma3.local_rotary, Some(Rotary::new(1e4)));
        let scaling = || Some(RopeScaling::Linear { factor: 2.0 });
        let olmo3 = ModelSection { rope_theta: Some(1e4), rope_scaling: scaling(), ..section(Family::Olmo3) };
        assert_eq!(olmo3.resolve(100).unwrap().local_rotary, Some(Rotary::new(1e4)));
        assert_eq!(resolve(Family::Olmo3).local_rotary, None);
        let few = ModelSection { num_layers: 3, ..section(Family::SmolLm3) }.resolve(100).unwrap();
        assert_eq!((few.sliding_window, few.windowed_layers.len()), (None, 0));
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

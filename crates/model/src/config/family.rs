//! What each family is where nothing else is said. It stands here and not on the family's page in `checkpoint`, since a
//! `[model]` table is resolved without any file.

use serde::{Deserialize, Serialize};

use super::{Dropout, FeedForwardKind, ModelConfig, Multipliers, NormKind, NormPlacement, Position, QkNorm, Rotary};

/// A published architecture: it gives the defaults, and its name where several compute the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// GPT-2 (Radford et al., 2019): LayerNorm, learned positions, GELU, biases.
    #[default]
    Gpt2,
    /// Llama (Touvron et al., 2023, arXiv:2302.13971): RMSNorm, rotary positions, SwiGLU, no biases.
    Llama,
    /// Mistral (Jiang et al., 2023, arXiv:2310.06825): Llama, where attention may be limited to a window.
    Mistral,
    /// Qwen2 (Yang et al., 2024, arXiv:2407.10671): Llama with biases on queries, keys and values.
    Qwen2,
    /// Qwen3 (Yang et al., 2025, arXiv:2505.09388): Llama with RMSNorm on queries and keys.
    Qwen3,
    /// SmolLM3 (Hugging Face, 2025): Llama, where every fourth layer knows no positions.
    SmolLm3,
    /// Gemma 3 (Gemma Team, 2025, arXiv:2503.19786): norms before and after, scaled embeddings, GeGLU, local layers.
    Gemma3,
    /// OLMo 2 (OLMo Team, 2024, arXiv:2501.00656): norms after, and on all queries and all keys at once.
    Olmo2,
    /// Phi-3 (Abdin et al., 2024, arXiv:2404.14219): Llama, where LongRoPE may stretch the positions.
    Phi3,
    /// OLMo 3 (OLMo Team, 2025, arXiv:2512.13961): OLMo 2 with a window in three of four layers, whose rotation is not scaled.
    Olmo3,
    /// Granite (IBM, 2024): Llama, where constants scale embeddings, scores, residual stream and logits.
    Granite,
}

/// The sizes that no family has a default for.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Most positions, in tokens.
    pub context_length: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of query heads.
    pub num_heads: usize,
    /// Tokens that a windowed layer attends to, if there are such layers.
    pub sliding_window: Option<usize>,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Gpt2,
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::SmolLm3,
        Self::Olmo2,
        Self::Gemma3,
        Self::Phi3,
        Self::Olmo3,
        Self::Granite,
    ];

    /// The model that this family makes of `sizes`. It may be none that can be computed: see [`ModelConfig::validate`].
    pub fn config(self, sizes: Sizes) -> ModelConfig {
        self.defaults(sizes).normalized()
    }

    /// The same, with the layers and the rotation that a window would have.
    pub(super) fn defaults(self, sizes: Sizes) -> ModelConfig {
        let layers = || 0..sizes.num_layers.min(ModelConfig::MOST_LAYERS);
        let every = |n: usize| layers().filter(move |layer| (layer + 1) % n == 0).collect::<Vec<_>>();
        let all_but_every = |n: usize| layers().filter(move |layer| (layer + 1) % n != 0).collect::<Vec<_>>();
        let rotary = |theta: f64| Position::Rotary(Rotary::new(theta));
        let llama = ModelConfig {
            family: self,
            vocab_size: sizes.vocab_size,
            context_length: sizes.context_length,
            hidden_size: sizes.hidden_size,
            num_layers: sizes.num_layers,
            num_heads: sizes.num_heads,
            num_kv_heads: sizes.num_heads,
            head_dim: sizes.hidden_size.checked_div(sizes.num_heads).unwrap_or(0),
            intermediate_size: 0,
            norm: NormKind::RmsNorm,
            norm_eps: 1e-5,
            norm_placement: NormPlacement::Before,
            scaled_embedding: false,
            position: rotary(1e4),
            local_rotary: None,
            unrotated_layers: Vec::new(),
            qkv_bias: false,
            attention_output_bias: false,
            mlp_bias: false,
            qk_norm: None,
            query_pre_attn_scalar: None,
            sliding_window: sizes.sliding_window,
            windowed_layers: layers().collect(),
            feed_forward: FeedForwardKind::SwiGlu,
            tied: false,
            multipliers: Multipliers::default(),
            dropout: Dropout::default(),
        };
        let config = match self {
            Self::Llama | Self::Mistral | Self::Phi3 | Self::Granite => llama,
            Self::Gpt2 => ModelConfig {
                norm: NormKind::LayerNorm,
                position: Position::Learned,
                feed_forward: FeedForwardKind::GeluTanh,
                tied: true,
                ..llama.with_biases()
            },
            Self::Qwen2 => ModelConfig { norm_eps: 1e-6, position: rotary(1e6), qkv_bias: true, ..llama },
            Self::Qwen3 => ModelConfig { norm_eps: 1e-6, position: rotary(1e6), qk_norm: Some(QkNorm::Head), ..llama },
            Self::SmolLm3 => ModelConfig {
                norm_eps: 1e-6,
                position: rotary(2e6),
                unrotated_layers: every(4),
                windowed_layers: every(4),
                tied: true,
                ..llama
            },
            Self::Olmo2 => ModelConfig {
                norm_eps: 1e-6,
                norm_placement: NormPlacement::After,
                position: rotary(5e5),
                qk_norm: Some(QkNorm::Width),
                ..llama
            },
            Self::Olmo3 => ModelConfig {
                norm_eps: 1e-6,
                norm_placement: NormPlacement::After,
                position: rotary(5e5),
                local_rotary: Some(Rotary::new(5e5)),
                qk_norm: Some(QkNorm::Width),
                windowed_layers: all_but_every(4),
                ..llama
            },
            Self::Gemma3 => ModelConfig {
                norm: NormKind::RmsNorm1p,
                norm_eps: 1e-6,
                norm_placement: NormPlacement::Both,
                scaled_embedding: true,
                position: rotary(1e6),
                local_rotary: Some(Rotary::new(1e4)),
                qk_norm: Some(QkNorm::Head),
                windowed_layers: all_but_every(6),
                feed_forward: FeedForwardKind::GeGlu,
                tied: true,
                ..llama
            },
        };
        ModelConfig { intermediate_size: config.feed_forward.usual_width(sizes.hidden_size), ..config }
    }
}

//! Which family a model is saved as, by the rules that people wrote for each before writing and reading back decided it.

use llm_model::{
    Family, FeedForwardKind, ModelConfig, Multipliers, NormKind, NormPlacement, Position, QkNorm, RopeScaling, Rotary,
};

/// The families that have such a rule, the plainest first, with their `model_type`.
pub const FAMILIES: [(Family, &str); 9] = [
    (Family::Gpt2, "gpt2"),
    (Family::Llama, "llama"),
    (Family::Mistral, "mistral"),
    (Family::Qwen2, "qwen2"),
    (Family::Qwen3, "qwen3"),
    (Family::SmolLm3, "smollm3"),
    (Family::Olmo2, "olmo2"),
    (Family::Gemma3, "gemma3_text"),
    (Family::Phi3, "phi3"),
];

/// The `model_type` of `config`, or of it with biases of zero: its own family's if that has one, or else the first.
pub fn published_type(config: &ModelConfig) -> Option<&'static str> {
    let biased = ModelConfig { qkv_bias: true, attention_output_bias: true, mlp_bias: true, ..config.clone() };
    published(config).or_else(|| published(&biased))
}

fn published(config: &ModelConfig) -> Option<&'static str> {
    let able = |family: Family| represents(family, config);
    let own = FAMILIES.iter().find(|(family, _)| *family == config.family && able(*family));
    own.or_else(|| FAMILIES.iter().find(|(family, _)| able(*family))).map(|(_, model_type)| *model_type)
}

fn represents(family: Family, config: &ModelConfig) -> bool {
    let ModelConfig { norm, norm_placement, qk_norm, qkv_bias, attention_output_bias, mlp_bias, .. } = *config;
    let rotary = match &config.position {
        Position::Learned => None,
        Position::Rotary(rotary) => Some(rotary),
    };
    let rotates = rotary.is_some_and(|rotary| scaled_as_llama(config, rotary));
    let gated = matches!(config.feed_forward, FeedForwardKind::SwiGlu | FeedForwardKind::GeGlu);
    let no_bias = !qkv_bias && !attention_output_bias && !mlp_bias;
    let uniform = config.windowed_layers.is_empty() || config.windowed_layers.len() == config.num_layers;
    if config.multipliers != Multipliers::default() {
        return false;
    }
    let plain = norm_placement == NormPlacement::Before
        && !config.scaled_embedding
        && config.local_rotary.is_none()
        && config.unrotated_layers.is_empty()
        && config.query_pre_attn_scalar.is_none();
    let llama = plain && norm == NormKind::RmsNorm && rotates && gated;
    match family {
        Family::Gpt2 => {
            plain
                && norm == NormKind::LayerNorm
                && rotary.is_none()
                && qkv_bias
                && attention_output_bias
                && mlp_bias
                && !gated
                && qk_norm.is_none()
                && config.sliding_window.is_none()
                && config.num_kv_heads == config.num_heads
                && config.head_dim * config.num_heads == config.hidden_size
        }
        Family::Llama => {
            llama
                && qk_norm.is_none()
                && config.sliding_window.is_none()
                && qkv_bias == attention_output_bias
                && config.hidden_size.is_multiple_of(config.num_heads)
        }
        Family::Mistral => llama && qk_norm.is_none() && no_bias && uniform,
        Family::Qwen2 => llama && qk_norm.is_none() && !mlp_bias && qkv_bias && !attention_output_bias,
        Family::Qwen3 => llama && qk_norm == Some(QkNorm::Head) && !mlp_bias && qkv_bias == attention_output_bias,
        Family::SmolLm3 => {
            norm == NormKind::RmsNorm
                && norm_placement == NormPlacement::Before
                && rotates
                && gated
                && !config.scaled_embedding
                && config.local_rotary.is_none()
                && config.query_pre_attn_scalar.is_none()
                && qk_norm.is_none()
                && qkv_bias == attention_output_bias
                && config.hidden_size.is_multiple_of(config.num_heads)
        }
        Family::Olmo2 => {
            norm == NormKind::RmsNorm
                && norm_placement == NormPlacement::After
                && qk_norm == Some(QkNorm::Width)
                && rotates
                && gated
                && qkv_bias == attention_output_bias
                && !mlp_bias
                && !config.scaled_embedding
                && config.unrotated_layers.is_empty()
                && config.sliding_window.is_none()
                && config.query_pre_attn_scalar.is_none()
        }
        Family::Gemma3 => {
            let knows = |rotary: &Rotary| {
                scaled_as_llama(config, rotary) && !matches!(rotary.scaling, RopeScaling::Dynamic { .. })
            };
            norm == NormKind::RmsNorm1p
                && norm_placement == NormPlacement::Both
                && config.scaled_embedding
                && qk_norm == Some(QkNorm::Head)
                && rotary.is_some_and(knows)
                && config.local_rotary.as_ref().is_none_or(knows)
                && config.unrotated_layers.is_empty()
                && gated
                && qkv_bias == attention_output_bias
                && !mlp_bias
        }
        Family::Phi3 => {
            plain
                && rotary
                    .is_some_and(|rotary| matches!(rotary.scaling, RopeScaling::None | RopeScaling::LongRope { .. }))
                && norm == NormKind::RmsNorm
                && gated
                && qk_norm.is_none()
                && no_bias
                && uniform
        }
        _ => false,
    }
}

/// Whether a rotation of `config` is one that the code of Llama knows, and gives the context that `config` has.
fn scaled_as_llama(config: &ModelConfig, rotary: &Rotary) -> bool {
    let stated = match &config.position {
        Position::Rotary(Rotary { scaling: RopeScaling::Dynamic { original_context_length, .. }, .. }) => {
            *original_context_length
        }
        _ => config.context_length,
    };
    let begins = match rotary.scaling {
        RopeScaling::Dynamic { original_context_length, .. } => original_context_length == stated,
        _ => true,
    };
    rotary.width.is_none()
        && !matches!(rotary.scaling, RopeScaling::LongRope { .. })
        && begins
        && rotary.scaling.context_length(stated) == config.context_length
}

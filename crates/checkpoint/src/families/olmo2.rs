//! OLMo 2 (`Olmo2ForCausalLM`): norms after attention and feed-forward network, and on all queries and all keys at once.

use llm_model::{Family as Architecture, NormKind, NormPlacement, Position, QkNorm};
use serde_json::json;

use super::llama;
use super::{Family, same};
use crate::config::rope;

pub(crate) const OLMO2: Family = Family {
    model_type: "olmo2",
    name: Architecture::Olmo2,
    architecture: "Olmo2ForCausalLM",
    resolve: |raw| {
        let mut config = llama::resolve(raw, Architecture::Olmo2, rope::resolve(raw, rope::DEFAULT_THETA)?)?;
        let biases = raw.flag("attention_bias")?.unwrap_or(false);
        (config.qkv_bias, config.attention_output_bias) = (biases, biases);
        config.norm_eps = raw.number("rms_norm_eps")?.unwrap_or(1e-5);
        config.norm_placement = NormPlacement::After;
        config.qk_norm = Some(QkNorm::Width);
        Ok(config)
    },
    represents: |config| {
        config.norm == NormKind::RmsNorm
            && config.norm_placement == NormPlacement::After
            && config.qk_norm == Some(QkNorm::Width)
            && matches!(&config.position, Position::Rotary(rotary) if llama::scaled_as_llama(config, rotary))
            && config.feed_forward.gated()
            && config.qkv_bias == config.attention_output_bias
            && !config.mlp_bias
            && !config.scaled_embedding
            && config.unrotated_layers.is_empty()
            && config.sliding_window.is_none()
            && config.query_pre_attn_scalar.is_none()
    },
    write: |config, keys| {
        llama::write(config, keys);
        keys.insert("attention_bias".into(), json!(config.qkv_bias));
    },
    place: same,
};

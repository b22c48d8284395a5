//! SmolLM3 (`SmolLM3ForCausalLM`): Llama, where some layers do not rotate; those may have a window.

use llm_model::{Family as Architecture, NormKind, NormPlacement, Position};
use serde_json::json;

use super::llama;
use super::{Family, same};
use crate::CheckpointError;
use crate::config::raw::RawConfig;
use crate::config::{layers, rope};

const DEFAULT_THETA: f64 = 2e6;

pub(crate) const SMOLLM3: Family = Family {
    model_type: "smollm3",
    name: Architecture::SmolLm3,
    architecture: "SmolLM3ForCausalLM",
    resolve: |raw| {
        raw.required_size("num_key_value_heads")?;
        let mut config = llama::resolve(raw, Architecture::SmolLm3, rope::resolve(raw, DEFAULT_THETA)?)?;
        let biases = raw.flag("attention_bias")?.unwrap_or(false);
        (config.qkv_bias, config.attention_output_bias) = (biases, biases);
        config.mlp_bias = raw.flag("mlp_bias")?.unwrap_or(false);
        config.tied = raw.flag("tie_word_embeddings")?.unwrap_or(true);
        config.unrotated_layers = unrotated(raw, config.num_layers)?;
        let uses_window = raw.flag("use_sliding_window")?.unwrap_or(false);
        let window = raw.size("sliding_window")?.filter(|_| uses_window);
        let windowed = layers::windowed(raw, config.num_layers)?;
        let windowed = windowed.unwrap_or_else(|| config.unrotated_layers.clone());
        layers::set_window(&mut config, window, windowed);
        Ok(config)
    },
    represents: |config| {
        config.norm == NormKind::RmsNorm
            && config.norm_placement == NormPlacement::Before
            && matches!(&config.position, Position::Rotary(rotary) if llama::scaled_as_llama(config, rotary))
            && config.feed_forward.gated()
            && !config.scaled_embedding
            && config.local_rotary.is_none()
            && config.query_pre_attn_scalar.is_none()
            && config.qk_norm.is_none()
            && config.qkv_bias == config.attention_output_bias
            && config.hidden_size.is_multiple_of(config.num_heads)
    },
    write: |config, keys| {
        llama::write(config, keys);
        let rotates = |layer| u8::from(config.unrotated_layers.binary_search(&layer).is_err());
        keys.extend([
            ("attention_bias".to_owned(), json!(config.qkv_bias)),
            ("mlp_bias".to_owned(), json!(config.mlp_bias)),
            ("no_rope_layers".to_owned(), json!((0..config.num_layers).map(rotates).collect::<Vec<_>>())),
            ("use_sliding_window".to_owned(), json!(config.sliding_window.is_some())),
            ("sliding_window".to_owned(), json!(config.sliding_window)),
        ]);
        layers::write(config, keys);
    },
    place: same,
};

/// The layers that do not rotate. In `no_rope_layers`, against its name, 1 is a layer that does.
fn unrotated(raw: &RawConfig, num_layers: usize) -> Result<Vec<usize>, CheckpointError> {
    if let Some(rotates) = raw.flags("no_rope_layers")? {
        if rotates.len() < num_layers {
            return Err(raw.bad("no_rope_layers", &format!("a list of {num_layers} layers")));
        }
        return Ok((0..num_layers).filter(|&layer| !rotates[layer]).collect());
    }
    let interval = raw.size("no_rope_layer_interval")?.unwrap_or(4);
    Ok(layers::all(num_layers).filter(|layer| (layer + 1).is_multiple_of(interval)).collect())
}

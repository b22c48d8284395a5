//! SmolLM3 (`SmolLM3ForCausalLM`): Llama, where some layers do not rotate; those may have a window.

use llm_model::Family;
use serde_json::{Value, json};

use super::{Page, layers, llama, rope, same};
use crate::CheckpointError;
use crate::gguf::description::{Architecture, refused};
use crate::keys::JsonKeys;

const DEFAULT_THETA: f64 = 2e6;
/// Every so many layers one does not rotate; llama.cpp knows no other number.
const INTERVAL: usize = 4;

pub(super) const PAGE: Page = Page {
    family: Family::SmolLm3,
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    read: |keys| {
        keys.required_size("num_key_value_heads")?;
        let mut config = llama::read(keys, Family::SmolLm3, rope::resolve(keys, DEFAULT_THETA)?)?;
        llama::read_attention_bias(keys, &mut config)?;
        config.mlp_bias = keys.flag("mlp_bias")?.unwrap_or(false);
        config.tied = keys.flag("tie_word_embeddings")?.unwrap_or(true);
        config.unrotated_layers = unrotated(keys, config.num_layers)?;
        let uses_window = keys.flag("use_sliding_window")?.unwrap_or(false);
        let window = keys.size("sliding_window")?.filter(|_| uses_window);
        let windowed = layers::windowed(keys, config.num_layers)?;
        let windowed = windowed.unwrap_or_else(|| config.unrotated_layers.clone());
        layers::set_window(&mut config, window, windowed);
        Ok(config)
    },
    write: |config, keys| {
        llama::write(config, keys);
        llama::write_attention_bias(config, keys);
        let rotates = |layer| u8::from(config.unrotated_layers.binary_search(&layer).is_err());
        keys.extend([
            ("mlp_bias".to_owned(), json!(config.mlp_bias)),
            ("no_rope_layers".to_owned(), json!((0..config.num_layers).map(rotates).collect::<Vec<_>>())),
            ("use_sliding_window".to_owned(), json!(config.sliding_window.is_some())),
            ("sliding_window".to_owned(), json!(config.sliding_window)),
        ]);
        layers::write(config, keys);
    },
    refuses: llama::uneven_heads,
    place: same,
    gguf: Architecture {
        name: "smollm3",
        read: |reading| {
            let layers = every_fourth(reading.known("num_hidden_layers"));
            reading.set("no_rope_layers", layers);
            Ok(())
        },
        write: |writing| {
            let rotates = writing.required("no_rope_layers")?;
            if rotates != every_fourth(writing.config.num_layers) {
                let problem = format!("no_rope_layers is {rotates}, but llama.cpp leaves out every fourth layer");
                return Err(refused(problem));
            }
            writing.refuse_window()
        },
        ..llama::GGUF
    },
    whole: None,
};

/// The layers that do not rotate. In `no_rope_layers`, against its name, 1 is a layer that does.
fn unrotated(keys: &JsonKeys, num_layers: usize) -> Result<Vec<usize>, CheckpointError> {
    if let Some(rotates) = keys.flags("no_rope_layers")? {
        if rotates.len() < num_layers {
            return Err(keys.bad("no_rope_layers", &format!("a list of {num_layers} layers")));
        }
        return Ok((0..num_layers).filter(|&layer| !rotates[layer]).collect());
    }
    let interval = keys.size("no_rope_layer_interval")?.unwrap_or(INTERVAL);
    Ok(layers::all(num_layers).filter(|layer| (layer + 1).is_multiple_of(interval)).collect())
}

/// `no_rope_layers` as llama.cpp computes.
fn every_fourth(layers: usize) -> Value {
    (1..=layers).map(|layer| u8::from(!layer.is_multiple_of(INTERVAL))).collect::<Vec<_>>().into()
}

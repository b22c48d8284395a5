//! Which layers have a window, as `layer_types` says it.

use llm_model::ModelConfig;
use serde_json::{Map, Value, json};

use crate::CheckpointError;
use crate::keys::JsonKeys;

const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

/// The first `num_layers` layers, as many as a model can have.
pub(super) fn all(num_layers: usize) -> std::ops::Range<usize> {
    0..num_layers.min(ModelConfig::MOST_LAYERS)
}

/// Those but every `interval`th, from 1.
pub(super) fn all_but_every(interval: usize, num_layers: usize) -> Vec<usize> {
    all(num_layers).filter(|layer| !(layer + 1).is_multiple_of(interval)).collect()
}

/// The window of the layers that have one: `null` is none; where nothing is written, `transformers` means 4096 tokens.
pub(super) fn window(keys: &JsonKeys) -> Result<Option<usize>, CheckpointError> {
    if keys.has("sliding_window") { keys.size("sliding_window") } else { Ok(Some(4096)) }
}

/// The layers that `layer_types` gives a window; `None` if the key is not there.
pub(super) fn windowed(keys: &JsonKeys, num_layers: usize) -> Result<Option<Vec<usize>>, CheckpointError> {
    let Some(types) = keys.texts("layer_types")? else { return Ok(None) };
    if types.len() != num_layers || !types.iter().all(|kind| KINDS.contains(&kind.as_str())) {
        let expected = format!("a list of {num_layers} layers, each {:?} or {:?}", KINDS[0], KINDS[1]);
        return Err(keys.bad("layer_types", &expected));
    }
    Ok(Some((0..num_layers).filter(|&layer| types[layer] == KINDS[1]).collect()))
}

/// Sets `window` in the `layers`; no window and no such layers are the same.
pub(super) fn set_window(config: &mut ModelConfig, window: Option<usize>, layers: Vec<usize>) {
    config.sliding_window = window.filter(|_| !layers.is_empty());
    config.windowed_layers = if config.sliding_window.is_some() { layers } else { Vec::new() };
}

/// Adds `layer_types`.
pub(super) fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    let kind = |layer| KINDS[usize::from(config.window(layer).is_some())];
    let types: Vec<_> = (0..config.num_layers).map(kind).collect();
    keys.insert("layer_types".into(), json!(types));
}

//! Which layers have a window, as `layer_types` says it.

use llm_model::ModelConfig;
use serde_json::{Map, Value, json};

use super::raw::RawConfig;
use crate::CheckpointError;

const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

/// The first `num_layers` layers, as many as a model can have.
pub(crate) fn all(num_layers: usize) -> std::ops::Range<usize> {
    0..num_layers.min(ModelConfig::MOST_LAYERS)
}

/// The layers that `layer_types` gives a window; `None` if the key is not there.
pub(crate) fn windowed(raw: &RawConfig, num_layers: usize) -> Result<Option<Vec<usize>>, CheckpointError> {
    let Some(types) = raw.texts("layer_types")? else { return Ok(None) };
    if types.len() != num_layers || !types.iter().all(|kind| KINDS.contains(&kind.as_str())) {
        let expected = format!("a list of {num_layers} layers, each {:?} or {:?}", KINDS[0], KINDS[1]);
        return Err(raw.bad("layer_types", &expected));
    }
    Ok(Some((0..num_layers).filter(|&layer| types[layer] == KINDS[1]).collect()))
}

/// Sets `window` in the `layers`; no window and no such layers are the same.
pub(crate) fn set_window(config: &mut ModelConfig, window: Option<usize>, layers: Vec<usize>) {
    config.sliding_window = window.filter(|_| !layers.is_empty());
    config.windowed_layers = if config.sliding_window.is_some() { layers } else { Vec::new() };
}

/// Whether all layers are alike: the same window, or none.
pub(crate) fn uniform(config: &ModelConfig) -> bool {
    config.windowed_layers.is_empty() || config.windowed_layers.len() == config.num_layers
}

/// Adds `layer_types`.
pub(crate) fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    let kind = |layer| KINDS[usize::from(config.window(layer).is_some())];
    let types: Vec<_> = (0..config.num_layers).map(kind).collect();
    keys.insert("layer_types".into(), json!(types));
}

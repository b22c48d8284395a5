//! Qwen 2 and 2.5 (`Qwen2ForCausalLM`): Llama with biases on queries, keys and values, and with layers that may see a window.
//! With `AutoTokenizer`, transformers 5 splits the text of every model of this type by Qwen's own rule;
//! `PreTrainedTokenizerFast` goes by `tokenizer.json`.

use llm_model::{Family, ModelConfig};
use serde_json::{Map, Value, json};

use super::{Page, layers, llama, never, rope, same};
use crate::CheckpointError;
use crate::gguf::description::Architecture;
use crate::keys::JsonKeys;

pub(super) const PAGE: Page = Page {
    family: Family::Qwen2,
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    read: |keys| {
        keys.required_size("num_key_value_heads")?;
        let mut config = llama::read(keys, Family::Qwen2, rope::resolve(keys, rope::DEFAULT_THETA)?)?;
        read_windows(keys, &mut config)?;
        Ok(config)
    },
    write: |config, keys| {
        llama::write(config, keys);
        write_windows(config, keys);
    },
    refuses: never,
    place: same,
    gguf: Architecture { name: "qwen2", ..Architecture::PLAIN },
    whole: None,
};

/// The window of Qwen: from layer `max_window_layers` on, or where `layer_types` says so.
pub(super) fn read_windows(keys: &JsonKeys, config: &mut ModelConfig) -> Result<(), CheckpointError> {
    if !keys.flag("use_sliding_window")?.unwrap_or(false) {
        let types = keys.texts("layer_types")?.unwrap_or_default();
        if types.iter().any(|layer| layer != "full_attention") {
            return Err(keys.bad("use_sliding_window", "true, because layer_types has other layers"));
        }
        return Ok(());
    }
    let windowed = match layers::windowed(keys, config.num_layers)? {
        Some(windowed) => windowed,
        None => layers::all(config.num_layers).skip(keys.count("max_window_layers")?.unwrap_or(28)).collect(),
    };
    layers::set_window(config, layers::window(keys)?, windowed);
    Ok(())
}

/// Writes the window of Qwen.
pub(super) fn write_windows(config: &ModelConfig, keys: &mut Map<String, Value>) {
    let full = config.num_layers - config.windowed_layers.len();
    keys.extend([
        ("use_sliding_window".to_owned(), json!(config.sliding_window.is_some())),
        ("sliding_window".to_owned(), json!(config.sliding_window)),
        ("max_window_layers".to_owned(), json!(full)),
    ]);
    if config.windowed_layers.first().is_some_and(|&first| first != full) {
        layers::write(config, keys);
    }
}

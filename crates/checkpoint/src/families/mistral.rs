//! Mistral (`MistralForCausalLM`): Llama in which every layer may see a window.

use llm_model::Family;
use serde_json::json;

use super::{Page, layers, llama, never, rope, same};
use crate::gguf::description::{Architecture, WINDOW};

pub(super) const PAGE: Page = Page {
    family: Family::Mistral,
    model_type: "mistral",
    class: "MistralForCausalLM",
    read: |keys| {
        keys.required_size("num_key_value_heads")?;
        let mut config = llama::read(keys, Family::Mistral, rope::resolve(keys, rope::DEFAULT_THETA)?)?;
        let all = layers::all(config.num_layers).collect();
        layers::set_window(&mut config, layers::window(keys)?, all);
        Ok(config)
    },
    write: |config, keys| {
        llama::write(config, keys);
        keys.insert("sliding_window".into(), json!(config.sliding_window));
    },
    refuses: never,
    place: same,
    gguf: Architecture {
        mark: Some(WINDOW),
        read: |reading| reading.read_window().map(|_| ()),
        write: |writing| writing.put_unknown_window().map(|_| ()),
        ..llama::GGUF
    },
    whole: None,
};

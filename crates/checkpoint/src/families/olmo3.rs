//! OLMo 3 (`Olmo3ForCausalLM`): OLMo 2, where all layers but every fourth have a window; only those without one are scaled to
//! longer contexts.

use llm_model::{Family, ModelConfig, Position, Rotary};
use serde_json::{Map, Value, json};

use super::{Page, layers, llama, never, olmo2, rope, same};
use crate::CheckpointError;
use crate::gguf::description::{Architecture, WINDOW, Writing, refused};
use crate::keys::JsonKeys;

const DEFAULT_THETA: f64 = 5e5;
/// Every so many layers, one has no window, where nothing is written.
const INTERVAL: usize = 4;

pub(super) const PAGE: Page = Page {
    family: Family::Olmo3,
    model_type: "olmo3",
    class: "Olmo3ForCausalLM",
    read,
    write,
    refuses: never,
    place: same,
    gguf: Architecture {
        mark: Some(WINDOW),
        read: |reading| reading.read_windows(INTERVAL),
        write: write_gguf,
        ..olmo2::GGUF
    },
    whole: None,
};

fn read(keys: &JsonKeys) -> Result<ModelConfig, CheckpointError> {
    // `rope_theta` is the base of all layers. Where it is not the usual one, transformers 5 forgets it for those with a window.
    let theta = keys.number("rope_theta")?.unwrap_or(DEFAULT_THETA);
    let [global, local] = rope::resolve_layers(keys, [theta; 2])?;
    let mut config = llama::read(keys, Family::Olmo3, Position::Rotary(global))?;
    config.norm_eps = keys.number("rms_norm_eps")?.unwrap_or(1e-5);
    llama::read_attention_bias(keys, &mut config)?;
    let windowed = layers::windowed(keys, config.num_layers)?;
    let windowed = windowed.unwrap_or_else(|| layers::all_but_every(INTERVAL, config.num_layers));
    layers::set_window(&mut config, layers::window(keys)?, windowed);
    config.context_length = local.scaling.context_length(config.context_length);
    config.local_rotary = Some(local);
    Ok(config.normalized())
}

fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    llama::write(config, keys);
    llama::write_attention_bias(config, keys);
    // `transformers` asks for a size even where no layer has a window.
    let window = config.sliding_window.unwrap_or(config.context_length);
    keys.insert("sliding_window".into(), json!(window));
    layers::write(config, keys);
    let Some([global, local]) = rope::of_layers(config) else { return };
    if local != Rotary::new(DEFAULT_THETA) || global.theta != DEFAULT_THETA {
        rope::write_layers([global, local], keys);
    }
}

fn write_gguf(writing: &mut Writing) -> Result<(), CheckpointError> {
    olmo2::refuse_gguf(writing)?;
    let other = |[global, local]: [Rotary; 2]| local != Rotary::new(global.theta);
    if rope::of_layers(writing.config).is_some_and(other) {
        return Err(refused(
            "its layers with a window rotate differently from llama.cpp: scaled, or with another base",
        ));
    }
    // Where both are in one table, llama.cpp's are those of the layers without a window.
    if writing.take("rope_parameters").is_some() {
        rope::write(&writing.config.position, &mut writing.values);
    }
    writing.put_windows()
}

//! The text part of Gemma 3 (`Gemma3ForCausalLM`): norms before and after, with weights that are stored less one;
//! embeddings times √d; layers with a window, and their own rotary base, between layers without.

use llm_model::{Family, FeedForwardKind, ModelConfig, Position, RopeScaling, Rotary};
use serde_json::{Map, Value, json};

use super::{Page, Whole, layers, llama, never, rope, same};
use crate::CheckpointError;
use crate::gguf::description::{Architecture, Reading, Writing, float, refused};
use crate::keys::{JsonKeys, Only};

const GLOBAL_THETA: f64 = 1e6;
const LOCAL_THETA: f64 = 1e4;
/// Width of a head, and what scores are divided by the root of, where nothing is written.
const HEAD_DIM: usize = 256;

/// Every so many layers, one has no window, where nothing is written.
const INTERVAL: usize = 6;
/// The base of layers with a window in GGUF.
const LOCAL_BASE: &str = "rope.freq_base_swa";
/// Layers of Gemma 3 27B, whose scores llama.cpp scales as its configuration says.
const LAYERS_OF_27B: usize = 62;

pub(super) const PAGE: Page = Page {
    family: Family::Gemma3,
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    read,
    write,
    refuses: never,
    place: same,
    gguf: Architecture {
        name: "gemma3",
        fixed: &[("hidden_activation", "gelu_pytorch_tanh")],
        shifted_norms: true,
        read: read_gguf,
        write: write_gguf,
        norms: &[
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ],
        ..Architecture::PLAIN
    },
    // `Gemma3ForConditionalGeneration`, with pictures.
    whole: Some(Whole { model_type: "gemma3", text: text_part }),
};

/// The configuration of the text part. Published ones leave out what is as `transformers` has it where nothing is written.
fn text_part(keys: &JsonKeys) -> Result<JsonKeys, CheckpointError> {
    let text = keys.required("text_config", keys.table("text_config")?)?;
    text.absent("quantization_config", "absent: it belongs to the whole model")?;
    let usual = [
        ("vocab_size", json!(262_208)),
        ("hidden_size", json!(2304)),
        ("intermediate_size", json!(9216)),
        ("num_hidden_layers", json!(26)),
        ("num_attention_heads", json!(8)),
        ("num_key_value_heads", json!(4)),
        ("max_position_embeddings", json!(131_072)),
    ];
    let text = usual.into_iter().fold(text, |text, (key, value)| text.or(key, value));
    // The head is the whole model's.
    Ok(match keys.flag("tie_word_embeddings")? {
        Some(tied) => text.with("tie_word_embeddings", json!(tied)),
        None => text,
    })
}

fn read(keys: &JsonKeys) -> Result<ModelConfig, CheckpointError> {
    for key in ["final_logit_softcapping", "attn_logit_softcapping"] {
        keys.absent(key, "null; capped scores are not supported")?;
    }
    keys.only("use_bidirectional_attention", Only::Flag(false))?;
    keys.required_size("num_key_value_heads")?;
    let [global, local] = rotary(keys)?;
    let mut config = llama::read(keys, Family::Gemma3, Position::Rotary(global.clone()))?;
    llama::read_attention_bias(keys, &mut config)?;
    config.head_dim = keys.size("head_dim")?.unwrap_or(HEAD_DIM);
    let scalar = keys.size("query_pre_attn_scalar")?.unwrap_or(HEAD_DIM);
    config.query_pre_attn_scalar = Some(scalar).filter(|&scalar| scalar != config.head_dim);
    config.feed_forward = keys.choice("hidden_activation", &llama::GATES)?.unwrap_or(FeedForwardKind::GeGlu);
    config.tied = keys.flag("tie_word_embeddings")?.unwrap_or(true);

    let window = layers::window(keys)?;
    let interval = keys.size("sliding_window_pattern")?.unwrap_or(INTERVAL);
    let windowed = layers::windowed(keys, config.num_layers)?;
    let windowed = windowed.unwrap_or_else(|| layers::all_but_every(interval, config.num_layers));
    if window.is_none() && !windowed.is_empty() {
        return Err(keys.bad("sliding_window", "a size, because some layers have a window"));
    }
    layers::set_window(&mut config, window, windowed);
    config.context_length = local.scaling.context_length(config.context_length);
    config.local_rotary = Some(local).filter(|local| config.sliding_window.is_some() && *local != global);
    Ok(config)
}

/// The rotary settings of the layers without and with a window.
fn rotary(keys: &JsonKeys) -> Result<[Rotary; 2], CheckpointError> {
    let global = keys.number("rope_theta")?.unwrap_or(GLOBAL_THETA);
    let local = keys.number("rope_local_base_freq")?.unwrap_or(LOCAL_THETA);
    rope::resolve_layers(keys, [global, local])
}

fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    llama::write(config, keys);
    if let Some(activation) = keys.remove("hidden_act") {
        keys.insert("hidden_activation".into(), activation);
    }
    keys.extend([
        ("attention_bias".to_owned(), json!(config.qkv_bias)),
        ("query_pre_attn_scalar".to_owned(), json!(config.query_pre_attn_scalar.unwrap_or(config.head_dim))),
        // `transformers` asks for a size even where no layer has a window.
        ("sliding_window".to_owned(), json!(config.sliding_window.unwrap_or(config.context_length))),
    ]);
    layers::write(config, keys);
    let Some([global, local]) = rope::of_layers(config) else { return };
    if local.scaling == RopeScaling::None {
        keys.insert("rope_local_base_freq".into(), json!(local.theta));
    } else {
        // Only the new form can say this.
        rope::write_layers([global, local], keys);
    }
}

/// What scores are divided by the root of in llama.cpp.
fn scalar_in_gguf(num_layers: usize, hidden_size: usize, num_heads: usize, head_dim: usize) -> usize {
    if num_layers == LAYERS_OF_27B { hidden_size / num_heads } else { head_dim }
}

fn read_gguf(reading: &mut Reading) -> Result<(), CheckpointError> {
    let local_base = reading.keys.number(&reading.key(LOCAL_BASE))?.unwrap_or(LOCAL_THETA);
    reading.read_windows(INTERVAL)?;
    let [layers, hidden, heads, head_dim] =
        ["num_hidden_layers", "hidden_size", "num_attention_heads", "head_dim"].map(|key| reading.known(key));
    reading.set("rope_local_base_freq", local_base);
    reading.set("query_pre_attn_scalar", scalar_in_gguf(layers, hidden, heads, head_dim));
    Ok(())
}

fn write_gguf(writing: &mut Writing) -> Result<(), CheckpointError> {
    let ModelConfig { num_layers, hidden_size, num_heads, head_dim, .. } = *writing.config;
    let scalar = writing.required("query_pre_attn_scalar")?;
    let expected = scalar_in_gguf(num_layers, hidden_size, num_heads, head_dim);
    if scalar != expected {
        let problem = format!("query_pre_attn_scalar is {scalar}, but llama.cpp takes {expected} for these sizes");
        return Err(refused(problem));
    }
    let local_base = writing.required("rope_local_base_freq")?;
    writing.put_windows()?;
    if writing.config.sliding_window.is_some() {
        writing.put(LOCAL_BASE, float("rope_local_base_freq", &local_base)?);
    }
    Ok(())
}

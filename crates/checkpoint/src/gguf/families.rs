//! What one architecture has alone: windows, layers that do not rotate, LongRoPE. Where llama.cpp computes one thing only, a
//! model of another is refused.

use llm_gguf::{Array, Value};
use serde_json::{Value as Json, json};

use super::config::{Reading, Writing, float, refused, unsigned};
use super::rope::ROPE_FREQS;
use crate::CheckpointError;

const WINDOW: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";
const LOCAL_BASE: &str = "rope.freq_base_swa";
const ATTENTION_FACTOR: &str = "rope.scaling.attn_factor";
const ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";
const LONG_FACTORS: &str = "rope_factors_long.weight";
const SHORT_FACTORS: &str = "rope_factors_short.weight";

/// Tensors that are settings and not weights.
pub(super) const SETTINGS: [&str; 3] = [ROPE_FREQS, LONG_FACTORS, SHORT_FACTORS];

/// Every so many layers of SmolLM3, one does not rotate; llama.cpp knows no other number.
const SMOLLM3_INTERVAL: u64 = 4;
/// Every so many layers of Gemma 3, one has no window, where nothing is written.
const GEMMA3_INTERVAL: u64 = 6;
/// The base of Gemma 3's layers with a window, where nothing is written.
const GEMMA3_LOCAL_BASE: f64 = 10_000.0;
/// Layers of Gemma 3 27B, whose scores llama.cpp scales as its configuration says.
const GEMMA3_27B_LAYERS: u64 = 62;

/// Llama, or Mistral where there is a window.
pub(super) fn read_llama(reading: &mut Reading) -> Result<(), CheckpointError> {
    if let Some(window) = reading.keys.size(&reading.key(WINDOW))? {
        reading.set("model_type", "mistral");
        reading.set("sliding_window", window);
    }
    Ok(())
}

pub(super) fn write_llama(writing: &mut Writing) -> Result<(), CheckpointError> {
    if let Some(window) = writing.take("sliding_window") {
        writing.put(WINDOW, unsigned("sliding_window", &window)?);
        no_window(writing, &window);
    }
    drop_layer_types(writing);
    Ok(())
}

fn no_window(writing: &mut Writing, window: &Json) {
    let note = format!("llama.cpp has no sliding window for this architecture: beyond {window} tokens it differs");
    writing.notes.push(note);
}

/// What `sliding_window` says already.
fn drop_layer_types(writing: &mut Writing) {
    writing.values.retain(|key, _| !["use_sliding_window", "max_window_layers", "layer_types"].contains(&key.as_str()));
}

/// Architectures that have no window in GGUF.
pub(super) fn write_windowless(writing: &mut Writing) -> Result<(), CheckpointError> {
    if let Some(window) = writing.take("sliding_window") {
        return Err(refused(format!(
            "sliding_window is {window}, but GGUF has none for {}",
            writing.architecture.name
        )));
    }
    drop_layer_types(writing);
    Ok(())
}

pub(super) fn write_olmo2(writing: &mut Writing) -> Result<(), CheckpointError> {
    if writing.config.tied {
        return Err(refused(
            "it shares its head with the embedding, which llama.cpp does not know of OLMo 2".to_owned(),
        ));
    }
    write_windowless(writing)
}

/// For each layer, whether it rotates, as `no_rope_layers` has it.
fn smollm3_layers(layers: u64) -> Json {
    (1..=layers).map(|layer| u8::from(!layer.is_multiple_of(SMOLLM3_INTERVAL))).collect::<Vec<_>>().into()
}

#[allow(clippy::unnecessary_wraps)] // as all of them
pub(super) fn read_smollm3(reading: &mut Reading) -> Result<(), CheckpointError> {
    let layers = smollm3_layers(reading.known("num_hidden_layers"));
    reading.set("no_rope_layers", layers);
    Ok(())
}

pub(super) fn write_smollm3(writing: &mut Writing) -> Result<(), CheckpointError> {
    let rotates = writing.required("no_rope_layers")?;
    if rotates != smollm3_layers(writing.config.num_layers as u64) {
        return Err(refused(format!("no_rope_layers is {rotates}, but llama.cpp leaves out every fourth layer")));
    }
    write_windowless(writing)
}

/// What scores are divided by the root of.
fn gemma3_scalar(layers: u64, hidden_size: u64, heads: u64, head_dim: u64) -> u64 {
    if layers == GEMMA3_27B_LAYERS { hidden_size / heads } else { head_dim }
}

pub(super) fn read_gemma3(reading: &mut Reading) -> Result<(), CheckpointError> {
    let keys = &reading.keys;
    let layers = reading.known("num_hidden_layers");
    let local_base = keys.number(&reading.key(LOCAL_BASE))?.unwrap_or(GEMMA3_LOCAL_BASE);
    let window = keys.typed(&reading.key(WINDOW), "a whole number", Value::as_u64)?.filter(|&window| window > 0);
    let expected = format!("a whole number, or a list of {layers} truth values");
    let windowed = keys.typed(&reading.key(PATTERN), &expected, |value| match value {
        Value::Array(Array::Bool(windowed)) if windowed.len() as u64 == layers => Some(windowed.clone()),
        value => Some(gemma3_windowed(layers, value.as_u64()?)),
    })?;
    let windowed = windowed.unwrap_or_else(|| gemma3_windowed(layers, GEMMA3_INTERVAL));
    let kind = |windowed| if windowed && window.is_some() { "sliding_attention" } else { "full_attention" };
    let types: Vec<_> = windowed.into_iter().map(kind).collect();
    let [hidden, heads, head_dim] = ["hidden_size", "num_attention_heads", "head_dim"].map(|key| reading.known(key));
    reading.set("layer_types", types);
    reading.set("sliding_window", window);
    reading.set("rope_local_base_freq", local_base);
    reading.set("query_pre_attn_scalar", gemma3_scalar(layers, hidden, heads, head_dim));
    // Its layers with a window are not scaled, and have a base of their own.
    let scaling = reading.config.shift_remove("rope_scaling").unwrap_or_default();
    if !scaling.is_null() {
        reading.set("rope_scaling", scaling);
    }
    Ok(())
}

/// Which layers have a window, where every `interval`th has none; 0 is none that has none.
fn gemma3_windowed(layers: u64, interval: u64) -> Vec<bool> {
    (1..=layers).map(|layer| interval == 0 || !layer.is_multiple_of(interval)).collect()
}

pub(super) fn write_gemma3(writing: &mut Writing) -> Result<(), CheckpointError> {
    let config = writing.config;
    let scalar = writing.required("query_pre_attn_scalar")?;
    let sizes = [config.num_layers, config.hidden_size, config.num_heads, config.head_dim].map(|size| size as u64);
    let expected = gemma3_scalar(sizes[0], sizes[1], sizes[2], sizes[3]);
    if scalar != expected {
        return Err(refused(format!(
            "query_pre_attn_scalar is {scalar}, but llama.cpp takes {expected} for these sizes"
        )));
    }
    let window = writing.required("sliding_window")?;
    let local_base = writing.required("rope_local_base_freq")?;
    let windowed: Vec<bool> = (0..config.num_layers).map(|layer| config.window(layer).is_some()).collect();
    drop_layer_types(writing);
    if config.sliding_window.is_some() {
        writing.put(WINDOW, unsigned("sliding_window", &window)?);
        writing.put(PATTERN, Value::Array(Array::Bool(windowed)));
        writing.put(LOCAL_BASE, float("rope_local_base_freq", &local_base)?);
    }
    Ok(())
}

pub(super) fn read_phi3(reading: &mut Reading) -> Result<(), CheckpointError> {
    let keys = &reading.keys;
    let window = keys.typed(&reading.key(WINDOW), "a whole number", Value::as_u64)?.filter(|&window| window > 0);
    let head_dim = reading.known("head_dim");
    let width = keys.size(&reading.key("rope.dimension_count"))?.unwrap_or(head_dim);
    let attention_factor = keys.number(&reading.key(ATTENTION_FACTOR))?;
    let original = keys.size(&reading.key(ORIGINAL_CONTEXT))?;
    let factors = |tensor: &str| {
        let values = reading.file.values(tensor)?;
        Ok::<_, CheckpointError>(values.iter().map(|x| x.to_string().parse::<f64>()).collect::<Result<Vec<_>, _>>())
    };
    let mut scaling = None;
    if reading.has(LONG_FACTORS) || reading.has(SHORT_FACTORS) {
        let [Ok(short), Ok(long)] = [factors(SHORT_FACTORS)?, factors(LONG_FACTORS)?] else {
            return Err(reading.file.bad_tensor(LONG_FACTORS, "holds what is no number"));
        };
        let original = original.ok_or_else(|| keys.missing(&reading.key(ORIGINAL_CONTEXT)))?;
        let mut table = json!({ "type": "longrope", "short_factor": short, "long_factor": long });
        // Where it is what the configuration means by saying nothing, it says nothing.
        let usual = longrope_attention(reading.known("max_position_embeddings"), original);
        if let Some(factor) = attention_factor.filter(|factor| (factor - usual).abs() > 1e-6) {
            table["attention_factor"] = json!(factor);
        }
        scaling = Some((original, table));
    } else if attention_factor.is_some_and(|factor| factor != 1.0) {
        return Err(keys.bad(&reading.key(ATTENTION_FACTOR), "absent without tensors of factors"));
    }
    reading.set("sliding_window", window);
    if width != head_dim {
        // Rounded down when it is multiplied again.
        reading.set("partial_rotary_factor", (width as f64 / head_dim as f64).next_up());
    }
    if let Some((original, table)) = scaling {
        reading.set("original_max_position_embeddings", original);
        reading.set("rope_scaling", table);
    }
    Ok(())
}

/// What scores are scaled with in a context stretched from `original`.
fn longrope_attention(context: u64, original: u64) -> f64 {
    let stretch = context as f64 / original as f64;
    if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() }
}

pub(super) fn write_phi3(writing: &mut Writing) -> Result<(), CheckpointError> {
    if let Some(window) = writing.take("sliding_window") {
        writing.put(WINDOW, unsigned("sliding_window", &window)?);
        no_window(writing, &window);
    } else {
        writing.put(WINDOW, Value::U32(0));
    }
    drop_layer_types(writing);
    let context = writing.config.context_length as u64;
    let original = writing.take("original_max_position_embeddings");
    let long = writing.values.get("rope_scaling").is_some_and(|scaling| scaling["type"] == "longrope");
    if !long {
        writing.put(ORIGINAL_CONTEXT, Value::U32(context as u32));
        return Ok(());
    }
    let scaling = writing.required("rope_scaling")?;
    let original = original.and_then(|original| original.as_u64());
    let original = original.ok_or_else(|| refused("LongRoPE without an original context".to_owned()))?;
    writing.put(ORIGINAL_CONTEXT, Value::U32(original as u32));
    let factor = scaling["attention_factor"].as_f64().unwrap_or_else(|| longrope_attention(context, original));
    writing.put(ATTENTION_FACTOR, Value::F32(factor as f32));
    for (key, tensor) in [("long_factor", LONG_FACTORS), ("short_factor", SHORT_FACTORS)] {
        let factors: Option<Vec<f32>> =
            scaling[key].as_array().into_iter().flatten().map(|x| x.as_f64().map(|x| x as f32)).collect();
        writing.tensors.push((tensor, factors.ok_or_else(|| refused(format!("{key} is {}", scaling[key])))?));
    }
    Ok(())
}

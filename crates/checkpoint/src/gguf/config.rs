//! Metadata ↔ the keys of a `config.json`.

use llm_gguf::Value;
use llm_model::ModelConfig;
use serde_json::{Map, Value as Json, json};

use super::GgufFile;
use super::architecture::{ARCHITECTURES, Architecture};
use super::keys::Keys;
use super::rope::Llama3;
use crate::CheckpointError;
use crate::config::raw::RawConfig;
use crate::config::{published, resolve};

/// The tensor that scales rotary frequencies.
pub(super) const ROPE_FREQS: &str = "rope_freqs.weight";

/// Keys of `config.json` that do not change what a model computes, or that the tensors of a GGUF file tell.
const UNWRITTEN: [&str; 9] = [
    "attention_dropout",
    "embd_pdrop",
    "resid_pdrop",
    "attn_pdrop",
    "attention_bias",
    "mlp_bias",
    "vocab_size",
    "tie_word_embeddings",
    "num_key_value_heads",
];

/// The model that a file describes.
pub(super) fn read(file: &GgufFile, architecture: &Architecture) -> Result<ModelConfig, CheckpointError> {
    let keys = Keys::new(&file.path, file.gguf.metadata());
    let key = |name: &str| format!("{}.{name}", architecture.name);
    let has = |tensor: &str| file.gguf.tensors().contains_key(tensor);
    let mut config = Map::new();
    let mut set = |key: &str, value: Json| drop(config.insert(key.to_owned(), value));
    for (theirs, ours) in architecture.sizes {
        set(ours, json!(keys.required_size(&key(theirs))?));
    }
    let (theirs, ours) = architecture.epsilon;
    set(ours, json!(keys.required_number(&key(theirs))?));
    for (ours, value) in architecture.fixed {
        set(ours, json!(value));
    }
    let embedding = file.gguf.tensors().get("token_embd.weight");
    let Some([rows, _]) = embedding.map(|info| info.shape.as_slice()) else {
        return Err(file.bad_tensor("token_embd.weight", "is missing, or no matrix"));
    };
    set("vocab_size", json!(rows));
    set("tie_word_embeddings", json!(!has("output.weight")));
    set("attention_bias", json!(has("blk.0.attn_output.bias")));
    set("mlp_bias", json!(has("blk.0.ffn_down.bias")));
    // Older GPT-2 configurations mean a tenth where they say nothing.
    for dropout in ["embd_pdrop", "attn_pdrop", "resid_pdrop"] {
        set(dropout, json!(0.0));
    }
    let heads = keys.required_size(&key("attention.head_count"))?;
    set("num_key_value_heads", json!(keys.size(&key("attention.head_count_kv"))?.unwrap_or(heads)));
    let mut model_type = architecture.model_type;
    if architecture.rotary {
        let head_dim = head_dim(&keys, architecture, heads)?;
        set("head_dim", json!(head_dim));
        let theta = keys.number(&key("rope.freq_base"))?.unwrap_or(10_000.0);
        set("rope_theta", json!(theta));
        set("rope_scaling", scaling(file, &keys, architecture, theta, head_dim)?);
        if architecture.name == "llama"
            && let Some(window) = keys.size(&key("attention.sliding_window"))?
        {
            (model_type, ()) = ("mistral", set("sliding_window", json!(window)));
        }
    }
    set("model_type", json!(model_type));
    for unused in ["expert_count", "expert_used_count"] {
        keys.only_count(&key(unused), 0)?;
    }
    // It only repeats the number of rows, and files disagree on whether padding counts.
    keys.get(&key("vocab_size"));
    keys.all_read(&key(""))?;
    resolve(&RawConfig::new(&file.path, config))
}

fn head_dim(keys: &Keys, architecture: &Architecture, heads: u64) -> Result<u64, CheckpointError> {
    let key = |name: &str| format!("{}.{name}", architecture.name);
    let width = keys.required_size(&key("embedding_length"))?;
    let head_dim = match keys.size(&key("attention.key_length"))? {
        Some(head_dim) => head_dim,
        None if width.is_multiple_of(heads) => width / heads,
        None => return Err(keys.bad(&key("embedding_length"), &format!("a multiple of the {heads} heads"))),
    };
    keys.only_count(&key("attention.value_length"), head_dim)?;
    keys.only_count(&key("rope.dimension_count"), head_dim)?;
    Ok(head_dim)
}

/// `rope_scaling` of `config.json`.
fn scaling(
    file: &GgufFile,
    keys: &Keys,
    architecture: &Architecture,
    theta: f64,
    head_dim: u64,
) -> Result<Json, CheckpointError> {
    let key = |name: &str| format!("{}.rope.scaling.{name}", architecture.name);
    // They say how the model was trained, or belong to kinds that are not read.
    (keys.get(&key("original_context_length")), keys.get(&key("finetuned")));
    let factor = keys.number(&key("factor"))?.filter(|&factor| factor != 1.0);
    let linear = match (keys.text(&key("type"))?, factor) {
        (Some("none") | None, None) | (Some("linear"), None) => Json::Null,
        (Some("linear") | None, Some(factor)) => json!({"rope_type": "linear", "factor": factor}),
        (Some("none"), Some(_)) => return Err(keys.bad(&key("factor"), "absent, since rope.scaling.type is none")),
        (Some(_), _) => return Err(keys.bad(&key("type"), "\"none\" or \"linear\"")),
    };
    if !file.gguf.tensors().contains_key(ROPE_FREQS) {
        return Ok(linear);
    }
    let divisors = file.gguf.values(ROPE_FREQS).map_err(|source| file.damaged(source))?;
    if divisors.iter().all(|&divisor| divisor == 1.0) {
        return Ok(linear);
    }
    let settings = Llama3::from_divisors(&divisors, theta)
        .filter(|_| linear.is_null() && divisors.len() as u64 * 2 == head_dim)
        .ok_or_else(|| file.bad_tensor(ROPE_FREQS, "does not scale frequencies as Llama 3 does"))?;
    Ok(json!({
        "rope_type": "llama3",
        "factor": settings.factor,
        "low_freq_factor": settings.low,
        "high_freq_factor": settings.high,
        "original_max_position_embeddings": settings.context,
    }))
}

/// What a GGUF file says about a model.
pub(super) struct Description {
    pub architecture: &'static Architecture,
    pub metadata: Vec<(String, Value)>,
    /// The divisors of rotary frequencies, if they are scaled as Llama 3's.
    pub rope_freqs: Option<Vec<f32>>,
    /// What llama.cpp will not do.
    pub notes: Vec<String>,
}

/// Describes a model of `config`.
pub(super) fn write(config: &ModelConfig) -> Result<Description, CheckpointError> {
    let refused = CheckpointError::NotGguf;
    let family = published(config)
        .ok_or_else(|| refused("no published architecture computes what this model does".to_owned()))?;
    let mut values = Map::new();
    (family.write)(config, &mut values);
    let model_type = if family.model_type == "mistral" { "llama" } else { family.model_type };
    let architecture = ARCHITECTURES.iter().find(|architecture| architecture.model_type == model_type);
    let architecture = architecture.ok_or_else(|| refused(format!("the model type {model_type} is not written")))?;
    let mut keys = ConfigKeys { values, architecture, metadata: Vec::new() };

    for (theirs, ours) in architecture.sizes {
        let size = keys.take(ours)?;
        keys.put(theirs, unsigned(ours, &size)?);
    }
    keys.put("attention.head_count_kv", Value::U32(config.num_kv_heads as u32));
    let (theirs, ours) = architecture.epsilon;
    let epsilon = keys.take(ours)?;
    keys.put(theirs, float(ours, &epsilon)?);
    for (ours, only) in architecture.fixed {
        let value = keys.take(ours)?;
        if value != *only {
            return Err(refused(format!("{ours} is {value}, but llama.cpp computes {only:?} only")));
        }
    }
    let mut notes = Vec::new();
    let mut rope_freqs = None;
    if architecture.rotary {
        let head_dim = unsigned("head_dim", &keys.take("head_dim")?)?;
        for theirs in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
            keys.put(theirs, head_dim.clone());
        }
        let theta = keys.take("rope_theta")?;
        keys.put("rope.freq_base", float("rope_theta", &theta)?);
        let scaling = keys.values.shift_remove("rope_scaling").unwrap_or_default();
        rope_freqs = write_scaling(&mut keys, &scaling, &theta, config.head_dim)?;
        if let Some(window) = keys.values.shift_remove("sliding_window").filter(|window| !window.is_null()) {
            if architecture.name != "llama" {
                return Err(refused(format!("sliding_window is {window}, but llama.cpp has none for {model_type}")));
            }
            keys.put("attention.sliding_window", unsigned("sliding_window", &window)?);
            notes.push(format!(
                "llama.cpp has no sliding window for this architecture: beyond {window} tokens it differs"
            ));
        }
        // Said by `sliding_window`.
        keys.values.retain(|key, _| !matches!(key.as_str(), "use_sliding_window" | "max_window_layers"));
    }
    keys.put("vocab_size", Value::U32(config.vocab_size as u32));
    keys.values.retain(|key, _| !UNWRITTEN.contains(&key.as_str()));
    if let Some((key, value)) = keys.values.iter().find(|(_, value)| !value.is_null()) {
        return Err(refused(format!("{key} is {value}, for which GGUF has no key")));
    }
    Ok(Description { architecture, metadata: keys.metadata, rope_freqs, notes })
}

/// The keys of a `config.json` on their way into metadata.
struct ConfigKeys {
    /// What is yet to be written.
    values: Map<String, Json>,
    architecture: &'static Architecture,
    metadata: Vec<(String, Value)>,
}

impl ConfigKeys {
    fn take(&mut self, key: &str) -> Result<Json, CheckpointError> {
        self.values.shift_remove(key).ok_or_else(|| CheckpointError::NotGguf(format!("its configuration has no {key}")))
    }

    fn put(&mut self, key: &str, value: Value) {
        self.metadata.push((format!("{}.{key}", self.architecture.name), value));
    }
}

/// Writes a linear scaling; gives the divisors of Llama 3's.
fn write_scaling(
    keys: &mut ConfigKeys,
    scaling: &Json,
    theta: &Json,
    head_dim: usize,
) -> Result<Option<Vec<f32>>, CheckpointError> {
    let number = |key: &str| {
        let missing = || CheckpointError::NotGguf(format!("rope_scaling has no number {key}"));
        scaling[key].as_f64().ok_or_else(missing)
    };
    match scaling["rope_type"].as_str() {
        None => Ok(None),
        Some("linear") => {
            keys.put("rope.scaling.type", Value::String("linear".into()));
            keys.put("rope.scaling.factor", Value::F32(number("factor")? as f32));
            Ok(None)
        }
        Some("llama3") => {
            let settings = Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                context: number("original_max_position_embeddings")?,
            };
            let theta = theta.as_f64().unwrap_or(10_000.0);
            Ok(Some(settings.divisors(theta, head_dim)))
        }
        Some(other) => Err(CheckpointError::NotGguf(format!("rope_scaling has the type {other:?}"))),
    }
}

fn unsigned(key: &str, value: &Json) -> Result<Value, CheckpointError> {
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.map(Value::U32).ok_or_else(|| CheckpointError::NotGguf(format!("{key} is {value}")))
}

fn float(key: &str, value: &Json) -> Result<Value, CheckpointError> {
    let number = value.as_f64().map(|x| Value::F32(x as f32));
    number.ok_or_else(|| CheckpointError::NotGguf(format!("{key} is {value}")))
}

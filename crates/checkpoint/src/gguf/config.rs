//! Metadata ↔ the keys of a `config.json`: what all architectures share. What one has alone is in
//! [`families`](super::families).

use llm_gguf::Value;
use llm_model::{ModelConfig, Position};
use serde_json::{Map, Value as Json, json};

use super::GgufFile;
use super::architecture::{ARCHITECTURES, Architecture};
use super::keys::{Keys, Only};
use super::rope;
use crate::CheckpointError;
use crate::config::raw::RawConfig;
use crate::config::{published, resolve};

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

/// Keys that some programs write where they change nothing: by these values.
const NEUTRAL: [(&str, Only); 17] = [
    ("attention.causal", Only::Flag(true)),
    ("use_parallel_residual", Only::Flag(false)),
    ("expert_count", Only::Number(0.0)),
    ("expert_used_count", Only::Number(0.0)),
    ("expert_shared_count", Only::Number(0.0)),
    ("leading_dense_block_count", Only::Number(0.0)),
    ("nextn_predict_layers", Only::Number(0.0)),
    ("pooling_type", Only::Number(0.0)),
    ("attention.clamp_kqv", Only::Number(0.0)),
    ("attention.max_alibi_bias", Only::Number(0.0)),
    ("attn_logit_softcapping", Only::Number(0.0)),
    ("final_logit_softcapping", Only::Number(0.0)),
    ("embedding_scale", Only::Number(1.0)),
    ("residual_scale", Only::Number(1.0)),
    ("logit_scale", Only::Number(1.0)),
    ("rope.scale_linear", Only::Number(1.0)),
    ("rope.scaling.attn_factor", Only::Number(1.0)),
];

/// A file on its way into the keys of a `config.json`.
pub(super) struct Reading<'a> {
    pub file: &'a GgufFile,
    pub keys: Keys<'a>,
    architecture: &'a Architecture,
    /// The keys so far.
    pub config: Map<String, Json>,
}

impl Reading<'_> {
    /// A key of this architecture.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture.name)
    }

    /// Sets a key of `config.json`.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        self.config.insert(key.to_owned(), value.into());
    }

    /// Whether the file has a tensor.
    pub fn has(&self, tensor: &str) -> bool {
        self.file.info(tensor).is_some()
    }

    /// A size that has been read already.
    pub fn known(&self, key: &str) -> u64 {
        self.config.get(key).and_then(Json::as_u64).unwrap_or(1)
    }
}

/// The model that a file describes.
pub(super) fn read(file: &GgufFile, architecture: &Architecture) -> Result<ModelConfig, CheckpointError> {
    let keys = Keys::new(&file.path, file.metadata());
    let mut reading = Reading { file, keys, architecture, config: Map::new() };
    for (theirs, ours) in architecture.sizes {
        let size = reading.keys.required_size(&reading.key(theirs))?;
        // Families make lists of their layers.
        if *theirs == "block_count" && size > ModelConfig::MOST_LAYERS as u64 {
            return Err(reading.keys.bad(&reading.key(theirs), &format!("at most {}", ModelConfig::MOST_LAYERS)));
        }
        reading.set(ours, size);
    }
    let (theirs, ours) = architecture.epsilon;
    let epsilon = reading.keys.required_number(&reading.key(theirs))?;
    reading.set(ours, epsilon);
    for (ours, value) in architecture.fixed {
        reading.set(ours, *value);
    }
    let embedding = file.info("token_embd.weight");
    let Some([rows, _]) = embedding.map(|info| info.shape.as_slice()) else {
        return Err(file.bad_tensor("token_embd.weight", "is missing, or no matrix"));
    };
    reading.set("vocab_size", *rows);
    let tied = !reading.has("output.weight");
    reading.set("tie_word_embeddings", tied);
    for (key, bias) in [("attention_bias", "blk.0.attn_output.bias"), ("mlp_bias", "blk.0.ffn_down.bias")] {
        let has = reading.has(bias);
        reading.set(key, has);
    }
    // GPT-2's configuration means a tenth where it says nothing.
    for dropout in ["embd_pdrop", "attn_pdrop", "resid_pdrop"] {
        reading.set(dropout, 0.0);
    }
    reading.set("model_type", architecture.model_type);
    let heads = reading.keys.required_size(&reading.key("attention.head_count"))?;
    let kv_heads = reading.keys.size(&reading.key("attention.head_count_kv"))?.unwrap_or(heads);
    reading.set("num_key_value_heads", kv_heads);
    if architecture.rotary {
        let head_dim = head_dim(&reading, heads)?;
        reading.set("head_dim", head_dim);
        rope::read(&mut reading)?;
    }
    (architecture.read)(&mut reading)?;
    for (key, value) in NEUTRAL {
        reading.keys.only_unread(&reading.key(key), value)?;
    }
    // It says which way the rows of queries and keys lie, and there is one way for each architecture.
    let layout = reading.key("tensor_data_layout");
    reading.keys.typed(&layout, "\"reference\" or \"Meta AI original pth\"", |value| {
        value.as_str().filter(|layout| ["reference", "Meta AI original pth"].contains(layout))
    })?;
    if architecture.rotary {
        // Architectures that rotate a part of a head have read it.
        reading
            .keys
            .only_unread(&reading.key("rope.dimension_count"), Only::Number(reading.known("head_dim") as f64))?;
    }
    // It only repeats the number of rows, and files disagree on whether padding counts.
    reading.keys.get(&reading.key("vocab_size"));
    reading.keys.all_read(&reading.key(""))?;
    resolve(&RawConfig::new(&file.path, reading.config))
}

fn head_dim(reading: &Reading, heads: u64) -> Result<u64, CheckpointError> {
    let keys = &reading.keys;
    let width_key = reading.key("embedding_length");
    let width = keys.required_size(&width_key)?;
    let head_dim = match keys.size(&reading.key("attention.key_length"))? {
        Some(head_dim) => head_dim,
        None if width.is_multiple_of(heads) => width / heads,
        None => return Err(keys.bad(&width_key, &format!("a multiple of the {heads} heads"))),
    };
    keys.only_unread(&reading.key("attention.value_length"), Only::Number(head_dim as f64))?;
    Ok(head_dim)
}

/// The keys of a `config.json` on their way into a file.
pub(super) struct Writing<'a> {
    pub config: &'a ModelConfig,
    pub architecture: &'static Architecture,
    /// What is yet to be written.
    pub values: Map<String, Json>,
    pub metadata: Vec<(String, Value)>,
    /// Tensors that are settings and not weights.
    pub tensors: Vec<(&'static str, Vec<f32>)>,
    /// What llama.cpp will not do.
    pub notes: Vec<String>,
}

impl Writing<'_> {
    /// Takes a key, if it is there and not null.
    pub fn take(&mut self, key: &str) -> Option<Json> {
        self.values.shift_remove(key).filter(|value| !value.is_null())
    }

    /// Takes a key that the family always writes.
    pub fn required(&mut self, key: &str) -> Result<Json, CheckpointError> {
        self.take(key).ok_or_else(|| refused(format!("its configuration has no {key}")))
    }

    /// Sets a key of this architecture.
    pub fn put(&mut self, key: &str, value: Value) {
        self.metadata.push((format!("{}.{key}", self.architecture.name), value));
    }
}

/// The error of what GGUF has no place for.
pub(super) fn refused(what: String) -> CheckpointError {
    CheckpointError::NotGguf(what)
}

/// What makes a model of `config` one that nobody has published.
fn parts(config: &ModelConfig) -> String {
    let name = |value: Json| value.as_str().unwrap_or_default().to_owned();
    let [norm, feed_forward] = [json!(config.norm), json!(config.feed_forward)].map(name);
    let position = if config.position == Position::Learned { "learned" } else { "rotary" };
    let qk_norm = if config.qk_norm.is_some() { ", normalized queries and keys" } else { "" };
    format!("{norm} with {position} positions{qk_norm} and a feed-forward network of the kind {feed_forward}")
}

/// Describes a model of `config`.
pub(super) fn write(config: &ModelConfig) -> Result<Writing<'_>, CheckpointError> {
    let family = published(config);
    let family = family.ok_or_else(|| CheckpointError::Unpublished(parts(config)))?;
    let mut values = Map::new();
    (family.write)(config, &mut values);
    let model_type = if family.model_type == "mistral" { "llama" } else { family.model_type };
    let architecture = ARCHITECTURES.iter().find(|architecture| architecture.model_type == model_type);
    let architecture = architecture.ok_or_else(|| refused(format!("the model type {model_type} is not written")))?;
    let mut writing =
        Writing { config, architecture, values, metadata: Vec::new(), tensors: Vec::new(), notes: Vec::new() };

    for (theirs, ours) in architecture.sizes {
        let size = writing.required(ours)?;
        writing.put(theirs, unsigned(ours, &size)?);
    }
    writing.put("attention.head_count_kv", Value::U32(config.num_kv_heads as u32));
    let (theirs, ours) = architecture.epsilon;
    let epsilon = writing.required(ours)?;
    writing.put(theirs, float(ours, &epsilon)?);
    for (ours, only) in architecture.fixed {
        let value = writing.required(ours)?;
        if value != *only {
            return Err(refused(format!("{ours} is {value}, but llama.cpp computes {only:?} only")));
        }
    }
    if architecture.rotary {
        let head_dim = writing.required("head_dim")?;
        for theirs in ["attention.key_length", "attention.value_length"] {
            writing.put(theirs, unsigned("head_dim", &head_dim)?);
        }
    }
    (architecture.write)(&mut writing)?;
    if architecture.rotary {
        rope::write(&mut writing)?;
    }
    writing.put("vocab_size", Value::U32(config.vocab_size as u32));
    writing.values.retain(|key, value| !UNWRITTEN.contains(&key.as_str()) && !value.is_null());
    match writing.values.iter().next() {
        Some((key, value)) => Err(refused(format!("{key} is {value}, for which GGUF has no key"))),
        None => Ok(writing),
    }
}

/// A whole number of `config.json` as GGUF has them.
pub(super) fn unsigned(key: &str, value: &Json) -> Result<Value, CheckpointError> {
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.map(Value::U32).ok_or_else(|| refused(format!("{key} is {value}")))
}

/// A number of `config.json` as GGUF has them.
pub(super) fn float(key: &str, value: &Json) -> Result<Value, CheckpointError> {
    value.as_f64().map(|x| Value::F32(x as f32)).ok_or_else(|| refused(format!("{key} is {value}")))
}

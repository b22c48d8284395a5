//! Metadata ↔ the keys of a `config.json`: what all architectures share. What one has alone is on its page in
//! [`families`](crate::families).

use llm_gguf::Value;
use llm_model::{ModelConfig, Position};
use serde_json::{Map, Value as Json, json};

use super::description::{Architecture, Reading, Writing, float, refused, unsigned};
use super::file::GgufFile;
use super::rope;
use crate::CheckpointError;
use crate::families::{self, FAMILIES, Page};
use crate::keys::{GgufKeys, Only, one_of};

/// Keys of `config.json` that do not change what a model computes, or that follow from the tensors of a GGUF file.
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

/// The family of a file's model.
fn family(keys: &GgufKeys) -> Result<&'static Page, CheckpointError> {
    const KEY: &str = "general.architecture";
    let name = keys.required(KEY, keys.text(KEY)?)?;
    let of_name = || FAMILIES.iter().filter(|page| page.gguf.name == name);
    let is_there = |key: String| keys.get(&key).is_some_and(|value| value.as_u64() != Some(0));
    let marked = of_name().find(|page| page.gguf.mark.is_some_and(|key| is_there(format!("{name}.{key}"))));
    marked.or_else(|| of_name().find(|page| page.gguf.mark.is_none())).ok_or_else(|| {
        let unmarked = FAMILIES.iter().filter(|page| page.gguf.mark.is_none());
        let known: Vec<_> = unmarked.map(|page| format!("{:?}", page.gguf.name)).collect();
        keys.bad(KEY, &one_of(&known))
    })
}

/// How a file stores its model.
pub(super) fn architecture(file: &GgufFile) -> Result<&'static Architecture, CheckpointError> {
    family(&file.keys()).map(|page| &page.gguf)
}

/// The model that a file describes.
pub(crate) fn read(file: &GgufFile) -> Result<ModelConfig, CheckpointError> {
    let page = family(&file.keys())?;
    let architecture = &page.gguf;
    let mut reading = Reading::new(file, architecture);
    reading.set("model_type", page.model_type);
    read_sizes(&mut reading, architecture)?;
    read_tensors(&mut reading)?;
    for (ours, value) in architecture.fixed {
        reading.set(ours, *value);
    }
    // GPT-2's configuration means a tenth where it says nothing.
    for dropout in ["embd_pdrop", "attn_pdrop", "resid_pdrop"] {
        reading.set(dropout, 0.0);
    }
    if architecture.rotary {
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
    families::resolve(&reading.finish())
}

/// Reads the sizes and the epsilon.
fn read_sizes(reading: &mut Reading, architecture: &Architecture) -> Result<(), CheckpointError> {
    for (theirs, ours) in architecture.sizes {
        let size = reading.keys.required_size(&reading.key(theirs))?;
        // Families make lists of their layers.
        if *theirs == "block_count" && size > ModelConfig::MOST_LAYERS {
            return Err(reading.keys.bad(&reading.key(theirs), &format!("at most {}", ModelConfig::MOST_LAYERS)));
        }
        reading.set_from(ours, theirs, size);
    }
    let (theirs, ours) = architecture.epsilon;
    let epsilon = reading.keys.required_number(&reading.key(theirs))?;
    reading.set_from(ours, theirs, epsilon);
    let heads = reading.keys.required_size(&reading.key("attention.head_count"))?;
    let kv_heads = reading.keys.size(&reading.key("attention.head_count_kv"))?.unwrap_or(heads);
    reading.set_from("num_key_value_heads", "attention.head_count_kv", kv_heads);
    if architecture.rotary {
        let head_dim = head_dim(reading, heads)?;
        reading.set_from("head_dim", "attention.key_length", head_dim);
    }
    Ok(())
}

/// Reads what follows from the tensors: the vocabulary, whether the head is the embedding, which biases there are.
fn read_tensors(reading: &mut Reading) -> Result<(), CheckpointError> {
    const EMBEDDING: &str = "token_embd.weight";
    let shape = reading.file.info(EMBEDDING).map(|info| info.shape.as_slice());
    let Some([rows, _]) = shape else {
        return Err(reading.file.bad_tensor(EMBEDDING, "is missing, or no matrix"));
    };
    reading.set("vocab_size", *rows);
    let tied = !reading.has("output.weight");
    reading.set("tie_word_embeddings", tied);
    for (key, bias) in [("attention_bias", "blk.0.attn_output.bias"), ("mlp_bias", "blk.0.ffn_down.bias")] {
        let has = reading.has(bias);
        reading.set(key, has);
    }
    Ok(())
}

fn head_dim(reading: &Reading, heads: usize) -> Result<usize, CheckpointError> {
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
    let page = families::published(config).ok_or_else(|| CheckpointError::Unpublished(parts(config)))?;
    let mut values = Map::new();
    (page.write)(config, &mut values);
    let architecture = &page.gguf;
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

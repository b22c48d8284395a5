//! Granite (`GraniteForCausalLM`): Llama, where constants scale embeddings, attention scores, what is added to the
//! residual stream, and logits.

use llm_model::{Family, ModelConfig, Multipliers};
use serde_json::json;

use super::{Page, llama, rope, same};
use crate::CheckpointError;
use crate::gguf::description::{Architecture, Reading, Writing, float};
use crate::keys::JsonKeys;

const EMBEDDING: &str = "embedding_multiplier";
const ATTENTION: &str = "attention_multiplier";
const RESIDUAL: &str = "residual_multiplier";
const LOGITS: &str = "logits_scaling";
/// The same in GGUF.
const IN_GGUF: [(&str, &str); 4] = [
    (EMBEDDING, "embedding_scale"),
    (ATTENTION, "attention.scale"),
    (RESIDUAL, "residual_scale"),
    (LOGITS, "logit_scale"),
];

pub(super) const PAGE: Page = Page {
    family: Family::Granite,
    model_type: "granite",
    class: "GraniteForCausalLM",
    read: |keys| {
        let mut config = llama::read(keys, Family::Granite, rope::resolve(keys, rope::DEFAULT_THETA)?)?;
        llama::read_attention_bias(keys, &mut config)?;
        config.mlp_bias = keys.flag("mlp_bias")?.unwrap_or(false);
        config.multipliers = multipliers(keys, config.head_dim)?;
        Ok(config)
    },
    write: |config, keys| {
        llama::write(config, keys);
        llama::write_attention_bias(config, keys);
        let Multipliers { embedding, attention, residual, logits_divisor } = config.multipliers;
        let attention = attention.unwrap_or_else(|| usual(config.head_dim));
        keys.insert("mlp_bias".into(), json!(config.mlp_bias));
        for (key, value) in
            [(EMBEDDING, embedding), (ATTENTION, attention), (RESIDUAL, residual), (LOGITS, logits_divisor)]
        {
            keys.insert(key.into(), json!(value));
        }
    },
    refuses: other_heads,
    place: same,
    gguf: Architecture { name: "granite", read: read_gguf, write: write_gguf, ..llama::GGUF },
    whole: None,
};

/// Heads that are not as wide as the model and their number make them, which llama.cpp does not know of.
fn other_heads(config: &ModelConfig) -> bool {
    config.head_dim * config.num_heads != config.hidden_size
}

/// What scores are multiplied by in most models.
fn usual(head_dim: usize) -> f64 {
    1.0 / (head_dim as f64).sqrt()
}

fn multipliers(keys: &JsonKeys, head_dim: usize) -> Result<Multipliers, CheckpointError> {
    let number = |key| Ok::<_, CheckpointError>(keys.number(key)?.unwrap_or(1.0));
    // What a number of a few digits, or of 32 bits, can say.
    let is_usual = |scale: f64| (scale / usual(head_dim) - 1.0).abs() < 1e-6;
    Ok(Multipliers {
        embedding: number(EMBEDDING)?,
        attention: Some(number(ATTENTION)?).filter(|&scale| !is_usual(scale)),
        residual: number(RESIDUAL)?,
        logits_divisor: number(LOGITS)?,
    })
}

fn read_gguf(reading: &mut Reading) -> Result<(), CheckpointError> {
    // Without one, llama.cpp takes the usual.
    reading.set(ATTENTION, usual(reading.known("head_dim")));
    for (ours, theirs) in IN_GGUF {
        if let Some(value) = reading.keys.number(&reading.key(theirs))? {
            reading.set_from(ours, theirs, value);
        }
    }
    // Here it says whether positions are rotated.
    let rotates = reading.key("rope.scaling.finetuned");
    if reading.keys.flag(&rotates)? == Some(false) {
        return Err(reading.keys.bad(&rotates, "true; without rotary positions Granite is not computed"));
    }
    Ok(())
}

fn write_gguf(writing: &mut Writing) -> Result<(), CheckpointError> {
    for (ours, theirs) in IN_GGUF {
        let value = writing.required(ours)?;
        writing.put(theirs, float(ours, &value)?);
    }
    writing.refuse_window()
}

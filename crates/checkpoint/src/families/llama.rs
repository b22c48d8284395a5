//! Llama 1 to 3 (`LlamaForCausalLM`) and the many models that use its code; and the keys that all who descend from it share.

use llm_model::{Dropout, Family, FeedForwardKind, ModelConfig, Position, Sizes};
use serde_json::{Map, Value, json};

use super::{Page, rope, same};
use crate::CheckpointError;
use crate::gguf::description::Architecture;
use crate::keys::JsonKeys;

pub(super) const PAGE: Page = Page {
    family: Family::Llama,
    model_type: "llama",
    class: "LlamaForCausalLM",
    read: |keys| {
        let mut config = read(keys, Family::Llama, rope::resolve(keys, rope::DEFAULT_THETA)?)?;
        read_attention_bias(keys, &mut config)?;
        config.mlp_bias = keys.flag("mlp_bias")?.unwrap_or(false);
        Ok(config)
    },
    write: |config, keys| {
        write(config, keys);
        write_attention_bias(config, keys);
        keys.insert("mlp_bias".into(), json!(config.mlp_bias));
    },
    refuses: uneven_heads,
    place: same,
    gguf: GGUF,
    whole: None,
};

/// How Llama, Mistral and others are stored in GGUF.
pub(super) const GGUF: Architecture = Architecture { name: "llama", interleaved: true, ..Architecture::PLAIN };

/// What `LlamaConfig` and its heirs refuse, even where `head_dim` says what is meant.
pub(super) fn uneven_heads(config: &ModelConfig) -> bool {
    !config.hidden_size.is_multiple_of(config.num_heads)
}

/// `hidden_act` by its meaning as the gate; the first name of each is the one that is written.
pub(super) const GATES: [(&str, FeedForwardKind); 6] = [
    ("silu", FeedForwardKind::SwiGlu),
    ("swish", FeedForwardKind::SwiGlu),
    ("gelu_pytorch_tanh", FeedForwardKind::GeGlu),
    ("gelu_new", FeedForwardKind::GeGlu),
    ("gelu_fast", FeedForwardKind::GeGlu),
    ("gelu_python_tanh", FeedForwardKind::GeGlu),
];

/// What all who descend from Llama share, without biases and windows.
pub(super) fn read(keys: &JsonKeys, family: Family, position: Position) -> Result<ModelConfig, CheckpointError> {
    let [hidden_size, num_heads] = [keys.required_size("hidden_size")?, keys.required_size("num_attention_heads")?];
    let stated = keys.required_size("max_position_embeddings")?;
    let head_dim = keys.size("head_dim")?;
    if head_dim.is_none() {
        keys.multiple("hidden_size", hidden_size, "num_attention_heads", num_heads)?;
    }
    let num_kv_heads = keys.size("num_key_value_heads")?.unwrap_or(num_heads);
    keys.multiple("num_attention_heads", num_heads, "num_key_value_heads", num_kv_heads)?;
    let probability = |key| Ok::<_, CheckpointError>(keys.probability(key)?.unwrap_or(0.0));
    let sizes = Sizes {
        vocab_size: keys.required_size("vocab_size")?,
        context_length: match &position {
            Position::Rotary(rotary) => rotary.scaling.context_length(stated),
            Position::Learned => stated,
        },
        hidden_size,
        num_layers: keys.required_size("num_hidden_layers")?,
        num_heads,
        sliding_window: None,
    };
    let base = family.config(sizes);
    Ok(ModelConfig {
        num_kv_heads,
        head_dim: head_dim.unwrap_or(base.head_dim),
        intermediate_size: keys.required_size("intermediate_size")?,
        norm_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
        position,
        local_rotary: None,
        unrotated_layers: Vec::new(),
        feed_forward: keys.choice("hidden_act", &GATES)?.unwrap_or(FeedForwardKind::SwiGlu),
        tied: keys.flag("tie_word_embeddings")?.unwrap_or(false),
        // The published code knows the second only; the others are ours and do not change what a model computes.
        dropout: Dropout {
            embedding: probability("embd_pdrop")?,
            attention: probability("attention_dropout")?,
            residual: probability("resid_pdrop")?,
        },
        ..base
    })
}

/// Reads the biases of all four matrices of attention.
pub(super) fn read_attention_bias(keys: &JsonKeys, config: &mut ModelConfig) -> Result<(), CheckpointError> {
    let biases = keys.flag("attention_bias")?.unwrap_or(false);
    (config.qkv_bias, config.attention_output_bias) = (biases, biases);
    Ok(())
}

/// Writes the biases of all four matrices of attention.
pub(super) fn write_attention_bias(config: &ModelConfig, keys: &mut Map<String, Value>) {
    keys.insert("attention_bias".into(), json!(config.qkv_bias));
}

/// The keys that all who descend from Llama share.
pub(super) fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    let gate = GATES.iter().find(|(_, kind)| *kind == config.feed_forward).map(|(name, _)| *name);
    keys.extend([
        ("max_position_embeddings".to_owned(), json!(rope::stated_context(config))),
        ("hidden_size".to_owned(), json!(config.hidden_size)),
        ("num_hidden_layers".to_owned(), json!(config.num_layers)),
        ("num_attention_heads".to_owned(), json!(config.num_heads)),
        ("num_key_value_heads".to_owned(), json!(config.num_kv_heads)),
        ("head_dim".to_owned(), json!(config.head_dim)),
        ("intermediate_size".to_owned(), json!(config.intermediate_size)),
        ("hidden_act".to_owned(), json!(gate)),
        ("rms_norm_eps".to_owned(), json!(config.norm_eps)),
        ("attention_dropout".to_owned(), json!(config.dropout.attention)),
    ]);
    for (key, probability) in [("embd_pdrop", config.dropout.embedding), ("resid_pdrop", config.dropout.residual)] {
        if probability != 0.0 {
            keys.insert(key.into(), json!(probability));
        }
    }
    rope::write(&config.position, keys);
}

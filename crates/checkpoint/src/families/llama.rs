//! Llama and what descends from it: one set of keys and names, which are ours too; they differ in a few choices.

use llm_model::{
    Dropout, Family as Architecture, FeedForwardKind, ModelConfig, NormKind, NormPlacement, Position, QkNorm,
    RopeScaling, Rotary,
};
use serde_json::{Map, Value, json};

use super::{Family, plain, same};
use crate::CheckpointError;
use crate::config::raw::RawConfig;
use crate::config::{layers, rope};

/// Llama 1 to 3 and the many models that use its code.
pub(crate) const LLAMA: Family = Family {
    model_type: "llama",
    name: Architecture::Llama,
    architecture: "LlamaForCausalLM",
    resolve: |raw| {
        let mut config = resolve(raw, Architecture::Llama, rope::resolve(raw, rope::DEFAULT_THETA)?)?;
        let biases = raw.flag("attention_bias")?.unwrap_or(false);
        (config.qkv_bias, config.attention_output_bias) = (biases, biases);
        config.mlp_bias = raw.flag("mlp_bias")?.unwrap_or(false);
        Ok(config)
    },
    represents: |config| {
        decoder(config)
            && config.qk_norm.is_none()
            && config.sliding_window.is_none()
            && config.qkv_bias == config.attention_output_bias
            // `LlamaConfig` refuses other widths, even where `head_dim` says what is meant.
            && config.hidden_size.is_multiple_of(config.num_heads)
    },
    write: |config, keys| {
        write(config, keys);
        keys.insert("attention_bias".into(), json!(config.qkv_bias));
        keys.insert("mlp_bias".into(), json!(config.mlp_bias));
    },
    place: same,
};

/// Mistral 7B: Llama in which every layer sees a window.
pub(crate) const MISTRAL: Family = Family {
    model_type: "mistral",
    name: Architecture::Mistral,
    architecture: "MistralForCausalLM",
    resolve: |raw| {
        raw.required_size("num_key_value_heads")?;
        let mut config = resolve(raw, Architecture::Mistral, rope::resolve(raw, rope::DEFAULT_THETA)?)?;
        // `null` is no window; where nothing is written, 4096 is meant.
        let window = if raw.has("sliding_window") { raw.size("sliding_window")? } else { Some(4096) };
        let all = layers::all(config.num_layers).collect();
        layers::set_window(&mut config, window, all);
        Ok(config)
    },
    represents: |config| {
        decoder(config)
            && config.qk_norm.is_none()
            && !config.mlp_bias
            && !config.qkv_bias
            && !config.attention_output_bias
            && layers::uniform(config)
    },
    write: |config, keys| {
        write(config, keys);
        keys.insert("sliding_window".into(), json!(config.sliding_window));
    },
    place: same,
};

/// Qwen 2 and 2.5: biases on queries, keys and values. With `AutoTokenizer`, transformers 5 splits the text of every
/// model of this type by Qwen's own rule; `PreTrainedTokenizerFast` goes by `tokenizer.json`.
pub(crate) const QWEN2: Family = Family {
    model_type: "qwen2",
    name: Architecture::Qwen2,
    architecture: "Qwen2ForCausalLM",
    resolve: |raw| {
        raw.required_size("num_key_value_heads")?;
        let mut config = resolve(raw, Architecture::Qwen2, rope::resolve(raw, rope::DEFAULT_THETA)?)?;
        config.qkv_bias = true;
        resolve_layers(raw, config)
    },
    represents: |config| {
        decoder(config)
            && config.qk_norm.is_none()
            && !config.mlp_bias
            && config.qkv_bias
            && !config.attention_output_bias
    },
    write: |config, keys| {
        write(config, keys);
        write_layers(config, keys);
    },
    place: same,
};

/// Qwen3: normalized queries and keys.
pub(crate) const QWEN3: Family = Family {
    model_type: "qwen3",
    name: Architecture::Qwen3,
    architecture: "Qwen3ForCausalLM",
    resolve: |raw| {
        raw.required_size("num_key_value_heads")?;
        let mut config = resolve(raw, Architecture::Qwen3, rope::resolve(raw, rope::DEFAULT_THETA)?)?;
        config.qk_norm = Some(QkNorm::Head);
        config.head_dim = raw.size("head_dim")?.unwrap_or(128);
        let biases = raw.flag("attention_bias")?.unwrap_or(false);
        (config.qkv_bias, config.attention_output_bias) = (biases, biases);
        resolve_layers(raw, config)
    },
    represents: |config| {
        decoder(config)
            && config.qk_norm == Some(QkNorm::Head)
            && !config.mlp_bias
            && config.qkv_bias == config.attention_output_bias
    },
    write: |config, keys| {
        write(config, keys);
        keys.insert("attention_bias".into(), json!(config.qkv_bias));
        write_layers(config, keys);
    },
    place: same,
};

/// `hidden_act` by its meaning as the gate; the first name of each is the one that is written.
pub(super) const GATES: [(&str, FeedForwardKind); 6] = [
    ("silu", FeedForwardKind::SwiGlu),
    ("swish", FeedForwardKind::SwiGlu),
    ("gelu_pytorch_tanh", FeedForwardKind::GeGlu),
    ("gelu_new", FeedForwardKind::GeGlu),
    ("gelu_fast", FeedForwardKind::GeGlu),
    ("gelu_python_tanh", FeedForwardKind::GeGlu),
];

/// What all members share, without biases and windows.
pub(super) fn resolve(
    raw: &RawConfig,
    family: Architecture,
    position: Position,
) -> Result<ModelConfig, CheckpointError> {
    let [hidden_size, num_heads] = [raw.required_size("hidden_size")?, raw.required_size("num_attention_heads")?];
    let stated = raw.required_size("max_position_embeddings")?;
    let head_dim = raw.size("head_dim")?;
    if head_dim.is_none() {
        raw.multiple("hidden_size", hidden_size, "num_attention_heads", num_heads)?;
    }
    let num_kv_heads = raw.size("num_key_value_heads")?.unwrap_or(num_heads);
    raw.multiple("num_attention_heads", num_heads, "num_key_value_heads", num_kv_heads)?;
    let probability = |key| Ok::<_, CheckpointError>(raw.probability(key)?.unwrap_or(0.0));
    Ok(ModelConfig {
        family,
        vocab_size: raw.required_size("vocab_size")?,
        context_length: match &position {
            Position::Rotary(rotary) => rotary.scaling.context_length(stated),
            Position::Learned => stated,
        },
        hidden_size,
        num_layers: raw.required_size("num_hidden_layers")?,
        num_heads,
        num_kv_heads,
        head_dim: head_dim.unwrap_or(hidden_size / num_heads),
        intermediate_size: raw.required_size("intermediate_size")?,
        norm: NormKind::RmsNorm,
        norm_eps: raw.number("rms_norm_eps")?.unwrap_or(1e-6),
        norm_placement: NormPlacement::Before,
        scaled_embedding: false,
        position,
        local_rotary: None,
        unrotated_layers: Vec::new(),
        qkv_bias: false,
        attention_output_bias: false,
        mlp_bias: false,
        qk_norm: None,
        query_pre_attn_scalar: None,
        sliding_window: None,
        windowed_layers: Vec::new(),
        feed_forward: raw.choice("hidden_act", &GATES)?.unwrap_or(FeedForwardKind::SwiGlu),
        tied: raw.flag("tie_word_embeddings")?.unwrap_or(false),
        // The published code knows the second only; the others are ours and do not change what a model computes.
        dropout: Dropout {
            embedding: probability("embd_pdrop")?,
            attention: probability("attention_dropout")?,
            residual: probability("resid_pdrop")?,
        },
    })
}

/// The window of Qwen: from layer `max_window_layers` on, or where `layer_types` says so.
fn resolve_layers(raw: &RawConfig, mut config: ModelConfig) -> Result<ModelConfig, CheckpointError> {
    if !raw.flag("use_sliding_window")?.unwrap_or(false) {
        raw.texts("layer_types")?.map_or(Ok(()), |types| {
            let windowed = types.iter().any(|layer| layer != "full_attention");
            if windowed {
                Err(raw.bad("use_sliding_window", "true, because layer_types has other layers"))
            } else {
                Ok(())
            }
        })?;
        return Ok(config);
    }
    // `null` is no window; where nothing is written, 4096 is meant.
    let window = if raw.has("sliding_window") { raw.size("sliding_window")? } else { Some(4096) };
    let windowed = match layers::windowed(raw, config.num_layers)? {
        Some(windowed) => windowed,
        None => layers::all(config.num_layers).skip(raw.count("max_window_layers")?.unwrap_or(28)).collect(),
    };
    layers::set_window(&mut config, window, windowed);
    Ok(config)
}

fn write_layers(config: &ModelConfig, keys: &mut Map<String, Value>) {
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

/// Whether `config` is of this kind at all.
fn decoder(config: &ModelConfig) -> bool {
    plain(config)
        && config.norm == NormKind::RmsNorm
        && matches!(config.position, Position::Rotary(_))
        && config.feed_forward.gated()
}

/// Whether a rotation of `config` is one that the code of Llama knows.
pub(super) fn scaled_as_llama(config: &ModelConfig, rotary: &Rotary) -> bool {
    rotary.width.is_none()
        && !matches!(rotary.scaling, RopeScaling::LongRope { .. })
        && rope::keeps_context(config, rotary)
}

/// The keys that all members share.
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

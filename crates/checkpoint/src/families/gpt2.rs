//! GPT-2 (`GPT2LMHeadModel`). Its linear layers are stored as `(in, out)`, queries, keys and values as one.

use llm_model::{Dropout, Family as Architecture, FeedForwardKind, ModelConfig, NormKind, NormPlacement, Position};
use serde_json::{Map, Value, json};

use super::{Family, Part, Place, plain};
use crate::CheckpointError;
use crate::config::raw::RawConfig;

pub(crate) const GPT2: Family = Family {
    model_type: "gpt2",
    family: Architecture::Gpt2,
    architecture: "GPT2LMHeadModel",
    resolve,
    represents,
    write,
    place,
};

/// `activation_function` by its meaning; the first name of each is the one that is written.
const ACTIVATIONS: [(&str, FeedForwardKind); 6] = [
    ("gelu", FeedForwardKind::Gelu),
    ("gelu_new", FeedForwardKind::GeluTanh),
    ("gelu_pytorch_tanh", FeedForwardKind::GeluTanh),
    ("gelu_fast", FeedForwardKind::GeluTanh),
    ("gelu_python_tanh", FeedForwardKind::GeluTanh),
    ("relu2", FeedForwardKind::Relu2),
];

fn resolve(raw: &RawConfig) -> Result<ModelConfig, CheckpointError> {
    raw.only("scale_attn_weights", &json!(true))?;
    raw.only("scale_attn_by_inverse_layer_idx", &json!(false))?;
    raw.only("add_cross_attention", &json!(false))?;
    let [hidden_size, num_heads] = [raw.required_size("n_embd")?, raw.required_size("n_head")?];
    raw.multiple("n_embd", hidden_size, "n_head", num_heads)?;
    // Where a probability is not written, GPT-2's is meant.
    let probability = |key| Ok::<_, CheckpointError>(raw.probability(key)?.unwrap_or(0.1));
    Ok(ModelConfig {
        family: Architecture::Gpt2,
        vocab_size: raw.required_size("vocab_size")?,
        context_length: raw.required_size("n_positions")?,
        hidden_size,
        num_layers: raw.required_size("n_layer")?,
        num_heads,
        num_kv_heads: num_heads,
        head_dim: hidden_size / num_heads,
        intermediate_size: raw.size("n_inner")?.unwrap_or(4 * hidden_size),
        norm: NormKind::LayerNorm,
        norm_eps: raw.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        norm_placement: NormPlacement::Before,
        scaled_embedding: false,
        position: Position::Learned,
        local_rotary: None,
        unrotated_layers: Vec::new(),
        qkv_bias: true,
        attention_output_bias: true,
        mlp_bias: true,
        qk_norm: None,
        query_pre_attn_scalar: None,
        sliding_window: None,
        windowed_layers: Vec::new(),
        feed_forward: raw.choice("activation_function", &ACTIVATIONS)?.unwrap_or(FeedForwardKind::GeluTanh),
        tied: raw.flag("tie_word_embeddings")?.unwrap_or(true),
        dropout: Dropout {
            embedding: probability("embd_pdrop")?,
            attention: probability("attn_pdrop")?,
            residual: probability("resid_pdrop")?,
        },
    })
}

fn represents(config: &ModelConfig) -> bool {
    plain(config)
        && config.norm == NormKind::LayerNorm
        && config.position == Position::Learned
        && config.qkv_bias
        && config.attention_output_bias
        && config.mlp_bias
        && !config.feed_forward.gated()
        && config.qk_norm.is_none()
        && config.sliding_window.is_none()
        && config.num_kv_heads == config.num_heads
        && config.head_dim * config.num_heads == config.hidden_size
}

fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    let activation = ACTIVATIONS.iter().find(|(_, kind)| *kind == config.feed_forward).map(|(name, _)| *name);
    let Dropout { embedding, attention, residual } = config.dropout;
    keys.extend([
        ("n_positions".to_owned(), json!(config.context_length)),
        ("n_embd".to_owned(), json!(config.hidden_size)),
        ("n_layer".to_owned(), json!(config.num_layers)),
        ("n_head".to_owned(), json!(config.num_heads)),
        ("n_inner".to_owned(), json!(config.intermediate_size)),
        ("activation_function".to_owned(), json!(activation)),
        ("layer_norm_epsilon".to_owned(), json!(config.norm_eps)),
        ("embd_pdrop".to_owned(), json!(embedding)),
        ("attn_pdrop".to_owned(), json!(attention)),
        ("resid_pdrop".to_owned(), json!(residual)),
    ]);
}

/// Modules of a block: our name, GPT-2's name, whether it is a linear layer, and which part of a fused one of three.
const BLOCK: [(&str, &str, bool, Option<usize>); 8] = [
    ("input_layernorm", "ln_1", false, None),
    ("self_attn.q_proj", "attn.c_attn", true, Some(0)),
    ("self_attn.k_proj", "attn.c_attn", true, Some(1)),
    ("self_attn.v_proj", "attn.c_attn", true, Some(2)),
    ("self_attn.o_proj", "attn.c_proj", true, None),
    ("post_attention_layernorm", "ln_2", false, None),
    ("mlp.up_proj", "mlp.c_fc", true, None),
    ("mlp.down_proj", "mlp.c_proj", true, None),
];

/// Modules outside the blocks.
const AROUND: [(&str, &str); 3] = [
    ("model.embed_tokens", "transformer.wte"),
    ("model.embed_positions", "transformer.wpe"),
    ("model.norm", "transformer.ln_f"),
];

fn place(config: &ModelConfig, name: &str) -> Place {
    let (module, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    if let Some((_, theirs)) = AROUND.iter().find(|(ours, _)| *ours == module) {
        return Place::same(&format!("{theirs}.{kind}"));
    }
    let in_block = module.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let row = in_block.and_then(|(i, module)| Some((i, BLOCK.iter().find(|(ours, ..)| *ours == module)?)));
    let rows = config.hidden_size;
    match row {
        Some((i, &(_, theirs, linear, part))) => Place {
            tensor: format!("transformer.h.{i}.{theirs}.{kind}"),
            transposed: linear && kind == "weight",
            part: part.map(|index| Part { start: index * rows, total: 3 * rows }),
        },
        None => Place::same(name), // lm_head
    }
}

//! GPT-2 (`GPT2LMHeadModel`). Its linear layers are stored as `(in, out)`, queries, keys and values as one.

use llm_model::{Dropout, Family, FeedForwardKind, ModelConfig, Sizes};
use serde_json::{Map, Value, json};

use super::{Page, Part, Place, never};
use crate::CheckpointError;
use crate::gguf::description::Architecture;
use crate::keys::{JsonKeys, Only};

pub(super) const PAGE: Page = Page {
    family: Family::Gpt2,
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    read,
    write,
    refuses: never,
    place,
    gguf: Architecture {
        name: "gpt2",
        sizes: &[
            ("block_count", "n_layer"),
            ("context_length", "n_positions"),
            ("embedding_length", "n_embd"),
            ("feed_forward_length", "n_inner"),
            ("attention.head_count", "n_head"),
        ],
        epsilon: ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        fixed: &[("activation_function", "gelu_new")],
        rotary: false,
        transposed: true,
        write: |_| Ok(()),
        blocks: "transformer.h",
        block: &[
            ("attn.c_attn", "attn_qkv"),
            ("attn.c_proj", "attn_output"),
            ("mlp.c_fc", "ffn_up"),
            ("mlp.c_proj", "ffn_down"),
        ],
        norms: &[("ln_1", "attn_norm"), ("ln_2", "ffn_norm")],
        around: &[
            ("transformer.wte", "token_embd"),
            ("transformer.wpe", "position_embd"),
            ("transformer.ln_f", "output_norm"),
            ("lm_head", "output"),
        ],
        ..Architecture::PLAIN
    },
    whole: None,
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

fn read(keys: &JsonKeys) -> Result<ModelConfig, CheckpointError> {
    keys.only("scale_attn_weights", Only::Flag(true))?;
    keys.only("scale_attn_by_inverse_layer_idx", Only::Flag(false))?;
    keys.only("add_cross_attention", Only::Flag(false))?;
    let [hidden_size, num_heads] = [keys.required_size("n_embd")?, keys.required_size("n_head")?];
    keys.multiple("n_embd", hidden_size, "n_head", num_heads)?;
    // Where a probability is not written, GPT-2's is meant.
    let probability = |key| Ok::<_, CheckpointError>(keys.probability(key)?.unwrap_or(0.1));
    let base = Family::Gpt2.config(Sizes {
        vocab_size: keys.required_size("vocab_size")?,
        context_length: keys.required_size("n_positions")?,
        hidden_size,
        num_layers: keys.required_size("n_layer")?,
        num_heads,
        sliding_window: None,
    });
    Ok(ModelConfig {
        intermediate_size: keys.size("n_inner")?.unwrap_or(4 * hidden_size),
        norm_eps: keys.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        feed_forward: keys.choice("activation_function", &ACTIVATIONS)?.unwrap_or(FeedForwardKind::GeluTanh),
        tied: keys.flag("tie_word_embeddings")?.unwrap_or(true),
        dropout: Dropout {
            embedding: probability("embd_pdrop")?,
            attention: probability("attn_pdrop")?,
            residual: probability("resid_pdrop")?,
        },
        ..base
    })
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

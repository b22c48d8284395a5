//! The architectures of GGUF by their tables; names as in
//! <https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py>.

use super::config::{Reading, Writing};
use super::families;
use crate::CheckpointError;

/// An architecture of llama.cpp that this program computes too.
pub(super) struct Architecture {
    /// `general.architecture`, and the first part of its keys.
    pub name: &'static str,
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Sizes that must be there, and their keys in `config.json`.
    pub sizes: &'static [(&'static str, &'static str)],
    /// What is added to a variance, and its key in `config.json`.
    pub epsilon: (&'static str, &'static str),
    /// Keys of `config.json` with the one value that llama.cpp computes.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Whether positions are rotated.
    pub rotary: bool,
    /// Rotated pairs lie side by side in queries and keys, and not half a head apart.
    pub interleaved: bool,
    /// Linear weights are `(in, out)` in a Hugging Face checkpoint.
    pub transposed: bool,
    /// Weights of norms have 1 added.
    pub shifted_norms: bool,
    /// Reads what this architecture has alone.
    pub read: fn(&mut Reading) -> Result<(), CheckpointError>,
    /// Writes what this architecture has alone.
    pub write: fn(&mut Writing) -> Result<(), CheckpointError>,
    /// What comes before the number of a block in a Hugging Face checkpoint.
    pub blocks: &'static str,
    /// Modules of a block: the checkpoint's name, and the one in GGUF.
    pub block: &'static [(&'static str, &'static str)],
    /// Modules outside the blocks.
    pub around: &'static [(&'static str, &'static str)],
}

/// What most architectures share.
const LLAMA: Architecture = Architecture {
    name: "llama",
    model_type: "llama",
    sizes: &[
        ("block_count", "num_hidden_layers"),
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
    ],
    epsilon: ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    fixed: &[("hidden_act", "silu")],
    rotary: true,
    interleaved: true,
    transposed: false,
    shifted_norms: false,
    read: families::read_llama,
    write: families::write_llama,
    blocks: "model.layers",
    block: &[
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ],
    around: &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")],
};

const GPT2: Architecture = Architecture {
    name: "gpt2",
    model_type: "gpt2",
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
    interleaved: false,
    transposed: true,
    shifted_norms: false,
    read: |_| Ok(()),
    write: |_| Ok(()),
    blocks: "transformer.h",
    block: &[
        ("ln_1", "attn_norm"),
        ("attn.c_attn", "attn_qkv"),
        ("attn.c_proj", "attn_output"),
        ("ln_2", "ffn_norm"),
        ("mlp.c_fc", "ffn_up"),
        ("mlp.c_proj", "ffn_down"),
    ],
    around: &[
        ("transformer.wte", "token_embd"),
        ("transformer.wpe", "position_embd"),
        ("transformer.ln_f", "output_norm"),
        ("lm_head", "output"),
    ],
};

/// All that are read and written.
pub(super) const ARCHITECTURES: [Architecture; 8] = [
    LLAMA,
    Architecture { name: "qwen2", model_type: "qwen2", ..PLAIN },
    Architecture { name: "qwen3", model_type: "qwen3", ..PLAIN },
    Architecture {
        name: "smollm3",
        model_type: "smollm3",
        read: families::read_smollm3,
        write: families::write_smollm3,
        ..LLAMA
    },
    Architecture {
        name: "gemma3",
        model_type: "gemma3_text",
        fixed: &[("hidden_activation", "gelu_pytorch_tanh")],
        shifted_norms: true,
        read: families::read_gemma3,
        write: families::write_gemma3,
        block: &[
            ("input_layernorm", "attn_norm"),
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ],
        ..PLAIN
    },
    Architecture {
        name: "olmo2",
        model_type: "olmo2",
        write: families::write_olmo2,
        block: &[
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("self_attn.q_norm", "attn_q_norm"),
            ("self_attn.k_norm", "attn_k_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ],
        ..PLAIN
    },
    Architecture {
        name: "phi3",
        model_type: "phi3",
        read: families::read_phi3,
        write: families::write_phi3,
        block: &[
            ("input_layernorm", "attn_norm"),
            ("self_attn.qkv_proj", "attn_qkv"),
            ("self_attn.o_proj", "attn_output"),
            ("post_attention_layernorm", "ffn_norm"),
            ("mlp.gate_up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ],
        ..PLAIN
    },
    GPT2,
];

/// Llama's tables without its order of rotated pairs.
const PLAIN: Architecture =
    Architecture { interleaved: false, read: |_| Ok(()), write: families::write_windowless, ..LLAMA };

impl Architecture {
    /// The checkpoint's name of a tensor in GGUF, if it has one.
    pub fn checkpoint_name(&self, gguf: &str) -> Option<String> {
        let (module, kind) = gguf.rsplit_once('.')?;
        if let Some((name, _)) = self.around.iter().find(|(_, theirs)| *theirs == module) {
            return Some(format!("{name}.{kind}"));
        }
        let (i, module) = module.strip_prefix("blk.")?.split_once('.')?;
        let (name, _) = self.block.iter().find(|(_, theirs)| *theirs == module)?;
        Some(format!("{}.{i}.{name}.{kind}", self.blocks))
    }

    /// The name in GGUF of a checkpoint's tensor, if it has one.
    pub fn gguf_name(&self, checkpoint: &str) -> Option<String> {
        let (module, kind) = checkpoint.rsplit_once('.')?;
        if let Some((_, name)) = self.around.iter().find(|(theirs, _)| *theirs == module) {
            return Some(format!("{name}.{kind}"));
        }
        let (i, module) = module.strip_prefix(self.blocks)?.strip_prefix('.')?.split_once('.')?;
        let (_, name) = self.block.iter().find(|(theirs, _)| *theirs == module)?;
        Some(format!("blk.{i}.{name}.{kind}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        let [llama, .., gpt2] = ARCHITECTURES;
        for (architecture, checkpoint, gguf) in [
            (&llama, "model.layers.11.self_attn.q_proj.weight", "blk.11.attn_q.weight"),
            (&llama, "lm_head.weight", "output.weight"),
            (&gpt2, "transformer.h.0.attn.c_attn.bias", "blk.0.attn_qkv.bias"),
            (&gpt2, "transformer.wpe.weight", "position_embd.weight"),
        ] {
            assert_eq!(architecture.gguf_name(checkpoint).as_deref(), Some(gguf));
            assert_eq!(architecture.checkpoint_name(gguf).as_deref(), Some(checkpoint));
        }
        assert_eq!(llama.checkpoint_name("blk.0.ffn_gate_inp.weight"), None);
        assert_eq!(llama.gguf_name("transformer.wte.weight"), None);
    }
}

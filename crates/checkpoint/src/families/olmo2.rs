//! OLMo 2 (`Olmo2ForCausalLM`): norms after attention and feed-forward network, and on all queries and all keys at once.

use llm_model::Family;

use super::{Page, llama, never, rope, same};
use crate::gguf::description::{Architecture, refused};

pub(super) const PAGE: Page = Page {
    family: Family::Olmo2,
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    read: |keys| {
        let mut config = llama::read(keys, Family::Olmo2, rope::resolve(keys, rope::DEFAULT_THETA)?)?;
        config.norm_eps = keys.number("rms_norm_eps")?.unwrap_or(1e-5);
        llama::read_attention_bias(keys, &mut config)?;
        Ok(config)
    },
    write: |config, keys| {
        llama::write(config, keys);
        llama::write_attention_bias(config, keys);
    },
    refuses: never,
    place: same,
    gguf: Architecture {
        name: "olmo2",
        write: |writing| {
            if writing.config.tied {
                let problem = "it shares its head with the embedding, which llama.cpp does not know of OLMo 2";
                return Err(refused(problem));
            }
            writing.refuse_window()
        },
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
        ..Architecture::PLAIN
    },
    whole: None,
};

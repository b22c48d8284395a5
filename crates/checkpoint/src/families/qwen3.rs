//! Qwen3 (`Qwen3ForCausalLM`): Llama with normalized queries and keys, and the windows of Qwen 2.

use llm_model::Family;

use super::{Page, llama, never, qwen2, rope, same};
use crate::gguf::description::Architecture;

/// Width of a head where nothing is written.
const HEAD_DIM: usize = 128;

pub(super) const PAGE: Page = Page {
    family: Family::Qwen3,
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    read: |keys| {
        keys.required_size("num_key_value_heads")?;
        let mut config = llama::read(keys, Family::Qwen3, rope::resolve(keys, rope::DEFAULT_THETA)?)?;
        config.head_dim = keys.size("head_dim")?.unwrap_or(HEAD_DIM);
        llama::read_attention_bias(keys, &mut config)?;
        qwen2::read_windows(keys, &mut config)?;
        Ok(config)
    },
    write: |config, keys| {
        llama::write(config, keys);
        llama::write_attention_bias(config, keys);
        qwen2::write_windows(config, keys);
    },
    refuses: never,
    place: same,
    gguf: Architecture { name: "qwen3", ..Architecture::PLAIN },
    whole: None,
};

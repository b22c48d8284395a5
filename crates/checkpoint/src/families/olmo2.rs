//! OLMo 2 (`Olmo2ForCausalLM`): norms after attention and feed-forward network, and on all queries and all keys at once.

use llm_model::{Family, ModelConfig};

use super::{Page, llama, never, rope, same};
use crate::CheckpointError;
use crate::gguf::description::{Architecture, Writing, refused};

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
    gguf: GGUF,
    whole: None,
};

/// How OLMo 2 and 3 are stored in GGUF.
pub(super) const GGUF: Architecture = Architecture {
    name: "olmo2",
    write: |writing| {
        refuse_gguf(writing)?;
        writing.refuse_window()
    },
    norms: &[("post_attention_layernorm", "post_attention_norm"), ("post_feedforward_layernorm", "post_ffw_norm")],
    ..Architecture::PLAIN
};

/// Fails for what llama.cpp does not know of OLMo.
pub(super) fn refuse_gguf(writing: &Writing) -> Result<(), CheckpointError> {
    let ModelConfig { tied, attention_output_bias, head_dim, num_heads, hidden_size, .. } = *writing.config;
    let problem = match () {
        () if tied => "it shares its head with the embedding, which llama.cpp does not support for OLMo 2",
        () if attention_output_bias => "it has biases in its attention, which llama.cpp does not support for OLMo 2",
        () if head_dim * num_heads != hidden_size => {
            "its heads together are not as wide as the model, which llama.cpp does not support for OLMo 2"
        }
        () => return Ok(()),
    };
    Err(refused(problem))
}

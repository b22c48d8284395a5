//! The published architectures, a page each: how a family's `config.json` is read and written, how its tensors are named, and
//! how it is stored in GGUF. What it is where nothing is said stands in [`Family::config`].
//!
//! A new family is a page beside these and a row in [`FAMILIES`], and its defaults in `llm_model`. Which configs it represents
//! nobody writes down: those that are the same once they are written and read.

mod gemma3;
mod gpt2;
mod granite;
mod layers;
mod llama;
mod mistral;
mod olmo2;
mod olmo3;
mod phi3;
mod place;
mod qwen2;
mod qwen3;
pub(crate) mod rope;
mod smollm3;

use llm_model::{CausalLm, Family, ModelConfig, Position, Rotary};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::CheckpointError;
use crate::gguf::description::Architecture;
use crate::keys::{JsonKeys, one_of};
pub(crate) use place::{Part, Place};

/// All that is known of a published architecture.
pub(crate) struct Page {
    /// Its name in this program.
    pub family: Family,
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Its class in `transformers`.
    pub class: &'static str,
    /// What a `config.json` means.
    pub read: fn(&JsonKeys) -> Result<ModelConfig, CheckpointError>,
    /// Adds the keys that mean a config, if there are such keys.
    pub write: fn(&ModelConfig, &mut Map<String, Value>),
    /// What its class does not load, even though its keys say it.
    pub refuses: fn(&ModelConfig) -> bool,
    /// Where it stores a parameter, given our name of it.
    pub place: fn(&ModelConfig, &str) -> Place,
    /// How it is stored in GGUF.
    pub gguf: Architecture,
    /// A model of more than text, whose text part is of this family.
    pub whole: Option<Whole>,
}

/// A model of more than text.
pub(crate) struct Whole {
    /// Its `model_type`.
    pub model_type: &'static str,
    /// The configuration of its text part.
    pub text: fn(&JsonKeys) -> Result<JsonKeys, CheckpointError>,
}

/// All families, the plainest first: the first that represents a config gives it its name, unless its own does.
pub(crate) const FAMILIES: [Page; 11] = [
    gpt2::PAGE,
    llama::PAGE,
    mistral::PAGE,
    qwen2::PAGE,
    qwen3::PAGE,
    smollm3::PAGE,
    olmo2::PAGE,
    gemma3::PAGE,
    phi3::PAGE,
    olmo3::PAGE,
    granite::PAGE,
];

/// `model_type` of a model that no published one describes; the key of the same name holds the whole [`ModelConfig`].
pub(crate) const OWN_TYPE: &str = "llm";

/// What the keys of a `config.json` mean.
pub(crate) fn resolve(keys: &JsonKeys) -> Result<ModelConfig, CheckpointError> {
    let model_type = keys.required("model_type", keys.text("model_type")?)?;
    let named = |page: &&Page| page.model_type == model_type;
    let config = if model_type == OWN_TYPE {
        let own = keys.required(OWN_TYPE, keys.get(OWN_TYPE))?;
        ModelConfig::deserialize(own).map_err(|e| keys.damaged(&e))?
    } else if let Some(page) = FAMILIES.iter().find(named) {
        (page.read)(keys)?
    } else if let Some((page, whole)) = of_whole(model_type) {
        (page.read)(&(whole.text)(keys)?)?
    } else {
        return Err(unknown_type(keys));
    };
    config.validate().map_err(|e| keys.invalid(e))?;
    Ok(config)
}

/// The family of the text part of a model of more than text.
pub(crate) fn of_whole(model_type: &str) -> Option<(&'static Page, &'static Whole)> {
    let whole = |page: &'static Page| Some((page, page.whole.as_ref().filter(|whole| whole.model_type == model_type)?));
    FAMILIES.iter().find_map(whole)
}

/// The error of an architecture that is not read.
fn unknown_type(keys: &JsonKeys) -> CheckpointError {
    let known: Vec<String> = FAMILIES.iter().map(|page| format!("{:?}", page.model_type)).collect();
    if keys.get("vision_config").is_none() && keys.get("audio_config").is_none() {
        return keys.bad("model_type", &one_of(&known));
    }
    let hint = format!("use a text-only model of the same series, of type {}", one_of(&known));
    let problem = "of the models for text and images, only the text part of \"gemma3\" can be loaded";
    keys.unsupported("model_type", problem, &hint)
}

/// The keys that say `config`, as `page` says it.
pub(crate) fn write(page: &Page, config: &ModelConfig) -> Map<String, Value> {
    let mut keys = Map::new();
    keys.insert("architectures".into(), json!([page.class]));
    keys.insert("model_type".into(), json!(page.model_type));
    (page.write)(config, &mut keys);
    keys.insert("vocab_size".into(), json!(config.vocab_size));
    keys.insert("tie_word_embeddings".into(), json!(config.tied));
    keys
}

/// Whether a model of `page` can compute exactly what `config` says: it is the same once it is written and read.
fn represents(page: &Page, config: &ModelConfig) -> bool {
    let keys = JsonKeys::new("config.json".as_ref(), write(page, config));
    let back = (page.read)(&keys);
    back.is_ok_and(|back| computation(back) == computation(config.clone())) && !(page.refuses)(config)
}

/// What distinguishes what models compute: nothing that only says where a config comes from, or says the usual.
fn computation(config: ModelConfig) -> ModelConfig {
    let whole = |rotary: Rotary| Rotary { width: rotary.width.filter(|&width| width != config.head_dim), ..rotary };
    let position = match config.position {
        Position::Learned => Position::Learned,
        Position::Rotary(rotary) => Position::Rotary(whole(rotary)),
    };
    ModelConfig {
        family: Family::default(),
        position,
        local_rotary: config.local_rotary.map(whole),
        query_pre_attn_scalar: config.query_pre_attn_scalar.filter(|&scalar| scalar != config.head_dim),
        ..config
    }
    .normalized()
}

/// The published family of `config`: its own if that computes the same, or else the first that does.
pub(crate) fn published(config: &ModelConfig) -> Option<&'static Page> {
    let able = |page: &&Page| represents(page, config);
    let own = FAMILIES.iter().filter(|page| page.family == config.family).find(able);
    own.or_else(|| FAMILIES.iter().find(able))
}

/// The `model_type` under which `transformers` and others load a model of `config` once it is saved as a model, or `None`
/// if no published architecture computes the same; such a model loads only in this program.
pub fn published_type(config: &ModelConfig) -> Option<&'static str> {
    published(config).or_else(|| published(&config.with_biases())).map(|page| page.model_type)
}

/// `model` as others read it: where no published architecture goes without the biases that it lacks, it has them, all
/// zero, which computes the same.
pub(crate) fn publishable(model: &CausalLm) -> CausalLm {
    let config = model.config();
    let lacks_biases = published(config).is_none() && published(&config.with_biases()).is_some();
    if lacks_biases { model.clone().with_zero_biases() } else { model.clone() }
}

/// The names in a checkpoint of a model of `config`.
pub(crate) fn places(config: &ModelConfig) -> impl Fn(&str) -> Place {
    let place = published(config).map_or(same as fn(&ModelConfig, &str) -> Place, |page| page.place);
    move |name| place(config, name)
}

/// A name that is the same in the file.
fn same(_: &ModelConfig, name: &str) -> Place {
    Place::same(name)
}

/// What refuses nothing.
fn never(_: &ModelConfig) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use llm_model::Sizes;

    use super::*;

    #[test]
    fn whatever_a_page_writes_it_also_reads() {
        for page in &FAMILIES {
            let sizes = Sizes {
                vocab_size: 9,
                context_length: 64,
                hidden_size: 16,
                num_layers: 8,
                num_heads: 2,
                sliding_window: Some(5).filter(|_| page.family != Family::Gpt2),
            };
            let config = page.family.config(sizes);
            let keys = JsonKeys::new("config.json".as_ref(), write(page, &config));
            (page.read)(&keys).unwrap();
            assert_eq!(keys.unread(), ["architectures", "model_type"], "{}", page.model_type);
        }
    }

    #[test]
    fn names_in_gguf_go_both_ways() {
        for (page, checkpoint, gguf) in [
            (llama::PAGE, "model.layers.11.self_attn.q_proj.weight", "blk.11.attn_q.weight"),
            (llama::PAGE, "lm_head.weight", "output.weight"),
            (gpt2::PAGE, "transformer.h.0.attn.c_attn.bias", "blk.0.attn_qkv.bias"),
            (gpt2::PAGE, "transformer.wpe.weight", "position_embd.weight"),
        ] {
            assert_eq!(page.gguf.gguf_name(checkpoint).as_deref(), Some(gguf));
            assert_eq!(page.gguf.checkpoint_name(gguf).as_deref(), Some(checkpoint));
        }
        assert_eq!(llama::PAGE.gguf.checkpoint_name("blk.0.ffn_gate_inp.weight"), None);
        assert_eq!(llama::PAGE.gguf.gguf_name("transformer.wte.weight"), None);
    }
}

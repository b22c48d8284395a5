//! The text part of Gemma 3 (`Gemma3ForCausalLM`): norms before and after, with weights that are stored less one;
//! embeddings times √d; layers with a window, and their own rotary base, between layers without.

use llm_model::{
    Family as Architecture, FeedForwardKind, ModelConfig, NormKind, NormPlacement, Position, QkNorm, RopeScaling,
    Rotary,
};
use serde_json::{Map, Value, json};

use super::llama;
use super::{Family, same};
use crate::CheckpointError;
use crate::config::raw::RawConfig;
use crate::config::{layers, rope};

const GLOBAL_THETA: f64 = 1e6;
const LOCAL_THETA: f64 = 1e4;
/// Width of a head, and what scores are divided by the root of, where nothing is written.
const HEAD_DIM: usize = 256;

pub(crate) const GEMMA3: Family = Family {
    model_type: "gemma3_text",
    name: Architecture::Gemma3,
    architecture: "Gemma3ForCausalLM",
    resolve,
    represents,
    write,
    place: same,
};

/// `model_type` of Gemma 3 with pictures (`Gemma3ForConditionalGeneration`), whose text part is this.
pub(crate) const PICTURES: &str = "gemma3";

/// The configuration of the text part. Published ones leave out what is as `transformers` has it where nothing is written.
pub(crate) fn text_part(raw: &RawConfig) -> Result<RawConfig, CheckpointError> {
    let text = raw.table("text_config")?.ok_or_else(|| raw.missing("text_config"))?;
    text.absent("quantization_config", "absent: it belongs to the whole model")?;
    let usual = [
        ("vocab_size", json!(262_208)),
        ("hidden_size", json!(2304)),
        ("intermediate_size", json!(9216)),
        ("num_hidden_layers", json!(26)),
        ("num_attention_heads", json!(8)),
        ("num_key_value_heads", json!(4)),
        ("max_position_embeddings", json!(131_072)),
    ];
    let text = usual.into_iter().fold(text, |text, (key, value)| text.or(key, value));
    // The head is the whole model's.
    Ok(match raw.flag("tie_word_embeddings")? {
        Some(tied) => text.with("tie_word_embeddings", json!(tied)),
        None => text,
    })
}

fn resolve(raw: &RawConfig) -> Result<ModelConfig, CheckpointError> {
    for key in ["final_logit_softcapping", "attn_logit_softcapping"] {
        raw.absent(key, "null; capped scores are not supported")?;
    }
    raw.only("use_bidirectional_attention", &json!(false))?;
    raw.required_size("num_key_value_heads")?;
    let [global, local] = rotary(raw)?;
    let mut config = llama::resolve(raw, Architecture::Gemma3, Position::Rotary(global.clone()))?;
    let biases = raw.flag("attention_bias")?.unwrap_or(false);
    (config.qkv_bias, config.attention_output_bias) = (biases, biases);
    config.head_dim = raw.size("head_dim")?.unwrap_or(HEAD_DIM);
    let scalar = raw.size("query_pre_attn_scalar")?.unwrap_or(HEAD_DIM);
    config.query_pre_attn_scalar = Some(scalar).filter(|&scalar| scalar != config.head_dim);
    config.feed_forward = raw.choice("hidden_activation", &llama::GATES)?.unwrap_or(FeedForwardKind::GeGlu);
    config.tied = raw.flag("tie_word_embeddings")?.unwrap_or(true);
    config.norm = NormKind::RmsNorm1p;
    config.norm_placement = NormPlacement::Both;
    config.scaled_embedding = true;
    config.qk_norm = Some(QkNorm::Head);

    let window = if raw.has("sliding_window") { raw.size("sliding_window")? } else { Some(4096) };
    let pattern = raw.size("sliding_window_pattern")?.unwrap_or(6);
    let by_pattern = || layers::all(config.num_layers).filter(|layer| !(layer + 1).is_multiple_of(pattern)).collect();
    let windowed = layers::windowed(raw, config.num_layers)?.unwrap_or_else(by_pattern);
    if window.is_none() && !windowed.is_empty() {
        return Err(raw.bad("sliding_window", "a size, because some layers have a window"));
    }
    layers::set_window(&mut config, window, windowed);
    config.context_length = local.scaling.context_length(config.context_length);
    config.local_rotary = Some(local).filter(|local| config.sliding_window.is_some() && *local != global);
    Ok(config)
}

/// The rotary settings of the layers without and with a window.
fn rotary(raw: &RawConfig) -> Result<[Rotary; 2], CheckpointError> {
    raw.only("partial_rotary_factor", &json!(1.0))?;
    let mut global = Rotary::new(raw.number("rope_theta")?.unwrap_or(GLOBAL_THETA));
    let mut local = Rotary::new(raw.number("rope_local_base_freq")?.unwrap_or(LOCAL_THETA));
    if let Some(table) = raw.table("rope_scaling")? {
        global = rope::resolve_table(raw, &table, global.theta)?;
    } else if let Some(table) = raw.table("rope_parameters")? {
        for key in ["rope_theta", "rope_type"] {
            table.absent(key, "within \"full_attention\" or \"sliding_attention\"")?;
        }
        for (key, settings) in [("full_attention", &mut global), ("sliding_attention", &mut local)] {
            if let Some(table) = table.table(key)? {
                *settings = rope::resolve_table(raw, &table, settings.theta)?;
            }
        }
    }
    if [&global, &local].iter().any(|rotary| matches!(rotary.scaling, RopeScaling::Dynamic { .. })) {
        let key = if raw.get("rope_scaling").is_some() { "rope_scaling" } else { "rope_parameters" };
        return Err(raw.unsupported(key, "dynamic scaling is not computed for this architecture", NO_SCALING));
    }
    Ok([global, local])
}

const NO_SCALING: &str =
    "within its original context the model may work without it: set it to null in a copy of config.json";

fn represents(config: &ModelConfig) -> bool {
    let knows = |rotary: &Rotary| {
        llama::scaled_as_llama(config, rotary) && !matches!(rotary.scaling, RopeScaling::Dynamic { .. })
    };
    config.norm == NormKind::RmsNorm1p
        && config.norm_placement == NormPlacement::Both
        && config.scaled_embedding
        && config.qk_norm == Some(QkNorm::Head)
        && matches!(&config.position, Position::Rotary(rotary) if knows(rotary))
        && config.local_rotary.as_ref().is_none_or(knows)
        && config.unrotated_layers.is_empty()
        && config.feed_forward.gated()
        && config.qkv_bias == config.attention_output_bias
        && !config.mlp_bias
}

fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    llama::write(config, keys);
    if let Some(activation) = keys.remove("hidden_act") {
        keys.insert("hidden_activation".into(), activation);
    }
    keys.extend([
        ("attention_bias".to_owned(), json!(config.qkv_bias)),
        ("query_pre_attn_scalar".to_owned(), json!(config.query_pre_attn_scalar.unwrap_or(config.head_dim))),
        // `transformers` asks for a size even where no layer has a window.
        ("sliding_window".to_owned(), json!(config.sliding_window.unwrap_or(config.context_length))),
    ]);
    layers::write(config, keys);
    let Position::Rotary(global) = &config.position else { return };
    let local = config.local_rotary.as_ref().unwrap_or(global);
    if local.scaling == RopeScaling::None {
        keys.insert("rope_local_base_freq".into(), json!(local.theta));
        return;
    }
    // Only the new form can say this.
    let table = |rotary: &Rotary| {
        let mut keys = Map::new();
        rope::write(&Position::Rotary(rotary.clone()), &mut keys);
        let mut table = match keys.remove("rope_scaling") {
            Some(Value::Object(table)) => table,
            _ => Map::from_iter([("rope_type".to_owned(), json!("default"))]),
        };
        table.insert("rope_theta".into(), json!(rotary.theta));
        table
    };
    keys.remove("rope_theta");
    keys.remove("rope_scaling");
    let tables = json!({"full_attention": table(global), "sliding_attention": table(local)});
    keys.insert("rope_parameters".into(), tables);
}

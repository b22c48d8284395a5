//! Phi-3, 3.5 and 4-mini (`Phi3ForCausalLM`): Llama with queries, keys and values in one tensor, gate and up projection
//! in another; LongRoPE, and heads of which only a part is rotated.

use llm_model::{Family as Architecture, ModelConfig, NormKind, Position, RopeScaling, Rotary};
use serde_json::{Map, Value, json};

use super::llama;
use super::{Family, Part, Place, plain};
use crate::CheckpointError;
use crate::config::raw::RawConfig;
use crate::config::{layers, rope};

pub(crate) const PHI3: Family = Family {
    model_type: "phi3",
    family: Architecture::Phi3,
    architecture: "Phi3ForCausalLM",
    resolve,
    represents,
    write,
    place,
};

const ORIGINAL: &str = "original_max_position_embeddings";
const PARTIAL: &str = "partial_rotary_factor";

fn resolve(raw: &RawConfig) -> Result<ModelConfig, CheckpointError> {
    for key in ["attention_bias", "mlp_bias", "lm_head_bias"] {
        raw.only(key, &json!(false))?;
    }
    let mut config = llama::resolve(raw, Architecture::Phi3, Position::Learned)?;
    config.position = Position::Rotary(rotary(raw, config.head_dim, config.context_length)?);
    config.norm_eps = raw.number("rms_norm_eps")?.unwrap_or(1e-5);
    let all = layers::all(config.num_layers).collect();
    layers::set_window(&mut config, raw.size("sliding_window")?, all);
    Ok(config)
}

fn rotary(raw: &RawConfig, head_dim: usize, context_length: usize) -> Result<Rotary, CheckpointError> {
    let theta = raw.number("rope_theta")?.unwrap_or(rope::DEFAULT_THETA);
    let partial = raw.number(PARTIAL)?;
    let Some(table) = rope::table(raw)? else {
        return Ok(Rotary { width: width(raw, partial, head_dim)?, ..Rotary::new(theta) });
    };
    let theta = table.number("rope_theta")?.unwrap_or(theta);
    let width = match table.number(PARTIAL)? {
        None => width(raw, partial, head_dim)?,
        partial => width(&table, partial, head_dim)?,
    };
    let scaling = match rope::kind(&table)?.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("longrope" | "su") => longrope(raw, &table, context_length)?,
        Some(_) => return Err(table.bad(rope::kind_key(&table), "\"default\" or \"longrope\"")),
    };
    Ok(Rotary { theta, scaling, width })
}

/// Entries of a head that are rotated, where these are not all.
fn width(table: &RawConfig, partial: Option<f64>, head_dim: usize) -> Result<Option<usize>, CheckpointError> {
    let Some(factor) = partial else { return Ok(None) };
    let width = (head_dim as f64 * factor) as usize;
    if factor > 1.0 || width == 0 || !width.is_multiple_of(2) {
        return Err(table.bad(PARTIAL, &format!("a part of 1 that makes an even number of head_dim = {head_dim}")));
    }
    Ok(Some(width).filter(|&width| width != head_dim))
}

fn longrope(raw: &RawConfig, table: &RawConfig, context_length: usize) -> Result<RopeScaling, CheckpointError> {
    let factors = |key| table.numbers(key)?.ok_or_else(|| table.missing(key));
    // Where both are there, `transformers` goes by the first.
    let original = match raw.size(ORIGINAL)? {
        Some(original) => original,
        None => table.required_size(ORIGINAL)?,
    };
    let stretch = table.number("factor")?.unwrap_or(context_length as f64 / original as f64);
    Ok(RopeScaling::LongRope {
        short_factors: factors("short_factor")?,
        long_factors: factors("long_factor")?,
        original_context_length: original,
        attention_factor: table.number("attention_factor")?.unwrap_or_else(|| attention_factor(stretch, original)),
    })
}

/// What the paper recommends for contexts `stretch` times as long as the original.
fn attention_factor(stretch: f64, original: usize) -> f64 {
    if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() }
}

fn represents(config: &ModelConfig) -> bool {
    let Position::Rotary(rotary) = &config.position else { return false };
    let usual = ModelConfig { position: Position::Rotary(Rotary::new(rotary.theta)), ..config.clone() };
    matches!(rotary.scaling, RopeScaling::None | RopeScaling::LongRope { .. })
        && plain(&usual)
        && config.norm == NormKind::RmsNorm
        && config.feed_forward.gated()
        && config.qk_norm.is_none()
        && !config.qkv_bias
        && !config.attention_output_bias
        && !config.mlp_bias
        && layers::uniform(config)
}

fn write(config: &ModelConfig, keys: &mut Map<String, Value>) {
    llama::write(config, keys);
    keys.insert("sliding_window".into(), json!(config.sliding_window));
    let Position::Rotary(Rotary { scaling, width, .. }) = &config.position else { return };
    if let Some(width) = *width {
        // `int(head_dim * factor)` must give the width again.
        let head_dim = config.head_dim as f64;
        let factor = width as f64 / head_dim;
        let factor = if ((head_dim * factor) as usize) < width { factor.next_up() } else { factor };
        keys.insert(PARTIAL.into(), json!(factor));
    }
    if let RopeScaling::LongRope { short_factors, long_factors, original_context_length, attention_factor: factor } =
        scaling
    {
        let original = *original_context_length;
        let mut table = json!({"type": "longrope", "short_factor": short_factors, "long_factor": long_factors});
        // Old versions of `transformers` refuse a fourth key.
        if *factor != attention_factor(config.context_length as f64 / original as f64, original) {
            table["attention_factor"] = json!(factor);
        }
        keys.insert(ORIGINAL.into(), json!(original));
        keys.insert("rope_scaling".into(), table);
    }
}

fn place(config: &ModelConfig, name: &str) -> Place {
    let [q, kv] = [config.num_heads, config.num_kv_heads].map(|heads| heads * config.head_dim);
    let f = config.intermediate_size;
    let fused = [
        ("self_attn.q_proj.", "self_attn.qkv_proj.", Part { start: 0, total: q + 2 * kv }),
        ("self_attn.k_proj.", "self_attn.qkv_proj.", Part { start: q, total: q + 2 * kv }),
        ("self_attn.v_proj.", "self_attn.qkv_proj.", Part { start: q + kv, total: q + 2 * kv }),
        ("mlp.gate_proj.", "mlp.gate_up_proj.", Part { start: 0, total: 2 * f }),
        ("mlp.up_proj.", "mlp.gate_up_proj.", Part { start: f, total: 2 * f }),
    ];
    let found = fused.into_iter().find(|(ours, ..)| name.contains(ours));
    found.map_or_else(
        || Place::same(name),
        |(ours, theirs, part)| Place { part: Some(part), ..Place::same(&name.replace(ours, theirs)) },
    )
}

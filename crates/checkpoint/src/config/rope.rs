//! Rotary settings, in the two ways that published configs write them: `rope_theta` and `rope_scaling` before
//! transformers 5, `rope_parameters` with both in it since then.

use llm_model::{Position, RopeScaling, Rotary};
use serde_json::{Map, Value, json};

use super::raw::RawConfig;
use crate::CheckpointError;

/// What `rope_theta` is where nothing is written, in most families.
pub(crate) const DEFAULT_THETA: f64 = 10_000.0;

/// The rotary positions of a config.
pub(crate) fn resolve(raw: &RawConfig, default_theta: f64) -> Result<Position, CheckpointError> {
    raw.only("partial_rotary_factor", &json!(1.0))?;
    let theta = raw.number("rope_theta")?.unwrap_or(default_theta);
    let Some(table) = table(raw)? else { return Ok(Position::Rotary(Rotary::new(theta))) };
    for kind in ["full_attention", "sliding_attention"] {
        table.absent(kind, "absent; this architecture has one kind of rotary settings")?;
    }
    resolve_table(&table, theta).map(Position::Rotary)
}

/// The table of rotary settings; where both are there, `transformers` goes by `rope_scaling`.
pub(crate) fn table(raw: &RawConfig) -> Result<Option<RawConfig>, CheckpointError> {
    match raw.table("rope_scaling")? {
        Some(table) => Ok(Some(table)),
        None => raw.table("rope_parameters"),
    }
}

/// What a table says; `theta` is the base if it has none.
pub(crate) fn resolve_table(table: &RawConfig, theta: f64) -> Result<Rotary, CheckpointError> {
    table.only("partial_rotary_factor", &json!(1.0))?;
    let theta = table.number("rope_theta")?.unwrap_or(theta);
    let scaling = match kind(table)?.as_deref() {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: table.required_number("factor")? },
        Some("llama3") => RopeScaling::Llama3 {
            factor: table.required_number("factor")?,
            low_freq_factor: table.required_number("low_freq_factor")?,
            high_freq_factor: table.required_number("high_freq_factor")?,
            original_context_length: table.required_size("original_max_position_embeddings")?,
        },
        Some(_) => return Err(table.bad(kind_key(table), "\"default\", \"linear\" or \"llama3\"")),
    };
    Ok(Rotary { theta, scaling, width: None })
}

/// The kind of scaling, if any: `rope_parameters` may hold nothing but the base.
pub(crate) fn kind(table: &RawConfig) -> Result<Option<String>, CheckpointError> {
    let kind = table.text(kind_key(table))?;
    if kind.is_none() && table.get("factor").is_some() { Err(table.missing("rope_type")) } else { Ok(kind) }
}

/// The key of the kind.
pub(crate) fn kind_key(table: &RawConfig) -> &'static str {
    if table.get("rope_type").is_some() { "rope_type" } else { "type" }
}

/// The keys of `position` in the old form, which every version of `transformers` reads.
pub(crate) fn write(position: &Position, keys: &mut Map<String, Value>) {
    let Position::Rotary(Rotary { theta, scaling, .. }) = position else { return };
    keys.insert("rope_theta".into(), json!(theta));
    let scaling = match scaling {
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_length } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context_length,
        }),
        // The second is Phi-3's alone, which writes it itself.
        RopeScaling::None | RopeScaling::LongRope { .. } => Value::Null,
    };
    keys.insert("rope_scaling".into(), scaling);
}

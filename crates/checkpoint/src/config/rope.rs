//! Rotary settings, in the two ways that published configs write them: `rope_theta` and `rope_scaling` before
//! transformers 5, `rope_parameters` with both in it since then.

use llm_model::{Position, RopeScaling};
use serde_json::{Map, Value, json};

use super::raw::RawConfig;
use crate::CheckpointError;

/// What `rope_theta` is where nothing is written, in every published family that is read.
const DEFAULT_THETA: f64 = 10_000.0;

/// The rotary positions of a config.
pub(crate) fn resolve(raw: &RawConfig) -> Result<Position, CheckpointError> {
    raw.only("partial_rotary_factor", &json!(1.0))?;
    let written = raw.number("rope_theta")?;
    // Where both are there, `transformers` goes by `rope_scaling`.
    let table = match raw.table("rope_scaling")? {
        Some(table) => Some(table),
        None => raw.table("rope_parameters")?,
    };
    let Some(table) = table else {
        return Ok(Position::Rotary { theta: written.unwrap_or(DEFAULT_THETA), scaling: RopeScaling::None });
    };
    table.only("partial_rotary_factor", &json!(1.0))?;
    let theta = table.number("rope_theta")?.or(written).unwrap_or(DEFAULT_THETA);
    Ok(Position::Rotary { theta, scaling: resolve_scaling(&table)? })
}

fn resolve_scaling(table: &RawConfig) -> Result<RopeScaling, CheckpointError> {
    let key = if table.get("rope_type").is_some() { "rope_type" } else { "type" };
    match table.text(key)?.as_deref() {
        Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: table.required_number("factor")? }),
        Some("llama3") => Ok(RopeScaling::Llama3 {
            factor: table.required_number("factor")?,
            low_freq_factor: table.required_number("low_freq_factor")?,
            high_freq_factor: table.required_number("high_freq_factor")?,
            original_context_length: table.required_size("original_max_position_embeddings")?,
        }),
        Some(_) => Err(table.bad(key, "\"default\", \"linear\" or \"llama3\"")),
        // `rope_parameters` may hold nothing but the base; a table for each kind of layer holds no type either.
        None if table.get("full_attention").is_some() || table.get("sliding_attention").is_some() => {
            Err(table.bad("full_attention", "absent; rotary settings by kind of layer are not supported"))
        }
        None if table.get("factor").is_some() => Err(table.missing("rope_type")),
        None => Ok(RopeScaling::None),
    }
}

/// The keys of `position` in the old form, which every version of `transformers` reads.
pub(crate) fn write(position: Position, keys: &mut Map<String, Value>) {
    let Position::Rotary { theta, scaling } = position else { return };
    keys.insert("rope_theta".into(), json!(theta));
    let scaling = match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_length } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context_length,
        }),
    };
    keys.insert("rope_scaling".into(), scaling);
}

//! Rotary settings, in the two ways that published configs write them: `rope_theta` and `rope_scaling` before
//! transformers 5, `rope_parameters` with both in it since then.

use llm_model::{ModelConfig, Position, RopeScaling, Rotary, Yarn};
use serde_json::{Map, Value, json};

use crate::CheckpointError;
use crate::keys::{JsonKeys, Only};

/// What `rope_theta` is where nothing is written, in most families.
pub(super) const DEFAULT_THETA: f64 = 10_000.0;

/// The rotary positions of a config.
pub(super) fn resolve(keys: &JsonKeys, default_theta: f64) -> Result<Position, CheckpointError> {
    keys.only("partial_rotary_factor", Only::Number(1.0))?;
    let theta = keys.number("rope_theta")?.unwrap_or(default_theta);
    let Some(table) = table(keys)? else { return Ok(Position::Rotary(Rotary::new(theta))) };
    for kind in ["full_attention", "sliding_attention"] {
        table.absent(kind, "absent; this architecture has one kind of rotary settings")?;
    }
    resolve_table(keys, &table, theta).map(Position::Rotary)
}

/// The table of rotary settings; where both are there, `transformers` goes by `rope_scaling`.
pub(super) fn table(keys: &JsonKeys) -> Result<Option<JsonKeys>, CheckpointError> {
    match keys.table("rope_scaling")? {
        Some(table) => Ok(Some(table)),
        None => keys.table("rope_parameters"),
    }
}

/// What a table of `keys` says; `theta` is the base if it has none.
pub(super) fn resolve_table(keys: &JsonKeys, table: &JsonKeys, theta: f64) -> Result<Rotary, CheckpointError> {
    table.only("partial_rotary_factor", Only::Number(1.0))?;
    let theta = table.number("rope_theta")?.unwrap_or(theta);
    let scaling = match kind(table)? {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: table.required_number("factor")? },
        Some("llama3") => RopeScaling::Llama3 {
            factor: table.required_number("factor")?,
            low_freq_factor: table.required_number("low_freq_factor")?,
            high_freq_factor: table.required_number("high_freq_factor")?,
            original_context_length: original(keys, table)?,
        },
        Some("yarn") => yarn(keys, table)?,
        // Unlike the others, it begins where the model was said to end.
        Some("dynamic") => RopeScaling::Dynamic {
            factor: table.required_number("factor")?,
            original_context_length: keys.required_size(CONTEXT)?,
        },
        Some(kind) => return Err(unknown(table, kind)),
    };
    // Of each token's three positions, which differ within pictures only.
    table.absent("mrope_section", "absent: positions in images are not supported")?;
    Ok(Rotary { theta, scaling, width: None })
}

/// The rotary positions of layers without and with a window, whose bases are `thetas` where no table says otherwise. The old
/// form scales the first kind only.
pub(super) fn resolve_layers(keys: &JsonKeys, thetas: [f64; 2]) -> Result<[Rotary; 2], CheckpointError> {
    keys.only("partial_rotary_factor", Only::Number(1.0))?;
    let [mut global, mut local] = thetas.map(Rotary::new);
    if let Some(table) = keys.table("rope_scaling")? {
        global = resolve_table(keys, &table, global.theta)?;
    } else if let Some(table) = keys.table("rope_parameters")? {
        for key in ["rope_theta", "rope_type"] {
            table.absent(key, "within \"full_attention\" or \"sliding_attention\"")?;
        }
        for (key, settings) in [("full_attention", &mut global), ("sliding_attention", &mut local)] {
            if let Some(table) = table.table(key)? {
                *settings = resolve_table(keys, &table, settings.theta)?;
            }
        }
    }
    if [&global, &local].iter().any(|rotary| matches!(rotary.scaling, RopeScaling::Dynamic { .. })) {
        let key = if keys.get("rope_scaling").is_some() { "rope_scaling" } else { "rope_parameters" };
        let hint = "within its original context the model may work without it: set it to null in a copy of config.json";
        return Err(keys.unsupported(key, "dynamic scaling is not computed for this architecture", hint));
    }
    Ok([global, local])
}

const CONTEXT: &str = "max_position_embeddings";
const ORIGINAL: &str = "original_max_position_embeddings";

/// The context of pretraining. `transformers` looks beside the table first, and takes the whole context if nobody says it.
fn original(keys: &JsonKeys, table: &JsonKeys) -> Result<usize, CheckpointError> {
    match (keys.size(ORIGINAL)?, table.size(ORIGINAL)?) {
        (Some(original), _) | (None, Some(original)) => Ok(original),
        (None, None) => keys.required_size(CONTEXT),
    }
}

/// YaRN, as `transformers` reads it.
fn yarn(keys: &JsonKeys, table: &JsonKeys) -> Result<RopeScaling, CheckpointError> {
    let original = original(keys, table)?;
    let factor = match table.number("factor")? {
        Some(factor) => factor,
        None => keys.required_size(CONTEXT)? as f64 / original as f64,
    };
    // 0 is nothing, as in Python.
    let given = |key| if table.get(key).and_then(Value::as_f64) == Some(0.0) { Ok(None) } else { table.number(key) };
    let attention_factor = match (table.number("attention_factor")?, given("mscale")?, given("mscale_all_dim")?) {
        (Some(given), ..) => Some(given),
        (None, Some(mscale), Some(all)) => {
            let ratio = Yarn::attention_factor(factor, mscale) / Yarn::attention_factor(factor, all);
            // So short that it is the same once it has been written and read.
            Some((ratio * 1e9).round() / 1e9)
        }
        _ => None,
    };
    Ok(RopeScaling::Yarn {
        factor,
        original_context_length: original,
        beta_fast: given("beta_fast")?.unwrap_or_else(Yarn::beta_fast),
        beta_slow: given("beta_slow")?.unwrap_or_else(Yarn::beta_slow),
        truncate: table.flag("truncate")?.unwrap_or_else(Yarn::truncate),
        attention_factor,
    })
}

/// The error of a kind of scaling that is not computed, with a way to use the model in spite of it.
fn unknown(table: &JsonKeys, kind: &str) -> CheckpointError {
    let known = "default, linear, dynamic, yarn and llama3 are";
    let hint = match kind {
        "mrope" => {
            "for text alone its positions are the ordinary ones: set rope_scaling to null in a copy of config.json"
        }
        "longrope" | "su" => "this program reads it with model_type \"phi3\" only",
        _ => {
            "within its original context the model may work without it: set rope_scaling to null in a copy of config.json, \
             and max_position_embeddings to the original context"
        }
    };
    table.unsupported(kind_key(table), known, hint)
}

/// What `max_position_embeddings` says of a model of `config`: with dynamic scaling, the context of pretraining.
pub(super) fn stated_context(config: &ModelConfig) -> usize {
    match &config.position {
        Position::Rotary(Rotary { scaling: RopeScaling::Dynamic { original_context_length, .. }, .. }) => {
            *original_context_length
        }
        _ => config.context_length,
    }
}

/// The kind of scaling, if any: `rope_parameters` may hold nothing but the base.
pub(super) fn kind(table: &JsonKeys) -> Result<Option<&str>, CheckpointError> {
    let kind = table.text(kind_key(table))?;
    if kind.is_none() && table.get("factor").is_some() { Err(table.missing("rope_type")) } else { Ok(kind) }
}

/// The key of the kind.
pub(super) fn kind_key(table: &JsonKeys) -> &'static str {
    if table.get("rope_type").is_some() { "rope_type" } else { "type" }
}

/// The keys of `position` in the old form, which every version of `transformers` reads.
pub(super) fn write(position: &Position, keys: &mut Map<String, Value>) {
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
        RopeScaling::Yarn { .. } => yarn_keys(scaling),
        RopeScaling::Dynamic { factor, .. } => json!({"rope_type": "dynamic", "factor": factor}),
        // The second is Phi-3's alone, which writes it itself.
        RopeScaling::None | RopeScaling::LongRope { .. } => Value::Null,
    };
    keys.insert("rope_scaling".into(), scaling);
}

/// The rotations of layers without and with a window; where none has one, what the second is does not matter.
pub(super) fn of_layers(config: &ModelConfig) -> Option<[Rotary; 2]> {
    let Position::Rotary(global) = &config.position else { return None };
    let local = match &config.local_rotary {
        Some(local) => local.clone(),
        None if config.sliding_window.is_some() => global.clone(),
        None => Rotary::new(global.theta),
    };
    Some([global.clone(), local])
}

/// The keys of layers without and with a window in the new form, instead of those that [`write`] wrote.
pub(super) fn write_layers(rotaries: [Rotary; 2], keys: &mut Map<String, Value>) {
    let table = |rotary: Rotary| {
        let mut keys = Map::new();
        let theta = rotary.theta;
        write(&Position::Rotary(rotary), &mut keys);
        let mut table = match keys.remove("rope_scaling") {
            Some(Value::Object(table)) => table,
            _ => Map::from_iter([("rope_type".to_owned(), json!("default"))]),
        };
        table.insert("rope_theta".into(), json!(theta));
        table
    };
    keys.remove("rope_theta");
    keys.remove("rope_scaling");
    let [global, local] = rotaries.map(table);
    keys.insert("rope_parameters".into(), json!({"full_attention": global, "sliding_attention": local}));
}

fn yarn_keys(scaling: &RopeScaling) -> Value {
    let RopeScaling::Yarn { factor, original_context_length, beta_fast, beta_slow, truncate, attention_factor } =
        scaling
    else {
        return Value::Null;
    };
    let mut keys = json!({
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original_context_length,
    });
    // What is usual need not be said; old versions of `transformers` warn of some of it.
    for (key, usual, value) in [
        ("beta_fast", *beta_fast == Yarn::beta_fast(), json!(beta_fast)),
        ("beta_slow", *beta_slow == Yarn::beta_slow(), json!(beta_slow)),
        ("truncate", *truncate == Yarn::truncate(), json!(truncate)),
        ("attention_factor", attention_factor.is_none(), json!(attention_factor)),
    ] {
        if !usual {
            keys[key] = value;
        }
    }
    keys
}

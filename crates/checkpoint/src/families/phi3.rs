//! Phi-3, 3.5 and 4-mini (`Phi3ForCausalLM`): Llama with queries, keys and values in one tensor, gate and up projection
//! in another; LongRoPE, and heads of which only a part is rotated.

use llm_gguf::Value as Metadata;
use llm_model::{Family, LongRope, ModelConfig, Position, RopeScaling, Rotary};
use serde_json::{Map, Value, json};

use super::{Page, Part, Place, layers, llama, never, rope};
use crate::CheckpointError;
use crate::gguf::description::{Architecture, LONG_FACTORS, Reading, SHORT_FACTORS, WINDOW, Writing, refused};
use crate::keys::{JsonKeys, Only};

pub(super) const PAGE: Page = Page {
    family: Family::Phi3,
    model_type: "phi3",
    class: "Phi3ForCausalLM",
    read,
    write,
    refuses: never,
    place,
    gguf: Architecture {
        name: "phi3",
        read: read_gguf,
        write: write_gguf,
        block: &[
            ("self_attn.qkv_proj", "attn_qkv"),
            ("self_attn.o_proj", "attn_output"),
            ("mlp.gate_up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ],
        ..Architecture::PLAIN
    },
    whole: None,
};

const ORIGINAL: &str = "original_max_position_embeddings";
const PARTIAL: &str = "partial_rotary_factor";
const ATTENTION_FACTOR: &str = "rope.scaling.attn_factor";
const ORIGINAL_CONTEXT: &str = "rope.scaling.original_context_length";

fn read(keys: &JsonKeys) -> Result<ModelConfig, CheckpointError> {
    for key in ["attention_bias", "mlp_bias", "lm_head_bias"] {
        keys.only(key, Only::Flag(false))?;
    }
    let mut config = llama::read(keys, Family::Phi3, Position::Learned)?;
    config.position = Position::Rotary(rotary(keys, config.head_dim, config.context_length)?);
    config.norm_eps = keys.number("rms_norm_eps")?.unwrap_or(1e-5);
    let all = layers::all(config.num_layers).collect();
    layers::set_window(&mut config, keys.size("sliding_window")?, all);
    Ok(config)
}

fn rotary(keys: &JsonKeys, head_dim: usize, context_length: usize) -> Result<Rotary, CheckpointError> {
    let theta = keys.number("rope_theta")?.unwrap_or(rope::DEFAULT_THETA);
    let partial = keys.number(PARTIAL)?;
    let Some(table) = rope::table(keys)? else {
        return Ok(Rotary { width: width(keys, partial, head_dim)?, ..Rotary::new(theta) });
    };
    let theta = table.number("rope_theta")?.unwrap_or(theta);
    let width = match table.number(PARTIAL)? {
        None => width(keys, partial, head_dim)?,
        partial => width(&table, partial, head_dim)?,
    };
    let scaling = match rope::kind(&table)? {
        None | Some("default") => RopeScaling::None,
        Some("longrope" | "su") => longrope(keys, &table, context_length)?,
        Some(_) => return Err(table.bad(rope::kind_key(&table), "\"default\" or \"longrope\"")),
    };
    Ok(Rotary { theta, scaling, width })
}

/// Entries of a head that are rotated, where these are not all.
fn width(table: &JsonKeys, partial: Option<f64>, head_dim: usize) -> Result<Option<usize>, CheckpointError> {
    let Some(factor) = partial else { return Ok(None) };
    let width = (head_dim as f64 * factor) as usize;
    if factor > 1.0 || width == 0 || !width.is_multiple_of(2) {
        return Err(table.bad(PARTIAL, &format!("a part of 1 that makes an even number of head_dim = {head_dim}")));
    }
    Ok(Some(width).filter(|&width| width != head_dim))
}

fn longrope(keys: &JsonKeys, table: &JsonKeys, context_length: usize) -> Result<RopeScaling, CheckpointError> {
    let factors = |key| table.required(key, table.numbers(key)?);
    // Where both are there, `transformers` goes by the first.
    let original = match keys.size(ORIGINAL)? {
        Some(original) => original,
        None => table.required_size(ORIGINAL)?,
    };
    let stretch = table.number("factor")?.unwrap_or(context_length as f64 / original as f64);
    Ok(RopeScaling::LongRope {
        short_factors: factors("short_factor")?,
        long_factors: factors("long_factor")?,
        original_context_length: original,
        attention_factor: table
            .number("attention_factor")?
            .unwrap_or_else(|| LongRope::attention_factor(stretch, original)),
    })
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
        if *factor != usual_attention_factor(config.context_length, original) {
            table["attention_factor"] = json!(factor);
        }
        keys.insert(ORIGINAL.into(), json!(original));
        keys.insert("rope_scaling".into(), table);
    }
}

/// The factor that is meant in a model of this context where none is written.
fn usual_attention_factor(context_length: usize, original: usize) -> f64 {
    LongRope::attention_factor(context_length as f64 / original as f64, original)
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

fn read_gguf(reading: &mut Reading) -> Result<(), CheckpointError> {
    reading.read_window()?;
    let keys = &reading.keys;
    let head_dim = reading.known("head_dim");
    let width = keys.size(&reading.key("rope.dimension_count"))?.unwrap_or(head_dim);
    let attention_factor = keys.number(&reading.key(ATTENTION_FACTOR))?;
    let original = keys.size(&reading.key(ORIGINAL_CONTEXT))?;
    let factors = |tensor: &str| {
        let values = reading.file.values(tensor)?;
        Ok::<_, CheckpointError>(values.iter().map(|x| x.to_string().parse::<f64>()).collect::<Result<Vec<_>, _>>())
    };
    let mut scaling = None;
    if reading.has(LONG_FACTORS) || reading.has(SHORT_FACTORS) {
        let [Ok(short), Ok(long)] = [factors(SHORT_FACTORS)?, factors(LONG_FACTORS)?] else {
            return Err(reading.file.bad_tensor(LONG_FACTORS, "holds values that are not numbers"));
        };
        let original = keys.required(&reading.key(ORIGINAL_CONTEXT), original)?;
        let mut table = json!({ "type": "longrope", "short_factor": short, "long_factor": long });
        // Where it is what the configuration means by saying nothing, it says nothing.
        let usual = usual_attention_factor(reading.known("max_position_embeddings"), original);
        if let Some(factor) = attention_factor.filter(|factor| (factor - usual).abs() > 1e-6) {
            table["attention_factor"] = json!(factor);
        }
        scaling = Some((original, table));
    } else if attention_factor.is_some_and(|factor| factor != 1.0) {
        return Err(keys.bad(&reading.key(ATTENTION_FACTOR), "absent without tensors of factors"));
    }
    if width != head_dim {
        // Rounded down when it is multiplied again.
        reading.set(PARTIAL, (width as f64 / head_dim as f64).next_up());
    }
    if let Some((original, table)) = scaling {
        reading.set(ORIGINAL, original);
        reading.set("rope_scaling", table);
    }
    Ok(())
}

fn write_gguf(writing: &mut Writing) -> Result<(), CheckpointError> {
    if writing.put_unknown_window()?.is_none() {
        writing.put(WINDOW, Metadata::U32(0));
    }
    let context = writing.config.context_length;
    let original = writing.take(ORIGINAL);
    let long = writing.values.get("rope_scaling").is_some_and(|scaling| scaling["type"] == "longrope");
    if !long {
        writing.put(ORIGINAL_CONTEXT, Metadata::U32(context as u32));
        return Ok(());
    }
    let scaling = writing.required("rope_scaling")?;
    let original = original.and_then(|original| original.as_u64());
    let original = original.ok_or_else(|| refused("LongRoPE without an original context"))?;
    writing.put(ORIGINAL_CONTEXT, Metadata::U32(original as u32));
    let usual = usual_attention_factor(context, original as usize);
    let factor = scaling["attention_factor"].as_f64().unwrap_or(usual);
    writing.put(ATTENTION_FACTOR, Metadata::F32(factor as f32));
    for (key, tensor) in [("long_factor", LONG_FACTORS), ("short_factor", SHORT_FACTORS)] {
        let factors: Option<Vec<f32>> =
            scaling[key].as_array().into_iter().flatten().map(|x| x.as_f64().map(|x| x as f32)).collect();
        writing.tensors.push((tensor, factors.ok_or_else(|| refused(format!("{key} is {}", scaling[key])))?));
    }
    Ok(())
}

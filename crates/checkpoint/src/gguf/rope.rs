//! Rotary settings. GGUF stores the scaling of Llama 3 as what it does and not as what it is: the tensor `rope_freqs.weight`
//! divides every frequency.

use std::f64::consts::TAU;

use llm_gguf::Value;
use llm_model::Yarn;
use serde_json::{Value as Json, json};

use super::description::{ROPE_FREQS, Reading, Writing, float, refused};
use crate::CheckpointError;

/// Reads `rope_theta` and `rope_scaling`.
pub(super) fn read(reading: &mut Reading) -> Result<(), CheckpointError> {
    let keys = &reading.keys;
    let theta = keys.number(&reading.key("rope.freq_base"))?.unwrap_or(10_000.0);
    // They say how the model was trained, or belong to kinds of scaling that read them themselves.
    for name in ["rope.scaling.original_context_length", "rope.scaling.finetuned"] {
        keys.get(&reading.key(name));
    }
    let [type_key, factor_key] = ["type", "factor"].map(|name| reading.key(&format!("rope.scaling.{name}")));
    if keys.text(&type_key)? == Some(YARN) {
        let scaling = yarn(reading, &factor_key)?;
        if llama3(reading, theta)?.is_some() {
            return Err(keys.bad(&type_key, "absent, since there is a tensor rope_freqs.weight"));
        }
        reading.set_from("rope_theta", "rope.freq_base", theta);
        reading.set("rope_scaling", scaling);
        return Ok(());
    }
    let factor = keys.number(&factor_key)?.filter(|&factor| factor != 1.0);
    let linear = match (keys.text(&type_key)?, factor) {
        (Some("none" | "linear") | None, None) => Json::Null,
        (Some("linear") | None, Some(factor)) => json!({ "rope_type": "linear", "factor": factor }),
        (Some("none"), Some(_)) => return Err(keys.bad(&factor_key, "absent, since rope.scaling.type is none")),
        (Some(_), _) => return Err(keys.bad(&type_key, "\"none\", \"linear\" or \"yarn\"")),
    };
    let scaling = match llama3(reading, theta)? {
        None => linear,
        Some(scaling) if linear.is_null() => scaling,
        Some(_) => return Err(keys.bad(&factor_key, "absent, since there is a tensor rope_freqs.weight")),
    };
    reading.set_from("rope_theta", "rope.freq_base", theta);
    reading.set("rope_scaling", scaling);
    Ok(())
}

const YARN: &str = "yarn";
const ORIGINAL: &str = "rope.scaling.original_context_length";
/// What llama.cpp multiplies its own attention factor by; that is the paper's.
const ATTENTION: [&str; 2] = ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"];
const BETA_FAST: &str = "rope.scaling.yarn_beta_fast";
const BETA_SLOW: &str = "rope.scaling.yarn_beta_slow";

/// `rope_scaling` of a file with YaRN.
fn yarn(reading: &Reading, factor_key: &str) -> Result<Json, CheckpointError> {
    let keys = &reading.keys;
    let Some(factor) = keys.number(factor_key)? else { return Ok(Json::Null) };
    let original = keys.size(&reading.key(ORIGINAL))?.unwrap_or(reading.known("max_position_embeddings"));
    let mut table = json!({ "rope_type": YARN, "factor": factor, "original_max_position_embeddings": original });
    for (key, name) in [(BETA_FAST, "beta_fast"), (BETA_SLOW, "beta_slow")] {
        if let Some(turns) = keys.number(&reading.key(key))? {
            table[name] = json!(turns);
        }
    }
    let mut attention = 1.0;
    for key in ATTENTION {
        attention *= keys.number(&reading.key(key))?.unwrap_or(1.0);
    }
    if attention != 1.0 {
        // It is float32 in the file, and was a short number before.
        let attention = attention * Yarn::attention_factor(factor, 1.0);
        table["attention_factor"] = json!((attention * 1e6).round() / 1e6);
    }
    let extrapolation = reading.key("rope.scaling.yarn_ext_factor");
    if keys.number(&extrapolation)?.is_some_and(|factor| factor != 1.0) {
        return Err(keys.bad(&extrapolation, "1"));
    }
    Ok(table)
}

/// The keys of YaRN.
fn write_yarn(writing: &mut Writing, scaling: &Json) -> Result<(), CheckpointError> {
    let number = |key: &str| scaling[key].as_f64().ok_or_else(|| refused(format!("rope_scaling has no number {key}")));
    if scaling["truncate"] == false {
        return Err(refused("rope_scaling.truncate is false, which llama.cpp does not support"));
    }
    let factor = number("factor")?;
    writing.put("rope.scaling.type", Value::String(YARN.into()));
    writing.put("rope.scaling.factor", Value::F32(factor as f32));
    writing.put(ORIGINAL, Value::U32(number("original_max_position_embeddings")? as u32));
    for (key, name) in [(BETA_FAST, "beta_fast"), (BETA_SLOW, "beta_slow")] {
        if let Some(turns) = scaling[name].as_f64() {
            writing.put(key, Value::F32(turns as f32));
        }
    }
    if let Some(attention) = scaling["attention_factor"].as_f64() {
        writing.put(ATTENTION[0], Value::F32((attention / Yarn::attention_factor(factor, 1.0)) as f32));
    }
    Ok(())
}

/// `rope_scaling` by the divisors of a file, if they are not all 1.
fn llama3(reading: &Reading, theta: f64) -> Result<Option<Json>, CheckpointError> {
    if !reading.has(ROPE_FREQS) {
        return Ok(None);
    }
    let divisors = reading.file.values(ROPE_FREQS)?;
    if divisors.iter().all(|&divisor| divisor == 1.0) {
        return Ok(None);
    }
    let settings = Llama3::from_divisors(&divisors, theta).filter(|_| divisors.len() * 2 == reading.known("head_dim"));
    let settings =
        settings.ok_or_else(|| reading.file.bad_tensor(ROPE_FREQS, "does not divide frequencies as Llama 3 does"))?;
    Ok(Some(json!({
        "rope_type": "llama3",
        "factor": settings.factor,
        "low_freq_factor": settings.low,
        "high_freq_factor": settings.high,
        "original_max_position_embeddings": settings.context as u64,
    })))
}

/// Writes `rope_theta`, `rope_scaling` and how much of a head is rotated.
pub(super) fn write(writing: &mut Writing) -> Result<(), CheckpointError> {
    let theta = writing.required("rope_theta")?;
    writing.put("rope.freq_base", float("rope_theta", &theta)?);
    let head_dim = writing.config.head_dim;
    let width = writing.take("partial_rotary_factor").and_then(|factor| factor.as_f64());
    // As `transformers` rounds it.
    let width = width.map_or(head_dim, |factor| (head_dim as f64 * factor) as usize);
    writing.put("rope.dimension_count", Value::U32(width as u32));
    let Some(scaling) = writing.take("rope_scaling") else { return Ok(()) };
    let number = |key: &str| scaling[key].as_f64().ok_or_else(|| refused(format!("rope_scaling has no number {key}")));
    match scaling["rope_type"].as_str() {
        Some("linear") => {
            writing.put("rope.scaling.type", Value::String("linear".into()));
            writing.put("rope.scaling.factor", Value::F32(number("factor")? as f32));
        }
        Some("llama3") => {
            let settings = Llama3 {
                factor: number("factor")?,
                low: number("low_freq_factor")?,
                high: number("high_freq_factor")?,
                context: number("original_max_position_embeddings")?,
            };
            let divisors = settings.divisors(theta.as_f64().unwrap_or(10_000.0), head_dim);
            // llama.cpp reads the tensor for this architecture only.
            if writing.architecture.name != "llama" {
                return Err(refused(format!("llama.cpp has no scaling of Llama 3 for {}", writing.architecture.name)));
            }
            writing.tensors.push((ROPE_FREQS, divisors));
        }
        Some(YARN) => write_yarn(writing, &scaling)?,
        Some("dynamic") => return Err(refused("llama.cpp has no dynamic scaling of rotary positions")),
        _ => return Err(refused(format!("rope_scaling is {scaling}"))),
    }
    Ok(())
}

/// The settings that Llama 3.1 came with and all its descendants kept.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
/// The context of Llama 3's pretraining, where the divisors do not tell.
const USUAL_CONTEXT: f64 = 8192.0;
/// Divisors are float32, computed from float32.
const TOLERANCE: f64 = 1e-4;

/// `rope_type` llama3.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Llama3 {
    pub factor: f64,
    pub low: f64,
    pub high: f64,
    pub context: f64,
}

impl Llama3 {
    /// What every frequency of a head of width `head_dim` is divided by.
    pub fn divisors(&self, theta: f64, head_dim: usize) -> Vec<f32> {
        let Self { factor, low, high, context } = *self;
        let divisor = |frequency: f64| {
            let keep = ((context * frequency / TAU - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / (keep + (1.0 - keep) / factor)
        };
        frequencies(theta, head_dim).map(|frequency| divisor(frequency) as f32).collect()
    }

    /// The settings that give these divisors, with the usual `low` and `high`.
    pub fn from_divisors(divisors: &[f32], theta: f64) -> Option<Self> {
        let divisors: Vec<f64> = divisors.iter().map(|&divisor| f64::from(divisor)).collect();
        let factor = divisors.iter().copied().fold(0.0, f64::max);
        if !factor.is_finite() || factor <= 1.0 {
            return None;
        }
        let head_dim = 2 * divisors.len();
        // On the ramp between short and long wavelengths, a divisor tells the context.
        let contexts = frequencies(theta, head_dim).zip(&divisors).filter_map(|(frequency, divisor)| {
            let keep = (1.0 / divisor - 1.0 / factor) / (1.0 - 1.0 / factor);
            (0.001..0.999).contains(&keep).then(|| ((keep * (HIGH - LOW) + LOW) * TAU / frequency).round())
        });
        // Where none lies there, any context does of which the ramp falls between the two kinds.
        let kept = frequencies(theta, head_dim).zip(&divisors).filter(|(_, divisor)| **divisor == 1.0);
        let longest_kept = kept.map(|(frequency, _)| TAU / frequency).fold(0.0, f64::max);
        let candidates = contexts.chain([USUAL_CONTEXT, (HIGH * longest_kept).ceil()]);
        let mut settings = candidates.map(|context| Self { factor, low: LOW, high: HIGH, context });
        let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= TOLERANCE * b;
        settings.find(|settings| settings.divisors(theta, head_dim).iter().zip(&divisors).all(near))
    }
}

fn frequencies(theta: f64, head_dim: usize) -> impl Iterator<Item = f64> {
    (0..head_dim / 2).map(move |i| theta.powf(-2.0 * i as f64 / head_dim as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_again_in_what_they_do() {
        for (factor, context, theta, head_dim) in
            [(8.0, 8192.0, 5e5, 128), (32.0, 8192.0, 5e5, 64), (8.0, 32.0, 1e4, 16), (4.0, 2048.0, 1e4, 64)]
        {
            let settings = Llama3 { factor, low: 1.0, high: 4.0, context };
            assert_eq!(Llama3::from_divisors(&settings.divisors(theta, head_dim), theta), Some(settings));
        }
        let unusual = Llama3 { factor: 8.0, low: 1.0, high: 2.0, context: 8192.0 };
        assert_eq!(Llama3::from_divisors(&unusual.divisors(5e5, 128), 5e5), None);
        // No wavelength on the ramp: another context, which does the same.
        let short = Llama3 { factor: 8.0, low: 1.0, high: 4.0, context: 40.0 }.divisors(1e4, 4);
        assert_eq!(short, [1.0, 8.0]);
        assert_eq!(Llama3::from_divisors(&short, 1e4).unwrap().divisors(1e4, 4), short);
        assert_eq!(Llama3::from_divisors(&[1.0, 1.0], 1e4), None);
        assert_eq!(Llama3::from_divisors(&[1.0, f32::NAN, f32::INFINITY], 1e4), None);
    }
}

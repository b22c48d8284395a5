//! `generation_config.json`: how a published model wants its tokens drawn.

use std::path::Path;

use serde_json::Value;

use crate::keys::JsonKeys;
use crate::{CheckpointError, write_atomic};

/// The file's name in a model directory.
const FILE: &str = "generation_config.json";

/// The settings that `generation_config.json` names; the others are for the program to choose.
///
/// The tokens that end a text are read with the tokenizer: see `llm_data::Tokenizer::eos_ids`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GenerationDefaults {
    /// Whether tokens are drawn at all; `Some(false)` always takes the most probable one.
    pub do_sample: Option<bool>,
    /// Divides the logits.
    pub temperature: Option<f32>,
    /// Only this many most probable tokens remain; 0 for all.
    pub top_k: Option<usize>,
    /// Only the most probable tokens remain, until they have this probability together.
    pub top_p: Option<f32>,
    /// Only tokens remain that have this share of the most probable one's probability.
    pub min_p: Option<f32>,
    /// Makes the tokens of the whole text so far less probable.
    pub repetition_penalty: Option<f32>,
    /// Maximum number of tokens to generate.
    pub max_new_tokens: Option<usize>,
}

/// Reads `generation_config.json` in `dir`; without the file, or in a GGUF file, nothing is named.
///
/// # Errors
/// A file that cannot be read, is not a JSON object, or has a value outside its range.
pub fn load_generation(dir: &Path) -> Result<GenerationDefaults, CheckpointError> {
    if dir.is_file() {
        return Ok(GenerationDefaults::default());
    }
    let path = dir.join(FILE);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(GenerationDefaults::default()),
        other => other.map_err(|error| CheckpointError::read(&path, error, ""))?,
    };
    let raw = JsonKeys::parse(&path, &text)?;
    let number = |key: &str, expected: &str, meaning: fn(f64) -> Option<f64>| {
        let given = raw.get(key).map(|value| value.as_f64().and_then(meaning));
        given.map(|number| number.map(|number| number as f32).ok_or_else(|| raw.bad(key, expected))).transpose()
    };
    let flag = |key: &str| {
        let truth = |value: &Value| value.as_bool().or_else(|| value.as_f64().map(|number| number != 0.0));
        raw.get(key).map(|value| truth(value).ok_or_else(|| raw.bad(key, "true or false"))).transpose()
    };
    let defaults = GenerationDefaults {
        do_sample: flag("do_sample")?,
        temperature: number("temperature", "a number, 0 or more", |x| (x >= 0.0).then_some(x.min(MOST)))?,
        top_k: count(&raw, "top_k")?.map(|k| if k == NO_LIMIT { 0 } else { k }),
        // As in `transformers`, a share of 0 leaves the most probable token, and one above 1 leaves all.
        top_p: number("top_p", "a number, 0 or more", |x| (x >= 0.0).then_some(x.clamp(LEAST, 1.0)))?,
        min_p: number("min_p", "a number from 0 to 1", |x| (0.0..=1.0).contains(&x).then_some(x))?,
        repetition_penalty: number("repetition_penalty", "a number, more than 0", |x| {
            (x > 0.0).then_some(x.clamp(LEAST, MOST))
        })?,
        max_new_tokens: count(&raw, "max_new_tokens")?.filter(|&most| most != NO_LIMIT),
    };
    Ok(defaults)
}

// Bounds of what logits can be divided by in float32.
const LEAST: f64 = 1e-6;
const MOST: f64 = 1e6;

/// What -1 is read as.
const NO_LIMIT: usize = usize::MAX;

/// A whole number from 0, also where it is written as a float; -1 is [`NO_LIMIT`], as in vLLM.
fn count(raw: &JsonKeys, key: &str) -> Result<Option<usize>, CheckpointError> {
    let meaning = |value: &Value| match value.as_f64() {
        Some(-1.0) => Some(NO_LIMIT),
        Some(number) if number >= 0.0 && number.fract() == 0.0 => Some(number as usize),
        _ => None,
    };
    let expected = "a whole number from 0, or -1 for no limit";
    raw.get(key).map(|value| meaning(value).ok_or_else(|| raw.bad(key, expected))).transpose()
}

/// Copies `generation_config.json` from one model directory to another; does nothing where there is none.
///
/// # Errors
/// A file that cannot be read, and those of [`write_atomic`].
pub fn copy_generation(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let path = from.join(FILE);
    if from.is_file() || !path.exists() {
        return Ok(());
    }
    let text = std::fs::read(&path).map_err(|error| CheckpointError::read(&path, error, ""))?;
    write_atomic(&to.join(FILE), |out| out.write_all(&text))
}

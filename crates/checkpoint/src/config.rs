//! `config.json` ↔ [`ModelConfig`].

pub(crate) mod layers;
pub(crate) mod raw;
pub(crate) mod rope;

use std::io::ErrorKind;
use std::path::Path;

use llm_model::{CausalLm, ModelConfig};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::adapter::is_adapter;
use crate::families::{FAMILIES, Family, GEMMA3, GEMMA3_PICTURES, gemma3_text};
use crate::weights::Scales;
use crate::{CheckpointError, Dtype, ModelSource, write_atomic};
use raw::RawConfig;

/// `model_type` of a model that no published one describes; the key of the same name holds the whole [`ModelConfig`].
const OWN_TYPE: &str = "llm";

/// Reads `config.json` in `dir`, or the metadata of a GGUF file, and resolves it.
///
/// # Errors
/// A missing or damaged file; a missing key; a key whose value this program cannot compute with, with both named:
/// nothing that changes the result is passed over.
pub fn load_config(dir: &Path) -> Result<ModelConfig, CheckpointError> {
    ModelSource::open(dir)?.config()
}

/// Reads and resolves `config.json` in `dir`.
pub(crate) fn read(dir: &Path) -> Result<ModelConfig, CheckpointError> {
    let path = dir.join("config.json");
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => CheckpointError::NoConfig { path: path.clone(), is_adapter: is_adapter(dir) },
        _ => CheckpointError::Io { path: path.clone(), source },
    })?;
    let json = |e: serde_json::Error| CheckpointError::Json { path: path.clone(), message: e.to_string() };
    resolve(&RawConfig::new(&path, serde_json::from_slice(&text).map_err(json)?))
}

/// What the keys of a `config.json` mean.
pub(crate) fn resolve(raw: &RawConfig) -> Result<ModelConfig, CheckpointError> {
    let model_type = raw.text("model_type")?.ok_or_else(|| raw.missing("model_type"))?;
    let config = if model_type == OWN_TYPE {
        let own = raw.get(OWN_TYPE).ok_or_else(|| raw.missing(OWN_TYPE))?;
        let json = |e: serde_json::Error| raw.damaged(&e);
        ModelConfig::deserialize(own).map_err(json)?
    } else {
        Scales::read(raw)?;
        match FAMILIES.iter().find(|family| family.model_type == model_type) {
            Some(family) => (family.resolve)(raw)?,
            None if model_type == GEMMA3_PICTURES => (GEMMA3.resolve)(&gemma3_text(raw)?)?,
            None => return Err(unknown_type(raw)),
        }
    };
    config.validate().map_err(|e| raw.invalid(e))?;
    Ok(config)
}

/// The error of an architecture that is not read.
fn unknown_type(raw: &RawConfig) -> CheckpointError {
    let known: Vec<String> = FAMILIES.iter().map(|family| format!("{:?}", family.model_type)).collect();
    if raw.get("vision_config").is_none() && raw.get("audio_config").is_none() {
        return raw.bad("model_type", &raw::one_of(&known));
    }
    let hint = format!("use a text-only model of the same series, of type {}", raw::one_of(&known));
    let problem = "of the models for text and images, only the text part of \"gemma3\" can be loaded";
    raw.unsupported("model_type", problem, &hint)
}

/// Whether the model in `dir` has parts that text does not pass through, by its `config.json`.
pub(crate) fn has_other_parts(dir: &Path) -> bool {
    #[derive(Deserialize)]
    struct Type {
        model_type: String,
    }
    let config = std::fs::read(dir.join("config.json")).ok();
    let kind = config.and_then(|text| serde_json::from_slice::<Type>(&text).ok());
    kind.is_some_and(|kind| kind.model_type == GEMMA3_PICTURES)
}

/// The `model_type` under which `transformers` and others load a model of `config` once it is saved as a model, or `None`
/// if no published architecture computes the same; such a model loads in this program only.
pub fn published_type(config: &ModelConfig) -> Option<&'static str> {
    published(config).or_else(|| published(&config.with_biases())).map(|family| family.model_type)
}

/// `model` as others read it: where no published architecture goes without the biases that it lacks, it has them, all
/// zero, which computes the same.
pub(crate) fn publishable(model: &CausalLm) -> CausalLm {
    let config = model.config();
    let lacks_biases = published(config).is_none() && published(&config.with_biases()).is_some();
    if lacks_biases { model.clone().with_zero_biases() } else { model.clone() }
}

/// The published family of `config`: its own if that computes the same, or else the first that does.
pub(crate) fn published(config: &ModelConfig) -> Option<&'static Family> {
    let able = |family: &&Family| (family.represents)(config);
    let own = FAMILIES.iter().filter(|family| family.name == config.family).find(able);
    own.or_else(|| FAMILIES.iter().find(able))
}

/// Writes `config.json` in `dir`, under the published `model_type` that computes exactly `config` if there is one.
/// `bos` begins a text; generation stops at any of `eos`.
///
/// # Errors
/// Those of [`write_atomic`].
pub fn save_config(dir: &Path, config: &ModelConfig, bos: Option<u32>, eos: &[u32]) -> Result<(), CheckpointError> {
    write_config(dir, config, bos, eos, Dtype::F32)
}

/// [`save_config`] beside weights of any type.
pub(crate) fn write_config(
    dir: &Path,
    config: &ModelConfig,
    bos: Option<u32>,
    eos: &[u32],
    dtype: Dtype,
) -> Result<(), CheckpointError> {
    let mut keys = Map::new();
    if let Some(family) = published(config) {
        keys.insert("architectures".into(), json!([family.architecture]));
        keys.insert("model_type".into(), json!(family.model_type));
        (family.write)(config, &mut keys);
        keys.insert("vocab_size".into(), json!(config.vocab_size));
        keys.insert("tie_word_embeddings".into(), json!(config.tied));
        keys.insert("torch_dtype".into(), json!(dtype.name()));
        // Where nothing is written, some families mean an id that a small vocabulary does not have.
        keys.insert("pad_token_id".into(), Value::Null);
    } else {
        keys.insert("model_type".into(), json!(OWN_TYPE));
        keys.insert(OWN_TYPE.into(), json!(config));
    }
    keys.append(&mut special_ids(bos, eos));
    write_json(&dir.join("config.json"), &Value::Object(keys))
}

/// The keys that name the first and the last token of a text, as `config.json` and `generation_config.json` have them.
pub(crate) fn special_ids(bos: Option<u32>, eos: &[u32]) -> Map<String, Value> {
    let eos = match eos {
        [] => Value::Null,
        [one] => json!(one),
        several => json!(several),
    };
    Map::from_iter([("bos_token_id".to_owned(), json!(bos)), ("eos_token_id".to_owned(), eos)])
}

/// Writes indented JSON and a line end, atomically.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<(), CheckpointError> {
    write_atomic(path, |out| writeln!(out, "{value:#}"))
}

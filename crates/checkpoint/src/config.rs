//! `config.json` ↔ [`ModelConfig`].

use std::io::ErrorKind;
use std::path::Path;

use llm_model::ModelConfig;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::families::{self, OWN_TYPE, published};
use crate::keys::JsonKeys;
use crate::layout::{CONFIG, is_adapter};
use crate::weights::Scales;
use crate::{CheckpointError, Dtype, write_atomic};

/// Reads and resolves `config.json` in `dir`.
pub(crate) fn read(dir: &Path) -> Result<ModelConfig, CheckpointError> {
    let path = dir.join(CONFIG);
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => CheckpointError::NoConfig { path: path.clone(), is_adapter: is_adapter(dir) },
        _ => CheckpointError::Io { path: path.clone(), source },
    })?;
    let keys = JsonKeys::parse(&path, &text)?;
    if keys.text("model_type")? != Some(OWN_TYPE) {
        Scales::read(&keys)?;
    }
    families::resolve(&keys)
}

/// Whether the model in `dir` has parts that text does not pass through, by its `config.json`.
pub(crate) fn has_other_parts(dir: &Path) -> bool {
    #[derive(Deserialize)]
    struct Type {
        model_type: String,
    }
    let config = std::fs::read(dir.join(CONFIG)).ok();
    let kind = config.and_then(|text| serde_json::from_slice::<Type>(&text).ok());
    kind.is_some_and(|kind| families::of_whole(&kind.model_type).is_some())
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
    if let Some(page) = published(config) {
        keys = families::write(page, config);
        keys.insert("torch_dtype".into(), json!(dtype.name()));
        // Where nothing is written, some families mean an id that a small vocabulary does not have.
        keys.insert("pad_token_id".into(), Value::Null);
    } else {
        keys.insert("model_type".into(), json!(OWN_TYPE));
        keys.insert(OWN_TYPE.into(), json!(config));
    }
    keys.append(&mut special_ids(bos, eos));
    write_json(&dir.join(CONFIG), &Value::Object(keys))
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

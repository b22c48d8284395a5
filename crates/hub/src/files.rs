//! Which files of a repository a model is.

use std::collections::BTreeSet;
use std::path::Path;

use llm_gguf::{is_gguf_name, part_name, sibling};
use serde_json::Value;

use crate::{HubError, HubId};

/// Files that every model directory may have beside its weights.
const NAMES: [&str; 7] = [
    "config.json",
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    INDEX,
];
const TOKENIZER: &str = "tokenizer.json";
/// What a tokenizer is made of where there is no `tokenizer.json`.
const TOKENIZER_PARTS: [&str; 4] = ["tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json"];
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// The same as PyTorch writes them, where there are no others.
pub(crate) const PICKLED: &str = "pytorch_model.bin";
pub(crate) const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";

/// Whether a file of a repository that has `names` belongs to the model directory, weights aside.
pub(crate) fn wanted(name: &str, names: &BTreeSet<String>) -> bool {
    let template =
        name.starts_with("additional_chat_templates/") && Path::new(name).extension() == Some("jinja".as_ref());
    NAMES.contains(&name) || template || (TOKENIZER_PARTS.contains(&name) && !names.contains(TOKENIZER))
}

/// The weights of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// These files.
    Files(Vec<String>),
    /// Those that this index names.
    Index(&'static str),
}

impl Weights {
    pub(crate) fn choose(id: &HubId, names: &BTreeSet<String>) -> Result<Self, HubError> {
        for (single, index) in [(WEIGHTS, INDEX), (PICKLED, PICKLED_INDEX)] {
            if names.contains(single) {
                return Ok(Self::Files(vec![single.to_owned()]));
            }
            if names.contains(index) {
                return Ok(Self::Index(index));
            }
        }
        let gguf = names.iter().filter(|name| is_gguf_name(Path::new(name))).cloned().collect();
        let pickled = |name: &&String| Path::new(name).extension().is_some_and(|kind| kind == "bin" || kind == "pt");
        let other = names.iter().filter(pickled).cloned().collect();
        Err(HubError::NoWeights { id: Box::new(id.clone()), gguf, other })
    }
}

/// The files of weights that an index names.
pub(crate) fn shards(index: &Path) -> Result<Vec<String>, HubError> {
    let answer = |message: String| HubError::Answer { url: index.display().to_string(), message };
    let text = std::fs::read(index).map_err(|source| HubError::Io { path: index.to_owned(), source })?;
    let index: Value = serde_json::from_slice(&text).map_err(|error| answer(error.to_string()))?;
    let map = index["weight_map"].as_object().ok_or_else(|| answer("it has no weight_map".to_owned()))?;
    let names: Option<BTreeSet<String>> = map.values().map(|name| name.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(|| answer("its weight_map names something else than files".to_owned()))?;
    Ok(names.into_iter().collect())
}

/// The GGUF files of the model that `name` is a part of, the first one first; `name` alone if it is whole.
pub(crate) fn files_of(name: &str) -> impl Iterator<Item = String> {
    let folder = name.rfind('/').map_or(0, |at| at + 1);
    let count = part_name(&name[folder..]).map_or(1, |(.., count)| count);
    (1..=count).map(move |at| {
        sibling(&name[folder..], at).map_or_else(|| name.to_owned(), |part| name[..folder].to_owned() + &part)
    })
}

/// Whether a file is one of several of a model, and not the first.
pub(crate) fn is_later_part(name: &str) -> bool {
    files_of(name).next().is_some_and(|first| first != name)
}

/// The GGUF file that `wanted` is: its name, or a part that only one name has, such as `Q4_K_M`. Of a model in several files
/// it is the first.
pub(crate) fn gguf<'n>(id: &HubId, wanted: &str, names: &'n BTreeSet<String>) -> Result<&'n str, HubError> {
    if let Some(name) = names.get(wanted) {
        return Ok(files_of(name).next().and_then(|first| names.get(&first)).unwrap_or(name));
    }
    let part = wanted.to_lowercase();
    let all: Vec<&String> = names.iter().filter(|name| is_gguf_name(Path::new(name))).collect();
    let mut fitting = all.iter().filter(|name| !is_later_part(name) && name.to_lowercase().contains(&part));
    if let (Some(one), None) = (fitting.next(), fitting.next()) {
        return Ok(one);
    }
    let there = all.into_iter().cloned().collect();
    Err(HubError::NoFile { id: Box::new(id.clone()), file: wanted.to_owned(), there })
}

//! Models of the Hugging Face hub, in the cache that its own programs share.
//!
//! The crate `hf-hub` stands on tokio, reqwest and the hub's chunk protocol since 1.0, a hundred crates for a handful
//! of requests; the versions before it know neither `HF_HUB_OFFLINE` nor gated models. So this is a small client on
//! `ureq`. It keeps the layout of the Python library: `models--ORG--NAME/{blobs,refs,snapshots}`.

mod cache;
mod client;
mod error;
mod id;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use cache::Repository;
use client::Client;

use crate::gguf::{is_gguf_name, part_name, sibling};
pub use error::HubError;
pub use id::HubId;

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
const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &str = "model.safetensors";
/// The same as PyTorch writes them, where there are no others.
const PICKLED: &str = "pytorch_model.bin";
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";

/// A hub and the cache of what was downloaded from it.
#[derive(Debug, Clone)]
pub struct Hub {
    /// For example `https://huggingface.co`.
    pub endpoint: String,
    /// The folder of all repositories.
    pub cache: PathBuf,
    /// Who asks, for gated and private models.
    pub token: Option<String>,
    /// Use the cache only.
    pub offline: bool,
    /// Time before a broken download goes on; it grows with every failure in a row.
    pub patience: Duration,
}

/// What happens while a model is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubEvent<'a> {
    /// A file is so far.
    Progress {
        /// Its name.
        file: &'a str,
        /// Bytes there, those of earlier attempts included.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// The hub cannot be reached; what was downloaded before is used.
    Unreachable {
        /// Why.
        reason: &'a str,
    },
}

/// What the hub says about a revision.
#[derive(Debug, Deserialize)]
struct Revision {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// The hub as the environment has it, by the variables of the Python library: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`,
    /// `HF_TOKEN` (or a file at `HF_TOKEN_PATH`, else `token` in `HF_HOME`) and `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let user_cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let user_cache = user_cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
        let home = variable("HF_HOME").map(PathBuf::from);
        let home = home.unwrap_or_else(|| user_cache.unwrap_or_default().join("huggingface"));
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
        let token = variable("HF_TOKEN").or_else(|| std::fs::read_to_string(token_file).ok());
        let offline = variable("HF_HUB_OFFLINE").map(|value| value.to_uppercase());
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            cache: variable("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            offline: offline.is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.as_str())),
            patience: Duration::from_secs(1),
        }
    }

    /// The directory of a model, or its GGUF file if `id` names one, downloaded as far as it is not in the cache.
    ///
    /// # Errors
    /// [`HubError`]: a model that does not exist, that is gated, or has no weights this program reads; no connection
    /// and not in the cache; a download that breaks off again and again. What was downloaded by then is kept.
    pub fn fetch(&self, id: &HubId, event: &mut dyn FnMut(HubEvent)) -> Result<PathBuf, HubError> {
        let repository = Repository::new(&self.cache, id);
        if self.offline {
            let cached = repository.cached(id)?;
            return cached.ok_or_else(|| HubError::Offline { id: Box::new(id.clone()), cache: self.cache.clone() });
        }
        let client = Client::new(&self.endpoint, self.token.as_deref(), self.patience);
        let revision: Revision = match client.revision(id) {
            Err(error @ HubError::Connection { .. }) => {
                let Some(cached) = repository.cached(id)? else { return Err(error) };
                event(HubEvent::Unreachable { reason: &error.to_string() });
                return Ok(cached);
            }
            other => other?,
        };
        let names: BTreeSet<String> = revision.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        let mut get = |name: &str| {
            let place = repository.place(&revision.sha, name)?;
            if !place.exists() {
                client.download(id, &revision.sha, name, &repository, event)?;
            }
            Ok::<PathBuf, HubError>(place)
        };
        let found = if let Some(file) = &id.file {
            let name = gguf(id, file, &names)?;
            for part in files_of(name).filter(|part| names.contains(part)) {
                get(&part)?;
            }
            get(name)?
        } else {
            let weights = Weights::choose(id, &names)?;
            for name in names.iter().filter(|name| wanted(name, &names)) {
                get(name)?;
            }
            let weights = match weights {
                Weights::Files(files) => files,
                Weights::Index(index) => shards(&get(index)?)?,
            };
            for name in &weights {
                get(name)?;
            }
            repository.snapshot(&revision.sha)?
        };
        repository.remember(&id.revision, &revision.sha)?;
        Ok(found)
    }
}

/// Whether a file of a repository that has `names` belongs to the model directory, weights aside.
fn wanted(name: &str, names: &BTreeSet<String>) -> bool {
    let template =
        name.starts_with("additional_chat_templates/") && Path::new(name).extension() == Some("jinja".as_ref());
    NAMES.contains(&name) || template || (TOKENIZER_PARTS.contains(&name) && !names.contains(TOKENIZER))
}

/// The weights of a repository.
#[derive(Debug, PartialEq, Eq)]
enum Weights {
    /// These files.
    Files(Vec<String>),
    /// Those that this index names.
    Index(&'static str),
}

impl Weights {
    fn choose(id: &HubId, names: &BTreeSet<String>) -> Result<Self, HubError> {
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
fn shards(index: &Path) -> Result<Vec<String>, HubError> {
    let answer = |message: String| HubError::Answer { url: index.display().to_string(), message };
    let text = std::fs::read(index).map_err(|source| HubError::Io { path: index.to_owned(), source })?;
    let index: Value = serde_json::from_slice(&text).map_err(|error| answer(error.to_string()))?;
    let map = index["weight_map"].as_object().ok_or_else(|| answer("it has no weight_map".to_owned()))?;
    let names: Option<BTreeSet<String>> = map.values().map(|name| name.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(|| answer("its weight_map names something else than files".to_owned()))?;
    Ok(names.into_iter().collect())
}

/// The GGUF files of the model that `name` is a part of, the first one first; `name` alone if it is whole.
fn files_of(name: &str) -> impl Iterator<Item = String> {
    let folder = name.rfind('/').map_or(0, |at| at + 1);
    let count = part_name(&name[folder..]).map_or(1, |(.., count)| count);
    (1..=count).map(move |at| {
        sibling(&name[folder..], at).map_or_else(|| name.to_owned(), |part| name[..folder].to_owned() + &part)
    })
}

/// Whether a file is one of several of a model, and not the first.
fn is_later_part(name: &str) -> bool {
    files_of(name).next().is_some_and(|first| first != name)
}

/// The GGUF file that `wanted` is: its name, or a part that only one name has, such as `Q4_K_M`. Of a model in several files
/// it is the first.
fn gguf<'n>(id: &HubId, wanted: &str, names: &'n BTreeSet<String>) -> Result<&'n str, HubError> {
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

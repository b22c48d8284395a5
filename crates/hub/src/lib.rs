//! Models of the Hugging Face hub, in the cache that its own programs share.
//!
//! The crate `hf-hub` stands on tokio, reqwest and the hub's chunk protocol since 1.0, a hundred crates for a handful
//! of requests; the versions before it know neither `HF_HUB_OFFLINE` nor gated models. So this is a small client on
//! `ureq`. It keeps the layout of the Python library: `models--ORG--NAME/{blobs,refs,snapshots}`. Knows
//! which files of a repository a model is made of, and nothing of what they hold.
#![warn(missing_docs)]

mod cache;
mod client;
mod error;
mod files;
mod id;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use cache::Repository;
pub use client::HubEvent;
use client::{Client, Revision};
pub use error::HubError;
use files::{Weights, files_of, gguf, shards, wanted};
pub use id::HubId;

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
    /// Time before a broken download is resumed; it grows with every failure in a row.
    pub patience: Duration,
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

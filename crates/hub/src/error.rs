use std::io;
use std::path::PathBuf;

use crate::HubId;

/// Why a model of the hub is not there.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No such repository; the hub also says so of private ones.
    #[error(
        "{id}: no such model on {endpoint}, or it is private\n\
         hint: check the name; for a private model set HF_TOKEN"
    )]
    NoModel {
        /// What was asked for.
        id: Box<HubId>,
        /// Where.
        endpoint: String,
    },

    /// A repository without this branch, tag or commit.
    #[error("{}: no revision {} on {endpoint}\nhint: see {endpoint}/{}/refs", id.repository(), id.revision, id.repository())]
    NoRevision {
        /// What was asked for.
        id: Box<HubId>,
        /// Where.
        endpoint: String,
    },

    /// A model whose publisher wants its terms accepted first.
    #[error("{id}: access is restricted{}\nhint: {}", if *known { " for the owner of this token" } else { "" }, gated_hint(id, endpoint, *known))]
    Gated {
        /// What was asked for.
        id: Box<HubId>,
        /// Where.
        endpoint: String,
        /// Whether a token was sent.
        known: bool,
    },

    /// A token that the hub does not take.
    #[error(
        "{endpoint} does not accept the token\nhint: create a new one at {endpoint}/settings/tokens and set HF_TOKEN, or unset it"
    )]
    BadToken {
        /// Where.
        endpoint: String,
    },

    /// A repository without weights that this program reads.
    #[error(
        "{id}: it has neither model.safetensors nor pytorch_model.bin{}\nhint: {}",
        listed(", but ", other),
        no_weights_hint(id, gguf)
    )]
    NoWeights {
        /// What was asked for.
        id: Box<HubId>,
        /// GGUF files there are.
        gguf: Vec<String>,
        /// Weights of other kinds.
        other: Vec<String>,
    },

    /// A file that the repository lacks, or a part of a name that fits none or several.
    #[error("{}: no single GGUF file matches {file:?}{}", id.repository(), listed("\nhint: the files are ", there))]
    NoFile {
        /// What was asked for.
        id: Box<HubId>,
        /// The file.
        file: String,
        /// The GGUF files there are.
        there: Vec<String>,
    },

    /// Not in the cache, and no connection is allowed.
    #[error(
        "{id}: not complete in {}, and HF_HUB_OFFLINE is set\nhint: unset HF_HUB_OFFLINE once to download it", cache.display()
    )]
    Offline {
        /// What was asked for.
        id: Box<HubId>,
        /// The folder of all repositories.
        cache: PathBuf,
    },

    /// The hub cannot be reached.
    #[error("{url}: {message}\nhint: check the connection, and HF_ENDPOINT if it is set")]
    Connection {
        /// What was asked for.
        url: String,
        /// What went wrong.
        message: String,
    },

    /// An answer that is not the one expected.
    #[error("{url}: {message}\nhint: try again later")]
    Answer {
        /// What was asked for.
        url: String,
        /// What came instead.
        message: String,
    },

    /// A download that broke off several times in a row.
    #[error(
        "{file}: the download broke off after {done} of {total} bytes: {message}\nhint: run the same command to resume"
    )]
    Broken {
        /// The file.
        file: String,
        /// Bytes there.
        done: u64,
        /// All bytes.
        total: u64,
        /// The last failure.
        message: String,
    },

    /// A file with other content than the hub says.
    #[error("{file}: its SHA-256 is {found}, but the hub says {expected}; it was removed\nhint: download it again")]
    Corrupt {
        /// The file.
        file: String,
        /// By the hub.
        expected: String,
        /// Of the file.
        found: String,
    },

    /// The cache cannot be read or written.
    #[error("{}: {source}\nhint: set HF_HOME to download elsewhere", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn gated_hint(id: &HubId, endpoint: &str, known: bool) -> String {
    let page = format!("{endpoint}/{}", id.repository());
    if known {
        format!("accept the terms at {page}")
    } else {
        format!("accept the terms at {page}, then set HF_TOKEN to a token of {endpoint}/settings/tokens")
    }
}

fn no_weights_hint(id: &HubId, gguf: &[String]) -> String {
    match gguf.first() {
        Some(file) => format!("name one of its GGUF files, for example {}:{file}", id.repository()),
        None => "look for a version of the model with safetensors weights".to_owned(),
    }
}

/// The first few names after `lead`, or nothing.
fn listed(lead: &str, names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let rest = if names.len() > 8 { ", …" } else { "" };
    format!("{lead}{}{rest}", names[..names.len().min(8)].join(", "))
}

//! The hub's requests: what a revision has, what a file is, and its bytes.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use crate::cache::Repository;
use crate::{HubError, HubId};

/// Failures in a row that end a download.
const ATTEMPTS: u32 = 5;
const MOST_REDIRECTS: usize = 8;
/// An answer about a revision is at most so long; the largest repositories have some thousand files.
const LONGEST_ANSWER: u64 = 16 << 20;

pub(crate) struct Client<'a> {
    agent: Agent,
    endpoint: &'a str,
    token: Option<&'a str>,
    patience: Duration,
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
pub(crate) struct Revision {
    pub(crate) sha: String,
    pub(crate) siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Sibling {
    pub(crate) rfilename: String,
}

/// A file on the hub.
struct Remote {
    /// Names its content: SHA-256 for large files, git's hash for small ones.
    etag: String,
    size: u64,
    /// Where its bytes are.
    url: String,
}

impl<'a> Client<'a> {
    pub(crate) fn new(endpoint: &'a str, token: Option<&'a str>, patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(15)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .timeout_per_read(Some(Duration::from_mins(1)))
            .user_agent(concat!("llm/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), endpoint: endpoint.trim_end_matches('/'), token, patience }
    }

    /// The commit and the files of a revision.
    pub(crate) fn revision(&self, id: &HubId) -> Result<Revision, HubError> {
        let revision = encoded(&id.revision).replace('/', "%2F");
        let url = format!("{}/api/models/{}/revision/{revision}", self.endpoint, id.repository());
        let (_, response) = self.request("GET", &url, None, true)?;
        let mut response = self.check(id, &url, response)?;
        let answer = |message: String| HubError::Answer { url: url.clone(), message };
        let text = response.body_mut().with_config().limit(LONGEST_ANSWER).read_to_string();
        let text = text.map_err(|error| connection(&url, &error))?;
        serde_json::from_str(&text).map_err(|error| answer(format!("not the answer of a hub: {error}")))
    }

    /// Downloads a file of a commit into the cache.
    pub(crate) fn download(
        &self,
        id: &HubId,
        sha: &str,
        name: &str,
        repository: &Repository,
        event: &mut dyn FnMut(HubEvent),
    ) -> Result<(), HubError> {
        repository.place(sha, name)?;
        let remote = self.remote(id, sha, name)?;
        let blob = repository.blob(&remote.etag)?;
        if !blob.exists() {
            let partial = blob.with_extension("incomplete");
            let failed = |source| HubError::Io { path: partial.clone(), source };
            let mut file = OpenOptions::new().create(true).append(true).read(true).open(&partial).map_err(failed)?;
            // One process downloads; the others wait, and find it done.
            file.lock().map_err(failed)?;
            if !blob.exists() {
                self.fill(&mut file, &remote, name, &partial, event)?;
                verify(&partial, &remote, name)?;
                file.sync_all().and_then(|()| fs::rename(&partial, &blob)).map_err(failed)?;
            }
        }
        repository.link(sha, name, &blob)
    }

    /// What the hub says about a file, without its bytes.
    fn remote(&self, id: &HubId, sha: &str, name: &str) -> Result<Remote, HubError> {
        let url = format!("{}/{}/resolve/{sha}/{}", self.endpoint, id.repository(), encoded(name));
        // Redirects within the hub are renamed models; the others lead to the bytes and lack these headers.
        let (url, response) = self.request("HEAD", &url, None, false)?;
        let response = self.check(id, &url, response)?;
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let etag = text("x-linked-etag").or_else(|| text("etag"));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let size = text("x-linked-size").or_else(|| text("content-length")).and_then(|size| size.parse().ok());
        let location = text("location").map(str::to_owned);
        let missing = |what| HubError::Answer { url: url.clone(), message: format!("the answer has no {what}") };
        let etag = etag.ok_or_else(|| missing("ETag"))?;
        let size = size.ok_or_else(|| missing("size"))?;
        Ok(Remote { etag, size, url: location.unwrap_or(url) })
    }

    /// Appends what `file` lacks, and resumes after failures.
    fn fill(
        &self,
        file: &mut File,
        remote: &Remote,
        name: &str,
        path: &Path,
        event: &mut dyn FnMut(HubEvent),
    ) -> Result<(), HubError> {
        let failed = |source| HubError::Io { path: path.to_owned(), source };
        let mut done = file.metadata().map_err(failed)?.len();
        if done > remote.size {
            file.set_len(0).map_err(failed)?;
            done = 0;
        }
        let mut failures = 0;
        while done < remote.size {
            event(HubEvent::Progress { file: name, done, total: remote.size });
            let before = done;
            let message = match self.append(file, remote, &mut done, &mut |done| {
                event(HubEvent::Progress { file: name, done, total: remote.size });
            }) {
                Ok(()) if done == remote.size => break,
                Ok(()) => "the connection was closed".to_owned(),
                Err(Stop::Disk(source)) => return Err(failed(source)),
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Network(message)) => message,
            };
            failures = if done > before { 1 } else { failures + 1 };
            if failures == ATTEMPTS {
                return Err(HubError::Broken { file: name.to_owned(), done, total: remote.size, message });
            }
            thread::sleep(self.patience * failures);
        }
        event(HubEvent::Progress { file: name, done, total: remote.size });
        Ok(())
    }

    /// One request for the rest of a file.
    fn append(
        &self,
        file: &mut File,
        remote: &Remote,
        done: &mut u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Stop> {
        let network = |error: HubError| match error {
            HubError::Connection { message, .. } => Stop::Network(message),
            other => Stop::Final(other),
        };
        let range = (*done > 0).then(|| format!("bytes={done}-"));
        let (url, mut response) = self.request("GET", &remote.url, range.as_deref(), true).map_err(network)?;
        match response.status().as_u16() {
            206 => {}
            // The server gives no parts: from the start.
            200 => {
                file.set_len(0).map_err(Stop::Disk)?;
                *done = 0;
            }
            status @ (408 | 429 | 500..) => return Err(Stop::Network(format!("the server answers {status}"))),
            status => {
                return Err(Stop::Final(HubError::Answer { url, message: format!("the server answers {status}") }));
            }
        }
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; 1 << 17];
        while *done < remote.size {
            let most = usize::try_from(remote.size - *done).unwrap_or(usize::MAX).min(buffer.len());
            let read = body.read(&mut buffer[..most]).map_err(|error| Stop::Network(error.to_string()))?;
            if read == 0 {
                break;
            }
            file.write_all(&buffer[..read]).map_err(Stop::Disk)?;
            *done += read as u64;
            progress(*done);
        }
        Ok(())
    }

    /// Sends a request and follows redirects; with `all` false, only those within the hub. The token goes to the hub
    /// and nowhere else.
    fn request(
        &self,
        method: &str,
        url: &str,
        range: Option<&str>,
        all: bool,
    ) -> Result<(String, Response<Body>), HubError> {
        let mut url = url.to_owned();
        for _ in 0..MOST_REDIRECTS {
            let mut request = if method == "HEAD" { self.agent.head(&url) } else { self.agent.get(&url) };
            if let Some(range) = range {
                request = request.header(header::RANGE, range);
            }
            if let Some(token) = self.token.filter(|_| self.is_hub(&url)) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| connection(&url, &error))?;
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            match location.filter(|_| response.status().is_redirection()) {
                Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                    url = format!("{}{path}", origin(&url));
                }
                Some(other) if all => other.clone_into(&mut url),
                _ => return Ok((url, response)),
            }
        }
        Err(HubError::Answer { url, message: "it redirects without end".to_owned() })
    }

    fn is_hub(&self, url: &str) -> bool {
        origin(url) == origin(self.endpoint)
    }

    /// The answer, or what its status means.
    fn check(&self, id: &HubId, url: &str, response: Response<Body>) -> Result<Response<Body>, HubError> {
        let (id, endpoint) = (Box::new(id.clone()), self.endpoint.to_owned());
        let code = response.headers().get("x-error-code").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        Err(match (status.as_u16(), code) {
            (401 | 403, "GatedRepo") | (403, _) => HubError::Gated { id, endpoint, known: self.token.is_some() },
            (404, "RevisionNotFound") => HubError::NoRevision { id, endpoint },
            (401, "") if self.token.is_some() => HubError::BadToken { endpoint },
            (401 | 404, _) => HubError::NoModel { id, endpoint },
            (status, _) => HubError::Answer { url: url.to_owned(), message: format!("the hub answers {status}") },
        })
    }
}

/// Why an attempt ended.
enum Stop {
    /// Another may do better.
    Network(String),
    Disk(io::Error),
    Final(HubError),
}

fn connection(url: &str, error: &ureq::Error) -> HubError {
    HubError::Connection { url: url.to_owned(), message: error.to_string() }
}

/// Compares the content with its name, where that is its SHA-256; else its size was all there is to compare.
fn verify(path: &Path, remote: &Remote, name: &str) -> Result<(), HubError> {
    if remote.etag.len() != 64 {
        return Ok(());
    }
    let failed = |source| HubError::Io { path: path.to_owned(), source };
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    let mut found = String::with_capacity(64);
    for byte in hash.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(found, "{byte:02x}");
    }
    if found == remote.etag {
        return Ok(());
    }
    fs::remove_file(path).map_err(failed)?;
    Err(HubError::Corrupt { file: name.to_owned(), expected: remote.etag.clone(), found })
}

/// `https://host:port` of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

/// A path with what addresses do not allow as `%XX`.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(encode).collect()
}

//! A hub for tests: one model under `org/name`, as huggingface.co answers for it.
//!
//! Small files come from the hub itself; large ones by a redirect to another server, with their SHA-256 as ETag.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

/// The commit.
pub const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Clone)]
struct Content {
    bytes: Vec<u8>,
    large: bool,
    damaged: bool,
    answers: usize,
}

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: String,
}

impl Request {
    /// First byte asked for.
    pub fn range(&self) -> Option<usize> {
        let line = self
            .headers
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned))?;
        line.trim_end_matches('-').parse().ok()
    }
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Content>,
    requests: Vec<Request>,
    break_after: Option<usize>,
    no_ranges: bool,
    etag: Option<String>,
    sha: Option<String>,
    hub: String,
    bytes: String,
}

#[derive(Clone, Default)]
pub struct SmallHub {
    state: Arc<Mutex<State>>,
}

impl SmallHub {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn small(self, name: &str, bytes: &[u8]) -> Self {
        self.add(name, bytes, false)
    }

    pub fn large(self, name: &str, bytes: &[u8]) -> Self {
        self.add(name, bytes, true)
    }

    pub fn with_etag(self, etag: &str) -> Self {
        self.state.lock().unwrap().etag = Some(etag.to_owned());
        self
    }

    pub fn with_sha(self, sha: &str) -> Self {
        self.state.lock().unwrap().sha = Some(sha.to_owned());
        self
    }

    fn add(self, name: &str, bytes: &[u8], large: bool) -> Self {
        let content = Content { bytes: bytes.to_vec(), large, damaged: false, answers: usize::MAX };
        self.state.lock().unwrap().files.insert(name.to_owned(), content);
        self
    }

    /// Listens on two ports: the hub's, and that of the servers it redirects to.
    pub fn start(self) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let [hub, bytes] = [listen(), listen()];
        {
            let mut state = self.state.lock().unwrap();
            state.hub = format!("http://{}", hub.local_addr().unwrap());
            state.bytes = format!("http://{}", bytes.local_addr().unwrap());
        }
        for listener in [hub, bytes] {
            let server = self.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let server = server.clone();
                    thread::spawn(move || server.answer(stream.unwrap()));
                }
            });
        }
        self
    }

    pub fn address(&self) -> String {
        self.state.lock().unwrap().hub.clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Closes the connection after so many bytes of a large file.
    pub fn break_after(&self, bytes: usize) {
        self.state.lock().unwrap().break_after = Some(bytes);
    }

    /// Answers so many requests for the bytes of a file, and then with 503.
    pub fn limit_answers(&self, name: &str, answers: usize) {
        self.state.lock().unwrap().files.get_mut(name).unwrap().answers = answers;
    }

    pub fn damage(&self, name: &str, damaged: bool) {
        self.state.lock().unwrap().files.get_mut(name).unwrap().damaged = damaged;
    }

    pub fn no_ranges(&self) {
        self.state.lock().unwrap().no_ranges = true;
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut headers = String::new();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 || header == "\r\n" {
                break;
            }
            headers += &header;
        }
        let request = Request { method, path, headers };
        let (head, body) = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.clone());
            state.respond(&request)
        };
        // The client may be gone.
        let _ = stream.write_all(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").as_bytes());
        if request.method != "HEAD" {
            let _ = stream.write_all(&body);
        }
    }
}

fn status(line: &str) -> (String, Vec<u8>) {
    (format!("{line}\r\nContent-Length: 0"), Vec::new())
}

impl State {
    fn respond(&mut self, request: &Request) -> (String, Vec<u8>) {
        let path = request.path.as_str();
        if request.headers.contains("Bearer wrong") {
            return status("401 Unauthorized");
        }
        if let Some(rest) = path.strip_prefix("/bytes/") {
            return self.bytes(rest, request.range());
        }
        if let Some(rest) = path.strip_prefix("/api/models/").and_then(|rest| rest.strip_prefix("old/")) {
            return status(&format!("307 Temporary Redirect\r\nLocation: /api/models/org/{rest}"));
        }
        if let Some(rest) = path.strip_prefix("/old/") {
            return status(&format!("307 Temporary Redirect\r\nLocation: /org/{rest}"));
        }
        if let Some(rest) = path.strip_prefix("/api/models/org/") {
            let known = [SHA, "main"].iter().any(|revision| rest == format!("name/revision/{revision}"));
            return match rest {
                _ if known => self.listing(),
                _ if rest.starts_with("name/") => status("404 Not Found\r\nX-Error-Code: RevisionNotFound"),
                _ if rest.starts_with("gated/") && request.headers.contains("secret") => {
                    status("403 Forbidden\r\nX-Error-Code: GatedRepo")
                }
                _ if rest.starts_with("gated/") => status("401 Unauthorized\r\nX-Error-Code: GatedRepo"),
                _ if rest.starts_with("broken/") => status("500 Internal Server Error"),
                _ if rest.starts_with("html/") => ("200 OK\r\nContent-Length: 6".to_owned(), b"<html>".to_vec()),
                _ if request.headers.contains("secret") => status("404 Not Found\r\nX-Error-Code: RepoNotFound"),
                _ => status("401 Unauthorized\r\nX-Error-Code: RepoNotFound"),
            };
        }
        match path.strip_prefix(&format!("/org/name/resolve/{SHA}/")) {
            Some(name) => self.file(name),
            None => status("404 Not Found\r\nX-Error-Code: EntryNotFound"),
        }
    }

    fn listing(&self) -> (String, Vec<u8>) {
        let files: Vec<String> = self.files.keys().map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
        let sha = self.sha.as_deref().unwrap_or(SHA);
        let body = format!("{{\"id\": \"org/name\", \"sha\": \"{sha}\", \"siblings\": [{}]}}", files.join(", "));
        (format!("200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", body.len()), body.into_bytes())
    }

    fn file(&self, name: &str) -> (String, Vec<u8>) {
        let Some(Content { bytes, large, .. }) = self.files.get(name) else { return status("404 Not Found") };
        let hash = Sha256::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let size = bytes.len();
        if *large {
            let place = format!("{}/bytes/{name}?signature=x", self.bytes);
            let head = format!(
                "302 Found\r\nLocation: {place}\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {size}\r\nETag: \"other\"\r\nContent-Length: 9"
            );
            return (head, b"elsewhere".to_vec());
        }
        let etag = self.etag.clone().unwrap_or_else(|| hash[..40].to_owned());
        (format!("200 OK\r\nETag: W/\"{etag}\"\r\nContent-Length: {size}"), bytes.clone())
    }

    fn bytes(&mut self, path: &str, range: Option<usize>) -> (String, Vec<u8>) {
        let name = path.split('?').next().unwrap();
        let content = self.files.get_mut(name).unwrap();
        if content.answers == 0 {
            return status("503 Service Unavailable");
        }
        content.answers -= 1;
        let mut bytes = content.bytes.clone();
        if content.damaged {
            bytes[7] ^= 1;
        }
        let start = range.filter(|_| !self.no_ranges).unwrap_or(0);
        let rest = &bytes[start..];
        let line = if start > 0 { "206 Partial Content" } else { "200 OK" };
        let head = format!("{line}\r\nContent-Length: {}", rest.len());
        let sent = rest.len().min(self.break_after.unwrap_or(usize::MAX));
        (head, rest[..sent].to_vec())
    }
}

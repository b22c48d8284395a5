//! The hub's client against a small hub on this machine: redirects, parts, failures, and the cache.

mod small_hub;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use llm_hub::{Hub, HubError, HubEvent, HubId};
use small_hub::{SHA, SmallHub};

const SHARD: &str = "model-00002-of-00002.safetensors";

fn hub(server: &SmallHub, cache: &Path) -> Hub {
    Hub {
        endpoint: server.address(),
        cache: cache.to_owned(),
        token: None,
        offline: false,
        patience: Duration::from_millis(1),
    }
}

fn id(text: &str) -> HubId {
    HubId::parse(text).unwrap()
}

fn fetch(hub: &Hub, model: &str) -> Result<PathBuf, HubError> {
    hub.fetch(&id(model), &mut |_| ())
}

/// A hub with one model in two shards, and its bytes.
fn sharded() -> SmallHub {
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    SmallHub::new()
        .small("config.json", b"{\"a\": 1}")
        .small("tokenizer.json", b"{}")
        .small("README.md", b"not needed")
        .small("vocab.json", b"not needed beside tokenizer.json")
        .small("model.safetensors.index.json", index.as_bytes())
        .large("model-00001-of-00002.safetensors", &bytes(70_000))
        .large(SHARD, &bytes(300_001))
        .large("model-00003-of-00002.safetensors", b"not in the index")
        .large("pytorch_model.bin", b"pickled")
        .start()
}

/// Bytes that repeat nowhere soon.
fn bytes(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_is_downloaded_once_and_only_what_is_needed() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    let mut last = (String::new(), 0, 0);
    let dir = hub
        .fetch(&id("org/name"), &mut |event| {
            if let HubEvent::Progress { file, done, total } = event {
                assert!(done <= total);
                last = (file.to_owned(), done, total);
            }
        })
        .unwrap();
    assert_eq!(dir, cache.path().join(format!("models--org--name/snapshots/{SHA}")));
    let expected =
        ["config.json", "model-00001-of-00002.safetensors", SHARD, "model.safetensors.index.json", "tokenizer.json"];
    assert_eq!(names(&dir), expected);
    assert_eq!(fs::read(dir.join(SHARD)).unwrap(), bytes(300_001));
    assert_eq!(fs::read(dir.join("config.json")).unwrap(), b"{\"a\": 1}");
    assert_eq!(last, (SHARD.to_owned(), 300_001, 300_001));
    assert_eq!(fs::read_to_string(cache.path().join("models--org--name/refs/main")).unwrap(), SHA);
    #[cfg(unix)]
    assert!(fs::read_link(dir.join(SHARD)).unwrap().starts_with("../../blobs"));

    let before = server.requests().len();
    assert_eq!(fetch(&hub, "org/name").unwrap(), dir);
    assert_eq!(server.requests().len(), before + 1, "only the revision is asked for");
    // A commit is its own name.
    assert_eq!(fetch(&hub, &format!("org/name@{SHA}")).unwrap(), dir);
}

#[test]
fn the_parts_of_a_tokenizer_are_taken_where_it_is_not_whole() {
    let parts = ["added_tokens.json", "merges.txt", "tokenizer.model", "vocab.json"];
    let server = SmallHub::new().small("config.json", b"{}").large("model.safetensors", b"weights");
    let server = parts.into_iter().fold(server, |server, part| server.small(part, b"part")).start();
    let cache = tempfile::tempdir().unwrap();
    let dir = fetch(&hub(&server, cache.path()), "org/name").unwrap();
    assert!(parts.iter().all(|part| dir.join(part).exists()), "{:?}", names(&dir));
}

#[test]
fn pickled_weights_are_taken_where_there_are_no_others() {
    let index = r#"{"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}"#;
    for (wanted, others) in [("pytorch_model.bin", "README.md"), ("pytorch_model-00001-of-00001.bin", "other.bin")] {
        let mut server = SmallHub::new().small("config.json", b"{}").small(others, b"not needed");
        if wanted != "pytorch_model.bin" {
            server = server.small("pytorch_model.bin.index.json", index.as_bytes());
        }
        let (server, cache) = (server.large(wanted, &bytes(5_000)).start(), tempfile::tempdir().unwrap());
        let hub = hub(&server, cache.path());
        let dir = fetch(&hub, "org/name").unwrap();
        assert_eq!(fs::read(dir.join(wanted)).unwrap(), bytes(5_000));
        assert!(!dir.join(others).exists());
        let offline = Hub { offline: true, ..hub };
        assert_eq!(fetch(&offline, "org/name").unwrap(), dir);
        fs::remove_file(dir.join(wanted)).unwrap();
        assert!(matches!(fetch(&offline, "org/name"), Err(HubError::Offline { .. })));
    }
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_where_it_redirects() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let hub = Hub { token: Some("secret".into()), ..hub(&server, cache.path()) };
    fetch(&hub, "org/name").unwrap();
    let requests = server.requests();
    let with_token = |path: &str| {
        let mut found = requests.iter().filter(|request| request.path.starts_with(path)).peekable();
        assert!(found.peek().is_some(), "{path}");
        found.map(|request| request.headers.contains("Bearer secret")).collect::<Vec<_>>()
    };
    assert!(with_token("/api/").iter().chain(&with_token("/org/name/resolve/")).all(|sent| *sent));
    assert!(with_token("/bytes/").iter().all(|sent| !sent));
}

#[test]
fn a_renamed_model_is_found() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let dir = fetch(&hub(&server, cache.path()), "old/name").unwrap();
    assert_eq!(fs::read(dir.join(SHARD)).unwrap(), bytes(300_001));
}

#[test]
fn an_interrupted_download_goes_on_where_it_broke_off() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    // Every answer breaks off after so many bytes, and then the server is out of patience.
    server.break_after(100_000);
    server.limit_answers(SHARD, 2);
    let error = fetch(&hub, "org/name").unwrap_err();
    assert!(matches!(&error, HubError::Broken { file, done: 200_000, total: 300_001, .. } if file == SHARD), "{error}");
    server.limit_answers(SHARD, usize::MAX);
    let dir = fetch(&hub, "org/name").unwrap();
    assert_eq!(fs::read(dir.join(SHARD)).unwrap(), bytes(300_001));
    let ranges: Vec<_> = server.requests().into_iter().filter_map(|request| request.range()).collect();
    assert!(ranges.contains(&100_000) && ranges.contains(&200_000) && ranges.contains(&300_000), "{ranges:?}");
}

#[test]
fn a_server_without_parts_starts_anew() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    server.break_after(250_000);
    server.limit_answers(SHARD, 1);
    fetch(&hub, "org/name").unwrap_err();
    server.limit_answers(SHARD, usize::MAX);
    server.break_after(usize::MAX);
    server.no_ranges();
    let dir = fetch(&hub, "org/name").unwrap();
    assert_eq!(fs::read(dir.join(SHARD)).unwrap(), bytes(300_001));
}

#[test]
fn damaged_bytes_are_thrown_away() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let hub = hub(&server, cache.path());
    server.damage(SHARD, true);
    let error = fetch(&hub, "org/name").unwrap_err();
    assert!(matches!(&error, HubError::Corrupt { file, .. } if file == SHARD), "{error}");
    server.damage(SHARD, false);
    assert_eq!(fs::read(fetch(&hub, "org/name").unwrap().join(SHARD)).unwrap(), bytes(300_001));
}

#[test]
fn refusals_say_what_to_do() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let anonymous = hub(&server, cache.path());
    let known = Hub { token: Some("secret".into()), ..anonymous.clone() };
    let unknown = Hub { token: Some("wrong".into()), ..anonymous.clone() };
    for (hub, model, parts) in [
        (&anonymous, "org/gated", ["org/gated: access is restricted", "accept the terms at", "then set HF_TOKEN"]),
        (&known, "org/gated", ["restricted for the owner of this token", "accept the terms at", "/org/gated"]),
        (&anonymous, "org/missing", ["org/missing: no such model on http://", "or it is private", "HF_TOKEN"]),
        (&known, "org/missing", ["no such model", "check the name", "hint: "]),
        (&unknown, "org/name", ["does not accept the token", "settings/tokens", "unset it"]),
        (&anonymous, "org/name@nope", ["org/name: no revision nope", "hint: see http://", "/org/name/refs"]),
        (&anonymous, "org/broken", ["the hub answers 500", "/api/models/org/broken", "hint: "]),
        (&anonymous, "org/html", ["not the answer of a hub", "hint: ", "/api/models/org/html"]),
    ] {
        let shown = fetch(hub, model).unwrap_err().to_string();
        for part in parts {
            assert!(shown.contains(part), "{model}: {part:?} is not in {shown}");
        }
    }
}

#[test]
fn weights_of_other_kinds_are_named() {
    let cache = tempfile::tempdir().unwrap();
    let server = SmallHub::new().small("config.json", b"{}").large("weights.pt", b"x").start();
    let shown = fetch(&hub(&server, cache.path()), "org/name").unwrap_err().to_string();
    assert!(
        shown.contains("neither model.safetensors nor pytorch_model.bin, but weights.pt\nhint: look for"),
        "{shown}"
    );

    let server = SmallHub::new().large("m.Q4_K_M.gguf", b"four").large("m.Q8_0.gguf", b"eight").start();
    let hub = hub(&server, cache.path());
    let shown = fetch(&hub, "org/name").unwrap_err().to_string();
    assert!(shown.contains("for example org/name:m.Q4_K_M.gguf"), "{shown}");
    for name in ["org/name:m.Q8_0.gguf", "org/name:q8_0"] {
        assert_eq!(fs::read(fetch(&hub, name).unwrap()).unwrap(), b"eight");
    }
    let shown = fetch(&hub, "org/name:m.Q").unwrap_err().to_string();
    assert!(
        shown.contains("no single GGUF file matches \"m.Q\"\nhint: the files are m.Q4_K_M.gguf, m.Q8_0.gguf"),
        "{shown}"
    );
    let offline = Hub { offline: true, ..hub };
    assert_eq!(fs::read(fetch(&offline, "org/name:q8").unwrap()).unwrap(), b"eight");
    assert!(matches!(fetch(&offline, "org/name:q4").unwrap_err(), HubError::Offline { .. }));
}

#[test]
fn a_model_in_several_files_is_downloaded_whole() {
    let names = ["m.Q4-00001-of-00003.gguf", "m.Q4-00002-of-00003.gguf", "m.Q4-00003-of-00003.gguf"];
    let cache = tempfile::tempdir().unwrap();
    let repository = names.iter().fold(SmallHub::new(), |hub, name| hub.large(name, name.as_bytes()));
    let server = repository.large("q8/m-00001-of-00002.gguf", b"1").large("q8/m-00002-of-00002.gguf", b"2").start();
    let hub = hub(&server, cache.path());
    for wanted in ["q4".to_owned(), names[0].to_owned(), names[2].to_owned()] {
        let first = fetch(&hub, &format!("org/name:{wanted}")).unwrap();
        for name in names {
            assert_eq!(fs::read(first.with_file_name(name)).unwrap(), name.as_bytes(), "{wanted}");
        }
        assert_eq!(first.file_name().unwrap(), names[0]);
    }
    let first = fetch(&hub, "org/name:q8").unwrap();
    assert_eq!(fs::read(first.with_file_name("m-00002-of-00002.gguf")).unwrap(), b"2");
    let offline = Hub { offline: true, ..hub };
    let found = fetch(&offline, "org/name:q4").unwrap();
    assert_eq!(found.file_name().unwrap(), names[0]);
    fs::remove_file(found.with_file_name(names[1])).unwrap();
    assert!(matches!(fetch(&offline, "org/name:q4").unwrap_err(), HubError::Offline { .. }));
}

#[test]
fn offline_the_cache_serves_what_is_whole() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let online = hub(&server, cache.path());
    let offline = Hub { offline: true, ..online.clone() };
    let shown = fetch(&offline, "org/name").unwrap_err().to_string();
    assert!(shown.contains("HF_HUB_OFFLINE") && shown.contains("hint: "), "{shown}");
    assert!(server.requests().is_empty());

    let dir = fetch(&online, "org/name").unwrap();
    let before = server.requests().len();
    assert_eq!(fetch(&offline, "org/name").unwrap(), dir);
    assert_eq!(fetch(&offline, &format!("org/name@{SHA}")).unwrap(), dir);
    assert!(matches!(fetch(&offline, "org/name@other").unwrap_err(), HubError::Offline { .. }));
    assert_eq!(server.requests().len(), before);
    // A killed download leaves a part.
    fs::remove_file(dir.join(SHARD)).unwrap();
    assert!(matches!(fetch(&offline, "org/name").unwrap_err(), HubError::Offline { .. }));
}

#[test]
fn without_a_connection_the_cache_serves_with_a_warning() {
    let (server, cache) = (sharded(), tempfile::tempdir().unwrap());
    let dir = fetch(&hub(&server, cache.path()), "org/name").unwrap();
    // Nothing listens on port 1.
    let unreachable = Hub { endpoint: "http://127.0.0.1:1".into(), ..hub(&server, cache.path()) };
    let mut warned = 0;
    let found = unreachable.fetch(&id("org/name"), &mut |event| {
        warned += usize::from(matches!(event, HubEvent::Unreachable { .. }));
    });
    assert_eq!((found.unwrap(), warned), (dir, 1));
    let error = fetch(&unreachable, "org/other").unwrap_err();
    assert!(matches!(error, HubError::Connection { .. }), "{error}");
}

#[test]
fn names_from_the_hub_stay_in_the_cache() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), "../../../../../escaped.safetensors");
    let cache = folder.path().join("a/b/c");
    let index = format!("{{\"weight_map\": {{\"a\": \"{outside}\"}}}}");
    let server = SmallHub::new()
        .small("config.json", b"{}")
        .small("model.safetensors.index.json", index.as_bytes())
        .large(outside, b"evil")
        .start();
    let error = fetch(&hub(&server, &cache), "org/name").unwrap_err();
    assert!(error.to_string().contains("not a file name"), "{error}");

    for (etag, sha) in [("../../../../escaped", SHA), ("fine", "../../../../escaped")] {
        let server = SmallHub::new().with_etag(etag).with_sha(sha).small("model.safetensors", b"evil").start();
        let error = fetch(&hub(&server, &cache), "org/name").unwrap_err();
        assert!(error.to_string().contains("not a file name"), "{error}");
    }
    let found: Vec<_> = walk(folder.path()).into_iter().filter(|path| path.contains("escaped")).collect();
    assert!(found.is_empty(), "{found:?}");
}

fn walk(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path.display().to_string()] }).collect()
}

//! Reading files: what comes out, and what is said when something is wrong.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use llm_data::{Corpus, CorpusOptions, DataError};
use proptest::prelude::*;
use tempfile::TempDir;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    folder
}

fn documents_with(paths: &[PathBuf], options: CorpusOptions) -> Result<Vec<String>, DataError> {
    let corpus = Corpus::open(paths, options)?;
    let mut documents = Vec::new();
    let mut open = false;
    for segment in corpus.segments() {
        let segment = segment?;
        assert_eq!(segment.starts_document, !open);
        if segment.starts_document {
            documents.push(String::new());
        }
        documents.last_mut().unwrap().push_str(&segment.text);
        open = !segment.ends_document;
    }
    assert!(!open, "the last document ends");
    Ok(documents)
}

fn documents(folder: &Path, names: &[&str]) -> Result<Vec<String>, DataError> {
    let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
    documents_with(&paths, CorpusOptions::default())
}

/// The error of reading one file with these contents.
fn error_of(name: &str, contents: &[u8]) -> String {
    let folder = folder(&[(name, contents)]);
    documents(folder.path(), &[name]).unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn folders_are_read_in_order_and_compressed_files_too() {
    let two = gzip(b"{\"text\": \"two\"}\n{\"text\": \"three\"}");
    let four = zstd::encode_all(&b"four"[..], 1).unwrap();
    let folder = folder(&[
        ("b/x.jsonl.gz", &two),
        ("a.TXT", b"one"),
        ("c.md.zst", &four),
        ("b/z.txt", b"\xef\xbb\xbfmark"),
        ("b/picture.png", b"\x89PNG"),
        (".hidden.txt", b"no"),
    ]);
    assert_eq!(documents(folder.path(), &[""]).unwrap(), ["one", "two", "three", "mark", "four"]);
    let corpus = Corpus::open(&[folder.path().to_owned()], CorpusOptions::default()).unwrap();
    let mut segments = corpus.segments();
    while segments.next().is_some() {}
    assert_eq!(segments.bytes_read(), corpus.disk_bytes().unwrap());
}

#[test]
fn separators_are_lines_of_their_own() {
    let text = "<|endoftext|>\nA\n\nB\r\n<|endoftext|> \r\nC <|endoftext|>\n<|endoftext|> D\n \n<|endoftext|>\n\n<|endoftext|>";
    let folder = folder(&[("a.txt", text.as_bytes()), ("a.md", text.as_bytes())]);
    assert_eq!(documents(folder.path(), &["a.txt"]).unwrap(), ["A\n\nB", "C <|endoftext|>\n<|endoftext|> D\n "]);
    assert_eq!(documents(folder.path(), &["a.md"]).unwrap(), [text]);
}

#[test]
fn other_keys_and_lossy_reading() {
    let folder =
        folder(&[("a.jsonl", b"{\"story\": \"x\", \"n\": 1}\n\n{\"story\": \"\"}\n"), ("b.txt", b"a\xffb\xe2\x82")]);
    let options = CorpusOptions { text_key: "story".into(), lossy: true };
    let paths = ["a.jsonl", "b.txt"].map(|name| folder.path().join(name));
    assert_eq!(documents_with(&paths, options).unwrap(), ["x", "a\u{fffd}b\u{fffd}"]);
}

#[test]
fn missing_and_empty_files() {
    let error = Corpus::open(&[], CorpusOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "no text to read: no files given\nhint: name files or folders, for example --data my.txt");
    let error = Corpus::open(&["no/such.txt".into()], CorpusOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("no/such.txt: no such file or folder\nhint: check the path"), "{error}");
    assert!(error_of("a.txt", b"").contains("a.txt: the file holds no text\nhint: "));
    let blank = folder(&[("a.txt", b" \n\n")]);
    let corpus = Corpus::open(&[blank.path().to_owned()], CorpusOptions::default()).unwrap();
    assert!(matches!(corpus.scan(&corpus.files()[0]), Err(DataError::Empty { .. })));
}

#[test]
fn unknown_kinds_of_files() {
    assert!(
        error_of("a.pdf", b"x").contains("a.pdf: unknown kind of file\nhint: the files read are .txt, .md and .jsonl")
    );
    let folder = folder(&[("a.pdf", b"x")]);
    let error = documents(folder.path(), &[""]).unwrap_err().to_string();
    assert!(error.contains("nothing to read in this folder\nhint: "), "{error}");
}

#[test]
fn invalid_utf8_is_found_where_it_is() {
    let error = error_of("a.txt", b"caf\xe9 au lait");
    assert!(error.contains("a.txt: invalid UTF-8 at byte 3\nhint: --lossy"), "{error}");
    assert!(error_of("a.md", b"caf\xc3").contains("invalid UTF-8 at byte 3"));
    assert!(error_of("a.jsonl", b"{\"text\": \"x\"}\n{\"text\": \"\xff\"}").contains("invalid UTF-8 at byte 24"));
    // Beyond the first block, and in decompressed bytes.
    let mut long = "é".repeat(400_000).into_bytes();
    long.push(0x80);
    assert!(error_of("a.txt.gz", &gzip(&long)).contains("invalid UTF-8 at byte 800000"));
}

#[test]
fn json_errors_name_the_line() {
    let error = error_of("a.jsonl", b"{\"text\": \"x\"}\n{\"prompt\": 1, \"story\": \"y\"}\n");
    assert!(
        error.contains(
            "line 2 has no text under the key \"text\"; its keys are \"prompt\", \"story\"\nhint: --text-key"
        ),
        "{error}"
    );
    assert!(error_of("a.jsonl", b"{\"text\": 5}").contains("line 1 has no text under the key \"text\""));
    assert!(
        error_of("a.jsonl", b"{\"text\": \"x\"}\n{\"text\": \n")
            .contains("line 2 is not a JSON object: EOF while parsing")
    );
    assert!(error_of("a.jsonl", b"[1, 2]").contains("line 1 is not a JSON object"));
    assert!(error_of("a.txt.gz", b"no gzip at all").contains("a.txt.gz: "));
}

#[test]
fn counts_of_a_file() {
    let folder = folder(&[("a.txt", "é\n<|endoftext|>\nxyz".as_bytes())]);
    let corpus = Corpus::open(&[folder.path().join("a.txt")], CorpusOptions::default()).unwrap();
    let stats = corpus.scan(&corpus.files()[0]).unwrap();
    assert_eq!((stats.documents, stats.characters, stats.bytes), (2, 4, 5));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Wherever the blocks end, long documents come out as they are in the file.
    #[test]
    fn long_files_come_back(seed in prop::collection::vec(r"[a-zé日👩 \n]{1,40}", 5..20), times in 2000usize..9000, spaces: bool) {
        let mut whole = seed.concat().repeat(times / seed.len());
        if !spaces {
            whole.retain(|c| c != ' ');
        }
        let text = format!("{whole}.\n<|endoftext|>\nshort\n<|endoftext|>\n{whole}");
        let folder = folder(&[("a.txt", text.as_bytes())]);
        let mut expected = vec![format!("{whole}."), "short".into()];
        if !whole.trim().is_empty() {
            expected.push(whole);
        }
        prop_assert!(documents(folder.path(), &["a.txt"]).unwrap() == expected);
    }
}

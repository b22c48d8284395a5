//! Reading files: what comes out, and what is said when something is wrong.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use llm_data::{Advice, Corpus, CorpusOptions, DataError};
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
    assert_eq!(error, "no text to read: no files given");
    let error = Corpus::open(&["no/such.txt".into()], CorpusOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("no/such.txt: no such file or folder\nhint: check the path"), "{error}");
    assert!(error_of("a.txt", b"").contains("a.txt: the file is empty\nhint: "));
    let blank = folder(&[("a.txt", b" \n\n")]);
    let corpus = Corpus::open(&[blank.path().to_owned()], CorpusOptions::default()).unwrap();
    assert!(matches!(corpus.scan(&corpus.files()[0]), Err(DataError::Empty { .. })));
    let named = Corpus::open(&[blank.path().join("a.txt")], CorpusOptions::default()).unwrap().scan_all(|_| None);
    assert!(matches!(named, Err(DataError::Empty { .. })));
}

#[test]
fn unknown_kinds_of_files() {
    assert!(
        error_of("a.pdf", b"x")
            .contains("a.pdf: unsupported file type\nhint: supported files are .txt, .md and .jsonl")
    );
    assert!(error_of("a.json", b"[]").ends_with("a-lines.jsonl"), "{}", error_of("a.json", b"[]"));
    let folder = folder(&[("a.pdf", b"x")]);
    let error = documents(folder.path(), &[""]).unwrap_err().to_string();
    assert!(error.contains("nothing to read in this folder; it has 1 .pdf\nhint: "), "{error}");
}

#[test]
fn invalid_utf8_is_found_where_it_is() {
    let error = error_of("a.txt", b"caf\xe9 au lait");
    assert!(
        error.contains("a.txt: invalid UTF-8 at byte 3, line 1\nhint: convert it, for example by: iconv"),
        "{error}"
    );
    assert!(error_of("a.md", b"a\ncaf\xc3").contains("invalid UTF-8 at byte 5, line 2"));
    assert!(
        error_of("a.jsonl", b"{\"text\": \"x\"}\n{\"text\": \"\xff\"}").contains("invalid UTF-8 at byte 24, line 2")
    );
    // Beyond the first block, and in decompressed bytes.
    let mut long = "é".repeat(400_000).into_bytes();
    long.push(0x80);
    assert!(error_of("a.txt.gz", &gzip(&long)).contains("invalid UTF-8 at byte 800000, line 1"));
}

#[test]
fn bad_lines_are_all_named_with_what_may_help() {
    let lines = "{\"text\": \"x\"}\n{\"prompt_\": 1, \"story\": \"y\"}\n\n{\"text\": \"b}\n{\"text\": null}\n{\"text\": 5}\n[1, 2]\n";
    let folder = folder(&[("a.jsonl", lines.as_bytes())]);
    let error = documents(folder.path(), &["a.jsonl"]).unwrap_err();
    assert_eq!(error.advice(), Some(Advice::TextKey));
    let error = error.to_string();
    let file = folder.path().join("a.jsonl").display().to_string();
    assert_eq!(
        error.replace(&file, "F"),
        "F:2: expected a text under the key \"text\", found an object with \"prompt_\", \"story\"\n\
         F:4: expected a JSON object, found \"{\\\"text\\\": \\\"b}\" (EOF while parsing a string, column 12)\n\
         F:5: expected \"text\" to be a text, found null\n\
         F:6: expected \"text\" to be a text, found 5\n\
         F:7: expected a JSON object, found a list of 2\n\
         5 lines are not usable"
    );
    let hint = |lines: &str| {
        let error = error_of("a.jsonl", lines.as_bytes());
        error.split_once("\nhint: ").unwrap().1.to_owned()
    };
    assert_eq!(hint("{\"text\": null}"), "fix or remove such lines");
    assert_eq!(hint("5"), ".jsonl has one object per line, for example {\"text\": \"…\"}");
    let samples = self::folder(&[("a.jsonl", b"{\"messages\": []}")]);
    let error = documents(samples.path(), &["a.jsonl"]).unwrap_err();
    assert!(matches!(error.advice(), Some(Advice::FinetuneOnSamples { file }) if file.ends_with("a.jsonl")));
    assert!(hint("[{\"text\": \"a\"}]").starts_with("write one object per line: jq -c '.[]' "));
    assert!(hint("{\n  \"text\": \"a\"\n}\n").starts_with("write one object per line: jq -c . "));
    let many = error_of("a.jsonl", "x\n".repeat(5000).as_bytes());
    assert!(many.contains("\nand 980 more\n1000 lines or more are not usable\n"), "{many}");
}

/// The notes on a folder of these files.
fn notes(folder: &TempDir) -> Result<Vec<String>, DataError> {
    let mut corpus = Corpus::open(&[folder.path().to_owned()], CorpusOptions::default())?;
    let stats = corpus.scan_all(|_| None)?;
    assert_eq!(stats.len(), corpus.files().len());
    let place = format!("{}/", folder.path().display());
    let notes =
        corpus.notes(&stats).iter().map(|note| (note.to_string() + "/").replace(&place, "")).collect::<Vec<_>>();
    Ok(notes.iter().map(|note| note.trim_end_matches('/').replace(&place[..place.len() - 1], "D")).collect())
}

#[test]
fn what_is_found_and_skipped_is_told() {
    let empty_gz = gzip(b" \n");
    let utf16: Vec<u8> = "\u{feff}zwei\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let folder = folder(&[
        ("a.txt", b"one\r\ntwo\r\n"),
        ("b.txt", b""),
        ("c.txt.gz", &empty_gz),
        ("d/e.md", &utf16),
        ("d/f.json", b"[]"),
        ("d/g.json", b"[]"),
        ("h.html", b"x"),
    ]);
    assert_eq!(
        notes(&folder).unwrap(),
        [
            "D: 2 files; skipped: 2 .json, 1 .html",
            "skipped 2 empty files: b.txt, c.txt.gz",
            "d/e.md: read as UTF-16LE",
            "a.txt and 1 more: 3 Windows line ends (CR LF), kept as they are",
        ]
    );
    let plain = self::folder(&[("a.txt", b"one\n")]);
    assert_eq!(notes(&plain).unwrap(), ["D: 1 file"]);
    let empty = self::folder(&[("a.txt", b""), ("b.txt", b"")]);
    let error = notes(&empty).unwrap_err().to_string();
    assert!(error.starts_with("all files found are empty: ") && error.contains("b.txt\nhint: "), "{error}");
    // A file named outright has nothing of a folder to tell.
    let mut corpus = Corpus::open(&[plain.path().join("a.txt")], CorpusOptions::default()).unwrap();
    let stats = corpus.scan_all(|_| None).unwrap();
    assert_eq!(corpus.notes(&stats), []);
}

#[test]
fn all_files_that_cannot_be_read_are_named_at_once() {
    let folder = folder(&[("a.txt", b"caf\xe9"), ("b.txt", b"good"), ("c.jsonl", b"{}"), ("d.txt", b"a\0")]);
    let error = notes(&folder).unwrap_err().to_string();
    for part in [
        "a.txt: invalid UTF-8 at byte 3",
        "c.jsonl:1: expected a text",
        "d.txt: a NUL character",
        "\n3 files cannot be read\nhint: for the first: convert it",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("b.txt"), "{error}");
}

#[test]
fn utf16_is_the_same_text_compressed_or_not() {
    let text = "Grüße 👩\nline two\n".repeat(20_000);
    let utf16: Vec<u8> = format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let line: Vec<u8> =
        "\u{feff}{\"text\": \"é\"}\r\n{\"text\": \"日\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let zst = zstd::encode_all(&utf16[..], 1).unwrap();
    let folder = folder(&[("a.txt", &utf16), ("b.md.zst", &zst), ("c.jsonl", &line)]);
    assert!(documents(folder.path(), &["a.txt", "b.md.zst", "c.jsonl"]).unwrap() == [&text, &text, "é", "日"]);
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

use std::fs;
use std::io::Write;

use super::*;
use crate::Advice;
use crate::samples::Content;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        fs::write(dir.path().join(name), contents).unwrap();
    }
    dir
}

fn load(path: &Path, valid_fraction: f64) -> Result<SampleSet, DataError> {
    SampleSet::load(&SampleSection { paths: vec![path.into()], valid_fraction, ..SampleSection::default() }, 3)
}

fn lines_of(samples: &[Sample]) -> Vec<u64> {
    samples.iter().map(|sample| sample.origin.line).collect()
}

#[test]
fn lines_and_arrays_know_where_they_stand() {
    let text = |text: &str| format!("{{\"text\": \"{text}\"}}");
    let lines = format!("\u{feff}{}\r\n\n{}", text("a"), text("b"));
    let array = format!("\n[\n {},\n\n {}\n]\n", text("a"), text("b"));
    let dir = folder(&[("a.jsonl", &lines), ("a.json", &array), ("b.json", &lines)]);
    assert_eq!(lines_of(&load(&dir.path().join("a.jsonl"), 0.0).unwrap().train), [1, 3]);
    assert_eq!(lines_of(&load(&dir.path().join("b.json"), 0.0).unwrap().train), [1, 3]);
    assert_eq!(lines_of(&load(&dir.path().join("a.json"), 0.0).unwrap().train), [3, 5]);
}

#[test]
fn a_folder_has_its_parts_under_their_usual_names() {
    let line = |text: &str| format!("{{\"text\": \"{text}\"}}\n");
    let (train, valid, test) = (line("a") + &line("b") + &line("c"), line("d"), line("e"));
    for name in ["valid.jsonl", "validation.jsonl", "val.json", "dev.jsonl"] {
        let dir = folder(&[("train.jsonl", &train), (name, &valid), ("test.jsonl", &test)]);
        let set = load(dir.path(), 0.5).unwrap();
        assert_eq!([set.train.len(), set.valid.len(), set.test.len()], [3, 1, 1]);
        assert_eq!(set.all().count(), 5);
    }
    let dir = folder(&[("train.json", &train)]);
    let set = load(dir.path(), 0.34).unwrap();
    assert_eq!([set.train.len(), set.valid.len()], [2, 1]);
    let error = load(folder(&[("valid.jsonl", "")]).path(), 0.1).unwrap_err();
    assert!(error.to_string().contains("no train.jsonl"), "{error}");
}

#[test]
fn all_bad_lines_come_in_one_error_and_the_rest_can_be_read() {
    let lines = "{\"text\": \"a\"}\n{\"text\": 1}\n{\"text\": \"b\"\nnull\n\n{\"messages\": []}\n";
    let dir = folder(&[("train.jsonl", lines), ("valid.jsonl", "{\"text\": \"\"}\n")]);
    let error = load(dir.path(), 0.1).unwrap_err();
    let train = dir.path().join("train.jsonl").display().to_string();
    let text = error.to_string().replace(&train, "T").replace(&*dir.path().display().to_string(), "D");
    let kinds = super::super::format::KINDS;
    assert_eq!(
        text,
        format!(
            "T:2: expected \"text\" to be a text, found 1\n\
             T:3: expected a JSON object, found \"{{\\\"text\\\": \\\"b\\\"\" (EOF while parsing an object, column 12)\n\
             T:4: expected {kinds}, found null\n\
             T:6: expected \"messages\" to be a list of messages, found an empty list\n\
             D/valid.jsonl:1: expected some text, found the text \"\"\n\
             5 lines are not usable, and nothing was trained\nhint: fix or remove them"
        )
    );
    let section = SampleSection { paths: vec![dir.path().into()], ..SampleSection::default() };
    let (set, bad) = SampleSet::read(&section, 0).unwrap();
    assert_eq!((lines_of(&set.train), bad.len()), (vec![1], 5));

    let dir = folder(&[("a.jsonl", &"5\n".repeat(30))]);
    let text = load(&dir.path().join("a.jsonl"), 0.1).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 23);
    assert!(text.contains("\nand 10 more\n30 lines are not usable"), "{text}");
}

#[test]
fn damaged_arrays_say_where() {
    for (array, line, found) in [
        ("[{\"text\": \"a\"},\n\n{\"text\": }]", 3, "(expected value, column 10)"),
        ("[{\"text\": \"a\"}\n{\"text\": \"b\"}]", 2, "\"{\\\"text"),
        ("[{\"text\": \"a\"}\n", 2, "the end of the file"),
        ("[{\"text\": \"a\"},\n", 2, "the end of the file"),
        ("[{\"text\": \"a\"}]\n{}", 2, "\"{}\""),
    ] {
        let dir = folder(&[("a.json", array)]);
        let Err(DataError::BadSamples { lines }) = load(&dir.path().join("a.json"), 0.0) else { panic!("{array}") };
        assert_eq!((lines.len(), lines[0].origin.line), (1, line), "{array}: {}", lines[0]);
        assert!(lines[0].found.contains(found), "{array}: {}", lines[0]);
    }
}

#[test]
fn files_that_hold_nothing_or_no_text_are_errors() {
    let dir = folder(&[("a.jsonl", "\n"), ("b.json", "[]")]);
    for name in ["a.jsonl", "b.json"] {
        assert!(matches!(load(&dir.path().join(name), 0.1), Err(DataError::Empty { .. })), "{name}");
    }
    fs::write(dir.path().join("c.jsonl"), b"{\"text\": \"\xff\"}").unwrap();
    let error = load(&dir.path().join("c.jsonl"), 0.1).unwrap_err().to_string();
    assert!(error.contains("c.jsonl: invalid UTF-8 at byte 10, line 1\nhint: convert it"), "{error}");
    assert!(matches!(load(&dir.path().join("none.jsonl"), 0.1), Err(DataError::Missing { .. })));
    assert!(matches!(load(dir.path(), 1.0), Err(DataError::BadSampleFraction { .. })));
}

/// The texts of samples.
fn texts(samples: &[Sample]) -> Vec<&str> {
    let text = |sample| match sample {
        &Sample { content: Content::Text(ref text), .. } => text.as_str(),
        other => panic!("{other:?}"),
    };
    samples.iter().map(text).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_may_be_compressed_and_in_other_encodings() {
    let lines = "{\"text\": \"é\"}\n{\"text\": \"b\"}\n";
    let array = "[{\"text\": \"é\"}, {\"text\": \"b\"}]";
    let utf16: Vec<u8> = format!("\u{feff}{lines}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let dir = folder(&[]);
    for (name, bytes) in [
        ("a.jsonl.gz", gzip(lines.as_bytes())),
        ("a.JSONL.zst", zstd::encode_all(lines.as_bytes(), 1).unwrap()),
        ("a.json.gz", gzip(array.as_bytes())),
        ("b.jsonl", utf16),
        ("no-extension", lines.into()),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(texts(&load(&path, 0.0).unwrap().train), ["é", "b"], "{name}");
    }
    let dir = folder(&[("valid.json", array)]);
    fs::write(dir.path().join("train.jsonl.gz"), gzip(lines.as_bytes())).unwrap();
    let set = load(dir.path(), 0.5).unwrap();
    assert_eq!([texts(&set.train), texts(&set.valid)], [["é", "b"], ["é", "b"]]);
    assert!(SampleSet::is_at(dir.path()) && SampleSet::is_at(Path::new("x.json.zst")));
    assert!(!SampleSet::is_at(Path::new("x.txt.gz")) && !SampleSet::is_at(folder(&[("a.jsonl", lines)]).path()));
}

#[test]
fn several_files_and_folders_are_read_together() {
    let line = |text: &str| format!("{{\"text\": \"{text}\"}}\n");
    let dir = folder(&[("a.jsonl", &line("a")), ("b.json", &line("b"))]);
    let other = folder(&[("train.jsonl", &line("c")), ("valid.jsonl", &line("d"))]);
    let section =
        |paths: &[PathBuf]| SampleSection { paths: paths.to_vec(), valid_fraction: 0.5, ..SampleSection::default() };
    let files = [dir.path().join("a.jsonl"), dir.path().join("b.json")];
    let set = SampleSet::load(&section(&files), 3).unwrap();
    assert_eq!(set.all().count(), 2);
    // A folder brings its own samples to validate on; then nothing is set aside.
    let set = SampleSet::load(&section(&[files[0].clone(), other.path().into(), files[1].clone()]), 3).unwrap();
    assert_eq!((texts(&set.train), texts(&set.valid)), (vec!["a", "c", "b"], vec!["d"]));
    assert!(matches!(SampleSet::load(&section(&[]), 3), Err(DataError::NoPaths)));
}

#[test]
fn json_files_are_read_as_a_whole() {
    let pretty = |text: &str| format!("{{\n  \"text\": \"{text}\"\n}}\n");
    for (json, lines) in [
        (format!("{{\"data\": [\n{},{}]}}", pretty("a"), pretty("b")), [2, 5]),
        (format!("{{\n\"version\": [1, {{}}],\n\"train\":\n[{},\n{}], \"n\": 2}}\n", pretty("a"), pretty("b")), [4, 8]),
        (pretty("a") + &pretty("b"), [1, 4]),
        (format!("[{},\n{}]", pretty("a"), pretty("b")), [1, 5]),
    ] {
        let dir = folder(&[("a.json", &json)]);
        let set = load(&dir.path().join("a.json"), 0.0).unwrap();
        assert_eq!((texts(&set.train), lines_of(&set.train)), (vec!["a", "b"], lines.to_vec()), "{json}");
    }
    let bad = |json: &str| {
        let dir = folder(&[("a.json", json)]);
        let Err(DataError::BadSamples { lines }) = load(&dir.path().join("a.json"), 0.0) else { panic!("{json}") };
        assert_eq!(lines.len(), 1, "{json}");
        (lines[0].origin.line, format!("{} / {}", lines[0].expected, lines[0].found))
    };
    let (line, text) = bad("{\"train\": [{\"text\": \"a\"}],\n\"test\": [{\"text\": \"b\"}]}");
    assert_eq!(
        (line, text.as_str()),
        (2, "one list of samples; others go into files of their own, such as valid.jsonl / another, \"test\"")
    );
    assert_eq!(bad("{\"data\": [\n{\"text\": \"a\"},\n{\"text\": }]}").0, 3);
    assert_eq!(bad("{\"data\": [\n{\"text\": \"a\"}\n").0, 3);
    assert_eq!(bad("{\n\"text\": \"a\"\n}\n{\n\"text\":\n}\n").0, 6);
    // A sample with a key that has the name of a list is a sample.
    assert!(bad("{\"messages\": [], \"data\": [{\"text\": \"a\"}]}").1.starts_with("\"messages\" to be a list"));
}

#[test]
fn what_is_called_jsonl_and_is_not_is_read_or_told() {
    let array = "[\n{\"text\": \"a\"},\n{\"text\": \"b\"}\n]\n";
    for array in [array, &array.replace('\n', " ")] {
        let dir = folder(&[("a.jsonl", array)]);
        assert_eq!(texts(&load(&dir.path().join("a.jsonl"), 0.0).unwrap().train), ["a", "b"]);
    }
    let dir = folder(&[("a.jsonl", "{\"text\": \"a\"}\n{\n  \"text\": \"b\"\n}\n")]);
    let error = load(&dir.path().join("a.jsonl"), 0.0).unwrap_err().to_string();
    assert!(
        error.contains(
            "a.jsonl:2: an object spans several lines, but .jsonl has one per line\nhint: rename it to .json"
        ),
        "{error}"
    );
    let dir = folder(&[("a.csv", "q,a\n"), ("b.md", "# b\n")]);
    let error = load(&dir.path().join("a.csv"), 0.0).unwrap_err().to_string();
    assert!(
        error.contains(
            "a.csv: unsupported file type\nhint: samples are .jsonl and .json files, also with .gz or .zst; a line is"
        ),
        "{error}"
    );
    let error = load(&dir.path().join("b.md"), 0.0).unwrap_err();
    assert!(error.to_string().ends_with("b.md: unsupported file type"), "{error}");
    assert!(matches!(error.advice(), Some(Advice::TrainOnText { file }) if file.ends_with("b.md")));
}

#[test]
fn the_place_in_a_line_is_shown() {
    let line = format!("{{\"text\": \"{}\", \"id\": 1}}", "long ".repeat(20));
    let dir = folder(&[("a.jsonl", &format!("{line},\n{line}\n{}", line.replace(", \"id\"", " \"id\"")))]);
    let Err(DataError::BadSamples { lines }) = load(&dir.path().join("a.jsonl"), 0.0) else { panic!() };
    let found: Vec<_> = lines.iter().map(|line| (line.origin.line, line.found.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "\"…ong long long long \\\", \\\"id\\\": 1},\" (trailing characters, column 122)"),
            (3, "\"…ng long long long long long \\\" \\\"id\\\": 1}\" (expected `,` or `}`, column 113)"),
        ]
    );
}

#[test]
fn what_lies_beside_the_parts_of_a_folder_is_told() {
    let line = "{\"text\": \"a\"}\n";
    let dir = folder(&[
        ("train.jsonl", line),
        ("valid.json", line),
        ("train.json", line),
        ("more.jsonl", line),
        ("a.md", ""),
    ]);
    let notes: Vec<_> = load(dir.path(), 0.0).unwrap().notes.iter().map(Note::to_string).collect();
    let place = format!("{}/", dir.path().display());
    assert_eq!(
        notes.concat().replace(&place, ""),
        "samples: train.jsonl, valid.json; skipped: 1 .json, 1 .jsonl, 1 .md"
    );
    assert_eq!(load(folder(&[("train.jsonl", line)]).path(), 0.0).unwrap().notes, []);
}

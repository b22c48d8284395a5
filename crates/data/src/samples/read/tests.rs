use std::fs;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        fs::write(dir.path().join(name), contents).unwrap();
    }
    dir
}

fn load(path: &Path, valid_fraction: f64) -> Result<SampleSet, DataError> {
    SampleSet::load(&SampleSection { path: path.into(), valid_fraction, ..SampleSection::default() }, 3)
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
             T:3: expected a JSON object, found \"{{\\\"text\\\": \\\"b\\\"\" (EOF while parsing an object)\n\
             T:4: expected {kinds}, found null\n\
             T:6: expected \"messages\" to be a list of messages, found an empty list\n\
             D/valid.jsonl:1: expected some text, found the text \"\"\n\
             5 lines are not usable, and nothing was trained\nhint: mend them or take them out"
        )
    );
    let section = SampleSection { path: dir.path().into(), ..SampleSection::default() };
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
        ("[{\"text\": \"a\"},\n\n{\"text\": }]", 3, "(expected value)"),
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
    assert!(error.contains("bytes that are not UTF-8, at byte 10 of the line"), "{error}");
    assert!(matches!(load(&dir.path().join("none.jsonl"), 0.1), Err(DataError::Missing { .. })));
    assert!(matches!(load(dir.path(), 1.0), Err(DataError::BadSampleFraction { .. })));
}

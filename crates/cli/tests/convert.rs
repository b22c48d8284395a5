//! What `llm convert` and `llm generate` leave as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A tiny model with random weights.
fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/generate.in/tiny")
}

fn llm(args: &[&str], paths: &[&Path]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_llm")).args(args).args(paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn what_the_publisher_says_about_generation_is_kept() {
    const SETTINGS: &str = "{\n  \"temperature\": 0.25,\n  \"top_k\": 7,\n  \"eos_token_id\": 0\n}\n";
    let folder = tempfile::tempdir().unwrap();
    let [source, target] = ["source", "target"].map(|name| folder.path().join(name));
    fs::create_dir(&source).unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), source.join(entry.file_name())).unwrap();
    }
    fs::write(source.join("generation_config.json"), SETTINGS).unwrap();
    llm(&["convert", "--device", "cpu"], &[&source, &target]);
    assert_eq!(fs::read_to_string(target.join("generation_config.json")).unwrap(), SETTINGS);
}

#[test]
fn control_characters_of_a_text_reach_a_pipe() {
    let coloured = "a \u{1b}[31mcat\u{7f}";
    let args = ["generate", "--echo", "--temp", "0", "-n", "2", "--device", "cpu", "--prompt", coloured, "--model"];
    let output = llm(&args, &[&tiny()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(coloured), "{text:?}");
}

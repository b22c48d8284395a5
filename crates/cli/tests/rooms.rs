//! Dependencies point down: between rooms, and between the files of this one.

use std::fs;
use std::path::{Path, PathBuf};

/// A room and those that it may build on.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("gguf", &[]),
    ("data", &[]),
    ("kernels", &["gguf"]),
    ("model", &["kernels"]),
    ("hub", &["gguf"]),
    ("checkpoint", &["model", "kernels", "gguf", "data", "hub"]),
    ("generate", &["checkpoint", "model", "kernels", "gguf", "data"]),
    ("eval", &["generate", "checkpoint", "model", "kernels", "gguf", "data"]),
    ("train", &["checkpoint", "model", "kernels", "gguf", "data"]),
    ("cli", &["train", "eval", "generate", "checkpoint", "model", "kernels", "gguf", "data", "hub"]),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn rooms_build_on_those_below() {
    let known: Vec<_> = fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(known.len(), MAY_USE.len(), "a room without a row: {known:?}");
    for (room, below) in MAY_USE {
        let manifest = fs::read_to_string(crates().join(room).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
        for line in dependencies.lines().filter_map(|line| line.strip_prefix("llm-")) {
            let used = line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap();
            assert!(below.contains(&used), "{room} builds on {used}");
        }
    }
}

#[test]
fn files_of_the_command_line_import_those_below() {
    let folder = crates().join("cli/src");
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    // What all commands share knows none of them.
    for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let name = entry.file_name().unwrap().to_str().unwrap();
        if !["args.rs", "main.rs"].contains(&name) {
            let code = text(name);
            assert!(!code.contains("crate::commands") && !code.contains("crate::args"), "{name} looks up");
        }
    }
    assert!(!text("printer.rs").contains("use crate::"), "the printer prints what it is given");
    for entry in fs::read_dir(folder.join("commands")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            assert!(!fs::read_to_string(&entry).unwrap().contains("crate::args"), "{} looks up", entry.display());
        }
    }
}

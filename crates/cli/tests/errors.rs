//! Every error says what to do, and no library knows how it is asked for.
//!
//! The sources are read as `rustfmt` writes them: an enum of errors derives `thiserror::Error`, a variant is indented by four
//! spaces, and what it says stands in `#[error(…)]` above it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Errors without a hint, and why they need none.
const EXEMPT: [(&str, &str, &str); 27] = [
    ("LoraError", "Value", "it says what is possible"),
    ("ConfigError", "Zero", "it says what is possible"),
    ("ConfigError", "Probability", "it says what is possible"),
    ("ConfigError", "NotPositive", "it says what is possible"),
    ("ConfigError", "Layers", "it says what is possible"),
    ("ConfigError", "RotaryWidth", "it says what is possible"),
    ("RunConfigError", "Value", "it says what is possible"),
    ("RunConfigError", "Invalid", "it says what is possible"),
    ("GenerateError", "Setting", "it says what is possible"),
    ("CheckpointError", "Value", "it says what is possible"),
    ("ChatError", "Value", "it says what is possible"),
    ("DataError", "Io", "the system says what is wrong"),
    ("CheckpointError", "Io", "the system says what is wrong"),
    ("TrainError", "Io", "the system says what is wrong"),
    ("ConversationError", "File", "the system says what is wrong"),
    ("ChatError", "Terminal", "the system says what is wrong"),
    ("CliError", "Input", "the system says what is wrong"),
    ("CliError", "Page", "the system says what is wrong"),
    ("CheckpointError", "Config", "the error within has the hint"),
    ("CheckpointError", "Gguf", "the error within has the hint"),
    ("CliError", "NeitherPathNorHub", "the error within has the hint"),
    ("DataError", "Tokenize", "nothing that one asks for otherwise would change it"),
    ("GenerateError", "Device", "nothing that one asks for otherwise would change it"),
    ("TrainError", "Chart", "nothing that one asks for otherwise would change it"),
    ("DataError", "ChatRefused", "the template says why"),
    ("CliError", "Bench", "the process that failed has said why"),
    ("CliError", "Interrupted", "it was asked for, and is not shown"),
];

/// A variant of an enum of errors.
struct Variant {
    file: PathBuf,
    owner: String,
    name: String,
    says: String,
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources of a crate, or of all.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found
}

/// All crates of the workspace, by their folders.
fn rooms() -> Vec<PathBuf> {
    fs::read_dir(crates())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("src").is_dir())
        .collect()
}

/// The code of a file without its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// The variants of the enums of errors in `code`.
fn variants(file: &Path, code: &str) -> Vec<Variant> {
    let mut found = Vec::new();
    let mut derived = false;
    let mut owner = None;
    let (mut says, mut saying) = (String::new(), false);
    for line in code.lines() {
        derived |= line.starts_with("#[derive(") && line.contains("thiserror::Error");
        if let Some(rest) = line.strip_prefix("pub enum ").or_else(|| line.strip_prefix("enum ")) {
            owner = derived.then(|| rest.trim_end_matches(" {").to_owned());
            derived = false;
        } else if line.starts_with("pub struct ") || line.starts_with("struct ") {
            derived = false;
        } else if line == "}" {
            owner = None;
        }
        let Some(owner) = &owner else { continue };
        saying |= line.starts_with("    #[error(");
        if saying {
            says += line;
            saying = !line.ends_with(")]");
        } else if line.starts_with("    ") && line[4..].starts_with(|c: char| c.is_ascii_uppercase()) {
            let name = line.trim().split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned();
            let says = std::mem::take(&mut says);
            found.push(Variant { file: file.to_owned(), owner: owner.clone(), name, says });
        }
    }
    found
}

/// Whether what a variant says has a hint: itself, or a function of its file or of `text.rs` that writes it.
fn has_hint(variant: &Variant, texts: &str) -> bool {
    if variant.says.contains("hint: ") || variant.says.contains("transparent") {
        return true;
    }
    let words = variant.says.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).any(|word| {
        let function = texts.split(&format!("fn {word}(")).nth(1);
        let body = function.and_then(|rest| rest.split("\n}\n").next());
        body.is_some_and(|body| body.contains("hint: ") || body.contains("HINT"))
    })
}

/// The variants that `fn advice` names.
fn advised(code: &str) -> BTreeSet<String> {
    let bodies = code.split("fn advice(").skip(1).map(|rest| rest.split("\n    }\n").next().unwrap_or_default());
    let named = bodies.flat_map(|body| body.split("Self::").skip(1));
    named.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().map(str::to_owned)).collect()
}

#[test]
fn every_error_has_a_hint_or_needs_none() {
    let mut exempt: BTreeSet<_> = EXEMPT.iter().map(|&(owner, name, _)| (owner.to_owned(), name.to_owned())).collect();
    let (mut without, mut count) = (Vec::new(), 0);
    for file in rooms().iter().flat_map(|room| sources(&room.join("src"))) {
        let code = code(&file);
        let beside = file.with_extension("").join("text.rs");
        let texts = code.clone() + &fs::read_to_string(beside).unwrap_or_default();
        for variant in variants(&file, &code) {
            count += 1;
            let named = advised(&code).contains(&variant.name);
            let key = (variant.owner.clone(), variant.name.clone());
            match (named || has_hint(&variant, &texts), exempt.remove(&key)) {
                (true, false) | (false, true) => {}
                (true, true) => without.push(format!("{}::{} has a hint and an exemption", key.0, key.1)),
                (false, false) => {
                    without.push(format!("{}: {}::{}: {}", variant.file.display(), key.0, key.1, variant.says));
                }
            }
        }
    }
    assert!(count > 150, "{count} errors are found");
    assert!(exempt.is_empty(), "exemptions of what is not there: {exempt:?}");
    assert!(without.is_empty(), "without a hint:\n{}", without.join("\n"));
}

#[test]
fn no_library_names_a_flag_or_a_command() {
    let mut found = Vec::new();
    for room in rooms().iter().filter(|room| !room.ends_with("cli")) {
        for file in sources(&room.join("src")).iter().filter(|file| !file.ends_with("tests.rs")) {
            for line in code(file).lines().filter(|line| !line.trim_start().starts_with("//")) {
                let flag = |at: usize| {
                    let before = line[..at].chars().next_back();
                    let after = line[at + 2..].chars().next();
                    before.is_none_or(|c| " `'\"(".contains(c)) && after.is_some_and(|c| c.is_ascii_lowercase())
                };
                let command = ["`llm ", "\"llm ", "with llm ", ": llm "].iter().any(|command| line.contains(command));
                if command || line.match_indices("--").any(|(at, _)| flag(at)) {
                    found.push(format!("{}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

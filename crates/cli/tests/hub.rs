//! `--model ORG/NAME` from the command line, against a small hub on this machine.
#![cfg(feature = "hub")]

#[path = "../../hub/tests/small_hub/mod.rs"]
#[allow(dead_code)] // the tests of the client use more of it
mod small_hub;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use small_hub::{SHA, SmallHub};

/// Generates with `args`.
fn llm(folder: &Path, server: &SmallHub, offline: &str, args: &[&str]) -> Output {
    let generate = ["generate", "--temp", "0", "-n", "8", "--prompt", "A cat", "--device", "cpu"];
    command(folder, server, offline, &[&generate, args].concat())
}

fn command(folder: &Path, server: &SmallHub, offline: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llm"))
        .current_dir(folder)
        .env("HF_ENDPOINT", server.address())
        .env("HF_HOME", folder.join("home"))
        .env("HF_HUB_OFFLINE", offline)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_TOKEN_PATH")
        .env("HF_TOKEN", "")
        .env("NO_PROXY", "127.0.0.1")
        .args(args)
        .output()
        .unwrap()
}

fn tiny() -> SmallHub {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/generate.in/tiny");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    SmallHub::new()
        .small("config.json", &read("config.json"))
        .small("tokenizer.json", &read("tokenizer.json"))
        .small("tokenizer_config.json", &read("tokenizer_config.json"))
        .large("model.safetensors", &read("model.safetensors"))
        .start()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_model_of_the_hub_is_used_like_a_directory() {
    let (server, folder) = (tiny(), tempfile::tempdir().unwrap());
    let expected = "(aaaaaaa\n";
    let online = llm(folder.path(), &server, "", &["--model", "org/name"]);
    assert_eq!(text(&online.stdout), expected, "{}", text(&online.stderr));
    assert!(folder.path().join(format!("home/hub/models--org--name/snapshots/{SHA}/model.safetensors")).exists());
    let asked = server.requests().len();
    for args in [&["--model", "org/name"][..], &["--model", "org/name", "--revision", SHA]] {
        let offline = llm(folder.path(), &server, "1", args);
        assert_eq!(text(&offline.stdout), expected, "{}", text(&offline.stderr));
    }
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn the_token_is_read_from_the_file_of_the_python_library() {
    let (server, folder) = (tiny(), tempfile::tempdir().unwrap());
    fs::create_dir(folder.path().join("home")).unwrap();
    fs::write(folder.path().join("home/token"), "secret\n").unwrap();
    let made = llm(folder.path(), &server, "0", &["--model", "org/name"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(server.requests()[0].headers.contains("Bearer secret"));
}

#[test]
fn a_folder_goes_before_and_errors_speak_of_both() {
    let (server, folder) = (tiny(), tempfile::tempdir().unwrap());
    let error = |offline: &str, args: &[&str]| {
        let output = llm(folder.path(), &server, offline, args);
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let shown = error("", &["--model", "org/missing"]);
    let start = "error: org/missing: no such file or folder, and not available from the hub\norg/missing: no such model on http";
    assert!(shown.starts_with(start) && shown.contains("hint: "), "{shown}");
    let shown = error("1", &["--model", "org/name"]);
    assert!(shown.contains("no such file or folder") && shown.contains("HF_HUB_OFFLINE"), "{shown}");
    let shown = error("", &["--model", "org/name", "--revision", "../x"]);
    assert!(shown.contains("\"../x\" is not the name of a branch"), "{shown}");

    fs::create_dir_all(folder.path().join("org/name")).unwrap();
    let asked = server.requests().len();
    let shown = error("", &["--model", "org/name"]);
    assert!(shown.contains("org/name/config.json: no such file"), "{shown}");
    let shown = error("", &["--model", "org/name", "--revision", "main"]);
    assert!(shown.contains("--revision is for models on the hub"), "{shown}");
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn a_model_of_the_hub_is_fine_tuned_and_its_adapter_names_it() {
    let (server, folder) = (tiny(), tempfile::tempdir().unwrap());
    let line = |i: usize| format!("{{\"prompt\": \"No. {i}:\", \"completion\": \" cat\"}}\n");
    fs::write(folder.path().join("samples.jsonl"), (0..20).map(line).collect::<String>()).unwrap();
    let run = |offline, args: &[&str]| {
        let output = command(folder.path(), &server, offline, args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let tune = ["finetune", "--model", "org/name", "--data", "samples.jsonl", "--out", "run", "--method", "lora"];
    run("", &[&tune[..], &["--max-steps", "4", "--valid-fraction", "0.2", "--device", "cpu"]].concat());
    // The rest needs no network: the base is in the cache, by the name that the adapter has for it.
    run("1", &["finetune", "--out", "run", "--resume", "--max-steps", "6", "--device", "cpu"]);
    let shown = run("1", &["compare", "org/name", "run", "--prompt", "No. 1:", "-n", "4", "--json", "--device", "cpu"]);
    assert!(shown.contains(r#""b":{"model":"org/name + run""#), "{shown}");
    assert!(shown.contains(r#""adapter.base":[null,"org/name"]"#), "{shown}");
}

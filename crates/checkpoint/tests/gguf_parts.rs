//! A model in several GGUF files: read from any of them, and what does not belong together is named.

mod common;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use common::{Metadata, Tensors, golden_model, read_gguf, write_gguf};
use llm_checkpoint::{TensorType, load_config, load_model, open_tokenizer, save_gguf};
use llm_data::{Corpus, CorpusOptions, Tokenizer, TokenizerKind, TokenizerSection};
use llm_gguf::{Array, Value};
use llm_model::{CausalLm, named_params};

/// What one file holds.
#[derive(Clone)]
struct Part {
    metadata: Metadata,
    tensors: Tensors,
}

fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, "The quick brown fox jumps over the lazy dog.\n".repeat(9)).unwrap();
    let corpus = Corpus::open(&[file], CorpusOptions::default()).unwrap();
    let section = TokenizerSection { kind: TokenizerKind::Char, vocab_size: 0, min_frequency: 1, path: None };
    Tokenizer::train(&section, &corpus).unwrap()
}

/// A golden model as `count` files, as `llama-gguf-split` makes them.
fn split(count: usize) -> Vec<Part> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whole.gguf");
    save_gguf(&file, &golden_model("llama"), Some(&tokenizer()), TensorType::F32).unwrap();
    let (of_model, tensors) = read_gguf(&file);
    let mut parts: Vec<Part> = (0..count)
        .map(|at| {
            let mut metadata = if at == 0 { of_model.clone() } else { Vec::new() };
            metadata.push(("split.no".to_owned(), Value::U16(at as u16)));
            metadata.push(("split.count".to_owned(), Value::U16(count as u16)));
            metadata.push(("split.tensors.count".to_owned(), Value::I32(tensors.len() as i32)));
            Part { metadata, tensors: Vec::new() }
        })
        .collect();
    for (i, tensor) in tensors.into_iter().enumerate() {
        parts[i % count].tensors.push(tensor);
    }
    parts
}

fn write(folder: &Path, parts: &[Part]) -> Vec<PathBuf> {
    let path = |at: usize| folder.join(format!("m-{:05}-of-{:05}.gguf", at + 1, parts.len()));
    for (at, part) in parts.iter().enumerate() {
        write_gguf(&path(at), &part.metadata, &part.tensors);
    }
    (0..parts.len()).map(path).collect()
}

fn weights(model: &CausalLm) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    named_params(model, &mut |info, data| all.push((info.name.clone(), data.try_to_vec().unwrap())));
    all
}

#[test]
fn a_model_is_read_from_any_of_its_files() {
    let whole = golden_model("llama");
    for count in [1, 2, 3] {
        let folder = tempfile::tempdir().unwrap();
        for path in write(folder.path(), &split(count)) {
            assert_eq!(load_config(&path).unwrap(), *whole.config());
            assert_eq!(weights(&load_model(&path, &Device::flex()).unwrap()), weights(&whole), "{}", path.display());
            assert_eq!(open_tokenizer(&path).unwrap().hash(), tokenizer().hash());
        }
    }
}

#[test]
fn a_first_file_may_hold_metadata_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = split(2);
    let tensors = std::mem::take(&mut parts[0].tensors);
    parts[1].tensors.extend(tensors);
    let paths = write(folder.path(), &parts);
    assert_eq!(weights(&load_model(&paths[0], &Device::flex()).unwrap()), weights(&golden_model("llama")));
}

#[track_caller]
fn fails(reason: &str, change: impl FnOnce(&mut Vec<Part>)) {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = split(3);
    change(&mut parts);
    let paths = write(folder.path(), &parts);
    let error = load_model(&paths[0], &Device::flex()).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}\nlacks {reason}");
    assert!(open_tokenizer(&paths[1]).is_err());
}

fn set(part: &mut Part, key: &str, value: Value) {
    part.metadata.retain(|(known, _)| known != key);
    part.metadata.push((key.to_owned(), value));
}

#[test]
fn files_that_are_missing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), &split(3));
    let fails = |path: &Path, reason: &str| {
        let error = load_model(path, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("\nhint: "), "{error}\nlacks {reason}");
    };
    std::fs::remove_file(&paths[1]).unwrap();
    fails(&paths[0], "it is one of the 3 files of a model; m-00002-of-00003.gguf is missing\nhint: put all 3");
    fails(&paths[2], "m-00002-of-00003.gguf is missing");
    fails(&paths[1], "m-00002-of-00003.gguf: no such file");
    std::fs::remove_file(&paths[0]).unwrap();
    fails(&paths[2], "m-00001-of-00003.gguf is missing, and 1 more");

    let renamed = folder.path().join("renamed.gguf");
    std::fs::rename(&paths[2], &renamed).unwrap();
    fails(
        &renamed,
        "it is one of 3 files of a model, but its name does not end like a part's\nhint: restore the files",
    );
    let other = folder.path().join("m-00003-of-00004.gguf");
    std::fs::rename(&renamed, &other).unwrap();
    fails(&other, "it is one of 3 files of a model, but its name does not end");
}

#[test]
fn counts_that_cannot_be_are_no_search_without_end() {
    for (count, reason) in [
        (Value::U16(u16::MAX), "it is one of 65535 files of a model, but its name"),
        (Value::U64(u64::MAX), "split.count is 18446744073709551615, but it must be a whole number up to 65535"),
        (Value::I32(-1), "split.count is -1, but it must be"),
        (Value::Array(Array::Lists(vec![])), "split.count is a list of 0"),
    ] {
        fails(reason, |parts| {
            set(&mut parts[0], "split.count", count.clone());
            set(&mut parts[1], "split.count", count);
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let mut parts = split(1);
    set(&mut parts[0], "split.count", Value::U16(u16::MAX));
    let from = &write(folder.path(), &parts)[0];
    let path = folder.path().join("m-00001-of-65535.gguf");
    std::fs::rename(from, &path).unwrap();
    let error = load_model(&path, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-65535.gguf is missing, and 65533 more"), "{error}");
    // None, or one: a whole model.
    for count in [0, 1] {
        set(&mut parts[0], "split.count", Value::U16(count));
        load_model(&write(folder.path(), &parts)[0], &Device::flex()).unwrap();
    }
}

#[test]
fn files_of_different_models_are_named() {
    fails("split.no is 2, but it must be 1, as its name says", |parts| set(&mut parts[1], "split.no", Value::U16(2)));
    fails("split.count is 4, but it must be 3, as its name says", |parts| {
        set(&mut parts[2], "split.count", Value::U16(4));
    });
    fails("m-00002-of-00003.gguf: the key \"split.count\" is missing", |parts| {
        parts[1].metadata.retain(|(key, _)| key != "split.count");
    });
    fails("llama.block_count is 7 here, but 2 in ", |parts| set(&mut parts[1], "llama.block_count", Value::U32(7)));
    fails("tokenizer.chat_template is \"x\" here, but absent in ", |parts| {
        set(&mut parts[2], "tokenizer.chat_template", Value::String("x".into()));
    });
    fails("tensor blk.0.attn_k.weight, which is in ", |parts| {
        let find = |part: &Part| part.tensors.iter().find(|(plan, _)| plan.name == "blk.0.attn_k.weight").cloned();
        let tensor = parts.iter().find_map(find).unwrap();
        parts.iter_mut().filter(|part| find(part).is_none()).for_each(|part| part.tensors.push(tensor.clone()));
    });
    fails("split.tensors.count is ", |parts| drop(parts[2].tensors.pop()));
}

#[test]
fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write(folder.path(), &split(3));
    std::fs::write(&paths[2], "no model").unwrap();
    let error = load_model(&paths[0], &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("m-00003-of-00003.gguf: not a usable GGUF file: it begins with the bytes"), "{error}");
}

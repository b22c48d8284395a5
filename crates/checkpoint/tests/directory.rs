//! Whole model directories: every file that others ask for, and tokenizers that belong to the model.

mod common;

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use llm_checkpoint::{
    CheckpointError, TensorType, check_vocabulary, load_config, load_model, load_tokenizer, save_gguf, save_model,
};
use llm_data::{Corpus, CorpusOptions, Tokenizer, TokenizerKind, TokenizerSection};
use llm_model::{CausalLm, Family, ModelConfig, ModelSection};
use serde_json::{Value, json};

fn byte_tokenizer(dir: &Path) -> Tokenizer {
    let text = dir.join("text.txt");
    fs::write(&text, "Once upon a time.").unwrap();
    let corpus = Corpus::open(&[text], CorpusOptions::default()).unwrap();
    let section = TokenizerSection { kind: TokenizerKind::Byte, ..TokenizerSection::default() };
    Tokenizer::train(&section, &corpus).unwrap()
}

fn config(family: Family, vocab_size: usize) -> ModelConfig {
    let section = ModelSection { family, hidden_size: 16, num_layers: 1, num_heads: 2, ..ModelSection::default() };
    section.resolve(vocab_size).unwrap()
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_saved_directory_has_every_file_and_loads() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = byte_tokenizer(dir.path());
    let end = tokenizer.end_of_text_id().unwrap();
    for family in Family::ALL {
        let out = dir.path().join(format!("{family:?}/model"));
        let config = config(family, tokenizer.vocab_size());
        let model = CausalLm::new(&config, &Device::flex()).initialize(1);
        for _ in 0..2 {
            save_model(&out, &model, &tokenizer).unwrap(); // the second time over the first
        }
        let mut files: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        let expected =
            ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(files, expected);
        assert_eq!(json_file(&out.join("config.json"))["eos_token_id"], json!(end));
        assert_eq!(json_file(&out.join("generation_config.json"))["eos_token_id"], json!(end));
        assert_eq!(load_config(&out).unwrap(), config);
        load_model(&out, &Device::flex()).unwrap();
        assert_eq!(load_tokenizer(&out, &config).unwrap().hash(), tokenizer.hash());
    }
}

#[test]
fn biases_that_others_ask_for_are_zero() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = byte_tokenizer(dir.path());
    let config = |bias| {
        let mut section = ModelSection { hidden_size: 16, num_layers: 2, num_heads: 2, ..ModelSection::default() };
        [section.qkv_bias, section.attention_output_bias, section.mlp_bias] = [Some(bias); 3];
        section.resolve(tokenizer.vocab_size()).unwrap()
    };
    let model = CausalLm::new(&config(false), &Device::flex()).initialize(1);
    let gguf = dir.path().join("model.gguf");
    save_model(dir.path(), &model, &tokenizer).unwrap();
    save_gguf(&gguf, &model, Some(&tokenizer), TensorType::F32).unwrap();
    assert_eq!(json_file(&dir.path().join("config.json"))["model_type"], json!("gpt2"));
    let ids = || Tensor::from_data([[1, 2, 3, 4]], &Device::flex());
    for path in [dir.path(), &gguf] {
        let loaded = load_model(path, &Device::flex()).unwrap();
        assert_eq!(*loaded.config(), config(true));
        loaded.forward(ids(), None).into_data().assert_eq(&model.forward(ids(), None).into_data(), true);
    }
}

#[cfg(unix)]
#[test]
fn others_may_read_what_is_saved() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = byte_tokenizer(dir.path());
    let model = CausalLm::new(&config(Family::Llama, tokenizer.vocab_size()), &Device::flex()).initialize(1);
    save_model(dir.path(), &model, &tokenizer).unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        assert_eq!(mode(name), mode("text.txt"), "{name}");
    }
}

#[test]
fn a_vocabulary_of_another_model_is_an_error_with_both_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = byte_tokenizer(dir.path());
    let ids = tokenizer.vocab_size();
    // As many rows as ids, or padded to a round number of them; or no row for the end of the text, which was added.
    for rows in [ids, ids + 1, 512, 1024, ids - 1] {
        check_vocabulary(&tokenizer, &config(Family::Llama, rows)).unwrap();
    }
    for rows in [ids - 2, 1, 2_000, 32_000] {
        let error = check_vocabulary(&tokenizer, &config(Family::Llama, rows)).unwrap_err();
        assert!(matches!(error, CheckpointError::Vocabulary { .. }));
        let text = error.to_string();
        let expected = format!("the tokenizer has {ids} tokens, but the model {rows}\nhint: ");
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[test]
fn a_directory_without_a_tokenizer_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = load_tokenizer(dir.path(), &config(Family::Llama, 10)).unwrap_err().to_string();
    assert!(error.contains("no tokenizer.json here") && error.contains("hint: "), "{error}");
}

//! The configurations that come with the program.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use llm_data::TokenizerKind;
use llm_model::CausalLm;
use llm_train::{ConfigFile, RunConfig, parameter_count};

fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut paths: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn each_is_valid_and_has_about_the_parameters_that_it_says() {
    let expected = [
        ("gpt2-124m.toml", 124.4),
        ("llama-small.toml", 12.6),
        ("qwen3-small.toml", 17.3),
        ("shakespeare-char-best.toml", 2.23),
        ("shakespeare-char-fast.toml", 0.4),
        ("shakespeare-char.toml", 0.8),
        ("tales.toml", 1.07),
    ];
    let paths = shipped();
    assert_eq!(paths.len(), expected.len());
    for (path, (name, millions)) in paths.iter().zip(expected) {
        assert!(path.ends_with(name), "{}", path.display());
        let config = RunConfig::load(path).unwrap();
        config.validate().unwrap();
        let vocab_size = if config.tokenizer.kind == TokenizerKind::Char { 65 } else { config.tokenizer.vocab_size };
        let model = CausalLm::new(&config.model.resolve(vocab_size).unwrap(), &Device::flex());
        let count = parameter_count(&model) as f64 / 1e6;
        assert!((count - millions).abs() < 0.06, "{name}: {count} M parameters");
    }
}

#[test]
fn each_finds_its_text_from_the_top_folder() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for path in shipped() {
        let data = RunConfig::load(&path).unwrap().data;
        for text in data.paths.iter().chain(&data.valid) {
            assert!(top.join(text).is_file(), "{} names {}", path.display(), text.display());
        }
    }
}

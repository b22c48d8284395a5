//! Tokenizers in GGUF files: the ids of llama.cpp's own tests, and what `llm train` makes, there and back.

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use llm_checkpoint::{CheckpointError, TensorType, open_tokenizer, save_gguf};
use llm_data::{Corpus, CorpusOptions, Tokenizer, TokenizerKind, TokenizerSection};
use llm_model::{CausalLm, ModelSection};

const TEXT: &str = "The old king said: \"It's 1848, isn't it?\"\n\n  Äpfel and 漢字 cost 1234 — 🦙!\n\nThe queen, the old \
                    queen, she's told him that they'll never, ever give the old house by the sea away.\n";

fn trained(kind: TokenizerKind) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, TEXT.repeat(5)).unwrap();
    let corpus = Corpus::open(&[file], CorpusOptions::default()).unwrap();
    let section = TokenizerSection { kind, vocab_size: 300, min_frequency: 2, path: None };
    Tokenizer::train(&section, &corpus).unwrap()
}

/// The tokenizer after a way through a GGUF file, beside a model with `spare` more rows than it has ids.
fn there_and_back(tokenizer: &Tokenizer, spare: usize) -> Result<Tokenizer, CheckpointError> {
    let section = ModelSection { hidden_size: 8, num_layers: 1, num_heads: 1, ..ModelSection::default() };
    let config = section.resolve(tokenizer.vocab_size() + spare).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    save_gguf(&file, &CausalLm::new(&config, &burn::tensor::Device::flex()), Some(tokenizer), TensorType::F32)?;
    open_tokenizer(&file)
}

#[test]
fn what_is_trained_here_comes_back_the_same() {
    for kind in [TokenizerKind::Bpe, TokenizerKind::Char] {
        let tokenizer = trained(kind);
        for spare in [0, 7] {
            let back = there_and_back(&tokenizer, spare).unwrap();
            assert_eq!(back.hash(), tokenizer.hash(), "{kind}");
            assert_eq!(back.config(), tokenizer.config(), "{kind}");
            assert_eq!((back.bos_id(), back.eos_ids()), (tokenizer.bos_id(), tokenizer.eos_ids()), "{kind}");
        }
    }
    // Without merges it does not matter where a text is split, so that bytes come back under another rule.
    let bytes = trained(TokenizerKind::Byte);
    let back = there_and_back(&bytes, 0).unwrap();
    assert_eq!(back.encode(TEXT).unwrap(), bytes.encode(TEXT).unwrap());
    assert_eq!(back.config(), bytes.config());
}

#[test]
fn what_llama_cpp_would_split_differently_is_refused() {
    let error = there_and_back(&trained(TokenizerKind::Word), 0).unwrap_err().to_string();
    assert!(error.contains("llama.cpp has no tokenizer that splits a text by"), "{error}");
}

#[test]
fn a_chat_template_stays() {
    let tokenizer = trained(TokenizerKind::Bpe);
    let mut config = tokenizer.config().clone();
    let generation = serde_json::Map::new();
    for template in [
        serde_json::json!("{{ messages[0]['content'] }}"),
        serde_json::json!([{ "name": "tool_use", "template": "tools" }, { "name": "default", "template": "plain" }]),
    ] {
        config.insert("chat_template".to_owned(), template.clone());
        let with = Tokenizer::from_json(&tokenizer.to_json().unwrap(), config.clone(), &generation).unwrap();
        assert_eq!(there_and_back(&with, 0).unwrap().config()["chat_template"], template);
    }
}

#[test]
fn special_tokens_of_phi3_take_white_space_along() {
    let mut json = trained(TokenizerKind::Bpe).to_json().unwrap();
    let added = json["added_tokens"].as_array_mut().unwrap();
    let rest = added[0].clone();
    for (id, (content, strips)) in (300..).zip([("</s>", true), ("<unk>", false), ("<s>", false), ("<|end|>", true)]) {
        let mut token = rest.clone();
        token["id"] = id.into();
        token["content"] = content.into();
        token["rstrip"] = strips.into();
        added.push(token);
    }
    let settings = serde_json::Map::new();
    let tokenizer = Tokenizer::from_json(&json, settings.clone(), &settings).unwrap();
    let back = there_and_back(&tokenizer, 0).unwrap();
    let ids = |text: &str| back.encode_prompt(text).unwrap();
    let text = "<|end|> \n the</s>  king<s> queen";
    assert_eq!(ids(text), tokenizer.encode_prompt(text).unwrap());
    assert_eq!(ids("<|end|> \n the</s>  king"), ids("<|end|>the</s>king"));
    assert_ne!(ids("<s> the"), ids("<s>the"));
}

#[test]
fn a_tokenizer_with_byte_fallback_gives_the_same_ids() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/stories260K");
    if !dir.exists() {
        eprintln!("skipped: there is no {}", dir.display());
        return;
    }
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let back = there_and_back(&tokenizer, 0).unwrap();
    for text in [TEXT, "", " ", "  a", "Once upon a time"] {
        assert_eq!(back.encode(text).unwrap(), tokenizer.encode(text).unwrap(), "{text:?}");
        assert_eq!(back.encode_prompt(text).unwrap(), tokenizer.encode_prompt(text).unwrap(), "{text:?}");
        assert_eq!(back.decode(&back.encode(text).unwrap()).unwrap(), text);
    }
}

/// llama.cpp's `models/ggml-vocab-*.gguf` with the texts and ids beside them, as the source package of `llama-cpp-python`
/// holds them; too large to be here.
const VOCABULARIES: [&str; 11] = [
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "qwen2",
    "phi-3",
    "starcoder",
    "command-r",
    "falcon",
    "refact",
    "qwen35",
    "mpt",
];

#[test]
fn ids_are_those_of_llama_cpp_s_own_tests() {
    let Some(folder) = std::env::var_os("LLM_LLAMA_CPP_MODELS").map(PathBuf::from) else {
        eprintln!("skipped: LLM_LLAMA_CPP_MODELS does not name the folder vendor/llama.cpp/models of llama-cpp-python");
        return;
    };
    for name in VOCABULARIES {
        let file = folder.join(format!("ggml-vocab-{name}.gguf"));
        let beside = |end: &str| std::fs::read_to_string(file.with_file_name(format!("ggml-vocab-{name}.gguf.{end}")));
        let [texts, ids] = [beside("inp").unwrap(), beside("out").unwrap()];
        let tokenizer = open_tokenizer(&file).unwrap();
        let mut tested = 0;
        for (text, ids) in texts.split("\n__ggml_vocab_test__\n").zip(ids.lines()) {
            let found = tokenizer.encode(text).unwrap().iter().fold(String::new(), |mut line, id| {
                let _ = write!(line, " {id}");
                line
            });
            assert_eq!(found.trim(), ids.trim(), "{name}: {text:?}");
            tested += 1;
        }
        assert!(tested > 40, "{name}: {tested} texts only");
    }
}

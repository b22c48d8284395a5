//! Tokenizers in GGUF files: the ids of llama.cpp's own tests, and what `llm train` makes, there and back.

mod common;

#[path = "../../data/tests/skip/mod.rs"]
mod skip;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use llm_checkpoint::{CheckpointError, TensorType, open_tokenizer, save_gguf};
use llm_data::{Corpus, CorpusOptions, Tokenizer, TokenizerKind, TokenizerSection};
use llm_gguf::{Array, Layout, Value};
use llm_model::{CausalLm, ModelSection};
use skip::skip;

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
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/tests/stories260k");
    let tokenizer = Tokenizer::load(&dir).unwrap();
    let back = there_and_back(&tokenizer, 0).unwrap();
    for text in [TEXT, "", " ", "  a", "Once upon a time"] {
        assert_eq!(back.encode(text).unwrap(), tokenizer.encode(text).unwrap(), "{text:?}");
        assert_eq!(back.encode_prompt(text).unwrap(), tokenizer.encode_prompt(text).unwrap(), "{text:?}");
        assert_eq!(back.decode(&back.encode(text).unwrap()).unwrap(), text);
    }
}

/// Tokens of a small vocabulary of the kind `llama`: what is unknown, two control tokens, the bytes, and `more`.
fn small_vocabulary(more: &[&str]) -> Vec<String> {
    let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
    let first = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    first.into_iter().chain(bytes).chain(more.iter().map(|&token| token.to_owned())).collect()
}

/// Gemma's table ends with user-defined tokens, which merge as well: runs of tabs and of spaces.
#[test]
fn user_defined_tokens_at_the_end_of_the_table_are_read() {
    let more = ["a", "b", "ab", "▁", "\t", "\t\t", "▁▁", "\t\t\t", "<x>", "<y>"];
    let tokens = small_vocabulary(&more);
    let kinds = [2, 3, 3].into_iter().chain([6; 256]).chain([1, 1, 1, 1, 1, 4, 4, 4, 4, 3]).collect();
    let score = |id: usize| if id < 264 { -(id as f32) } else { 0.0 };
    let scores = (0..tokens.len()).map(score).collect();
    let metadata = [
        ("tokenizer.ggml.model", Value::String("llama".into())),
        ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
        ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds))),
        ("tokenizer.ggml.scores", Value::Array(Array::F32(scores))),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let metadata: Vec<_> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut out = Vec::new();
    Layout::new(&metadata, &[]).unwrap().start(&mut out).unwrap();
    std::fs::write(&file, out).unwrap();
    let tokenizer = open_tokenizer(&file).unwrap();
    let id = |token: &str| 259 + more.iter().position(|other| *other == token).unwrap() as u32;
    for (text, expected) in [
        ("ab", vec!["ab"]),
        ("a\t\t\t\tb", vec!["a", "\t\t\t", "\t", "b"]),
        ("  ab  ", vec!["▁▁", "ab", "▁▁"]),
        ("<x>a", vec!["<x>", "a"]),
    ] {
        let expected: Vec<u32> = expected.into_iter().map(id).collect();
        assert_eq!(tokenizer.encode_prompt(text).unwrap()[1..], expected, "{text:?}");
    }
    assert_eq!(tokenizer.encode_prompt("<y>").unwrap(), [1, id("<y>")]);
    // Written and read again, it is the same.
    let back = there_and_back(&tokenizer, 0).unwrap();
    assert_eq!(back.hash(), tokenizer.hash());
}

/// A `tokenizer.json` as those of Llama 2, Mistral and Gemma are published, its merges in some order.
fn published(merges: &[(&str, &str)], gemma: bool) -> Tokenizer {
    let mut more = vec!["▁", "a", "n", "e", "t", "h", "\n"];
    let mut made: Vec<String> = merges.iter().map(|(left, right)| format!("{left}{right}")).collect();
    made.sort();
    made.dedup();
    more.extend(made.iter().map(String::as_str));
    let tokens = small_vocabulary(&more);
    let vocab: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), serde_json::json!(id))).collect();
    let added = |id: usize, content: &str, special: bool| {
        serde_json::json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special })
    };
    let mut added_tokens: Vec<_> = (0..3).map(|id| added(id, &tokens[id], true)).collect();
    if gemma {
        let runs = tokens.iter().enumerate().filter(|(_, token)| token.starts_with("\n\n") || token.starts_with("▁▁"));
        added_tokens.extend(runs.map(|(id, token)| added(id, token, false)));
        added_tokens.push(added(tokens.len(), "<image_soft_token>", true));
    }
    let escape = serde_json::json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let unescape = serde_json::json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " });
    let prepend = serde_json::json!({ "type": "Prepend", "prepend": "▁" });
    let split = serde_json::json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious",
        "invert": false });
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
        "normalizer": if gemma { escape.clone() } else {
            serde_json::json!({ "type": "Sequence", "normalizers": [prepend, escape] })
        },
        "pre_tokenizer": if gemma { split } else { serde_json::Value::Null },
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [unescape, { "type": "ByteFallback" }, { "type": "Fuse" }] },
        "model": { "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges },
    });
    let settings = serde_json::Map::new();
    Tokenizer::from_json(&json, settings.clone(), &settings).unwrap()
}

const HARD: &str = "then the hen  ate ten\n\n\n   tea, nah: 'thane' ▁▁ <s>\t🦙\u{0}\n\n\n\n\n    hanthen\r\n";

#[test]
fn merges_of_one_token_may_be_in_any_order() {
    let common = [("t", "h"), ("▁", "th"), ("e", "n"), ("▁", "t")];
    // "▁the" and "then" by lengths of their left parts, as transformers has them, and by ids, as files are published.
    let by_lengths = [("▁th", "e"), ("th", "en"), ("▁", "▁"), ("▁▁", "▁"), ("▁", "▁▁")];
    let by_ids = [("▁th", "e"), ("th", "en"), ("▁", "▁"), ("▁", "▁▁"), ("▁▁", "▁")];
    for merges in [by_lengths, by_ids] {
        let tokenizer = published(&[common.as_slice(), &merges].concat(), false);
        let back = there_and_back(&tokenizer, 0).unwrap();
        for text in [TEXT, HARD, "", " ", "        "] {
            assert_eq!(back.encode(text).unwrap(), tokenizer.encode(text).unwrap(), "{text:?}");
            assert_eq!(back.encode_prompt(text).unwrap(), tokenizer.encode_prompt(text).unwrap(), "{text:?}");
        }
    }
}

/// What `transformers` makes of a `tokenizer.model` since its version 5.
#[test]
fn a_note_says_where_llama_cpp_puts_a_space_and_the_tokenizer_none() {
    for (scheme, reason) in
        [("always", "begins with one; this"), ("first", "begins with one or follows a special"), ("never", "")]
    {
        let mut json = published(&[("t", "h"), ("▁", "▁")], false).to_json().unwrap();
        json["normalizer"] = serde_json::Value::Null;
        json["pre_tokenizer"] =
            serde_json::json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false });
        let settings = serde_json::Map::new();
        let tokenizer = Tokenizer::from_json(&json, settings.clone(), &settings).unwrap();
        let section = ModelSection { hidden_size: 8, num_layers: 1, num_heads: 1, ..ModelSection::default() };
        let config = section.resolve(tokenizer.vocab_size()).unwrap();
        let model = CausalLm::new(&config, &burn::tensor::Device::flex());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        let notes = save_gguf(&file, &model, Some(&tokenizer), TensorType::F32).unwrap();
        let told = notes.iter().any(|note| note.contains("puts a space") && note.contains(reason));
        assert_eq!(told, scheme != "never", "{scheme}: {notes:?}");
        let back = open_tokenizer(&file).unwrap();
        for text in [TEXT, "then the ten"] {
            assert_eq!(back.encode(text).unwrap(), tokenizer.encode(text).unwrap(), "{scheme}: {text:?}");
        }
    }
}

#[test]
fn runs_that_share_a_score_are_written_and_a_token_without_a_row_is_left_out() {
    let runs = [("\n\n", "\n"), ("▁▁", "▁"), ("\n", "\n\n"), ("▁", "▁▁"), ("\n", "\n"), ("▁", "▁")];
    let words = [("t", "h"), ("e", "n"), ("th", "en"), ("▁", "then")];
    let tokenizer = published(&[runs.as_slice(), &words].concat(), true);
    let rows = tokenizer.vocab_size() - 1;
    let section = ModelSection { hidden_size: 8, num_layers: 1, num_heads: 1, ..ModelSection::default() };
    let model = CausalLm::new(&section.resolve(rows).unwrap(), &burn::tensor::Device::flex());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    let notes = save_gguf(&file, &model, Some(&tokenizer), TensorType::F32).unwrap();
    let note =
        format!("1 tokens beyond the {rows} rows of the embedding are skipped, the first is \"<image_soft_token>\"");
    assert!(notes.contains(&note), "{notes:?}");
    let back = open_tokenizer(&file).unwrap();
    for text in [TEXT, HARD, "", " ", "        ", "\n\n\n\n\n\n\n"] {
        assert_eq!(back.encode(text).unwrap(), tokenizer.encode(text).unwrap(), "{text:?}");
        let [ours, theirs] = [&back, &tokenizer].map(|tokenizer| tokenizer.encode_prompt(text).unwrap());
        assert_eq!(ours, theirs, "{text:?}");
    }
}

#[test]
fn merges_that_scores_cannot_order_are_refused_with_a_text() {
    // "nt" comes first in the list, and "e" does not merge with it there; by scores it would, to what "en" and "t" make.
    let tokenizer = published(&[("n", "t"), ("t", "e"), ("e", "n"), ("en", "t")], false);
    let error = there_and_back(&tokenizer, 0).unwrap_err().to_string();
    assert!(error.contains(r#""ent" merges to ["e", "nt"], but token scores would make it ["ent"]"#), "{error}");
}

/// Where the rules of DeepSeek part what would merge otherwise; the pieces are those of the `tokenizers` package.
#[test]
fn the_rules_of_deepseek_split_as_they_should() {
    const MERGES: [&str; 8] = ["1 2", "12 3", "a 1", "Ċ a", ", a", "Ġ a", "Ġ ,", "Ġ Ġ"];
    let mut tokens: Vec<String> = ["1", "2", "3", "a", "Ċ", ",", "Ġ"].map(str::to_owned).into();
    tokens.extend(MERGES.map(|merge| merge.replace(' ', "")));
    let text = "a123\na,a a ,a  a";
    for (pre, expected) in [
        ("deepseek-v3", "a|123|Ċ|a|,a|Ġa|Ġ,|a|Ġ|Ġa"),
        ("deepseek-llm", "a|1|2|3|Ċ|a|,|a|Ġa|Ġ,|a|Ġ|Ġa"),
        ("deepseek-coder", "a|1|2|3|Ċ|a|,|a|Ġa|Ġ,|a|Ġ|Ġa"),
    ] {
        let texts = |list: &[String]| Value::Array(Array::String(list.to_vec()));
        let metadata = [
            ("model", Value::String("gpt2".into())),
            ("pre", Value::String(pre.into())),
            ("tokens", texts(&tokens)),
            ("merges", texts(&MERGES.map(str::to_owned))),
        ];
        let metadata: Vec<_> =
            metadata.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        let mut out = Vec::new();
        Layout::new(&metadata, &[]).unwrap().start(&mut out).unwrap();
        std::fs::write(&file, out).unwrap();
        let tokenizer = open_tokenizer(&file).unwrap();
        let found: Vec<&str> = tokenizer.encode(text).unwrap().iter().map(|&id| tokens[id as usize].as_str()).collect();
        assert_eq!(found.join("|"), expected, "{pre}");
        assert_eq!(there_and_back(&tokenizer, 0).unwrap().hash(), tokenizer.hash(), "{pre}");
    }
}

/// llama.cpp's `models/ggml-vocab-*.gguf` with the texts and ids beside them, as the source package of `llama-cpp-python`
/// holds them; too large to be here.
const VOCABULARIES: [&str; 13] = [
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
    "deepseek-llm",
    "deepseek-coder",
];

#[test]
fn ids_are_those_of_llama_cpp_s_own_tests() {
    let Some(folder) = std::env::var_os("LLM_LLAMA_CPP_MODELS").map(PathBuf::from) else {
        return skip(
            "llama-cpp-models",
            "LLM_LLAMA_CPP_MODELS does not name the folder vendor/llama.cpp/models of llama-cpp-python",
        );
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

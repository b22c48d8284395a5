//! Directories without a `tokenizer.json`: held to `transformers` and to SentencePiece by `scripts/golden_sentencepiece.py`.

use std::fs;
use std::path::{Path, PathBuf};

use llm_data::{DataError, Tokenizer};
use proptest::prelude::*;
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

fn golden(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder(name).join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn classes_are_converted_as_transformers_does() {
    for name in ["llama", "llama_new", "llama_no_prefix", "llama_unigram", "gemma", "gpt2", "qwen2"] {
        let tokenizer = Tokenizer::load(&folder(name)).unwrap();
        let mut written_twice = 0;
        for case in golden(name) {
            let text = case["text"].as_str().unwrap();
            let mut prompt = ids(&case["prompt"]);
            // `transformers` puts another before a beginning that is written in the text.
            if prompt.len() > 1 && tokenizer.bos_id() == Some(prompt[0]) && prompt[0] == prompt[1] {
                prompt.remove(0);
                written_twice += 1;
            }
            let found = tokenizer.encode_prompt(text).unwrap();
            assert_eq!(found, prompt, "{name}: {text:?}");
            assert_eq!(tokenizer.encode_rendered(text).unwrap(), ids(&case["rendered"]), "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&prompt).unwrap(), case["decoded"], "{name}: {text:?}");
        }
        assert_eq!(written_twice > 0, ["llama", "llama_no_prefix", "llama_unigram"].contains(&name), "{name}");
    }
}

/// As `transformers` 5 reads it, and SentencePiece itself: by what the model says of its normalizer.
#[test]
fn a_model_of_no_class_is_split_as_it_says_itself() {
    for name in ["plain_bpe", "plain_unigram", "plain_identity"] {
        let tokenizer = Tokenizer::load(&folder(name).join("tokenizer.model")).unwrap();
        for case in golden(name) {
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode_prompt(text).unwrap(), ids(&case["prompt"]), "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&ids(&case["prompt"])).unwrap(), case["decoded"], "{name}: {text:?}");
        }
    }
}

/// What is saved is a `tokenizer.json` that means the same.
#[test]
fn what_was_converted_is_saved_as_a_tokenizer_json() {
    for name in ["llama", "llama_new", "llama_unigram", "gemma", "plain_unigram", "gpt2", "qwen2"] {
        let tokenizer = Tokenizer::load(&folder(name)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        tokenizer.save(dir.path()).unwrap();
        let again = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(again.to_json().unwrap(), tokenizer.to_json().unwrap(), "{name}");
        assert_eq!((again.eos_ids(), again.bos_id()), (tokenizer.eos_ids(), tokenizer.bos_id()), "{name}");
        assert_eq!(Tokenizer::load(&folder(name)).unwrap().hash(), tokenizer.hash(), "{name}");
        for case in golden(name) {
            let text = case["text"].as_str().unwrap();
            assert_eq!(again.encode_prompt(text).unwrap(), tokenizer.encode_prompt(text).unwrap(), "{name}: {text:?}");
        }
    }
}

/// The files of `name` in a folder of their own, with `change` made to them.
fn changed(name: &str, change: impl FnOnce(&Path)) -> Result<Tokenizer, DataError> {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    change(dir.path());
    Tokenizer::load(dir.path())
}

#[test]
fn damaged_files_are_named_with_what_is_wrong() {
    let model = |bytes: &'static [u8]| move |dir: &Path| fs::write(dir.join("tokenizer.model"), bytes).unwrap();
    let cases: [(&str, Result<Tokenizer, DataError>); 7] = [
        ("not a SentencePiece model: failed", changed("llama", model(b"\x0a\xff\xff\xff\xff\xff"))),
        ("it has no pieces", changed("llama", model(b""))),
        ("a file of tiktoken", changed("llama", model(b"IQ== 0\nIg== 1\n"))),
        ("a score that is not a number", changed("llama", model(b"\x0a\x08\x0a\x01a\x15\x00\x00\xc0\x7f"))),
        (
            "put token \"<extra>\" at id 9",
            changed("llama", |dir| {
                fs::write(dir.join("added_tokens.json"), r#"{"<extra>": 9}"#).unwrap();
            }),
        ),
        (
            "line 2 of merges.txt",
            changed("gpt2", |dir| fs::write(dir.join("merges.txt"), "#version: 0.2\nab\n").unwrap()),
        ),
        (
            "merges.txt here",
            changed("gpt2", |dir| {
                fs::rename(dir.join("merges.txt"), dir.join("merges.old")).unwrap();
            }),
        ),
    ];
    for (part, outcome) in cases {
        let error = outcome.unwrap_err().to_string();
        assert!(
            error.contains(part) || (part.ends_with("here") && error.contains("there is merges.old, vocab.json")),
            "{error}"
        );
        assert!(error.contains("hint: "), "{error}");
    }
}

#[test]
fn long_pieces_are_refused_before_they_are_split() {
    // A piece of 64 KiB: 2³² places to look at.
    let text = vec![b'a'; 1 << 16];
    let piece = [&[0x0a, 0x80, 0x80, 0x04][..], &text].concat();
    let file = [&[0x0a, 0x84, 0x80, 0x04][..], &piece].concat();
    let outcome = changed("llama", |dir| fs::write(dir.join("tokenizer.model"), file).unwrap());
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("its pieces are longer than any that are trained"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A file with some bytes changed, or cut short, is read or refused; and what is read splits a text.
    #[test]
    fn damaged_models_never_panic(
        name in prop::sample::select(vec!["llama", "llama_unigram", "gemma", "plain_unigram"]),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = fs::read(folder(name).join("tokenizer.model")).unwrap();
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let outcome = changed(name, |dir| fs::write(dir.join("tokenizer.model"), &bytes).unwrap());
        if let Ok(tokenizer) = outcome {
            let _ = tokenizer.encode_prompt("The ﬁrst fox said: café  \u{0}<s>日本");
        }
    }
}

/// `add_bos_token` and `add_eos_token`, both ways, by class and by what `tokenizer.json` says itself.
#[test]
fn tokens_around_a_text_are_those_of_transformers() {
    let golden: Value =
        serde_json::from_str(&fs::read_to_string(folder("flags").join("golden.json")).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5 * 2 * 4 * 3);
    for case in cases {
        let tokenizer = changed("flags", |dir| {
            let file = dir.join("tokenizer.json");
            let mut json: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            json["post_processor"] =
                if case["begins"] == true { golden["post_processor"].clone() } else { Value::Null };
            fs::write(file, json.to_string()).unwrap();
            fs::write(dir.join("tokenizer_config.json"), case["config"].to_string()).unwrap();
            fs::write(dir.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
        });
        let tokenizer = tokenizer.unwrap();
        assert_eq!(tokenizer.encode_prompt("A").unwrap(), ids(&case["ids"]), "{case}");
        // A beginning that is written stays one, whichever file it comes from; and so does what is saved.
        let written = tokenizer.encode_prompt("<s>A").unwrap();
        assert_eq!(written.iter().filter(|&&id| id == 0).count(), 1, "{case}");
        let dir = tempfile::tempdir().unwrap();
        tokenizer.save(dir.path()).unwrap();
        assert_eq!(Tokenizer::load(dir.path()).unwrap().encode_prompt("A").unwrap(), ids(&case["ids"]), "{case}");
    }
}

/// Gemma 3 names a token for pictures that its text models have no embedding for.
#[test]
fn tokens_beyond_the_embeddings_are_refused_where_they_stand() {
    let tokenizer = Tokenizer::load(&folder("llama")).unwrap();
    let extra = tokenizer.id("<extra>").unwrap();
    let small = tokenizer.for_rows(extra as usize);
    assert_eq!((small.vocab_size(), small.eos_ids()), (tokenizer.vocab_size(), tokenizer.eos_ids()));
    assert_eq!(small.encode_prompt("the fox").unwrap(), tokenizer.encode_prompt("the fox").unwrap());
    for outcome in [small.encode_prompt("a <extra>"), small.encode_rendered("<extra>"), small.encode("<extra>")] {
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, DataError::NoEmbedding { id, token, rows } if *id == extra && token == "<extra>" && *rows == extra as usize)
        );
        assert!(error.to_string().contains("hint: remove <extra> from the text"), "{error}");
    }
    assert_eq!(tokenizer.for_rows(usize::MAX).encode_prompt("<extra>").unwrap().last(), Some(&extra));
    // A token that the model lacks neither begins nor ends a text.
    let tiny = tokenizer.for_rows(2);
    assert_eq!((tiny.bos_id(), tiny.eos_ids(), tiny.end_of_text_id()), (Some(1), &[][..], None));
}

#[test]
fn special_tokens_are_pieces_where_they_are_read() {
    for name in ["llama", "gpt2"] {
        let tokenizer = Tokenizer::load(&folder(name)).unwrap();
        let end = if name == "llama" { "</s>" } else { "<|endoftext|>" };
        let text = format!("café{end} fox");
        let texts =
            |special| tokenizer.pieces(&text, special).unwrap().into_iter().map(|piece| piece.text).collect::<Vec<_>>();
        assert!(texts(true).contains(&end.to_owned()) && !texts(false).contains(&end.to_owned()), "{name}");
        let pieces = tokenizer.pieces(&text, true).unwrap();
        let place = pieces.iter().find(|piece| piece.text == end).unwrap();
        assert_eq!((place.span.start, place.span.end), (5, 5 + end.len()), "{name}");
    }
}

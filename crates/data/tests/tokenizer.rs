//! Tokenizers: what they are made of, and that text comes back.

use std::fs;
use std::path::{Path, PathBuf};

use llm_data::{Corpus, CorpusOptions, DataError, END_OF_TEXT, Tokenizer, TokenizerKind, TokenizerSection};
use proptest::prelude::*;

const TEXT: &str = "I love AI! I love tea. The king loves the queen, and the queen loves the king.\n\
    I love AI! Don't you? 12 cats, 12 dogs: naïve café, 日本語 👩‍🚀.\n";

fn corpus(folder: &Path, text: &str) -> Corpus {
    let path = folder.join("text.txt");
    fs::write(&path, text).unwrap();
    Corpus::open(&[path], CorpusOptions::default()).unwrap()
}

fn train(kind: TokenizerKind, text: &str) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let section = TokenizerSection { kind, vocab_size: 400, ..TokenizerSection::default() };
    Tokenizer::train(&section, &corpus(folder.path(), text)).unwrap()
}

fn all() -> Vec<(TokenizerKind, Tokenizer)> {
    use TokenizerKind::{Bpe, Byte, Char, Word};
    [Char, Byte, Word, Bpe].map(|kind| (kind, train(kind, TEXT))).into()
}

/// A tokenizer with byte fallback.
fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories260k")
}

#[test]
fn words_are_words_and_punctuation() {
    let pieces = train(TokenizerKind::Word, TEXT).pieces("I love AI!", false).unwrap();
    let texts: Vec<_> = pieces.iter().map(|p| p.text.as_str()).collect();
    assert_eq!(texts, ["I", " love", " AI", "!"]);
    let spans: Vec<_> = pieces.iter().map(|p| p.span.clone()).collect();
    assert_eq!(spans, [0..1, 1..6, 6..9, 9..10]);
}

#[test]
fn ids_are_where_they_are_expected() {
    for (kind, tokenizer) in all() {
        let end = tokenizer.end_of_text_id().unwrap();
        assert_eq!(end as usize, tokenizer.vocab_size() - 1, "{kind}");
        assert_eq!(tokenizer.eos_ids(), [end], "{kind}");
        assert_eq!(tokenizer.token(end).as_deref(), Some(END_OF_TEXT), "{kind}");
        assert_eq!(tokenizer.decode(&[end]).unwrap(), "", "{kind}");
    }
    assert_eq!(train(TokenizerKind::Byte, TEXT).encode("é\n").unwrap(), [0xc3, 0xa9, 10]);
    // Sorted characters, as nanoGPT numbers them.
    assert_eq!(train(TokenizerKind::Char, "cab\n").encode("abc\n").unwrap(), [1, 2, 3, 0]);
}

#[test]
fn a_text_cannot_inject_special_tokens_but_a_prompt_can() {
    for (kind, tokenizer) in all() {
        let text = "The <|endoftext|> king";
        let end = tokenizer.end_of_text_id().unwrap();
        assert!(!tokenizer.encode(text).unwrap().contains(&end), "{kind}");
        assert_eq!(tokenizer.encode_prompt(text).unwrap().iter().filter(|&&id| id == end).count(), 1, "{kind}");
    }
}

#[test]
fn unknown_characters_become_unk() {
    let tokenizer = train(TokenizerKind::Char, "abc");
    assert_eq!(tokenizer.encode("axb").unwrap(), [0, 3, 1]);
    assert_eq!(tokenizer.decode(&[0, 3, 1]).unwrap(), "a<unk>b");
}

#[test]
fn saved_and_loaded_is_the_same_tokenizer() {
    for (kind, tokenizer) in all() {
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        for path in [folder.path().to_owned(), folder.path().join("tokenizer.json")] {
            let loaded = Tokenizer::load(&path).unwrap();
            assert_eq!(loaded.hash(), tokenizer.hash(), "{kind}");
            assert_eq!(loaded.eos_ids(), tokenizer.eos_ids(), "{kind}");
            assert_eq!(loaded.encode(TEXT).unwrap(), tokenizer.encode(TEXT).unwrap(), "{kind}");
        }
        assert_eq!(train(kind, TEXT).hash(), tokenizer.hash(), "training twice gives one {kind} tokenizer");
    }
}

/// The fast paths against the `tokenizers` crate itself, which is what Python runs.
#[test]
fn ids_are_those_of_the_tokenizers_crate() {
    for (kind, tokenizer) in all() {
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        let reference = tokenizers::Tokenizer::from_file(folder.path().join("tokenizer.json")).unwrap();
        for text in
            [TEXT, "", " ", "  x\n\n y\t'll 'LL we're\u{a0}\u{3000}z ½ ٣", "ẞ e\u{301} 👩‍👩‍👧‍👦🏽 \r\n", &"ab ".repeat(9999)]
        {
            let expected = reference.encode(text, false).unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), expected.get_ids(), "{kind}: {text:.40}");
            let pieces = tokenizer.pieces(text, false).unwrap();
            assert_eq!(pieces.iter().map(|p| p.id).collect::<Vec<_>>(), expected.get_ids(), "{kind}");
            assert_eq!(
                tokenizer.decode(expected.get_ids()).unwrap(),
                reference.decode(expected.get_ids(), true).unwrap()
            );
        }
    }
}

#[test]
fn bpe_learns_and_respects_its_size() {
    let tokenizer = train(TokenizerKind::Bpe, &TEXT.repeat(50));
    assert!(tokenizer.vocab_size() <= 400);
    assert!(tokenizer.encode(TEXT).unwrap().len() * 2 < TEXT.len());
    let folder = tempfile::tempdir().unwrap();
    let section = TokenizerSection { vocab_size: 100, ..TokenizerSection::default() };
    let error = Tokenizer::train(&section, &corpus(folder.path(), TEXT)).unwrap_err();
    assert!(matches!(error, DataError::VocabularyTooSmall { given: 100, least: 257, .. }));
    assert!(error.to_string().starts_with("vocab_size is 100, but a bpe tokenizer needs at least 257"), "{error}");
}

/// Text without white space, such as a genome, is one piece, which must not take memory by its length.
#[test]
fn text_without_white_space_is_learned_in_parts() {
    let genome: String =
        (0_u32..100_000).map(|i| char::from(b"ACGT"[(i.wrapping_mul(2_654_435_761) >> 30) as usize])).collect();
    let tokenizer = train(TokenizerKind::Bpe, &genome);
    let ids = tokenizer.encode(&genome).unwrap();
    assert!(ids.len() < genome.len() / 2, "{}", ids.len());
    assert_eq!(tokenizer.decode(&ids).unwrap(), genome);
}

#[test]
fn sizes_out_of_bounds_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), TEXT);
    for vocab_size in [256, usize::MAX] {
        let section = TokenizerSection { vocab_size, ..TokenizerSection::default() };
        let error = Tokenizer::train(&section, &corpus).unwrap_err().to_string();
        assert!(error.starts_with(&format!("vocab_size is {vocab_size}, but ")), "{error}");
    }
}

#[test]
fn special_tokens_come_from_the_files_beside() {
    let folder = tempfile::tempdir().unwrap();
    train(TokenizerKind::Byte, TEXT).save(folder.path()).unwrap();
    let config = folder.path().join("tokenizer_config.json");
    fs::write(
        &config,
        r#"{"bos_token": {"content": "A"}, "eos_token": "B", "add_bos_token": true, "chat_template": "T"}"#,
    )
    .unwrap();
    fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [67, 68]}"#).unwrap();
    fs::write(folder.path().join("config.json"), r#"{"eos_token_id": 68}"#).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.eos_ids(), [67, 68, 66]);
    assert_eq!(tokenizer.bos_id(), Some(65));
    assert_eq!(tokenizer.end_of_text_id(), Some(256));
    assert_eq!(tokenizer.encode_prompt("x").unwrap(), [65, u32::from(b'x')]);
    assert_eq!(tokenizer.encode("x").unwrap(), [u32::from(b'x')]);
    tokenizer.save(folder.path()).unwrap();
    assert!(fs::read_to_string(config).unwrap().contains("chat_template"));
}

#[test]
fn hostile_tokenizers_give_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokenizer.json");
    assert!(matches!(Tokenizer::load(folder.path()), Err(DataError::NoTokenizer { .. })));
    assert!(matches!(Tokenizer::load(&file), Err(DataError::Missing { .. })));
    for contents in ["", "{}", "{\"model\": 3}", "[1"] {
        fs::write(&file, contents).unwrap();
        let error = Tokenizer::load(&file).unwrap_err();
        assert!(error.to_string().contains("not a usable tokenizer"), "{error}");
    }
    // Tables have a row for each id up to the largest, which here would take gigabytes.
    let vocab = r#"{"version":"1.0","model":{"type":"BPE","vocab":{"a":4294967295},"merges":[]}}"#;
    fs::write(&file, vocab).unwrap();
    let error = Tokenizer::load(&file).unwrap_err().to_string();
    assert!(error.contains("its largest id is 4294967295, but it has 1 tokens only"), "{error}");

    train(TokenizerKind::Byte, TEXT).save(folder.path()).unwrap();
    fs::write(folder.path().join("config.json"), "not json").unwrap();
    assert!(Tokenizer::load(folder.path()).unwrap_err().to_string().contains("config.json"));
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.decode_stream();
    let mut parts: Vec<String> = ids.iter().filter_map(|&id| stream.push(id).unwrap()).collect();
    parts.extend(stream.finish().unwrap());
    parts.concat()
}

#[test]
fn llama_tokenizer_with_byte_fallback() {
    let path = stories();
    let tokenizer = Tokenizer::load(&path).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.bos_id(), tokenizer.eos_ids()), (512, Some(1), &[2][..]));
    assert_eq!(tokenizer.encode_prompt("Once upon").unwrap()[0], 1);
    let reference = tokenizers::Tokenizer::from_file(path.join("tokenizer.json")).unwrap();
    for text in ["Once upon a time", "日本 👩‍🚀!\nHi", " two", "été"] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        assert_eq!(reference.decode(&ids, true).unwrap(), text);
        assert_eq!(streamed(&tokenizer, &ids), text);
    }
    // A continuation keeps the space that a text of its own loses.
    let ids = tokenizer.encode("Once upon").unwrap();
    let word = ids.iter().position(|&id| tokenizer.token(id).unwrap().starts_with("▁up")).unwrap();
    let mut stream = tokenizer.decode_stream_after(&ids[..word]);
    assert_eq!(stream.push(ids[word]).unwrap().unwrap().chars().next(), Some(' '));
    let mut stream = tokenizer.decode_stream_after(&[1]);
    assert_ne!(stream.push(ids[word]).unwrap().unwrap().chars().next(), Some(' '));
}

/// A tokenizer whose decoder is left to the `tokenizers` crate.
#[test]
fn foreign_decoders_stream_too() {
    let json = r###"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},
        "post_processor":null,"decoder":{"type":"WordPiece","prefix":"##","cleanup":false},
        "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
        "vocab":{"[UNK]":0,"play":1,"##ing":2,"the":3,"game":4}}}"###;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), json).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let ids = tokenizer.encode("playing the game zzz").unwrap();
    assert_eq!(ids, [1, 2, 3, 4, 0]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "playing the game [UNK]");
    let ids = ids.repeat(20);
    assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes, read as the corpus reads them, come back from byte-level tokenizers.
    #[test]
    fn any_text_survives(bytes in prop::collection::vec(any::<u8>(), 0..300), text in r"(\PC|[ \n\t]|👩‍👩‍👧‍👦|🏳️‍🌈|é){0,60}") {
        for (kind, tokenizer) in all().into_iter().skip(1) {
            for text in [&text, &*String::from_utf8_lossy(&bytes)] {
                let ids = tokenizer.encode(text).unwrap();
                prop_assert_eq!(&tokenizer.decode(&ids).unwrap(), text, "{}", kind);
                prop_assert_eq!(&streamed(&tokenizer, &ids), text, "{}", kind);
                let pieces = tokenizer.pieces(text, false).unwrap();
                prop_assert!(pieces.windows(2).all(|w| w[0].span.end == w[1].span.start));
            }
        }
    }

    /// Bytes that are no text at all, as an untrained model gives them.
    #[test]
    fn any_ids_stream_as_they_decode(ids in prop::collection::vec(0u32..520, 0..200)) {
        let byte = train(TokenizerKind::Byte, TEXT);
        let valid: Vec<u8> = ids.iter().filter_map(|&id| u8::try_from(id).ok()).collect();
        prop_assert_eq!(byte.decode(&ids).unwrap(), String::from_utf8_lossy(&valid));
        prop_assert_eq!(streamed(&byte, &ids), byte.decode(&ids).unwrap());
        let llama = Tokenizer::load(&stories()).unwrap();
        prop_assert_eq!(streamed(&llama, &ids), llama.decode(&ids).unwrap());
    }
}

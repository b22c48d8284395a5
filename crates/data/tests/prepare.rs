//! From files to shards and batches.

use std::fs;
use std::path::{Path, PathBuf};

use llm_data::{
    Advice, BatchSampler, DataError, DataSection, Note, Prepared, Progress, ShardWriter, Stage, TokenShards, Tokenizer,
    TokenizerKind, TokenizerSection, evaluation_windows, prepare,
};
use proptest::prelude::*;
use tempfile::TempDir;

struct Fixture {
    folder: TempDir,
    data: DataSection,
    tokenizer: TokenizerSection,
}

impl Fixture {
    fn new(name: &str, text: &str, kind: TokenizerKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let cache_dir = Some(folder.path().join("cache"));
        let data = DataSection { paths: vec![path], cache_dir, ..DataSection::default() };
        Self { folder, data, tokenizer: TokenizerSection { kind, ..TokenizerSection::default() } }
    }

    fn prepare(&self) -> Result<Prepared, DataError> {
        prepare(&self.data, &self.tokenizer, &mut |_| ())
    }
}

fn ids(shards: &TokenShards) -> Vec<u32> {
    let mut ids = Vec::new();
    shards.read(0..shards.len(), &mut ids).unwrap();
    ids
}

fn text(tokenizer: &Tokenizer, shards: &TokenShards) -> String {
    tokenizer.decode(&ids(shards)).unwrap()
}

#[test]
fn a_text_splits_as_nanogpt_splits_it() {
    // As many characters as tinyshakespeare has, and as many different ones.
    let characters: Vec<char> = ('!'..).take(65).collect();
    let whole: String = (0..1_115_394usize).map(|i| characters[i * i % 8191 % 65]).collect();
    let fixture = Fixture::new("input.txt", &whole, TokenizerKind::Char);
    let Prepared { tokenizer, split, cached } = fixture.prepare().unwrap();
    assert!(!cached);
    assert_eq!((split.train.len(), split.valid.len()), (1_003_854, 111_540));
    assert_eq!(split.note, "validation: last 10 % of the text (111,540 of 1,115,394 characters)");
    assert_eq!(text(&tokenizer, &split.train), whole[..1_003_854]);
    assert_eq!(text(&tokenizer, &split.valid), whole[1_003_854..]);
    assert_eq!(tokenizer.vocab_size(), 65 + 2);
}

#[test]
fn documents_end_with_the_end_of_text() {
    let stories = "One.\n<|endoftext|>\nTwo <|endoftext|> inside.\n<|endoftext|>\n\n<|endoftext|>\nThree.";
    let mut fixture = Fixture::new("a.txt", stories, TokenizerKind::Byte);
    let valid = fixture.folder.path().join("v.jsonl");
    fs::write(&valid, "{\"text\": \"Four\"}\n\n{\"text\": \"Five\"}\n").unwrap();
    fixture.data.valid = vec![valid];
    let Prepared { split, .. } = fixture.prepare().unwrap();
    let marked = |shards: &TokenShards| -> String {
        ids(shards).into_iter().map(|id| u8::try_from(id).map_or('|', char::from)).collect()
    };
    assert_eq!(marked(&split.train), "One.|Two <|endoftext|> inside.|Three.|");
    assert_eq!(marked(&split.valid), "Four|Five|");
    assert_eq!((split.train.header().documents, split.train.header().text_bytes), (3, 35));
    assert!(split.note.ends_with("v.jsonl (2 documents)"), "{}", split.note);
}

#[test]
fn a_share_of_the_documents_is_validation() {
    let lines = (0..200).map(|i| format!("{{\"text\": \"story {i}\"}}\n")).collect::<Vec<_>>().concat();
    let fixture = Fixture::new("a.jsonl", &lines, TokenizerKind::Byte);
    let Prepared { tokenizer, split, .. } = fixture.prepare().unwrap();
    assert_eq!(split.note, "validation: 10 % of the documents, evenly spread (20 of 200 documents)");
    assert_eq!((split.train.header().documents, split.valid.header().documents), (180, 20));
    assert!(text(&tokenizer, &split.valid).starts_with("story 9story 19story 29"));
}

#[test]
fn the_second_time_everything_is_there() {
    let fixture = Fixture::new("a.txt", &"the cat sat on the mat. ".repeat(200), TokenizerKind::Bpe);
    let first = fixture.prepare().unwrap();
    let mut stages = Vec::new();
    let second = prepare(&fixture.data, &fixture.tokenizer, &mut |progress| stages.push(progress)).unwrap();
    assert!(!first.cached && second.cached);
    assert!(stages.iter().all(|p| matches!(p, Progress::Stage { stage: Stage::Scan, .. })), "{stages:?}");
    assert_eq!(second.tokenizer.hash(), first.tokenizer.hash());
    assert_eq!(ids(&second.split.train), ids(&first.split.train));
    // Another text under the same name is another text.
    fs::write(&fixture.data.paths[0], "the dog ran. ".repeat(300)).unwrap();
    let third = fixture.prepare().unwrap();
    assert!(!third.cached && text(&third.tokenizer, &third.split.train).starts_with("the dog"));
    // A damaged file in the cache is made again.
    fs::write(third.split.train.path(), "rubbish").unwrap();
    assert!(!fixture.prepare().unwrap().cached);
    assert!(fixture.prepare().unwrap().cached);
}

#[test]
fn long_texts_are_cut_without_a_trace() {
    let long =
        (0..150_000).map(|i| format!("word{} is  here, don't\n\nyou  see? ", i % 977)).collect::<Vec<_>>().concat();
    for kind in [TokenizerKind::Char, TokenizerKind::Word, TokenizerKind::Bpe] {
        let fixture = Fixture::new("a.md", &long, kind);
        let Prepared { tokenizer, split, .. } = fixture.prepare().unwrap();
        let at = (long.len() as f64 * 0.9) as usize;
        assert!(ids(&split.train) == tokenizer.encode(&long[..at]).unwrap(), "{kind}");
        assert!(ids(&split.valid) == tokenizer.encode(&long[at..]).unwrap(), "{kind}");
    }
}

#[test]
fn llama_tokens_of_long_texts_are_those_of_the_whole() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories260k");
    let long = "Once upon a time there was a little girl, and she had 3 cats. ".repeat(9000);
    let mut fixture = Fixture::new("a.md", &long, TokenizerKind::Bpe);
    fixture.tokenizer.path = Some(model);
    let Prepared { tokenizer, split, .. } = fixture.prepare().unwrap();
    let at = (long.len() as f64 * 0.9) as usize;
    assert!(ids(&split.train) == tokenizer.encode(&long[..at]).unwrap());
}

#[test]
fn unknown_characters_are_counted_and_said() {
    let mut fixture = Fixture::new("a.txt", "abcabc", TokenizerKind::Char);
    let valid = fixture.folder.path().join("v.md");
    fs::write(&valid, "axyb").unwrap();
    fixture.data.valid = vec![valid];
    let split = fixture.prepare().unwrap().split;
    assert_eq!(split.valid.header().unknown, 2);
    assert!(split.note.ends_with("; 2 of 4 validation tokens are unknown to the tokenizer"), "{}", split.note);
}

#[test]
fn errors_say_what_to_do() {
    let error = |fixture: &Fixture| fixture.prepare().unwrap_err().to_string();
    let mut fixture = Fixture::new("a.txt", "a", TokenizerKind::Byte);
    assert!(
        error(&fixture).starts_with("the text has 1 characters, too few to hold out 0.1 of it"),
        "{}",
        error(&fixture)
    );
    fixture.data.valid_fraction = 1.0;
    assert!(error(&fixture).contains("must be at least 0 and less than 1"));
    let fixture = Fixture::new("a.txt", &"a".repeat(40), TokenizerKind::Byte);
    let shards = fixture.prepare().unwrap().split.train;
    let short = BatchSampler::new(shards.clone(), 2, 64, 1).unwrap_err();
    assert_eq!(short.to_string(), "the text has 36 tokens, but one context of 64 needs 65");
    assert_eq!(short.advice(), Some(Advice::ShorterContext { tokens: 35 }));
    let mismatch = shards.check_vocabulary(100).unwrap_err().to_string();
    assert!(mismatch.starts_with("vocabulary is 257 in the tokenizer but 100 in the model\nhint: "), "{mismatch}");
    assert!(shards.check_vocabulary(257).is_ok() && shards.check_vocabulary(320).is_ok());
}

#[test]
fn what_is_validated_on_is_not_trained_on() {
    let mut fixture = Fixture::new("train.txt", "The cat sat on the mat.", TokenizerKind::Byte);
    let valid = fixture.folder.path().join("valid.txt");
    fs::write(&valid, "The dog did not.").unwrap();
    fixture.data.valid = vec![valid.clone()];
    let apart = fixture.prepare().unwrap();
    // The folder has both files, and the cache, of which nothing is text.
    fixture.data.paths = vec![fixture.folder.path().to_owned()];
    let Prepared { tokenizer, split, .. } = fixture.prepare().unwrap();
    assert_eq!(text(&tokenizer, &split.train), text(&apart.tokenizer, &apart.split.train));
    assert!(split.note.ends_with("(1 documents; 1 of these files not trained on)"), "{}", split.note);
    fixture.data.paths = vec![valid];
    let error = fixture.prepare().unwrap_err();
    assert!(error.to_string().ends_with("every training file is also a validation file"), "{error}");
    assert_eq!(error.advice(), Some(Advice::OtherFiles));
}

#[test]
fn another_end_of_text_makes_other_tokens() {
    let mut fixture =
        Fixture::new("tales.jsonl", "{\"text\":\"A cat.\"}\n{\"text\":\"A dog.\"}\n", TokenizerKind::Byte);
    let folder = fixture.folder.path().join("tokenizer");
    byte_tokenizer().save(&folder).unwrap();
    let json = fs::read_to_string(folder.join("tokenizer.json")).unwrap().replace("<|endoftext|>", "<end>");
    fs::write(folder.join("tokenizer.json"), json).unwrap();
    fixture.tokenizer.path = Some(folder.clone());
    let valid = fixture.folder.path().join("valid.txt");
    fs::write(&valid, "A bird.").unwrap();
    fixture.data.valid = vec![valid];
    for end in ["<end>", "!"] {
        fs::write(folder.join("tokenizer_config.json"), format!("{{\"eos_token\":\"{end}\"}}")).unwrap();
        let Prepared { tokenizer, split, .. } = fixture.prepare().unwrap();
        let id = tokenizer.end_of_text_id().unwrap();
        assert_eq!(tokenizer.token(id).unwrap(), end);
        assert!(ids(&split.train).contains(&id), "{end}");
    }
}

#[test]
fn sections_reject_unknown_keys_and_have_defaults() {
    let data: DataSection = toml::from_str("paths = [\"x.txt\"]\nlossy = true").unwrap();
    assert!(data.lossy && (data.valid_fraction - 0.1).abs() < 1e-12 && data.text_key == "text");
    assert!(toml::from_str::<DataSection>("path = \"x\"").unwrap_err().to_string().contains("unknown field `path`"));
    let section: TokenizerSection = toml::from_str("kind = \"char\"").unwrap();
    assert_eq!(section.kind, TokenizerKind::Char);
    assert!(toml::from_str::<TokenizerSection>("kid = 1").is_err());
    assert!("bpd".parse::<TokenizerKind>().unwrap_err().contains("char, byte, word or bpe"));
}

fn byte_tokenizer() -> Tokenizer {
    let fixture = Fixture::new("a.txt", "some text for bytes", TokenizerKind::Byte);
    fixture.prepare().unwrap().tokenizer
}

fn shards(folder: &Path, ids: &[u32]) -> TokenShards {
    let mut writer = ShardWriter::create(&folder.join("x.tokens"), &byte_tokenizer()).unwrap();
    writer.push(ids, ids.len() as u64, 0).unwrap();
    writer.finish().unwrap()
}

#[test]
fn an_unfinished_file_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(&folder.path().join("x.tokens"), &byte_tokenizer()).unwrap();
    writer.push(&vec![7; 3_000_000], 0, 0).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn hostile_shards_give_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = shards(folder.path(), &[1, 2, 3, 4]).path().to_owned();
    let good = fs::read(&path).unwrap();
    let message = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        TokenShards::open(&path).unwrap_err().to_string()
    };
    let seal = |mut bytes: Vec<u8>, at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
        let sum = blake3::hash(&bytes[..88]);
        bytes[88..96].copy_from_slice(&sum.as_bytes()[..8]);
        bytes
    };
    assert!(message(b"").contains("it has 0 bytes"));
    assert!(message(&good[..50]).contains("it has 50 bytes, the header alone 96"));
    assert!(message(&good[..good.len() - 1]).contains("counts 4 tokens of 16 bits, which do not make 103 bytes"));
    assert!(message(&[b"NOTMAGIC", &good[8..]].concat()).contains("does not begin as a shard file"));
    assert!(message(&seal(good.clone(), 8, &[9])).contains("version 9, this program reads version 1"));
    assert!(message(&seal(good.clone(), 12, &[8])).contains("ids have 8 bits"));
    assert!(message(&seal(good.clone(), 24, &[0xff; 8])).contains("counts 18446744073709551615 tokens"));
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    assert!(message(&flipped).contains("checksum differs"));
    let mut large = good.clone();
    large[98..100].copy_from_slice(&[0xff, 0xff]);
    fs::write(&path, &large).unwrap();
    let opened = TokenShards::open(&path).unwrap();
    let error = opened.read(0..4, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("token 1 is 65535, but the vocabulary has 257"), "{error}");
    assert!(opened.read(2..9, &mut Vec::new()).unwrap_err().to_string().contains("there are 4"));
    fs::write(&path, &good).unwrap();
    let other = Fixture::new("a.txt", "abcabcabcabcabc", TokenizerKind::Char).prepare().unwrap().tokenizer;
    let error = TokenShards::open_for(&path, &other).unwrap_err().to_string();
    assert!(error.contains("the tokens are from another tokenizer"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shards_round_trip(tokens in prop::collection::vec(0u32..257, 1..500)) {
        let folder = tempfile::tempdir().unwrap();
        prop_assert_eq!(ids(&shards(folder.path(), &tokens)), tokens);
    }

    /// Batches are pure, every window of an epoch comes once, and targets follow inputs.
    #[test]
    fn an_epoch_covers_the_text_once(len in 40u32..250, batch in 1usize..5, time in 1usize..30, ranks in 1u32..4, seed: u64) {
        let folder = tempfile::tempdir().unwrap();
        // Distinct tokens show where a window comes from.
        let tokens: Vec<u32> = (0..len).collect();
        let sampler = BatchSampler::new(shards(folder.path(), &tokens), batch, time, ranks).unwrap();
        let windows = sampler.windows_per_epoch() as usize;
        let mut rows = Vec::new();
        let mut step = 0;
        while rows.len() < windows * 2 {
            for rank in 0..ranks {
                let made = sampler.batch(seed, step, rank).unwrap();
                prop_assert_eq!(&made, &sampler.batch(seed, step, rank).unwrap());
                prop_assert_eq!((made.batch, made.time, made.inputs.len()), (batch, time, batch * time));
                for (row, targets) in made.inputs.chunks(time).zip(made.targets.chunks(time)) {
                    prop_assert_eq!(&row[1..], &targets[..time - 1]);
                    prop_assert_eq!(targets[time - 1], (row[time - 1] + 1) % len as i32);
                    rows.push(row.to_vec());
                }
            }
            step += 1;
        }
        for epoch in rows.chunks(windows).take(2) {
            let mut seen: Vec<i32> = epoch.concat();
            let before = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), before, "a token came twice in an epoch");
            prop_assert!(len as usize - seen.len() < time);
        }
    }

    #[test]
    fn evaluation_is_the_same_every_time(len in 2u32..250, count in 1usize..20, batch in 1usize..6, time in 1usize..40) {
        let folder = tempfile::tempdir().unwrap();
        let shards = shards(folder.path(), &(0..len).collect::<Vec<_>>());
        let all = || evaluation_windows(&shards, count, batch, time).unwrap().map(Result::unwrap).collect::<Vec<_>>();
        prop_assert_eq!(all(), all());
        let time = time.min(len as usize - 1);
        let rows: Vec<_> = all().iter().flat_map(|b| b.inputs.chunks(time).map(<[i32]>::to_vec).collect::<Vec<_>>()).collect();
        prop_assert_eq!(rows.len(), count.min((len as usize - 1) / time));
        prop_assert!(rows.windows(2).all(|w| w[1][0] >= w[0][0] + time as i32), "windows do not overlap");
        prop_assert!(all().iter().all(|b| b.targets.iter().zip(&b.inputs).all(|(t, i)| *t == i + 1)));
    }
}

#[test]
fn seeds_and_epochs_give_other_orders() {
    let folder = tempfile::tempdir().unwrap();
    let tokens: Vec<u32> = (0..250).collect();
    let sampler = BatchSampler::new(shards(folder.path(), &tokens), 4, 5, 1).unwrap();
    assert_ne!(sampler.batch(1, 0, 0).unwrap(), sampler.batch(2, 0, 0).unwrap());
    assert_ne!(sampler.batch(1, 0, 0).unwrap(), sampler.batch(1, 1, 0).unwrap());
    assert!((sampler.steps_per_epoch() - 12.5).abs() < 1e-9);
}

#[test]
fn notes_come_with_the_cache_too() {
    let mut fixture = Fixture::new("a/b.txt", "one\r\ntwo\r\nthree\r\n", TokenizerKind::Char);
    fixture.data.paths = vec![fixture.folder.path().join("a")];
    fs::write(fixture.data.paths[0].join("c.txt"), "").unwrap();
    fs::write(fixture.data.paths[0].join("d.json"), "[]").unwrap();
    let notes = || {
        let mut notes = Vec::new();
        let mut take = |progress| notes.extend(if let Progress::Note(note) = progress { Some(note) } else { None });
        let cached = prepare(&fixture.data, &fixture.tokenizer, &mut take).unwrap().cached;
        (cached, notes)
    };
    let (first, again) = (notes(), notes());
    assert_eq!([first.0, again.0], [false, true]);
    assert_eq!(first.1, again.1);
    assert!(matches!(
        &first.1[..],
        [Note::Found { files: 1, .. }, Note::Empty { .. }, Note::WindowsLineEnds { lines: 3, .. }]
    ));
    assert!(first.1[0].to_string().ends_with("a: 1 file; skipped: 1 .json"), "{}", first.1[0]);
}

#[test]
fn one_path_needs_no_list() {
    let section = |text: &str| toml::from_str::<DataSection>(text);
    let written = section("paths = \"a.txt\"\nvalid = [\"b.txt\", \"c\"]").unwrap();
    assert_eq!((written.paths, written.valid), (vec!["a.txt".into()], vec!["b.txt".into(), "c".into()]));
    assert!(section("paths = 5").unwrap_err().to_string().contains("expected a path or a list of paths"));
}

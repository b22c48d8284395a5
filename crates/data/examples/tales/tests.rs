//! The committed files are what the generator makes, and they keep the promises of `data/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use crate::lexicon::Lexicon;
use crate::rng::Rng;
use crate::teller::Teller;
use crate::{SEED, plots, sets, write};

static FILES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| sets::files(SEED).into_iter().collect());

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data")
}

fn tales(name: &str) -> Vec<&'static str> {
    let text = &FILES[name];
    let tales: Vec<_> = text.split(sets::SEPARATOR).map(str::trim).collect();
    let (last, tales) = tales.split_last().expect("a file has tales");
    assert!(last.is_empty(), "{name} ends with a separator");
    tales.to_vec()
}

fn lines(name: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error} in {line}"));
    FILES[name].lines().map(parse).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().filter(|text| !text.trim().is_empty()).unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// Words in lower case, without the marks around them.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
}

#[test]
fn regenerating_gives_the_committed_bytes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), SEED).expect("the corpus is written");
    for name in FILES.keys() {
        let hash = |path: PathBuf| {
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            blake3::hash(&bytes)
        };
        assert_eq!(hash(folder.path().join(name)), hash(committed().join(name)), "data/{name} is stale");
    }
}

#[test]
fn every_plot_holds_together_for_many_seeds() {
    let lexicon = Lexicon::load();
    for (name, plot) in plots::PLOTS {
        for index in 0..400 {
            let tale = plot(Teller::new(&lexicon, Rng::new(1, 1, index)));
            assert!(tale.questions.len() >= 2, "{name} asks {:?}", tale.questions);
        }
    }
}

#[test]
fn another_seed_tells_other_tales() {
    let other: BTreeMap<_, _> = sets::files(SEED + 1).into_iter().collect();
    let ours: BTreeSet<_> = tales("tales/train.txt").into_iter().collect();
    let repeated = other["tales/valid.txt"].split(sets::SEPARATOR).filter(|tale| ours.contains(tale.trim())).count();
    assert_eq!(repeated, 0);
}

#[test]
fn sizes_and_vocabulary_are_as_promised() {
    assert!((2_000_000..2_700_000).contains(&FILES["tales/train.txt"].len()));
    assert!((100_000..200_000).contains(&FILES["tales/valid.txt"].len()));
    assert!(FILES.values().map(String::len).sum::<usize>() < 6_000_000);
    let distinct: BTreeSet<_> = words(&FILES["tales/train.txt"]).collect();
    assert!((2500..4000).contains(&distinct.len()), "{} distinct words", distinct.len());
    let unseen: BTreeSet<_> = words(&FILES["tales/valid.txt"]).filter(|word| !distinct.contains(word)).collect();
    assert!(unseen.len() < 10, "validation has words that training lacks: {unseen:?}");
}

#[test]
fn no_tale_appears_twice_in_any_file() {
    let mut seen: BTreeSet<String> =
        tales("tales/train.txt").into_iter().chain(tales("tales/valid.txt")).map(str::to_string).collect();
    assert_eq!(seen.len(), tales("tales/train.txt").len() + tales("tales/valid.txt").len());
    for set in ["questions/train.jsonl", "questions/valid.jsonl"] {
        for line in lines(set) {
            let turn = text(&line["messages"][0], "content");
            let (tale, _) = turn.rsplit_once("\n\n").expect("a tale and a question");
            assert!(seen.insert(tale.to_string()), "told twice: {tale}");
        }
    }
    for set in ["summaries/train.jsonl", "summaries/valid.jsonl"] {
        for line in lines(set) {
            assert!(seen.insert(text(&line, "tale").to_string()), "told twice: {line}");
        }
    }
}

#[test]
fn no_sentence_wears_out() {
    let tales = tales("tales/train.txt");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sentence in tales.iter().flat_map(|tale| tale.split_inclusive(['.', '!', '?'])) {
        let sentence = sentence.trim();
        if sentence.split(' ').count() >= 5 {
            *counts.entry(sentence).or_default() += 1;
        }
    }
    let total: usize = counts.values().sum();
    assert!(counts.len() * 2 > total, "{} of {total} sentences are distinct", counts.len());
    let (sentence, most) = counts.iter().max_by_key(|(_, count)| **count).expect("there are sentences");
    assert!(*most * 25 < tales.len(), "{sentence:?} is in {most} of {} tales", tales.len());
}

#[test]
fn tales_are_clean_english_on_the_surface() {
    for tale in tales("tales/train.txt").into_iter().chain(tales("tales/valid.txt")) {
        assert!((80..=250).contains(&tale.split_whitespace().count()), "length of {tale}");
        assert!(!tale.contains(['{', '}', '[', ']', '<', '>', '_', '|']), "a bracket is left in {tale}");
        assert!(!tale.contains("  ") && !tale.contains(" .") && !tale.contains(" ,"), "spacing of {tale}");
        assert_eq!(tale.matches('"').count() % 2, 0, "quotation marks of {tale}");
        for paragraph in tale.split("\n\n") {
            assert!(paragraph.ends_with(['.', '!', '?', '"']), "no full stop: {paragraph}");
            let words: Vec<_> = paragraph.split(' ').collect();
            for pair in words.windows(2) {
                assert!(pair[0] != pair[1] || ["had", "that"].contains(&pair[0]), "{pair:?} in {paragraph}");
            }
            for mistake in [" a a", " a e", " a i", " a o", " an b", " an s", " an t", " the a ", " the the "] {
                let at = paragraph.find(mistake).filter(|_| !paragraph.contains(" a one"));
                assert!(at.is_none(), "{mistake:?} in {paragraph}");
            }
        }
    }
}

#[test]
fn answers_and_names_come_from_the_tale() {
    for set in ["questions/train.jsonl", "questions/valid.jsonl"] {
        let (mut found, mut asked) = (0, 0);
        for line in lines(set) {
            let messages = line["messages"].as_array().expect("messages");
            assert!(messages.len() >= 2 && messages.len().is_multiple_of(2));
            let tale = text(&messages[0], "content").to_lowercase();
            for turn in messages.chunks(2) {
                assert_eq!((text(&turn[0], "role"), text(&turn[1], "role")), ("user", "assistant"));
                assert!(text(&turn[0], "content").ends_with('?'));
                let answer = text(&turn[1], "content").to_lowercase();
                let bare = ["a ", "an ", "some ", "the ", "by ", "because ", "for ", "in ", "to "]
                    .iter()
                    .find_map(|start| answer.strip_prefix(start));
                asked += 1;
                found += usize::from(tale.contains(bare.unwrap_or(&answer).trim_end_matches(" coins")));
            }
        }
        assert!(found * 100 >= asked * 88, "{set}: {found} of {asked} answers are words of the tale");
    }
    for set in ["summaries/train.jsonl", "summaries/valid.jsonl"] {
        for line in lines(set) {
            let (tale, summary) = (text(&line, "tale"), text(&line, "summary"));
            assert!(text(&line, "prompt").starts_with(tale) && text(&line, "completion").trim() == summary);
            let name = |word: &&str| word.starts_with(char::is_uppercase) && word.len() > 3;
            let mut names = summary.split(|c: char| !c.is_alphabetic()).skip(1).filter(name);
            assert!(names.all(|name| tale.contains(name)), "{summary} speaks of somebody else than {tale}");
        }
    }
}

#[test]
fn translations_are_distinct_and_whole_sentences() {
    let mut seen = BTreeSet::new();
    for set in ["translation/train.jsonl", "translation/valid.jsonl"] {
        for line in lines(set) {
            for key in ["en", "de"] {
                let sentence = text(&line, key);
                assert!(sentence.starts_with(char::is_uppercase) && sentence.ends_with(['.', '?']), "{sentence}");
            }
            assert!(
                text(&line, "prompt").contains(text(&line, "en")) && text(&line, "completion") == text(&line, "de")
            );
            assert!(seen.insert(text(&line, "en").to_string()), "twice: {line}");
        }
    }
}

#[test]
fn every_validation_fact_of_the_domain_was_taught_in_other_words() {
    let turn = |line: &Value, i: usize| text(&line["messages"][i], "content").to_string();
    let train: BTreeMap<_, _> =
        lines("domain/train.jsonl").iter().map(|line| (turn(line, 0).to_lowercase(), turn(line, 1))).collect();
    let lexicon = Lexicon::load();
    for line in lines("domain/valid.jsonl") {
        let (question, answer) = (turn(&line, 0).to_lowercase(), turn(&line, 1));
        assert!(!train.contains_key(&question), "{question} is in the training file");
        let about = |row: &&crate::lexicon::Row| question.contains(row["herb"]) || question.contains(row["complaint"]);
        let row = lexicon.table("craft").iter().find(about).expect("a question names its herb or complaint");
        let taught = train
            .iter()
            .any(|(asked, told)| *told == answer && (asked.contains(row["herb"]) || asked.contains(row["complaint"])));
        assert!(taught, "nothing in the training file teaches {question} {answer}");
    }
}

#[test]
fn templates_refer_to_rules_that_exist() {
    let lexicon = Lexicon::load();
    let names: BTreeSet<_> = lexicon.rules().map(|(name, _)| name).collect();
    for (name, line) in lexicon.rules().flat_map(|(name, lines)| lines.iter().map(move |line| (name, line))) {
        for part in line.split('<').skip(1) {
            let rule = part.split('>').next().unwrap_or_default();
            assert!(rule.contains('{') || names.contains(rule), "@{name} uses <{rule}>, which does not exist");
        }
        for (open, close) in [('[', ']'), ('{', '}'), ('<', '>')] {
            assert_eq!(line.matches(open).count(), line.matches(close).count(), "brackets of @{name}: {line}");
        }
    }
}

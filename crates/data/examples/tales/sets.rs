//! The files of the corpus.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::domain;
use crate::lexicon::Lexicon;
use crate::plots;
use crate::rng::Rng;
use crate::teller::Tale;
use crate::translate::Translator;

/// The line between two tales, as in `TinyStories`.
pub const SEPARATOR: &str = "<|endoftext|>";

const TRAIN_BYTES: usize = 2_450_000;
const VALID_BYTES: usize = 125_000;
const TRAIN_PAIRS: usize = 3000;
const VALID_PAIRS: usize = 300;

/// Streams of random numbers; two files never share one.
mod stream {
    pub const TALES: u64 = 1;
    pub const ORDER: u64 = 2;
    pub const GERMAN: u64 = 3;
    pub const DOMAIN: u64 = 4;
}

/// Gives out tales of the right length, each only once.
struct Source<'a> {
    lexicon: &'a Lexicon,
    seed: u64,
    index: u64,
    told: BTreeSet<String>,
}

impl Source<'_> {
    fn next(&mut self) -> Tale {
        loop {
            let tale = plots::tale(self.lexicon, self.seed, stream::TALES, self.index);
            self.index += 1;
            let words = tale.text.split_whitespace().count();
            if (80..=250).contains(&words) && self.told.insert(tale.text.clone()) {
                return tale;
            }
        }
    }

    fn text(&mut self, bytes: usize) -> String {
        let mut out = String::with_capacity(bytes + 2000);
        while out.len() < bytes {
            out.push_str(&self.next().text);
            out.push('\n');
            out.push_str(SEPARATOR);
            out.push('\n');
        }
        out
    }

    fn lines(&mut self, count: usize, line: impl Fn(&Tale, &mut Rng) -> Value) -> String {
        let mut out = String::new();
        for i in 0..count {
            let tale = self.next();
            let mut rng = Rng::new(self.seed, stream::ORDER, self.index + i as u64);
            out.push_str(&line(&tale, &mut rng).to_string());
            out.push('\n');
        }
        out
    }
}

/// All files of the corpus: path below `data/` and content.
pub fn files(seed: u64) -> Vec<(String, String)> {
    let lexicon = Lexicon::load();
    let mut source = Source { lexicon: &lexicon, seed, index: 0, told: BTreeSet::new() };
    let mut files = vec![
        ("tales/train.txt".to_string(), source.text(TRAIN_BYTES)),
        ("tales/valid.txt".to_string(), source.text(VALID_BYTES)),
    ];
    for (split, count) in [("train", 1000), ("valid", 120)] {
        files.push((format!("questions/{split}.jsonl"), source.lines(count, questions)));
    }
    for (split, count) in [("train", 500), ("valid", 80)] {
        files.push((format!("summaries/{split}.jsonl"), source.lines(count, summary)));
    }
    let translations = translations(&lexicon, seed, TRAIN_PAIRS + VALID_PAIRS);
    let (train, valid) = translations.split_at(TRAIN_PAIRS);
    files.push(("translation/train.jsonl".into(), jsonl(train)));
    files.push(("translation/valid.jsonl".into(), jsonl(valid)));
    let (train, valid) = domain::lines(&lexicon, Rng::new(seed, stream::DOMAIN, 0));
    files.push(("domain/train.jsonl".into(), jsonl(&train)));
    files.push(("domain/valid.jsonl".into(), jsonl(&valid)));
    files.push(("general/valid.jsonl".into(), jsonl(&domain::general(&lexicon))));
    files
}

fn jsonl(lines: &[Value]) -> String {
    lines.iter().flat_map(|line| [line.to_string(), "\n".to_string()]).collect()
}

/// Distinct English sentences with their German translations, also as prompt and completion.
fn translations(lexicon: &Lexicon, seed: u64, count: usize) -> Vec<Value> {
    let mut translator = Translator::new(lexicon, Rng::new(seed, stream::GERMAN, 0));
    let (mut seen, mut lines) = (BTreeSet::new(), Vec::with_capacity(count));
    while lines.len() < count {
        let pair = translator.pair();
        if seen.insert(pair.en.clone()) {
            let prompt = format!("Translate into German: {}\n", pair.en);
            lines.push(json!({"en": pair.en, "de": pair.de, "prompt": prompt, "completion": pair.de}));
        }
    }
    lines
}

/// A chat about a tale: one to three questions, the tale in the first turn.
fn questions(tale: &Tale, rng: &mut Rng) -> Value {
    let mut chosen: Vec<_> = (0..tale.questions.len()).collect();
    rng.shuffle(&mut chosen);
    let turns = if rng.chance(60) { 1 } else { 2 + rng.below(2) };
    chosen.truncate(turns);
    chosen.sort_unstable();
    let mut messages = Vec::new();
    for (turn, &i) in chosen.iter().enumerate() {
        let (question, answer) = &tale.questions[i];
        let content = if turn == 0 { format!("{}\n\n{question}", tale.text) } else { question.clone() };
        messages.push(json!({"role": "user", "content": content}));
        messages.push(json!({"role": "assistant", "content": answer}));
    }
    json!({ "messages": messages })
}

/// A tale and its summary, once under their own names and once as prompt and completion.
fn summary(tale: &Tale, _: &mut Rng) -> Value {
    let prompt = format!("{}\n\nIn one sentence:", tale.text);
    json!({"tale": tale.text, "summary": tale.summary, "prompt": prompt, "completion": format!(" {}", tale.summary)})
}

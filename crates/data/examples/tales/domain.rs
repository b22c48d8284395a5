//! Questions of a special domain that no model can know before: an invented healing craft.
//!
//! Every fact is asked in several phrasings, and every phrasing is used for many facts. Validation holds pairs of fact
//! and phrasing that training lacks, while training has the fact in other words and the phrasing for other facts; so a
//! model that learned the facts answers exactly, and one that did not has nothing to go by.

use serde_json::{Value, json};

use crate::grammar::capitalized;
use crate::lexicon::{Lexicon, Row};
use crate::rng::Rng;

/// What can be asked about a complaint: the columns that make up the answer, and the phrasings.
const KINDS: &[(&[&str], &[&str])] = &[
    (
        &["herb"],
        &[
            "Which herb heals {complaint} in Ellmoor?",
            "What do the healers of Ellmoor give against {complaint}?",
            "Name the herb for {complaint}.",
            "My neighbor has {complaint}. Which herb do I need?",
            "{complaint}: which herb helps?",
            "Which plant is the remedy for {complaint}?",
        ],
    ),
    (
        &["form"],
        &[
            "In which form is {herb} used?",
            "How do the healers of Ellmoor prepare {herb}?",
            "What is made from {herb}?",
            "I have some fresh {herb}. What should I make of it?",
            "{herb}: which preparation is right?",
            "As what is {herb} given to the sick?",
        ],
    ),
    (
        &["dose"],
        &[
            "How much {herb} is needed?",
            "What is the right dose of {herb}?",
            "Tell me the dose of {herb}.",
            "How much of the remedy from {herb} does a patient get?",
            "{herb}: how much?",
            "Which amount of {herb} do the healers of Ellmoor measure out?",
        ],
    ),
    (
        &["time"],
        &[
            "When is {herb} taken?",
            "At what time of day does {herb} work best?",
            "When do the healers of Ellmoor use {herb}?",
            "I bought {herb}. When should I use it?",
            "{herb}: at which time?",
            "Tell me the right hour for {herb}.",
        ],
    ),
    (
        &["complaint"],
        &[
            "What does {herb} heal?",
            "Against which complaint is {herb} used?",
            "Who needs {herb}? Name the complaint.",
            "{herb}: good for what?",
            "For which illness do the healers of Ellmoor pick {herb}?",
            "Which complaint goes away with {herb}?",
        ],
    ),
    (
        &["herb", "time"],
        &[
            "Which herb heals {complaint}, and when is it taken?",
            "{complaint}: which herb, and at which time?",
            "Name the herb for {complaint} and the right hour.",
        ],
    ),
    (
        &["form", "dose"],
        &[
            "In which form is {herb} used, and how much is needed?",
            "{herb}: which preparation, and how much?",
            "How is {herb} prepared, and what is the dose?",
        ],
    ),
];

/// Training and validation lines.
pub fn lines(lexicon: &Lexicon, mut rng: Rng) -> (Vec<Value>, Vec<Value>) {
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for (number, row) in lexicon.table("craft").iter().enumerate() {
        for (kind, (columns, phrasings)) in KINDS.iter().enumerate() {
            // Walking through the phrasings makes sure that each is left out for some facts and present for most.
            let held_out = (number + kind) % phrasings.len();
            for (i, phrasing) in phrasings.iter().enumerate() {
                let line = question(row, columns, phrasing);
                if i == held_out { valid.push(line) } else { train.push(line) }
            }
        }
    }
    rng.shuffle(&mut train);
    rng.shuffle(&mut valid);
    (train, valid)
}

/// Questions that everybody can answer, to see what a model has forgotten.
pub fn general(lexicon: &Lexicon) -> Vec<Value> {
    lexicon.table("general").iter().map(|row| turn(row["question"], row["answer"])).collect()
}

fn question(row: &Row, columns: &[&str], phrasing: &str) -> Value {
    let question = phrasing.replace("{complaint}", row["complaint"]).replace("{herb}", row["herb"]);
    let answer: Vec<_> = columns.iter().map(|column| row[column]).collect();
    turn(&capitalized(&question), &format!("{}.", capitalized(&answer.join(", "))))
}

fn turn(question: &str, answer: &str) -> Value {
    json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
}

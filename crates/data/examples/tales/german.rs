//! Phrases in English and German: gender, case, articles and adjective endings (weak after "der", mixed after "ein").

use crate::grammar::capitalized;
use crate::lexicon::Row;

/// German cases used here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Case {
    /// Subject.
    Nominative,
    /// Direct object.
    Accusative,
    /// Indirect object.
    Dative,
}

/// Definite ("der"), indefinite ("ein") or negative ("kein") article.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Article {
    /// the, der
    The,
    /// a, ein
    A,
    /// no, kein
    No,
}

/// A phrase in both languages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    /// English.
    pub en: String,
    /// German.
    pub de: String,
}

impl Pair {
    /// A phrase from its two halves.
    pub fn new(en: impl Into<String>, de: impl Into<String>) -> Self {
        Self { en: en.into(), de: de.into() }
    }

    /// A whole sentence: capital letters and a closing mark.
    pub fn sentence(&self, mark: char) -> Self {
        let english = articles(&self.en);
        Self::new(format!("{}{mark}", capitalized(&english)), format!("{}{mark}", capitalized(&self.de)))
    }
}

/// "a apple" → "an apple".
fn articles(text: &str) -> String {
    let mut out = String::new();
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        out.push_str(word);
        if word == "a" && words.peek().is_some_and(|next| next.starts_with(['a', 'e', 'i', 'o', 'u'])) {
            out.push('n');
        }
        if words.peek().is_some() {
            out.push(' ');
        }
    }
    out
}

/// The German article for a gender (`m`, `f`, `n`), in the singular.
pub fn article(kind: Article, gender: &str, case: Case) -> String {
    use Case::{Accusative, Dative, Nominative};
    if kind == Article::The {
        let word = match (gender, case) {
            ("m", Nominative) | ("f", Dative) => "der",
            ("m", Accusative) => "den",
            ("f", _) => "die",
            (_, Dative) => "dem",
            _ => "das",
        };
        return word.to_string();
    }
    let stem = if kind == Article::A { "ein" } else { "kein" };
    let ending = match (gender, case) {
        ("m", Accusative) => "en",
        ("f", Dative) => "er",
        ("f", _) => "e",
        (_, Dative) => "em",
        _ => "",
    };
    format!("{stem}{ending}")
}

/// The ending of an adjective between article and noun, in the singular.
pub fn adjective_ending(kind: Article, gender: &str, case: Case) -> &'static str {
    match (gender, case) {
        (_, Case::Dative) | ("m", Case::Accusative) => "en",
        ("m", Case::Nominative) if kind != Article::The => "er",
        ("n", _) if kind != Article::The => "es",
        _ => "e",
    }
}

/// Article, adjective if any, and noun.
pub fn noun_phrase(noun: &Row, adjective: Option<&Row>, kind: Article, case: Case) -> Pair {
    let english = match kind {
        Article::The => "the",
        Article::A => "a",
        Article::No => "no",
    };
    let word = if case == Case::Nominative || noun["oblique"] == "-" { noun["de"] } else { noun["oblique"] };
    let german = article(kind, noun["g"], case);
    match adjective {
        None => Pair::new(format!("{english} {}", noun["en"]), format!("{german} {word}")),
        Some(adjective) => {
            let ending = adjective_ending(kind, noun["g"], case);
            Pair::new(
                format!("{english} {} {}", adjective["en"], noun["en"]),
                format!("{german} {}{ending} {word}", adjective["de"]),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexicon::Lexicon;

    fn noun(lexicon: &Lexicon, en: &str) -> Row {
        lexicon.table("de.noun").iter().find(|row| row["en"] == en).expect("a noun of the table").clone()
    }

    #[test]
    fn articles_adjectives_and_weak_nouns_agree_in_gender_and_case() {
        let lexicon = Lexicon::load();
        let old = lexicon.table("de.adj").iter().find(|row| row["en"] == "old").expect("old is there").clone();
        let phrase = |en, kind, case| noun_phrase(&noun(&lexicon, en), Some(&old), kind, case).de;
        let expected = [
            ("dog", Article::The, Case::Nominative, "der alte Hund"),
            ("dog", Article::A, Case::Nominative, "ein alter Hund"),
            ("dog", Article::A, Case::Accusative, "einen alten Hund"),
            ("bear", Article::The, Case::Accusative, "den alten Bären"),
            ("boy", Article::The, Case::Dative, "dem alten Jungen"),
            ("cat", Article::A, Case::Accusative, "eine alte Katze"),
            ("cat", Article::The, Case::Dative, "der alten Katze"),
            ("horse", Article::A, Case::Accusative, "ein altes Pferd"),
            ("horse", Article::No, Case::Accusative, "kein altes Pferd"),
            ("horse", Article::The, Case::Dative, "dem alten Pferd"),
        ];
        for (en, kind, case, german) in expected {
            assert_eq!(phrase(en, kind, case), german);
        }
    }
}

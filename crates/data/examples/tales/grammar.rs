//! From templates to sentences.
//!
//! A template is text with three kinds of brackets, which nest:
//!
//! - `[a|b|c]` takes one of the alternatives; one may be empty.
//! - `<rule>` expands a rule of the lexicon. Within a tale no alternative of a rule is used twice before all were used
//!   once, so that a tale repeats neither its words nor its turns of phrase.
//! - `{key.form}` is a referent in some form: `{h}` a name, `{h.their}` a possessive, `{o.a}` "a red kite". `{h~}` is
//!   the subject pronoun where it can be understood and the name where it cannot. A capital `{H…}` starts with one.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexicon::Lexicon;
use crate::referent::{Gender, Referent};
use crate::rng::Rng;

/// Expands templates; remembers what the reader of one tale has already read.
#[derive(Clone, Debug)]
pub struct Narrator<'a> {
    lexicon: &'a Lexicon,
    slots: BTreeMap<String, Referent>,
    used: BTreeMap<String, BTreeSet<usize>>,
    /// The sentence in which a character was last mentioned.
    mentioned: BTreeMap<String, usize>,
    /// The character that "he" or "she" would be taken for.
    understood: BTreeMap<Gender, String>,
    sentence: usize,
    /// Who was mentioned at all, and how to present those who were not: "her friend".
    known: BTreeSet<String>,
    introductions: BTreeMap<String, String>,
    /// True between quotation marks, where "her friend" would be the wrong point of view.
    quoted: bool,
}

impl<'a> Narrator<'a> {
    /// A narrator at the start of a tale.
    pub fn new(lexicon: &'a Lexicon) -> Self {
        Self {
            lexicon,
            slots: BTreeMap::new(),
            used: BTreeMap::new(),
            mentioned: BTreeMap::new(),
            understood: BTreeMap::new(),
            sentence: 0,
            known: BTreeSet::new(),
            introductions: BTreeMap::new(),
            quoted: false,
        }
    }

    /// Gives a slot its meaning.
    pub fn bind(&mut self, key: &str, referent: Referent) {
        self.slots.insert(key.to_string(), referent);
    }

    /// The referent of a slot; a slot without one is a mistake in a template.
    pub fn referent(&self, key: &str) -> &Referent {
        self.slots.get(key).unwrap_or_else(|| panic!("no slot named {key:?}"))
    }

    /// Has a character presented with these words at its first mention: "her friend" → "her friend Anna".
    pub fn introduce(&mut self, key: &str, template: &str) {
        self.introductions.insert(key.to_string(), template.to_string());
    }

    /// True if the character was mentioned.
    pub fn knows(&self, key: &str) -> bool {
        self.known.contains(key)
    }

    /// True if no character was mentioned for the first time since `before`.
    pub fn knows_no_more_than(&self, before: &Self) -> bool {
        self.known == before.known
    }

    /// Starts a paragraph: pronouns do not reach back over its border.
    pub fn start_paragraph(&mut self) {
        self.mentioned.clear();
        self.understood.clear();
    }

    /// Expands a template and polishes the result.
    pub fn expand(&mut self, template: &str, rng: &mut Rng) -> String {
        let mut out = String::new();
        self.expand_into(template, &mut out, rng);
        polish(&out)
    }

    /// Expands a part of a sentence: nothing is polished, since what stands before it is not known.
    pub fn fragment(&mut self, template: &str, rng: &mut Rng) -> String {
        let mut out = String::new();
        self.expand_into(template, &mut out, rng);
        out
    }

    fn expand_into(&mut self, template: &str, out: &mut String, rng: &mut Rng) {
        let mut rest = template;
        while let Some(c) = rest.chars().next() {
            let (inside, after) = match c {
                '[' | '<' | '{' => bracketed(rest),
                _ => ("", &rest[c.len_utf8()..]),
            };
            match c {
                '[' => {
                    let options = alternatives(inside);
                    self.expand_into(rng.pick::<&str>(&options), out, rng);
                }
                '<' => {
                    let mut name = String::new();
                    self.expand_into(inside, &mut name, rng);
                    let line = self.choose(&name, rng);
                    self.expand_into(line, out, rng);
                }
                '{' => out.push_str(&self.slot(inside, rng)),
                _ => {
                    self.sentence += usize::from(matches!(c, '.' | '!' | '?'));
                    self.quoted ^= c == '"';
                    out.push(c);
                }
            }
            rest = after;
        }
    }

    fn choose(&mut self, rule: &str, rng: &mut Rng) -> &'static str {
        let lines = self.lexicon.rule(rule);
        lines[self.fresh(rule, lines.len(), rng)]
    }

    fn fresh_option(&mut self, key: &str, options: &[&'static str], rng: &mut Rng) -> String {
        options[self.fresh(key, options.len(), rng)].to_string()
    }

    /// One of `0..len` that was not yet taken for `key` in this tale, if there is any left.
    fn fresh(&mut self, key: &str, len: usize, rng: &mut Rng) -> usize {
        let used = self.used.entry(key.to_string()).or_default();
        if used.len() >= len {
            used.clear();
        }
        let fresh: Vec<_> = (0..len).filter(|i| !used.contains(i)).collect();
        let index = *rng.pick(&fresh);
        used.insert(index);
        index
    }

    fn slot(&mut self, inside: &str, rng: &mut Rng) -> String {
        let capital = inside.starts_with(char::is_uppercase);
        let inside = inside.to_lowercase();
        let (key, form, auto) = match inside.strip_suffix('~') {
            Some(key) => (key, "", true),
            None => inside.split_once('.').map_or((inside.as_str(), "", false), |(key, form)| (key, form, false)),
        };
        let referent = self.referent(key).clone();
        let mut form = form;
        if let Referent::Person { gender, .. } = referent {
            if auto && self.pronoun_is_clear(key, gender, rng) {
                form = "they";
            }
            if matches!(form, "" | "s" | "they") {
                self.mentioned.insert(key.to_string(), self.sentence);
                self.understood.insert(gender, key.to_string());
                self.known.insert(key.to_string());
            }
        }
        let introduces = matches!(form, "" | "s") && !self.quoted;
        let introduction = if introduces { self.introductions.remove(key) } else { None };
        let introduction = introduction.map(|template| self.fragment(&template, rng) + " ").unwrap_or_default();
        let text = match referent.options(form) {
            Some(options) => self.fresh_option(&format!("{key}.{form}"), &options, rng),
            None => introduction + &referent.form(form),
        };
        if capital { capitalized(&text) } else { text }
    }

    /// True if "he" or "she" can only mean `key` here; in a new sentence the name is still used now and then.
    fn pronoun_is_clear(&self, key: &str, gender: Gender, rng: &mut Rng) -> bool {
        let Some(&at) = self.mentioned.get(key) else { return false };
        let understood = self.understood.get(&gender).is_some_and(|who| who == key);
        understood && (at == self.sentence || (at + 2 >= self.sentence && rng.chance(70)))
    }
}

/// Splits `[a] b` into the text inside its first bracket and the text after it.
fn bracketed(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (i, c) in text.char_indices() {
        match c {
            '[' | '<' | '{' => depth += 1,
            ']' | '>' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[1..i], &text[i + 1..]);
        }
    }
    panic!("bracket is not closed in {text:?}")
}

/// Splits `a|[b|c]` at the bars that are in no bracket.
fn alternatives(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '[' | '<' | '{' => depth += 1,
            ']' | '>' | '}' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The text with its first letter in upper case.
pub fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// Mends what templates leave open: double spaces, "a" before a vowel, capitals at the start of a sentence.
fn polish(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut out = String::with_capacity(text.len());
    let mut starts = true;
    for (i, &word) in words.iter().enumerate() {
        let mut word = word.to_string();
        let bare = word.trim_start_matches('"');
        if bare.eq_ignore_ascii_case("a") && words.get(i + 1).is_some_and(|next| starts_with_vowel_sound(next)) {
            word.push('n');
        }
        if starts {
            word = capitalized(&word);
        }
        starts = word.ends_with(['.', '!', '?']);
        if i > 0 {
            out.push(' ');
        }
        out.push_str(&word);
    }
    out.replace(" ,", ",").replace(" .", ".")
}

/// True for words that take "an".
fn starts_with_vowel_sound(word: &str) -> bool {
    let word = word.trim_start_matches('"').to_lowercase();
    let long_u = ["uni", "use", "usu", "eu", "one", "once"];
    let silent_h = ["hour", "honest", "honour", "heir"];
    silent_h.iter().any(|start| word.starts_with(start))
        || (word.starts_with(['a', 'e', 'i', 'o', 'u']) && !long_u.iter().any(|start| word.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_and_capitals_are_mended() {
        assert_eq!(
            polish("a apple  fell. it was a unusual hour, a  hour of rain ."),
            "An apple fell. It was an unusual hour, an hour of rain."
        );
    }

    #[test]
    fn pronouns_follow_the_last_person_of_their_gender() {
        let lexicon = Lexicon::load();
        let mut narrator = Narrator::new(&lexicon);
        let mut rng = Rng::new(1, 2, 3);
        let person = |name: &str, gender| Referent::Person { name: name.into(), gender };
        narrator.bind("h", person("Anna", Gender::She));
        narrator.bind("f", person("Tom", Gender::He));
        narrator.bind("p", person("Mom", Gender::She));
        assert_eq!(narrator.expand("{h} fell, but {h~} laughed", &mut rng), "Anna fell, but she laughed");
        assert_eq!(narrator.expand(". {p} saw {f}, and {h~} ran", &mut rng), ". Mom saw Tom, and Anna ran");
    }
}

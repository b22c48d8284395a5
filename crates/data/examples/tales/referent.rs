//! Whom or what a sentence speaks of, and the forms English has for it.

use crate::lexicon::Row;
use crate::rng::Rng;

/// Grammatical gender of a person or of an animal with a name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Gender {
    /// he, him, his
    He,
    /// she, her, her
    She,
}

impl Gender {
    /// The other one; a tale gives its two main characters different pronouns, so that none is ambiguous.
    pub fn other(self) -> Self {
        match self {
            Self::He => Self::She,
            Self::She => Self::He,
        }
    }
}

/// Something that a slot of a template can stand for.
#[derive(Clone, Debug)]
pub enum Referent {
    /// A character: `name` is used as it is ("Anna", "the baker").
    Person {
        /// What the character is called.
        name: String,
        /// Which pronouns agree with it.
        gender: Gender,
    },
    /// A thing, an animal or a place: a row of a table with the column `noun`.
    Thing {
        /// Cells by column name.
        row: Row,
        /// The adjective that was chosen for it, if the table has any.
        adj: &'static str,
    },
    /// Plain words.
    Text(String),
}

impl Referent {
    /// A thing from a table row; chooses its adjective.
    pub fn thing(row: &Row, rng: &mut Rng) -> Self {
        let adjectives: Vec<_> = row.get("adj").map_or(Vec::new(), |cell| cell.split(';').map(str::trim).collect());
        let adj = if adjectives.is_empty() { "" } else { *rng.pick(&adjectives) };
        Self::Thing { row: row.clone(), adj }
    }

    /// The words of a table's cell to choose from, if the form is the name of a column.
    pub fn options(&self, form: &str) -> Option<Vec<&'static str>> {
        match self {
            Self::Thing { row, .. } if form != "adj" => {
                row.get(form).map(|cell| cell.split(';').map(str::trim).collect())
            }
            _ => None,
        }
    }

    /// The words for one form of the referent, such as `their` or `the`. Panics on a form that it does not have, which
    /// is a mistake in a template.
    pub fn form(&self, form: &str) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Person { name, gender } => person_form(name, *gender, form),
            Self::Thing { row, adj } => thing_form(row, adj, form),
        }
    }
}

fn person_form(name: &str, gender: Gender, form: &str) -> String {
    let (he, she) = match form {
        "" => return name.to_string(),
        "s" if name.ends_with('s') => return format!("{name}'"),
        "s" => return format!("{name}'s"),
        "they" => ("he", "she"),
        "them" => ("him", "her"),
        "their" => ("his", "her"),
        "self" => ("himself", "herself"),
        "child" => ("boy", "girl"),
        "theirs" => ("his", "hers"),
        "sib" => ("brother", "sister"),
        _ => panic!("a person has no form {form:?}"),
    };
    match gender {
        Gender::He => he.to_string(),
        Gender::She => she.to_string(),
    }
}

fn thing_form(row: &Row, adj: &str, form: &str) -> String {
    let noun = row["noun"];
    let number = row.get("n").copied().unwrap_or("one");
    let full = if adj.is_empty() { noun.to_string() } else { format!("{adj} {noun}") };
    let plural = number == "many";
    match form {
        "" => noun.to_string(),
        "full" => full,
        "adj" => adj.to_string(),
        "a" if number == "one" => format!("a {full}"),
        "a" => format!("some {full}"),
        "the" => format!("the {noun}"),
        "thefull" => format!("the {full}"),
        "it" => if plural { "they" } else { "it" }.to_string(),
        "them" => if plural { "them" } else { "it" }.to_string(),
        "was" => if plural { "were" } else { "was" }.to_string(),
        "is" => if plural { "are" } else { "is" }.to_string(),
        _ => panic!("{noun:?} has no form {form:?}"),
    }
}

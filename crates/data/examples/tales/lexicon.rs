//! The words and rules of the world, read from the text files beside this one.
//!
//! Two formats, both meant for reading:
//!
//! - `grammar/*.txt`: `@rule` followed by one alternative per line, or `@rule = a, b, c` for a class of words.
//! - `lexicon/*.txt`: `@table column column …` followed by one row per line, columns separated by `|`. A cell may hold
//!   several words separated by `;`, of which one is taken at each mention (once and for all in the column `adj`).
//!
//! A line that starts with `#` is a comment.

use std::collections::BTreeMap;

const GRAMMAR: &[&str] = &[
    include_str!("grammar/words.txt"),
    include_str!("grammar/common.txt"),
    include_str!("grammar/interludes.txt"),
    include_str!("grammar/home.txt"),
    include_str!("grammar/outside.txt"),
    include_str!("grammar/village.txt"),
    include_str!("grammar/wonders.txt"),
    include_str!("grammar/questions.txt"),
];

const TABLES: &[&str] = &[
    include_str!("lexicon/domain.txt"),
    include_str!("lexicon/general.txt"),
    include_str!("lexicon/german.txt"),
    include_str!("lexicon/nature.txt"),
    include_str!("lexicon/people.txt"),
    include_str!("lexicon/things.txt"),
];

/// One row of a table: column name → cell.
pub type Row = BTreeMap<&'static str, &'static str>;

/// All rules and tables.
#[derive(Debug)]
pub struct Lexicon {
    rules: BTreeMap<&'static str, Vec<&'static str>>,
    tables: BTreeMap<&'static str, Vec<Row>>,
}

impl Lexicon {
    /// Reads the files that are compiled into the program.
    pub fn load() -> Self {
        let mut rules = BTreeMap::new();
        for text in GRAMMAR {
            read_rules(text, &mut rules);
        }
        let mut tables = BTreeMap::new();
        for text in TABLES {
            read_tables(text, &mut tables);
        }
        Self { rules, tables }
    }

    /// The alternatives of a rule.
    pub fn rule(&self, name: &str) -> &[&'static str] {
        self.rules.get(name).map_or_else(|| panic!("no rule named {name:?}"), Vec::as_slice)
    }

    /// The rows of a table.
    pub fn table(&self, name: &str) -> &[Row] {
        self.tables.get(name).map_or_else(|| panic!("no table named {name:?}"), Vec::as_slice)
    }

    /// Names of all rules; for the test that looks for rules nobody can reach.
    #[cfg(test)]
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, &[&'static str])> {
        self.rules.iter().map(|(name, lines)| (*name, lines.as_slice()))
    }
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn read_rules(text: &'static str, rules: &mut BTreeMap<&'static str, Vec<&'static str>>) {
    let mut current = "";
    for line in lines(text) {
        let Some(head) = line.strip_prefix('@') else {
            rules.entry(current).or_default().push(line);
            continue;
        };
        let (name, words) = head.split_once('=').unwrap_or((head, ""));
        current = name.trim();
        let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
        rules.entry(current).or_default().extend(words);
    }
}

fn read_tables(text: &'static str, tables: &mut BTreeMap<&'static str, Vec<Row>>) {
    let (mut name, mut columns) = ("", Vec::new());
    for line in lines(text) {
        if let Some(head) = line.strip_prefix('@') {
            let mut words = head.split_whitespace();
            name = words.next().unwrap_or_default();
            columns = words.collect();
            continue;
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        assert_eq!(cells.len(), columns.len(), "table {name:?}, row {line:?}");
        tables.entry(name).or_default().push(columns.iter().copied().zip(cells).collect());
    }
}

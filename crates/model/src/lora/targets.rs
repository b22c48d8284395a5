use regex::Regex;
use serde::{Deserialize, Serialize};

use super::LoraError;

/// Every linear layer but the head.
const ALL: &str = "all-linear";
/// The head's name.
const HEAD: &str = "lm_head";

/// Linear layers by name, with PEFT's meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, from = "Written")]
pub enum TargetModules {
    /// `all-linear`, all but the head; or a regular expression that matches the whole name
    /// (`model.layers.0.self_attn.q_proj`).
    Pattern(String),
    /// Names, or ends of names that begin after a dot (`q_proj`, `mlp.up_proj`).
    Names(Vec<String>),
}

/// As a configuration has them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl From<Written> for TargetModules {
    /// Names may be written as one text, with commas between them: as a pattern, such a text would match no whole name.
    fn from(written: Written) -> Self {
        match written {
            Written::List(names) => Self::Names(names),
            Written::Text(text) => {
                let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
                let is_word = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
                if names.iter().all(is_word) { Self::Names(names) } else { Self::Pattern(text) }
            }
        }
    }
}

impl Default for TargetModules {
    fn default() -> Self {
        Self::Pattern(ALL.into())
    }
}

impl TargetModules {
    /// Which of the linear layers `names` are meant.
    ///
    /// # Errors
    /// A pattern that is none, and a name or pattern that no layer goes by.
    pub fn choose<'a>(&self, names: &[&'a str]) -> Result<Vec<&'a str>, LoraError> {
        let chosen = |meant: &dyn Fn(&str) -> bool| -> Vec<&'a str> {
            names.iter().copied().filter(|name| meant(name)).collect()
        };
        let none = |target: &str| LoraError::NoTarget { target: target.to_owned(), names: last_parts(names) };
        match self {
            Self::Pattern(all) if all == ALL => Ok(chosen(&|name| name != HEAD)),
            Self::Pattern(pattern) => {
                let whole = Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|e| LoraError::Pattern { pattern: pattern.clone(), problem: last_line(&e.to_string()) })?;
                let chosen = chosen(&|name| whole.is_match(name));
                if chosen.is_empty() { Err(none(pattern)) } else { Ok(chosen) }
            }
            Self::Names(ends) => {
                let unknown = ends.iter().find(|end| !names.iter().any(|name| goes_by(name, end)));
                match unknown {
                    Some(unknown) => Err(none(unknown)),
                    None if ends.is_empty() => Err(none("anything: target_modules is empty")),
                    None => Ok(chosen(&|name| ends.iter().any(|end| goes_by(name, end)))),
                }
            }
        }
    }
}

/// Whether `end` is `name` or a part of it that begins after a dot.
fn goes_by(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// The last parts of the names, each once.
fn last_parts(names: &[&str]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for name in names {
        let part = name.rsplit('.').next().unwrap_or(name);
        if !parts.iter().any(|known| known == part) {
            parts.push(part.to_owned());
        }
    }
    parts
}

/// The parser's messages draw the pattern; their last line says what is wrong.
fn last_line(message: &str) -> String {
    message.lines().last().unwrap_or(message).trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.up_proj",
        "model.layers.11.self_attn.q_proj",
        "model.layers.11.mlp.up_proj",
        "lm_head",
    ];

    fn chosen(targets: &TargetModules) -> Vec<usize> {
        let chosen = targets.choose(&NAMES).unwrap();
        chosen.iter().map(|name| NAMES.iter().position(|other| other == name).unwrap()).collect()
    }

    #[test]
    fn targets_mean_what_they_mean_to_peft() {
        let names = |names: &[&str]| TargetModules::Names(names.iter().map(ToString::to_string).collect());
        let pattern = |pattern: &str| TargetModules::Pattern(pattern.into());
        assert_eq!(chosen(&TargetModules::default()), [0, 1, 2, 3]);
        assert_eq!(chosen(&names(&["q_proj"])), [0, 2]);
        assert_eq!(chosen(&names(&["0.mlp.up_proj", "lm_head"])), [1, 4]);
        assert_eq!(chosen(&pattern(r".*\.(q|v)_proj")), [0, 2]);
        assert_eq!(chosen(&pattern(r"model\.layers\.11\..*")), [2, 3]);
        // A part of a name is neither an end nor the whole.
        for targets in [names(&["proj"]), names(&["q_proj", "self_attn"]), pattern("q_proj"), names(&[])] {
            let error = targets.choose(&NAMES).unwrap_err();
            assert!(error.to_string().ends_with("hint: the model has q_proj, up_proj, lm_head"), "{error}");
        }
        let written = |text: &str| serde_json::from_value(serde_json::Value::from(text)).unwrap();
        assert_eq!(chosen(&written("q_proj")), [0, 2]);
        assert_eq!(chosen(&written("q_proj, up_proj")), [0, 1, 2, 3]);
        assert_eq!(chosen(&written(".*up_proj")), [1, 3]);
        assert_eq!(chosen(&written("lm_head")), [4]);
        let error = pattern("*.q_proj").choose(&NAMES).unwrap_err();
        assert!(matches!(&error, LoraError::Pattern { problem, .. } if problem.contains("repetition")), "{error}");
    }
}

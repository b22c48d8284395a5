//! What may be typed after a slash.

use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;

use crate::error::ChatError;
use crate::sampling::{Seed, all_or, seed, unlimited_or};
use crate::variables;

pub const HELP: &str = "\
/help                this text
/system [TEXT]       show or set the system message
/set [NAME VALUE]    show or change settings: temperature, top-k, top-p, min-p, repeat-penalty,
                     repeat-last-n, seed, max-tokens, system, and variables of the model's
                     chat template, such as enable_thinking; without VALUE, reset to the default
/save FILE           write the conversation as JSON
/load FILE           resume a saved conversation
/reset               clear the conversation; settings and system message are kept
/bye                 leave, like Ctrl-D
A line that ends in \\ continues on the next; \"\"\" starts and ends a multi-line message.
Ctrl-C stops an answer.";

/// A command.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Help,
    System(Option<String>),
    Show,
    Set(Setting),
    Save(PathBuf),
    Load(PathBuf),
    Reset,
    Bye,
}

/// A setting and its new value.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    Temperature(f32),
    TopK(usize),
    TopP(f32),
    MinP(f32),
    RepeatPenalty(f32),
    RepeatLastN(usize),
    Seed(Seed),
    MaxTokens(usize),
    System(Option<String>),
    /// A variable of the chat template, if it has one of this name; without a value, the template's own.
    Variable(String, Option<Value>),
}

impl Command {
    /// Reads a line that begins with a slash.
    pub fn parse(line: &str) -> Result<Self, ChatError> {
        let (word, rest) = split(line);
        let file = |command, example| match rest {
            "" => Err(ChatError::Argument { command, what: "the name of a file", example }),
            path => Ok(PathBuf::from(path)),
        };
        Ok(match word {
            "/help" | "/?" => Self::Help,
            "/system" => Self::System(text(rest)),
            "/set" if rest.is_empty() => Self::Show,
            "/set" => Self::Set(Setting::parse(rest)?),
            "/save" => Self::Save(file("/save", "/save chat.json")?),
            "/load" => Self::Load(file("/load", "/load chat.json")?),
            "/reset" | "/clear" => Self::Reset,
            "/bye" | "/exit" | "/quit" => Self::Bye,
            other => return Err(ChatError::UnknownCommand(other.to_owned())),
        })
    }
}

impl Setting {
    /// Reads `name value`; names are those of the flags.
    fn parse(line: &str) -> Result<Self, ChatError> {
        let (typed, value) = split(line);
        let name = typed.replace('_', "-").to_lowercase();
        Ok(match name.as_str() {
            "temperature" | "temp" => Self::Temperature(number(&name, value, "a number")?),
            "top-k" => Self::TopK(with(all_or, &name, value, ALL)?),
            "top-p" => Self::TopP(number(&name, value, "a number")?),
            "min-p" => Self::MinP(number(&name, value, "a number")?),
            "repeat-penalty" => Self::RepeatPenalty(number(&name, value, "a number")?),
            "repeat-last-n" => Self::RepeatLastN(with(unlimited_or, &name, value, ALL)?),
            "seed" => Self::Seed(with(seed, &name, value, "a whole number from 0, or -1 for a random one")?),
            "max-tokens" => Self::MaxTokens(with(most_tokens, &name, value, "a whole number from 1, or -1 for all")?),
            "system" => Self::System(text(value)),
            _ => Self::Variable(typed.to_owned(), (!value.is_empty()).then(|| variables::value(value))),
        })
    }
}

const ALL: &str = "a whole number from 0, or -1 for all";

fn most_tokens(value: &str) -> Result<usize, String> {
    unlimited_or(value).and_then(|most| if most == 0 { Err(String::new()) } else { Ok(most) })
}

/// Reads a value as the flag of that name is read.
fn with<T>(
    read: fn(&str) -> Result<T, String>,
    name: &str,
    value: &str,
    expected: &'static str,
) -> Result<T, ChatError> {
    read(value).map_err(|_| ChatError::Value { name: name.to_owned(), value: value.to_owned(), expected })
}

fn number<T: FromStr>(name: &str, value: &str, expected: &'static str) -> Result<T, ChatError> {
    value.parse().map_err(|_| ChatError::Value { name: name.to_owned(), value: value.to_owned(), expected })
}

/// The first word, and the rest without the space around it.
fn split(line: &str) -> (&str, &str) {
    let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    (word, rest.trim())
}

/// A text, without the quotation marks that may stand around it; nothing for an empty one.
fn text(typed: &str) -> Option<String> {
    let inner = typed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(typed);
    (!inner.is_empty()).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: Option<Value>) -> Command {
        Command::Set(Setting::Variable(name.into(), value))
    }

    #[test]
    fn commands_are_read_as_meant() {
        for (line, command) in [
            ("/help", Command::Help),
            ("  /bye ", Command::Bye),
            ("/exit", Command::Bye),
            ("/clear", Command::Reset),
            ("/system", Command::System(None)),
            ("/system Be  brief.", Command::System(Some("Be  brief.".into()))),
            ("/set system \"Be brief.\"", Command::Set(Setting::System(Some("Be brief.".into())))),
            ("/set system", Command::Set(Setting::System(None))),
            ("/set", Command::Show),
            ("/set temperature 0.2", Command::Set(Setting::Temperature(0.2))),
            ("/set top_k\t5", Command::Set(Setting::TopK(5))),
            ("/set seed 18446744073709551615", Command::Set(Setting::Seed(Seed::Fixed(u64::MAX)))),
            ("/set seed -1", Command::Set(Setting::Seed(Seed::Random))),
            ("/set top-k -1", Command::Set(Setting::TopK(0))),
            ("/set max_tokens -1", Command::Set(Setting::MaxTokens(usize::MAX))),
            ("/set enable_thinking false", variable("enable_thinking", Some(false.into()))),
            ("/set Effort very low", variable("Effort", Some("very low".into()))),
            ("/set Effort", variable("Effort", None)),
            ("/save my chat.json", Command::Save("my chat.json".into())),
        ] {
            assert_eq!(Command::parse(line).unwrap(), command, "{line}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (line, part) in [
            ("/hlep", "unknown command /hlep\nhint: /help"),
            ("/", "unknown command /"),
            ("/save", "/save takes the name of a file\nhint: for example /save chat.json"),
            ("/set temperature warm", "temperature is \"warm\", but it must be a number"),
            ("/set top-k -2", "top-k is \"-2\", but it must be a whole number from 0, or -1 for all"),
            ("/set max-tokens 0", "max-tokens is \"0\", but it must be a whole number from 1, or -1 for all"),
            ("/set seed", "seed is \"\""),
        ] {
            let shown = Command::parse(line).unwrap_err().to_string();
            assert!(shown.contains(part), "{line}: {shown}");
        }
    }
}

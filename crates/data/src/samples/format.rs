//! What a line may say: messages, an instruction, a prompt and its completion, a text, or a preference.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Chat, Content, Origin};

pub(super) const KINDS: &str = "an object with \"messages\" (role and content), \"conversations\" (from and value), \"instruction\" \
                     and \"output\", \"prompt\" and \"completion\", \"prompt\", \"chosen\" and \"rejected\", or \"text\"";
/// Keys that only samples have, all but `text`.
pub(super) const SAMPLE_KEYS: [&str; 6] = ["messages", "conversations", "instruction", "prompt", "chosen", "rejected"];
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];
/// How much of a text an error shows.
const SHOWN_CHARACTERS: usize = 40;

/// A line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Where it stands.
    pub origin: Origin,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.origin, self.expected, self.found)
    }
}

impl BadLine {
    /// What is no JSON; `rest` begins with it, in the line of `origin`.
    pub(crate) fn no_json(mut origin: Origin, error: &serde_json::Error, rest: &str) -> Self {
        let lines_before = error.line().saturating_sub(1);
        origin.line += lines_before as u64;
        let line = rest.split('\n').nth(lines_before).unwrap_or_default().trim_end();
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let found = format!("{} ({message}, column {})", shown_at(line, error.column()), error.column());
        Self { origin, expected: "a JSON object".into(), found }
    }

    /// An array that goes on in another way than with `,` or `]`, or something behind it.
    pub(super) fn no_array_end(origin: Origin, rest: &str) -> Self {
        let found = rest.lines().next().map_or("the end of the file".to_owned(), shown);
        Self { origin, expected: "one array of objects, with , between them and ] at its end".into(), found }
    }

    /// A sample that is no preference, among preferences.
    pub(super) fn no_preference(origin: &Origin) -> Self {
        let expected = "\"prompt\", \"chosen\" and \"rejected\"".into();
        Self { origin: origin.clone(), expected, found: "a sample without \"chosen\" and \"rejected\"".into() }
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    expected: String,
    found: String,
}

impl Problem {
    fn new(expected: impl Into<String>, found: Option<&Value>) -> Self {
        Self { expected: expected.into(), found: describe(found) }
    }

    pub(super) fn at(self, origin: Origin) -> BadLine {
        BadLine { origin, expected: self.expected, found: self.found }
    }
}

/// Whether an object is meant as a sample that is more than a text.
pub(crate) fn is_sample(object: &Map<String, Value>) -> bool {
    SAMPLE_KEYS.iter().any(|key| object.contains_key(*key))
}

/// What a line says. The keys decide what it is, in the order of the errors' text, preferences first; further keys are
/// passed over.
pub(super) fn parse(value: &Value) -> Result<Content, Problem> {
    let Value::Object(line) = value else { return Err(Problem::new(KINDS, Some(value))) };
    let has = |key: &str| line.get(key).is_some_and(|value| !value.is_null());
    if has("chosen") || has("rejected") {
        preference(line)
    } else if has("messages") {
        let tools = match line.get("tools") {
            None | Some(Value::Null) => None,
            Some(Value::Array(tools)) => Some(tools.clone()),
            other => return Err(Problem::new("\"tools\" to be a list", other)),
        };
        Ok(Content::Chat(Chat { messages: messages(&line["messages"], "messages")?, tools }))
    } else if has("conversations") {
        Ok(Content::Chat(Chat {
            messages: messages(&share_gpt(&line["conversations"])?, "conversations")?,
            tools: None,
        }))
    } else if has("instruction") {
        let question = instruction(line)?;
        let answer = text(line, "output")?;
        let messages =
            vec![json!({"role": "user", "content": question}), json!({"role": "assistant", "content": answer})];
        Ok(Content::Chat(Chat { messages, tools: None }))
    } else if has("prompt") {
        match (line.get("prompt"), line.get("completion")) {
            (Some(prompt @ Value::Array(_)), Some(completion @ Value::Array(_))) => {
                let mut messages_ = messages(prompt, "prompt")?;
                messages_.extend(messages(completion, "completion")?);
                Ok(Content::Chat(Chat { messages: messages_, tools: None }))
            }
            _ => Ok(Content::Completion { prompt: text(line, "prompt")?, completion: text(line, "completion")? }),
        }
    } else if has("text") {
        let text = text(line, "text")?;
        if text.trim().is_empty() { Err(Problem::new("some text", line.get("text"))) } else { Ok(Content::Text(text)) }
    } else {
        Err(Problem::new(KINDS, Some(value)))
    }
}

/// The text under a key.
fn text(line: &Map<String, Value>, key: &str) -> Result<String, Problem> {
    match line.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        other => Err(Problem::new(format!("\"{key}\" to be a text"), other)),
    }
}

/// The question of an instruction with its input, if it has one.
fn instruction(line: &Map<String, Value>) -> Result<String, Problem> {
    let instruction = text(line, "instruction")?;
    match line.get("input") {
        None | Some(Value::Null) => Ok(instruction),
        Some(Value::String(input)) if input.trim().is_empty() => Ok(instruction),
        Some(Value::String(input)) => Ok(format!("{instruction}\n\n{input}")),
        other => Err(Problem::new("\"input\" to be a text", other)),
    }
}

/// A list of messages with known roles, whose contents are texts.
fn messages(value: &Value, key: &str) -> Result<Vec<Value>, Problem> {
    match value {
        Value::Array(list) if !list.is_empty() => {
            list.iter().enumerate().map(|(i, one)| message(one, &format!("message {} of \"{key}\"", i + 1))).collect()
        }
        other => Err(Problem::new(format!("\"{key}\" to be a list of messages"), Some(other))),
    }
}

fn message(value: &Value, name: &str) -> Result<Value, Problem> {
    let Value::Object(message) = value else {
        return Err(Problem::new(format!("{name} to be an object with \"role\" and \"content\""), Some(value)));
    };
    let role = message.get("role");
    if !role.and_then(Value::as_str).is_some_and(|role| ROLES.contains(&role)) {
        return Err(Problem::new(format!("the role of {name} to be system, user, assistant or tool"), role));
    }
    let calls = message.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
    let content = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Option<String>>().ok_or_else(|| {
            Problem::new(
                format!("the content of {name} to be a text, or a list of parts of the type text"),
                message.get("content"),
            )
        })?,
        None | Some(Value::Null) if calls => String::new(),
        other => return Err(Problem::new(format!("the content of {name} to be a text"), other)),
    };
    let mut message = message.clone();
    message.insert("content".into(), content.into());
    Ok(message.into())
}

/// The text of `{"type": "text", "text": …}`.
fn part(part: &Value) -> Option<&str> {
    if part["type"] == "text" { part["text"].as_str() } else { None }
}

/// `from` and `value` as `role` and `content`.
fn share_gpt(value: &Value) -> Result<Value, Problem> {
    let Value::Array(list) = value else {
        return Err(Problem::new("\"conversations\" to be a list of messages", Some(value)));
    };
    let message = |(i, one): (usize, &Value)| {
        if one.get("role").is_some() {
            return Ok(one.clone());
        }
        let role = match one["from"].as_str() {
            Some("human" | "user") => "user",
            Some("gpt" | "assistant") => "assistant",
            Some(role @ ("system" | "tool")) => role,
            _ => {
                let expected =
                    format!("\"from\" of message {} of \"conversations\" to be system, human, gpt or tool", i + 1);
                return Err(Problem::new(expected, one.get("from")));
            }
        };
        Ok(json!({"role": role, "content": one.get("value")}))
    };
    list.iter().enumerate().map(message).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// `chosen` and `rejected`: texts or messages that follow a prompt, or whole conversations.
fn preference(line: &Map<String, Value>) -> Result<Content, Problem> {
    let side = |key: &str| match line.get(key) {
        Some(Value::String(text)) => Ok(Value::String(text.clone())),
        Some(list @ Value::Array(_)) => Ok(Value::Array(messages(list, key)?)),
        other => Err(Problem::new(format!("\"{key}\" to be a text or a list of messages"), other)),
    };
    let (chosen, rejected) = (side("chosen")?, side("rejected")?);
    let starts = |value: &Value| value.as_array().is_some_and(|list| list[0]["role"] != "assistant");
    let pair = |chosen, rejected, shared| Content::Preference {
        chosen: Box::new(chosen),
        rejected: Box::new(rejected),
        shared,
    };
    if starts(&chosen) || starts(&rejected) {
        // Whole conversations; a prompt beside them only repeats their beginning.
        let conversation = |value: Value, key: &str| match value {
            Value::Array(list) if list[0]["role"] != "assistant" => Ok(list),
            other => {
                Err(Problem::new(format!("\"{key}\" to be a whole conversation, as the other side is"), Some(&other)))
            }
        };
        let (chosen, rejected) = (conversation(chosen, "chosen")?, conversation(rejected, "rejected")?);
        let shared = chosen.iter().zip(&rejected).take_while(|(one, other)| one == other).count();
        let chat = |messages| Content::Chat(Chat { messages, tools: None });
        return Ok(pair(chat(chosen), chat(rejected), shared));
    }
    let prompt = match line.get("prompt") {
        Some(Value::Array(_)) => Value::Array(messages(&line["prompt"], "prompt")?),
        Some(Value::String(prompt)) => Value::String(prompt.clone()),
        None | Some(Value::Null) if line.contains_key("instruction") => Value::String(instruction(line)?),
        other => return Err(Problem::new("\"prompt\" to be a text or a list of messages", other)),
    };
    if line.contains_key("prompt")
        && let (Value::String(prompt), Value::String(chosen), Value::String(rejected)) = (&prompt, &chosen, &rejected)
    {
        let side = |completion: &String| Content::Completion { prompt: prompt.clone(), completion: completion.clone() };
        return Ok(pair(side(chosen), side(rejected), 1));
    }
    let listed = |value: Value, role: &str| match value {
        Value::Array(list) => list,
        text => vec![json!({"role": role, "content": text})],
    };
    let prompt = listed(prompt, "user");
    let shared = prompt.len();
    let chat = |side: Value| {
        let messages = prompt.iter().cloned().chain(listed(side, "assistant")).collect();
        Content::Chat(Chat { messages, tools: None })
    };
    Ok(pair(chat(chosen), chat(rejected), shared))
}

/// A value as an error shows it.
pub(crate) fn describe(value: Option<&Value>) -> String {
    match value {
        None => "nothing".into(),
        Some(Value::Null) => "null".into(),
        Some(Value::String(text)) => format!("the text {}", shown(text)),
        Some(Value::Array(list)) if list.is_empty() => "an empty list".into(),
        Some(Value::Array(list)) => format!("a list of {}", list.len()),
        Some(Value::Object(object)) if object.is_empty() => "an empty object".into(),
        Some(Value::Object(object)) => {
            let keys: Vec<_> = object.keys().take(8).map(|key| shown(key)).collect();
            format!("an object with {}", keys.join(", "))
        }
        Some(other) => other.to_string(),
    }
}

/// The beginning of a text in quotation marks, on one line.
fn shown(text: &str) -> String {
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    let more = if characters.next().is_some() { "…" } else { "" };
    format!("\"{}{more}\"", start.escape_debug())
}

/// The text around a column, counted in bytes from 1, in quotation marks; from its beginning if that is near.
fn shown_at(text: &str, column: usize) -> String {
    const BEHIND: usize = 10;
    let at = text.floor_char_boundary(column.saturating_sub(1));
    let before = text[..at].chars().count();
    if before + BEHIND <= SHOWN_CHARACTERS {
        return shown(text);
    }
    let skipped = before + BEHIND - SHOWN_CHARACTERS;
    let rest: String = text.chars().skip(skipped).take(SHOWN_CHARACTERS).collect();
    let more = if text.chars().count() > skipped + SHOWN_CHARACTERS { "…" } else { "" };
    format!("\"…{}{more}\"", rest.escape_debug())
}

#[cfg(test)]
mod tests;

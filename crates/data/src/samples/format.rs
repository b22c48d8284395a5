//! What a line may say: messages, an instruction, a prompt and its completion, a text, or a preference.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Chat, Content, Origin, Sample, marks};

mod preference;

pub(super) const KINDS: &str = "an object with \"messages\" (role and content), \"conversations\" (from and value), \"instruction\" \
                     and \"output\", \"prompt\" and \"completion\", \"prompt\", \"chosen\" and \"rejected\", or \"text\"";
/// Keys that only samples have, all but `text`.
pub(super) const SAMPLE_KEYS: [&str; 6] = ["messages", "conversations", "instruction", "prompt", "chosen", "rejected"];
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];
/// Keys of samples that other programs act on and this one does not.
const UNUSED: [&str; 14] = [
    "system",
    "tools",
    "image",
    "images",
    "video",
    "videos",
    "audio",
    "audios",
    "documents",
    "chat_template",
    "chat_template_kwargs",
    "label",
    "kto_tag",
    "completion_mask",
];
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
    /// What is not JSON; `rest` begins with it, in the line of `origin`.
    pub(crate) fn no_json(mut origin: Origin, error: &serde_json::Error, rest: &str) -> Self {
        let lines_before = error.line().saturating_sub(1);
        origin.line += lines_before as u64;
        let line = rest.split('\n').nth(lines_before).unwrap_or_default().trim_end();
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let found = format!("{} ({message}, column {})", shown_at(line, error.column()), error.column());
        Self { origin, expected: "a JSON object".into(), found }
    }

    /// An array that continues with something other than `,` or `]`, or something behind it.
    pub(super) fn no_array_end(origin: Origin, rest: &str) -> Self {
        let found = rest.lines().next().map_or("the end of the file".to_owned(), shown);
        Self { origin, expected: "one array of objects, with , between them and ] at its end".into(), found }
    }

    /// A sample that is not a preference, among preferences.
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
    pub(super) fn new(expected: impl Into<String>, found: Option<&Value>) -> Self {
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

/// A line that can be used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) content: Content,
    learned: bool,
    unused: Vec<String>,
}

impl Line {
    pub(super) fn at(self, origin: Origin) -> Sample {
        Sample { origin, content: self.content, learned: self.learned, unused: self.unused }
    }
}

/// What a line says. The keys decide what it is, in the order of the errors' text, preferences first. Keys that nobody
/// acts on are passed over; those that other programs act on are noted.
pub(super) fn parse(value: &Value) -> Result<Line, Problem> {
    let Value::Object(line) = value else { return Err(Problem::new(KINDS, Some(value))) };
    for (key, instead) in [("history", "\"messages\""), ("functions", "\"tools\"")] {
        if says(line, key) {
            return Err(Problem::new(format!("{instead} in place of \"{key}\""), line.get(key)));
        }
    }
    let learned = marks::of_sample(line)?.unwrap_or(true);
    let content = content(line)?;
    let system_is_used = match &content {
        Content::Chat(chat) => chat.begins_with_system() && Some(&chat.messages[0]["content"]) == line.get("system"),
        _ => false,
    };
    let is_unused = |key: &&str| match *key {
        "system" => !system_is_used,
        "tools" => !content.is_conversation(),
        "label" => line.get("label").is_some_and(Value::is_boolean), // of KTO, where a false one is not to be learned
        _ => true,
    };
    let unused = UNUSED.into_iter().filter(|key| says(line, key)).filter(is_unused).map(ToOwned::to_owned).collect();
    Ok(Line { content, learned, unused })
}

/// Whether a key is there and holds anything.
fn says(line: &Map<String, Value>, key: &str) -> bool {
    line.get(key).is_some_and(|value| match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    })
}

fn content(line: &Map<String, Value>) -> Result<Content, Problem> {
    let has = |key: &str| line.get(key).is_some_and(|value| !value.is_null());
    if has("chosen") || has("rejected") {
        preference::read(line)
    } else if has("messages") {
        conversation(line, messages(&line["messages"], "messages")?)
    } else if has("conversations") {
        conversation(line, messages(&share_gpt(&line["conversations"])?, "conversations")?)
    } else if has("instruction") {
        let question = instruction(line)?;
        let answer = text(line, "output")?;
        conversation(line, Chat::of([("user", question), ("assistant", answer)]))
    } else if has("prompt") {
        match (line.get("prompt"), line.get("completion")) {
            (Some(prompt @ Value::Array(_)), Some(completion @ Value::Array(_))) => {
                let prompt = messages(prompt, "prompt")?;
                conversation(line, prompt.and(messages(completion, "completion")?))
            }
            _ => Ok(Content::Completion { prompt: text(line, "prompt")?, completion: text(line, "completion")? }),
        }
    } else if has("text") {
        let text = text(line, "text")?;
        if text.trim().is_empty() { Err(Problem::new("some text", line.get("text"))) } else { Ok(Content::Text(text)) }
    } else {
        Err(Problem::new(KINDS, Some(&Value::Object(line.clone()))))
    }
}

/// A conversation with the tools and the system message that stand beside it.
fn conversation(line: &Map<String, Value>, chat: Chat) -> Result<Content, Problem> {
    let chat = match line.get("system") {
        Some(Value::String(system)) if says(line, "system") && !chat.begins_with_system() => {
            Chat::of([("system", system.clone())]).and(chat)
        }
        None | Some(Value::Null | Value::String(_)) => chat,
        other => return Err(Problem::new("\"system\" to be a text", other)),
    };
    Ok(Content::Chat(Chat { tools: tools(line)?, ..chat }))
}

/// The tools of a sample: a list, or a text that holds one.
fn tools(line: &Map<String, Value>) -> Result<Option<Vec<Value>>, Problem> {
    let given = line.get("tools");
    match given {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(tools)) => Ok(Some(tools.clone())),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Array(tools)) => Ok(Some(tools)),
            _ => Err(Problem::new("\"tools\" to be a list", given)),
        },
        other => Err(Problem::new("\"tools\" to be a list", other)),
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
fn messages(value: &Value, key: &str) -> Result<Chat, Problem> {
    match value {
        Value::Array(list) if !list.is_empty() => {
            let one = |(i, one)| message(one, &format!("message {} of \"{key}\"", i + 1));
            let messages: Result<Vec<_>, Problem> = list.iter().enumerate().map(one).collect();
            let (messages, marks) = messages?.into_iter().unzip();
            Ok(Chat { messages, marks, tools: None })
        }
        other => Err(Problem::new(format!("\"{key}\" to be a list of messages"), Some(other))),
    }
}

/// A message as templates take it, and whether it says of itself that it is learned.
fn message(value: &Value, name: &str) -> Result<(Value, Option<bool>), Problem> {
    let Value::Object(message) = value else {
        return Err(Problem::new(format!("{name} to be an object with \"role\" and \"content\""), Some(value)));
    };
    let role = message.get("role");
    if !role.and_then(Value::as_str).is_some_and(|role| ROLES.contains(&role)) {
        return Err(Problem::new(format!("the role of {name} to be system, user, assistant or tool"), role));
    }
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => false,
        Some(Value::Array(calls)) if calls.iter().all(Value::is_object) => !calls.is_empty(),
        other => return Err(Problem::new(format!("\"tool_calls\" of {name} to be a list of objects"), other)),
    };
    if message.get("function_call").is_some_and(|call| !call.is_null()) {
        let expected = format!("\"tool_calls\" in place of \"function_call\" in {name}");
        return Err(Problem::new(expected, message.get("function_call")));
    }
    let content = match message.get("content") {
        Some(Value::String(text)) => text.clone().into(),
        Some(Value::Array(parts)) => {
            parts.iter().map(part).collect::<Option<String>>().map(Value::from).ok_or_else(|| {
                Problem::new(
                    format!("the content of {name} to be a text, or a list of parts of the type text"),
                    message.get("content"),
                )
            })?
        }
        // Templates may ask whether there is any, and write the calls where there is none.
        None | Some(Value::Null) if calls => Value::Null,
        other => return Err(Problem::new(format!("the content of {name} to be a text"), other)),
    };
    let mut message = message.clone();
    let mark = marks::of_message(&mut message, name)?;
    message.insert("content".into(), content);
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        calls.iter_mut().for_each(decode_arguments);
    }
    Ok((message.into(), mark))
}

/// Arguments that are a text which holds an object, as OpenAI writes them, become that object.
fn decode_arguments(call: &mut Value) {
    if let Some(arguments) = arguments_of(call)
        && let Some(Ok(object @ Value::Object(_))) = arguments.as_str().map(serde_json::from_str)
    {
        *arguments = object;
    }
}

/// The arguments of a call, with or without `function` around them.
pub(super) fn arguments_of(call: &mut Value) -> Option<&mut Value> {
    let Value::Object(call) = call else { return None };
    let nested = call.get("function").is_some_and(Value::is_object);
    if nested { call.get_mut("function")?.get_mut("arguments") } else { call.get_mut("arguments") }
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
        let mut message = one.as_object().cloned().unwrap_or_default();
        message.shift_remove("from");
        let content = message.shift_remove("value").unwrap_or_default();
        message.insert("role".into(), role.into());
        message.insert("content".into(), content);
        Ok(message.into())
    };
    list.iter().enumerate().map(message).collect::<Result<Vec<_>, _>>().map(Value::Array)
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

//! Messages: in memory, as tokens, and in a file.

use std::path::Path;

use llm_data::{ChatInput, ChatTemplate, Tokenizer};
use serde_json::{Value, json};

use super::ChatError;
use crate::error::CliError;
use crate::variables::Variables;

/// What was said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// What the model is told first.
    pub system: Option<String>,
    messages: Vec<Value>,
}

/// How a conversation becomes tokens.
#[derive(Debug)]
pub enum Form {
    /// By the model's chat template, with variables that it is given.
    Template(Box<ChatTemplate>, Variables),
    /// For models that know no turns: one text that goes on, each message of the person on a line of its own.
    Plain,
}

impl Form {
    /// The tokens after which the model's answer begins.
    pub fn ids(&self, conversation: &Conversation, tokenizer: &Tokenizer) -> Result<Vec<u32>, CliError> {
        let messages = conversation.all();
        match self {
            Self::Template(template, variables) => {
                let variables = variables.clone();
                let input =
                    ChatInput { messages: &messages, add_generation_prompt: true, variables, ..ChatInput::default() };
                Ok(tokenizer.encode_rendered(&template.render(&input)?.text)?)
            }
            Self::Plain => {
                let mut text = String::new();
                for message in &messages {
                    if message["role"] != "assistant" && !text.is_empty() && !text.ends_with('\n') {
                        text.push('\n');
                    }
                    text += &content(message);
                }
                Ok(tokenizer.encode_prompt(&text)?)
            }
        }
    }
}

/// The text of a message, that of its parts one after the other.
fn content(message: &Value) -> String {
    match &message["content"] {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        content => content.as_str().unwrap_or_default().to_owned(),
    }
}

impl Conversation {
    /// One without a word, but for the system message.
    pub fn new(system: Option<String>) -> Self {
        Self { system: system.filter(|text| !text.is_empty()), messages: Vec::new() }
    }

    /// Messages, the system message included.
    pub fn len(&self) -> usize {
        self.messages.len() + usize::from(self.system.is_some())
    }

    /// All messages, the system message first.
    fn all(&self) -> Vec<Value> {
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        system.chain(self.messages.iter().cloned()).collect()
    }

    /// Adds a message.
    pub fn push(&mut self, role: &str, content: &str) {
        self.messages.push(json!({"role": role, "content": content}));
    }

    /// Takes the last message back.
    pub fn pop(&mut self) {
        self.messages.pop();
    }

    /// Forgets all but the system message.
    pub fn clear(&mut self) {
        self.messages.clear();
    }

    /// Forgets the oldest turn: all up to the second message of the person. Gives how many messages that were; the
    /// last message always stays.
    pub fn forget_oldest(&mut self) -> usize {
        let next = self.messages.iter().skip(1).position(|message| message["role"] == "user");
        let count = next.map_or(0, |place| place + 1);
        self.messages.drain(..count);
        count
    }

    /// `{"messages": [...]}` in one line, as files of conversations for fine-tuning have them.
    pub fn to_json(&self) -> Value {
        json!({ "messages": self.all() })
    }

    /// Reads what [`to_json`](Self::to_json) gives, a bare list of messages, or one message a line.
    pub fn load(path: &Path) -> Result<Self, ChatError> {
        let text = std::fs::read_to_string(path).map_err(|source| ChatError::File { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|message| ChatError::NoMessages { path: path.to_owned(), message })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let values: Vec<Value> = serde_json::Deserializer::from_str(text)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| format!("not JSON: {error}"))?;
        let mut messages = match values.as_slice() {
            [] => return Err("the file is empty".to_owned()),
            [Value::Array(messages)] => messages.clone(),
            [one] if one.get("messages").is_some() => {
                one["messages"].as_array().ok_or("\"messages\" is not a list")?.clone()
            }
            [first, ..] if first.get("messages").is_some() => {
                return Err(format!("it holds {} conversations, but one at a time can go on", values.len()));
            }
            _ => values,
        };
        for (place, message) in messages.iter().enumerate() {
            let number = place + 1;
            if !message["role"].is_string() {
                return Err(format!("message {number} has no \"role\""));
            }
            let known = matches!(message["content"], Value::String(_) | Value::Array(_) | Value::Null);
            if !known || message.get("content").is_none() {
                return Err(format!("message {number} has no \"content\" that is a text"));
            }
        }
        let system = match messages.first() {
            Some(first) if first["role"] == "system" => Some(content(&messages.remove(0))),
            _ => None,
        };
        Ok(Self { system, messages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk() -> Conversation {
        let mut talk = Conversation::new(Some("Be brief.".into()));
        for (role, text) in [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")] {
            talk.push(role, text);
        }
        talk
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let talk = talk();
        assert_eq!(Conversation::parse(&talk.to_json().to_string()).unwrap(), talk);
        assert_eq!(Conversation::parse(&json!(talk.all()).to_string()).unwrap(), talk);
        let lines: Vec<String> = talk.all().iter().map(Value::to_string).collect();
        assert_eq!(Conversation::parse(&lines.join("\n")).unwrap(), talk);
        assert_eq!(Conversation::parse(r#"{"messages": []}"#).unwrap(), Conversation::default());
    }

    #[test]
    fn other_files_are_refused_with_a_reason() {
        for (text, part) in [
            ("", "empty"),
            ("hello", "not JSON"),
            ("{\"messages\": [", "not JSON"),
            ("{\"messages\": 3}", "not a list"),
            ("[{\"role\": \"user\"}]", "message 1 has no \"content\""),
            ("[{\"role\": \"user\", \"content\": \"a\"}, {\"content\": \"a\"}]", "message 2 has no \"role\""),
            ("[{\"role\": \"user\", \"content\": 3}]", "message 1"),
            ("[7]", "message 1"),
            ("{\"messages\": []}\n{\"messages\": []}", "2 conversations"),
        ] {
            let error = Conversation::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_oldest_turns_are_forgotten_and_the_last_message_stays() {
        let mut talk = talk();
        assert_eq!([talk.forget_oldest(), talk.forget_oldest(), talk.forget_oldest()], [2, 2, 0]);
        assert_eq!(
            talk.all(),
            [json!({"role": "system", "content": "Be brief."}), json!({"role": "user", "content": "e"})]
        );
        assert_eq!(Conversation::default().forget_oldest(), 0);
    }
}

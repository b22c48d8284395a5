//! A conversation: in memory, as tokens that fit the context, and in a file.

use std::path::Path;

use llm_data::{ChatInput, ChatTemplate, DataError, Tokenizer};
use serde_json::{Map, Value, json};

use crate::ConversationError;

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
    Template(Box<ChatTemplate>, Map<String, Value>),
    /// For models that know no turns: one text that continues, each message of the user on a line of its own.
    Plain,
}

/// The tokens that a conversation may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tokens of the model's context.
    pub context: usize,
    /// Most tokens of the answer.
    pub answer: usize,
}

/// A conversation as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The tokens after which the model's answer begins.
    pub ids: Vec<u32>,
    /// How many of the oldest messages were forgotten to make room.
    pub forgotten: usize,
}

impl Form {
    /// The tokens after which the model's answer begins.
    ///
    /// # Errors
    /// A template that refuses these messages, and a tokenizer that fails.
    pub fn ids(&self, conversation: &Conversation, tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
        let messages = conversation.all();
        match self {
            Self::Template(template, variables) => {
                let variables = variables.clone();
                let input =
                    ChatInput { messages: &messages, add_generation_prompt: true, variables, ..ChatInput::default() };
                tokenizer.encode_rendered(&template.render(&input)?.text)
            }
            Self::Plain => {
                let mut text = String::new();
                for message in &messages {
                    if message["role"] != "assistant" && !text.is_empty() && !text.ends_with('\n') {
                        text.push('\n');
                    }
                    text += &content(message);
                }
                tokenizer.encode_prompt(&text)
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

    /// Whether there is no message at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// The tokens of the conversation. When they leave too little room for an answer, the oldest turns are forgotten
    /// until half the context is free, so that this happens rarely: what is left must be read again.
    ///
    /// # Errors
    /// Those of [`Form::ids`], and [`ConversationError::TooLong`] where the last message alone leaves no room; nothing is
    /// forgotten then.
    pub fn prompt(&mut self, form: &Form, tokenizer: &Tokenizer, budget: Budget) -> Result<Prompt, ConversationError> {
        let Budget { context, answer } = budget;
        let room = answer.min(context / 4).max(1);
        let mut ids = form.ids(self, tokenizer)?;
        if ids.len() + room <= context {
            return Ok(Prompt { ids, forgotten: 0 });
        }
        let mut rest = self.clone();
        let mut forgotten = 0;
        while ids.len() > context / 2 {
            match rest.forget_oldest() {
                0 => break,
                count => forgotten += count,
            }
            ids = form.ids(&rest, tokenizer)?;
        }
        if ids.len() >= context {
            return Err(ConversationError::TooLong { tokens: ids.len(), context });
        }
        *self = rest;
        Ok(Prompt { ids, forgotten })
    }

    /// Forgets the oldest turn: all up to the second message of the user. Gives how many messages that were; the last
    /// message always stays.
    fn forget_oldest(&mut self) -> usize {
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
    ///
    /// # Errors
    /// A file that cannot be read, or that holds something else.
    pub fn load(path: &Path) -> Result<Self, ConversationError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConversationError::File { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|message| ConversationError::NoMessages { path: path.to_owned(), message })
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
    use llm_data::{Corpus, CorpusOptions, TokenizerKind, TokenizerSection};

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

    fn byte_level() -> Tokenizer {
        let mut file = tempfile::Builder::new().suffix(".txt").tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"text").unwrap();
        let corpus = Corpus::open(&[file.path().to_owned()], CorpusOptions::default()).unwrap();
        let section = TokenizerSection { kind: TokenizerKind::Byte, ..TokenizerSection::default() };
        Tokenizer::train(&section, &corpus).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_forgotten_and_counted() {
        let tokenizer = byte_level();
        let mut talk = Conversation::new(None);
        let text = |n: usize| "x".repeat(n);
        for (role, length) in [("user", 10), ("assistant", 10), ("user", 10), ("assistant", 10), ("user", 5)] {
            talk.push(role, &text(length));
        }
        // 45 characters and two line breaks.
        let prompt = talk.prompt(&Form::Plain, &tokenizer, Budget { context: 64, answer: 16 }).unwrap();
        assert_eq!((prompt.ids.len(), prompt.forgotten, talk.len()), (47, 0, 5));
        let whole = talk.clone();
        let prompt = talk.prompt(&Form::Plain, &tokenizer, Budget { context: 60, answer: 15 }).unwrap();
        assert_eq!((prompt.ids.len(), prompt.forgotten, talk.len()), (26, 2, 3));
        // A limit of the answer needs no more room than the answer.
        let mut talk = whole;
        assert_eq!(talk.prompt(&Form::Plain, &tokenizer, Budget { context: 60, answer: 13 }).unwrap().forgotten, 0);
    }

    #[test]
    fn a_message_that_is_too_long_costs_no_memory() {
        let tokenizer = byte_level();
        let mut talk = talk();
        talk.push("user", &"x".repeat(100));
        let before = talk.clone();
        let error = talk.prompt(&Form::Plain, &tokenizer, Budget { context: 50, answer: 10 }).unwrap_err();
        assert!(matches!(error, ConversationError::TooLong { context: 50, .. }), "{error}");
        assert_eq!(talk, before);
    }
}

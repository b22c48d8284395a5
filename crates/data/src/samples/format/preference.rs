//! Two continuations, the first of them better.

use serde_json::{Map, Value};

use super::super::render::is_answer;
use super::{Chat, Content, Problem, instruction, messages, tools};

/// A side of a preference, or what stands before both.
enum Side {
    Text(String),
    Chat(Chat),
}

impl Side {
    fn read(line: &Map<String, Value>, key: &str) -> Result<Self, Problem> {
        match line.get(key) {
            Some(Value::String(text)) => Ok(Self::Text(text.clone())),
            Some(list @ Value::Array(_)) => Ok(Self::Chat(messages(list, key)?)),
            other => Err(Problem::new(format!("\"{key}\" to be a text or a list of messages"), other)),
        }
    }

    /// Whether it is a whole conversation, not an answer alone.
    fn is_whole(&self) -> bool {
        matches!(self, Self::Chat(chat) if !is_answer(&chat.messages[0]))
    }

    fn into_chat(self, role: &str) -> Chat {
        match self {
            Self::Text(text) => Chat::of([(role, text)]),
            Self::Chat(chat) => chat,
        }
    }
}

/// `chosen` and `rejected`: texts or messages that follow a prompt, or whole conversations.
pub(super) fn read(line: &Map<String, Value>) -> Result<Content, Problem> {
    let (chosen, rejected) = (Side::read(line, "chosen")?, Side::read(line, "rejected")?);
    let pair = |chosen, rejected, shared| Content::Preference {
        chosen: Box::new(chosen),
        rejected: Box::new(rejected),
        shared,
    };
    if chosen.is_whole() || rejected.is_whole() {
        // Whole conversations; a prompt beside them only repeats their beginning.
        let whole = |side: Side, key: &str| match side {
            Side::Chat(chat) if !is_answer(&chat.messages[0]) => Ok(Chat { tools: tools(line)?, ..chat }),
            _ => {
                let expected = format!("\"{key}\" to be a whole conversation, as the other side is");
                Err(Problem::new(expected, line.get(key)))
            }
        };
        let (chosen, rejected) = (whole(chosen, "chosen")?, whole(rejected, "rejected")?);
        let shared = chosen.messages.iter().zip(&rejected.messages).take_while(|(one, other)| one == other).count();
        return Ok(pair(Content::Chat(chosen), Content::Chat(rejected), shared));
    }
    let prompt = match line.get("prompt") {
        None | Some(Value::Null) if line.contains_key("instruction") => Side::Text(instruction(line)?),
        _ => Side::read(line, "prompt")?,
    };
    match (prompt, chosen, rejected) {
        (Side::Text(prompt), Side::Text(chosen), Side::Text(rejected)) if line.contains_key("prompt") => {
            let side = |completion| Content::Completion { prompt: prompt.clone(), completion };
            Ok(pair(side(chosen), side(rejected), 1))
        }
        (prompt, chosen, rejected) => {
            let prompt = Chat { tools: tools(line)?, ..prompt.into_chat("user") };
            let shared = prompt.messages.len();
            let chat = |side: Side| Content::Chat(prompt.clone().and(side.into_chat("assistant")));
            Ok(pair(chat(chosen), chat(rejected), shared))
        }
    }
}

//! Calls of tools in messages: how a template takes their arguments, and whether it writes them at all.
//!
//! A template that knows nothing of tools passes over them without a word, and what would be learned is an empty answer.
//! So a conversation is rendered once more with numbers in place of all that it says, and each must be there.

use serde_json::{Value, json};

use super::format::arguments_of;
use super::render::{Renderer, is_answer};
use super::{Chat, LeftOutReason, RemarkKind};

/// Keys of messages under which templates look for reasoning.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// How a template takes the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Arguments {
    /// As an object, as `transformers` documents it.
    #[default]
    Object,
    /// As JSON in a text, as OpenAI has it.
    Text,
}

impl Arguments {
    /// Gives the arguments in a message this form; [`super::format`] has made objects of all that are such.
    fn apply(self, message: &mut Value) {
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for arguments in calls.into_iter().flatten().filter_map(arguments_of) {
            if self == Self::Text && arguments.is_object() {
                *arguments = python_json(arguments).into();
            }
        }
    }
}

/// A value as Python's `json.dumps` writes it, between whose items models see spaces.
fn python_json(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let items: Vec<String> = object
                .iter()
                .map(|(key, item)| format!("{}: {}", Value::from(key.as_str()), python_json(item)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(python_json).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

pub(super) fn has_calls(message: &Value) -> bool {
    message["tool_calls"].as_array().is_some_and(|calls| !calls.is_empty())
}

/// A short conversation with a call, to try how a template takes its arguments.
fn probe(form: Arguments) -> (Vec<Value>, Vec<Value>) {
    let parameters = json!({"type": "object", "properties": {"parameter": {"type": "string"}}});
    let tool = json!({"type": "function", "function": {"name": "f", "description": "f", "parameters": parameters}});
    let call = json!({"name": "f", "arguments": {"parameter": "value"}});
    let mut answer = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "call00001", "type": "function", "function": call},
    ]});
    form.apply(&mut answer);
    (vec![json!({"role": "user", "content": "q"}), answer], vec![tool])
}

/// Whether the arguments of the [`probe`] are in a text, neither as Python prints a dictionary nor as a text in a text.
fn is_written(text: &str) -> bool {
    text.contains("value") && !text.contains("'value'") && !text.contains("\\\"value\\\"")
}

/// The number that stands for part `part` of message `message`.
fn number(message: usize, part: usize) -> String {
    format!("73{message:05}{part:05}37")
}

impl Renderer<'_> {
    /// How the template takes arguments of calls: some write objects as JSON, some join texts.
    pub(super) fn form_of_arguments(&self) -> Arguments {
        let is_right = |form: &Arguments| {
            let (messages, tools) = probe(*form);
            let chat = self.without_nulls(Chat { messages, tools: Some(tools), ..Chat::default() });
            self.render(&chat, &chat.messages, false).is_ok_and(|written| is_written(&written.text))
        };
        [Arguments::Object, Arguments::Text].into_iter().find(is_right).unwrap_or_default()
    }

    /// The conversation with calls in the form that the template takes.
    pub(super) fn as_the_template_takes_it(&self, chat: &Chat) -> Chat {
        let mut chat = chat.clone();
        chat.messages.iter_mut().for_each(|message| self.arguments.apply(message));
        self.without_nulls(chat)
    }

    /// The conversation with `null` for the content of answers that only call tools, as the template may ask for it; with
    /// no text where the template would write the word `None`, or fail.
    fn without_nulls(&self, chat: Chat) -> Chat {
        if chat.messages.iter().all(|message| !message["content"].is_null()) {
            return chat;
        }
        let mut empty = chat.clone();
        let contents = empty.messages.iter_mut().filter_map(|message| message.get_mut("content"));
        contents.filter(|content| content.is_null()).for_each(|content| *content = "".into());
        let text = |chat: &Chat| self.render(chat, &chat.messages, false).map(|written| written.text);
        let (Ok(null), Ok(none)) = (text(&chat), text(&empty)) else {
            return if text(&chat).is_ok() { chat } else { empty };
        };
        let says_none = null.matches("None").count() > none.matches("None").count();
        if null == none || says_none && self.unwritten(&empty, &none).is_ok() { empty } else { chat }
    }

    /// What the template does not write of a conversation that it makes `text` of.
    ///
    /// # Errors
    /// [`LeftOutReason::NotWritten`] for tools, calls and what they gave.
    pub(super) fn unwritten(&self, chat: &Chat, text: &str) -> Result<Vec<RemarkKind>, LeftOutReason> {
        let plain = |message: &Value| {
            let talk = is_answer(message) || message["role"] == "user";
            talk && !has_calls(message) && REASONING.iter().all(|key| message.get(*key).is_none_or(Value::is_null))
        };
        if chat.tools.is_none() && chat.messages.iter().all(plain) {
            return Ok(Vec::new());
        }
        let text_of = |chat: &Chat| self.render(chat, &chat.messages, false).map(|written| written.text);
        if chat.tools.as_ref().is_some_and(|tools| !tools.is_empty())
            && text_of(&Chat { tools: None, ..chat.clone() }).is_ok_and(|without| without == text)
        {
            return Err(LeftOutReason::NotWritten { what: "the tools".into() });
        }
        let (numbered, numbers) = self.numbered(chat);
        let Ok(written) = text_of(&numbered) else { return self.unwritten_calls(chat, text) };
        let mut remarks = Vec::new();
        for (number, what, is_error) in numbers {
            if written.contains(&number) {
                continue;
            }
            if is_error {
                return Err(LeftOutReason::NotWritten { what });
            }
            remarks.push(RemarkKind::NotWritten { what });
        }
        Ok(remarks)
    }

    /// For a template that refuses other words: whether the same text comes out without any call.
    fn unwritten_calls(&self, chat: &Chat, text: &str) -> Result<Vec<RemarkKind>, LeftOutReason> {
        let mut without = chat.clone();
        let calling = without.messages.iter().position(has_calls);
        for message in without.messages.iter_mut().filter_map(Value::as_object_mut) {
            message.shift_remove("tool_calls");
        }
        match (calling, self.render(&without, &without.messages, false)) {
            (Some(first), Ok(rendered)) if rendered.text == text => {
                Err(LeftOutReason::NotWritten { what: format!("the calls of message {}", first + 1) })
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The conversation with numbers in place of what it says, and the numbers, each with what it stands for and
    /// whether nothing can be learned without it.
    fn numbered(&self, chat: &Chat) -> (Chat, Vec<(String, String, bool)>) {
        let mut numbered = chat.clone();
        let mut numbers = Vec::new();
        // Templates drop the reasoning of earlier turns on purpose.
        let last_question = chat.messages.iter().rposition(|message| message["role"] == "user");
        for (i, message) in numbered.messages.iter_mut().enumerate() {
            let what = format!("message {} (of the role {})", i + 1, message["role"].as_str().unwrap_or_default());
            let is_result = message["role"] == "tool";
            let Value::Object(fields) = message else { continue };
            if let Some(content) = fields.get_mut("content").filter(|content| content.as_str().is_some_and(says)) {
                *content = number(i, 0).into();
                numbers.push((number(i, 0), what, is_result));
            }
            for key in REASONING {
                if let Some(said) = fields.get_mut(key).filter(|said| said.as_str().is_some_and(says)) {
                    *said = number(i, 1).into();
                    if last_question < Some(i) {
                        numbers.push((number(i, 1), format!("the reasoning of message {}", i + 1), false));
                    }
                }
            }
            let calls = fields.get_mut("tool_calls").and_then(Value::as_array_mut);
            for (j, call) in calls.into_iter().flatten().enumerate() {
                let what = format!("the calls of message {}", i + 1);
                let (name, value) = (number(i, 2 + 2 * j), number(i, 3 + 2 * j));
                let nested = call.get("function").is_some_and(Value::is_object);
                let Some(called) = (if nested { call.get_mut("function") } else { Some(&mut *call) }) else { continue };
                if let Some(called) = called.get_mut("name").filter(|name| name.is_string()) {
                    *called = name.clone().into();
                    numbers.push((name, what.clone(), true));
                }
                if let Some(arguments) = arguments_of(call).filter(|arguments| is_something(arguments)) {
                    *arguments = json!({"parameter": value});
                    numbers.push((value, what, true));
                }
            }
            self.arguments.apply(message);
        }
        (numbered, numbers)
    }
}

fn says(text: &str) -> bool {
    !text.trim().is_empty()
}

/// Whether there are arguments.
fn is_something(arguments: &Value) -> bool {
    arguments.as_object().is_some_and(|object| !object.is_empty()) || arguments.as_str().is_some_and(says)
}

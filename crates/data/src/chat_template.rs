//! Chat templates: from messages to the text that a model was trained on, as `transformers` renders it.
//!
//! A template is a Jinja program that a stranger wrote. It runs with a budget of work and memory, sees nothing but the
//! messages, and may mark what the model itself said with `{% generation %}`, which fine-tuning learns from.

mod filters;
mod generation;
mod methods;
mod python;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread;
use std::time::SystemTime;

use chrono::{DateTime, Local};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value as Jinja};
use minijinja_contrib::globals::{cycler, joiner};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{DataError, Tokenizer};

/// Work that one rendering may do: instructions, and 64 bytes of text each, so that memory stays below 64 MB or so.
const FUEL: u64 = 1_000_000;
/// Bytes of address space for a rendering's stack. With its fuel a template can nest a million lists, which are freed
/// one within the other.
const STACK: usize = 512 << 20;
/// The largest published template has 20 kB.
const LONGEST_SOURCE: usize = 1 << 20;
const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A compiled chat template, or several: one for each purpose that the model names.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    names: Vec<String>,
    /// `bos_token` and the like.
    tokens: Map<String, Value>,
}

/// What a template is rendered with. Messages are objects with a `role` and a `content`, a text or a list of parts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChatInput<'a> {
    /// The conversation.
    pub messages: &'a [Value],
    /// JSON schemas of the functions that the model may call.
    pub tools: Option<&'a [Value]>,
    /// Texts to answer from, with `title` and `text`.
    pub documents: Option<&'a [Value]>,
    /// Whether the text ends where the model's answer begins.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`.
    #[serde(flatten)]
    pub variables: Map<String, Value>,
}

/// A conversation as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The text, special tokens included; see [`Tokenizer::encode_rendered`].
    pub text: String,
    /// Bytes of it that the template marks as said by the model; empty for templates without `{% generation %}`.
    pub generated: Vec<Range<usize>>,
}

/// What `raise_exception` was called with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

impl ChatTemplate {
    /// Compiles the template `source`; `tokens` are the variables `bos_token`, `eos_token` and so on.
    ///
    /// # Errors
    /// [`DataError::ChatTemplate`] with the line, for a template that is not Jinja or too long.
    pub fn new(source: &str, tokens: Map<String, Value>) -> Result<Self, DataError> {
        Self::named([(DEFAULT, source)], tokens)
    }

    /// The template of a tokenizer (`chat_template` in its settings: one, or a list of named ones), if it has one.
    ///
    /// # Errors
    /// [`DataError::ChatTemplate`].
    pub fn of(tokenizer: &Tokenizer) -> Result<Option<Self>, DataError> {
        let tokens = special_tokens(tokenizer);
        match tokenizer.config().get("chat_template") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(source)) => Self::new(source, tokens).map(Some),
            Some(Value::Array(several)) => {
                let named = several.iter().map(|one| Some((one["name"].as_str()?, one["template"].as_str()?)));
                let named: Option<Vec<_>> = named.collect();
                Self::named(named.ok_or_else(shape_error)?, tokens).map(Some)
            }
            Some(Value::Object(several)) => {
                let named: Option<Vec<_>> = several.iter().map(|(name, one)| Some((&**name, one.as_str()?))).collect();
                Self::named(named.ok_or_else(shape_error)?, tokens).map(Some)
            }
            Some(_) => Err(shape_error()),
        }
    }

    /// The template `source` with the special tokens of a tokenizer.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_tokens_of(tokenizer: &Tokenizer, source: &str) -> Result<Self, DataError> {
        Self::new(source, special_tokens(tokenizer))
    }

    fn named<'s>(
        sources: impl IntoIterator<Item = (&'s str, &'s str)>,
        tokens: Map<String, Value>,
    ) -> Result<Self, DataError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| failure(&error))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(methods::call);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(|out, _, value| out.write_str(&python::text(value)).map_err(Error::from));
        // Python iterates over no `None`; published templates ask before they do.
        environment.add_test("iterable", |value: &Jinja| !value.is_none() && value.try_iter().is_ok());
        environment.add_filter("string", |value: &Jinja| python::text(value));
        environment.add_filter("tojson", filters::to_json);
        environment.add_filter("escape", filters::escape);
        environment.add_filter("e", filters::escape);
        environment.add_filter("attr", filters::attr);
        // Templates may ask whether these are there; `debug` is not.
        environment.add_function("cycler", |items: Rest<Jinja>| cycler(items.0));
        environment.add_function("joiner", joiner);
        environment.add_function("lipsum", filters::lipsum);
        environment.remove_global("debug");
        environment.add_function("raise_exception", raise_exception);
        environment.add_function(generation::FUNCTION, generation::mark);
        let mut names = Vec::new();
        for (name, source) in sources {
            if source.len() > LONGEST_SOURCE {
                let message = format!("it has {} bytes, but the maximum is {LONGEST_SOURCE}", source.len());
                return Err(DataError::ChatTemplate { line: None, message });
            }
            // Jinja reads all line ends as line feeds, in texts of the template as well.
            let source = generation::rewrite(&source.replace("\r\n", "\n").replace('\r', "\n"));
            environment.add_template_owned(name.to_owned(), source).map_err(|error| failure(&error))?;
            names.push(name.to_owned());
        }
        let template = Self { environment, names, tokens };
        Ok(template.at(None))
    }

    /// The template as of `time`, for output that can be repeated; `None` is the time of each rendering.
    #[must_use]
    pub fn at(mut self, time: Option<SystemTime>) -> Self {
        let now = move || DateTime::<Local>::from(time.unwrap_or_else(SystemTime::now));
        self.environment.add_function("strftime_now", move |format: &str| filters::strftime(now(), format));
        self
    }

    /// Renders a conversation. With tools, a template named `tool_use` takes precedence over `default`.
    ///
    /// # Errors
    /// [`DataError::ChatRefused`] if the template raises an exception; [`DataError::ChatTemplate`] if it fails
    /// otherwise, asks for too much work, or has no name that fits.
    pub fn render(&self, input: &ChatInput) -> Result<RenderedChat, DataError> {
        let wanted = if input.tools.is_some() { [TOOL_USE, DEFAULT] } else { [DEFAULT; 2] };
        let name = wanted.into_iter().find(|name| self.names.iter().any(|known| known == name)).ok_or_else(|| {
            let message = format!("there is none named \"{DEFAULT}\", but {}", self.names.join(", "));
            DataError::ChatTemplate { line: None, message }
        })?;
        let template = self.environment.get_template(name).map_err(|error| failure(&error))?;
        let mark = generation::unused_mark(input);
        let mut context = self.tokens.clone();
        context.insert(generation::MARK.to_owned(), mark.to_string().into());
        if let Ok(Value::Object(given)) = serde_json::to_value(input) {
            context.extend(given);
        }
        context.insert("messages".to_owned(), input.messages.iter().map(reasoning_under_all_names).collect());
        let render = || template.render(Serde(context)).map_err(|error| failure(&error));
        let text = thread::scope(|scope| match thread::Builder::new().stack_size(STACK).spawn_scoped(scope, render) {
            Ok(rendering) => rendering.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => Err(DataError::ChatTemplate { line: None, message: error.to_string() }),
        })?;
        Ok(generation::extract(&text, mark))
    }

    /// Names of the variables that the template reads and that [`ChatInput::variables`] may give.
    pub fn variables(&self) -> BTreeSet<String> {
        const GIVEN: [&str; 3] = ["messages", "add_generation_prompt", generation::MARK];
        let templates = self.environment.templates();
        let read = templates.flat_map(|(_, template)| template.undeclared_variables(false));
        let defined: HashSet<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let given = |name: &str| GIVEN.contains(&name) || defined.contains(name) || self.tokens.contains_key(name);
        // Tokens that this tokenizer lacks are none of a person's business either.
        read.filter(|name| !given(name) && !name.ends_with("_token")).collect()
    }

    /// The special token that the template writes after what the model said, by which the model ends its answers.
    pub fn end_of_turn(&self, tokenizer: &Tokenizer) -> Option<u32> {
        const ANSWER: &str = "answer-42-answer";
        let messages =
            [json!({"role": "user", "content": "question"}), json!({"role": "assistant", "content": ANSWER})];
        let rendered = self.render(&ChatInput { messages: &messages, ..ChatInput::default() }).ok()?;
        let (_, after) = rendered.text.rsplit_once(ANSWER)?;
        let first = *tokenizer.encode_rendered(after.trim_start()).ok()?.first()?;
        tokenizer.is_special(first).then_some(first)
    }
}

/// A message whose reasoning every template finds, as `transformers` does it: published ones read `reasoning_content`,
/// some of them `thinking`.
fn reasoning_under_all_names(message: &Value) -> Value {
    let said = ["reasoning_content", "thinking", "reasoning"].iter().find_map(|name| message.get(name));
    let (Value::Object(given), Some(said)) = (message, said.filter(|said| !said.is_null())) else {
        return message.clone();
    };
    let mut message = given.clone();
    message.entry("thinking").or_insert_with(|| said.clone());
    message.insert("reasoning_content".to_owned(), said.clone());
    message.into()
}

/// The variables `bos_token`, `eos_token` and so on, as far as the tokenizer's settings name them.
fn special_tokens(tokenizer: &Tokenizer) -> Map<String, Value> {
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(Value::from);
    let token = |(key, value): (&String, &Value)| Some((key.clone(), text(value)?));
    tokenizer.config().iter().filter(|(key, _)| key.ends_with("_token")).filter_map(token).collect()
}

fn shape_error() -> DataError {
    let message = "it must be a text, or a list of objects with \"name\" and \"template\"".to_owned();
    DataError::ChatTemplate { line: None, message }
}

fn raise_exception(message: &Jinja) -> Result<String, Error> {
    let message = python::text(message);
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Refusal(message)))
}

/// The error of a template, from the innermost cause.
fn failure(error: &Error) -> DataError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut innermost = error;
    while let Some(current) = cause {
        if let Some(Refusal(message)) = current.downcast_ref() {
            return DataError::ChatRefused { message: message.clone() };
        }
        innermost = current.downcast_ref().unwrap_or(innermost);
        cause = current.source();
    }
    let message = match innermost.kind() {
        ErrorKind::OutOfFuel => "it exceeds the limits on work and memory".to_owned(),
        kind => innermost.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    };
    DataError::ChatTemplate { line: innermost.line().or(error.line()), message }
}

#[cfg(test)]
mod tests;

//! Samples as text, with the bytes that the model itself is to say.

use std::ops::Range;

use aho_corasick::AhoCorasick;
use serde::Serialize;
use serde_json::Value;

use super::calls::Arguments;
use super::{Chat, Content, LeftOutReason, RemarkKind, TrainOn};
use crate::{ChatInput, ChatTemplate, DataError, Tokenizer};

/// What a conversation becomes for a model without a chat template whose tokenizer has the tokens of ChatML.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}\
    {% if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}\
    {% else %}{{ message.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// What it becomes where there are none. No space stands before the answer's first token, as with any text.
const PLAIN: &str = "{% for message in messages %}\
    {% if message.role == 'assistant' %}Assistant:\
    {% generation %}{{ ' ' + message.content + eos_token }}{% endgeneration %}{{ '\\n' }}\
    {% elif message.role == 'system' %}{{ message.content + '\\n\\n' }}\
    {% else %}{{ message.role | capitalize + ': ' + message.content + '\\n' }}{% endif %}{% endfor %}\
    {% if add_generation_prompt %}Assistant:{% endif %}";

/// How conversations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rendering {
    /// By the model's own chat template.
    Template,
    /// The model has none, but the tokens of ChatML: `<|im_start|>user` and so on.
    ChatMl,
    /// The model has neither: `User: …`, `Assistant: …` and the end-of-text token.
    Plain,
}

impl Rendering {
    /// How conversations are written for a model without a chat template, and the template that does it: what a
    /// model that was trained on them needs as its `chat_template`.
    pub fn default_of(tokenizer: &Tokenizer) -> Result<(Self, String), DataError> {
        // Conversations begin as prompts do.
        let begins =
            tokenizer.bos_id().is_some() && tokenizer.encode_prompt("")?.first().copied() == tokenizer.bos_id();
        let begin = if begins { "{{ bos_token }}" } else { "" };
        let chatml = CHATML_TOKENS.iter().all(|token| tokenizer.id(token).is_some_and(|id| tokenizer.is_special(id)));
        let (rendering, rest) = if chatml { (Self::ChatMl, CHATML) } else { (Self::Plain, PLAIN) };
        Ok((rendering, format!("{begin}{rest}")))
    }
}

/// Writes samples for a model.
pub(super) struct Renderer<'a> {
    pub(super) tokenizer: &'a Tokenizer,
    template: Template<'a>,
    pub(super) rendering: Rendering,
    /// The token that ends an answer, as text.
    pub(super) end: Option<(u32, String)>,
    /// What ends a text that no template writes.
    pub(super) eos: u32,
    /// How the template takes the arguments of calls.
    pub(super) arguments: Arguments,
    /// Finds special tokens written out in a message.
    special: Option<AhoCorasick>,
}

/// What writes conversations.
enum Template<'a> {
    /// The model's own.
    Given(&'a ChatTemplate),
    /// For a model without.
    Default(Box<ChatTemplate>),
}

/// A sample as text.
pub(super) struct Written {
    pub(super) text: String,
    /// Bytes that are learned.
    pub(super) trained: Vec<Range<usize>>,
    /// Whether no template wrote it: the tokenizer begins it as it begins a prompt, and an end is put to it.
    pub(super) is_bare: bool,
    /// What its author should know.
    pub(super) remarks: Vec<RemarkKind>,
}

impl Written {
    /// A text that no template writes, learned from byte `start` on.
    fn bare(text: String, start: usize) -> Self {
        Self { trained: std::iter::once(start..text.len()).collect(), text, is_bare: true, remarks: Vec::new() }
    }
}

impl<'a> Renderer<'a> {
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        template: Option<&'a ChatTemplate>,
        stop_tokens: &[u32],
    ) -> Result<Self, DataError> {
        let known = |id: &u32| Some((*id, tokenizer.token(*id)?));
        let eos = *stop_tokens.iter().chain(tokenizer.eos_ids()).next().ok_or(DataError::NoEndOfText)?;
        let (template, rendering) = if let Some(template) = template {
            (Template::Given(template), Rendering::Template)
        } else {
            let (rendering, source) = Rendering::default_of(tokenizer)?;
            (Template::Default(Box::new(ChatTemplate::with_tokens_of(tokenizer, &source)?)), rendering)
        };
        let special = (0..tokenizer.vocab_size() as u32).filter(|id| tokenizer.is_special(*id));
        let special = AhoCorasick::new(special.filter_map(|id| tokenizer.token(id))).ok();
        let mut renderer =
            Self { tokenizer, template, rendering, end: None, eos, arguments: Arguments::default(), special };
        renderer.end = renderer.template().end_of_turn(tokenizer).as_ref().and_then(known);
        renderer.arguments = renderer.form_of_arguments();
        Ok(renderer)
    }

    fn template(&self) -> &ChatTemplate {
        match &self.template {
            Template::Given(template) => template,
            Template::Default(template) => template,
        }
    }

    /// A text, completion or conversation, whose first `given` messages are not trained on.
    pub(super) fn write(&self, content: &Content, train_on: TrainOn, given: usize) -> Result<Written, LeftOutReason> {
        match content {
            Content::Text(text) => Ok(Written::bare(text.clone(), 0)),
            Content::Completion { completion, .. } if completion.trim().is_empty() => Err(LeftOutReason::EmptyAnswer),
            Content::Completion { prompt, completion } if self.rendering == Rendering::Template => {
                let turns = [("user", prompt.clone()), ("assistant", completion.trim_start().to_owned())];
                self.write_chat(&Chat::of(turns), train_on, given)
            }
            Content::Completion { prompt, completion } => {
                let start = if train_on == TrainOn::Everything { 0 } else { prompt.len() };
                Ok(Written::bare(format!("{prompt}{completion}"), start))
            }
            Content::Chat(chat) => self.write_chat(chat, train_on, given),
            Content::Preference { chosen, .. } => self.write(chosen, train_on, given),
        }
    }

    fn write_chat(&self, chat: &Chat, train_on: TrainOn, given: usize) -> Result<Written, LeftOutReason> {
        let marked = |mark: bool| move |i: &usize| chat.marks.get(*i) == Some(&Some(mark));
        let mut answers: Vec<usize> = (given..chat.messages.len()).filter(|&i| is_answer(&chat.messages[i])).collect();
        if train_on == TrainOn::Last {
            answers.drain(..answers.len().saturating_sub(1));
        }
        let asked = answers.len();
        answers.retain(|i| !marked(false)(i));
        if answers.is_empty() && asked > 0 {
            return Err(LeftOutReason::Unlearned);
        }
        if answers.iter().any(|&i| is_empty_answer(&chat.messages[i])) {
            return Err(LeftOutReason::EmptyAnswer);
        }
        let chat = &self.as_the_template_takes_it(chat);
        let rendered = self.render(chat, &chat.messages, false)?;
        let mut remarks = self.unwritten(chat, &rendered.text)?;
        let all = 0..chat.messages.len();
        let questions = all.clone().filter(marked(true)).filter(|&i| !is_answer(&chat.messages[i]));
        if train_on != TrainOn::Everything {
            remarks.extend(questions.map(|i| RemarkKind::MarkedQuestion { message: i + 1 }));
        }
        remarks.extend(self.control_token(chat));
        let trained = if train_on == TrainOn::Everything {
            let hidden: Vec<usize> = all.filter(marked(false)).collect();
            except(rendered.text.len(), self.spans(chat, &rendered, &hidden)?)
        } else {
            self.spans(chat, &rendered, &answers)?
        };
        Ok(Written { text: rendered.text, trained, is_bare: false, remarks })
    }

    /// The first special token that is written out in a message.
    fn control_token(&self, chat: &Chat) -> Option<RemarkKind> {
        let special = self.special.as_ref()?;
        chat.messages.iter().enumerate().find_map(|(i, message)| {
            let content = message["content"].as_str()?;
            let token = content[special.find(content)?.range()].to_owned();
            Some(RemarkKind::ControlToken { message: i + 1, token })
        })
    }

    pub(super) fn render(
        &self,
        chat: &Chat,
        messages: &[Value],
        add_generation_prompt: bool,
    ) -> Result<crate::RenderedChat, LeftOutReason> {
        let input = ChatInput { messages, tools: chat.tools.as_deref(), add_generation_prompt, ..ChatInput::default() };
        self.template().render(&input).map_err(|error| LeftOutReason::Refused {
            message: match error {
                DataError::ChatRefused { message } => message,
                other => other.to_string().lines().next().unwrap_or_default().to_owned(),
            },
        })
    }
}

/// Whether the model says this message.
pub(super) fn is_answer(message: &Value) -> bool {
    message["role"] == "assistant"
}

/// All bytes up to `length` but for these, which are in order.
fn except(length: usize, hidden: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut left: Vec<_> = hidden.into_iter().map(|span| std::mem::replace(&mut start, span.end)..span.start).collect();
    left.push(start..length);
    left
}

fn is_empty_answer(message: &Value) -> bool {
    let empty = match &message["content"] {
        Value::String(text) => text.trim().is_empty(),
        Value::Array(parts) => parts.is_empty(),
        _ => true,
    };
    is_answer(message) && empty && message["tool_calls"].as_array().is_none_or(Vec::is_empty)
}

//! Where the answers of a conversation stand in what the chat template wrote.
//!
//! Templates that mark them with `{% generation %}` say so. Of others it is found out as a person would: by rendering
//! the conversation up to an answer, which must give the beginning of the whole text, and where it does not (a template
//! that drops the reasoning of earlier answers, or closes each text with a token of its own), by rendering it with
//! another word in place of the answer.

use std::ops::Range;

use serde_json::Value;

use super::calls::has_calls;
use super::render::{Renderer, is_answer};
use super::{Chat, LeftOutReason};
use crate::RenderedChat;

impl Renderer<'_> {
    /// The bytes of these messages, of answers with the token that ends them.
    pub(super) fn spans(
        &self,
        chat: &Chat,
        rendered: &RenderedChat,
        answers: &[usize],
    ) -> Result<Vec<Range<usize>>, LeftOutReason> {
        let all: Vec<usize> = (0..chat.messages.len()).filter(|&i| is_answer(&chat.messages[i])).collect();
        if rendered.generated.len() == all.len() && answers.iter().all(|message| all.contains(message)) {
            let marked = all.iter().zip(&rendered.generated).filter(|(message, _)| answers.contains(message));
            return Ok(marked.map(|(_, span)| self.with_end(&rendered.text, span.clone())).collect());
        }
        let span = |&message: &usize| {
            let span = if is_answer(&chat.messages[message]) {
                self.span(chat, &rendered.text, message)
            } else {
                self.content_span(chat, &rendered.text, message)
            };
            span.ok_or(LeftOutReason::NotFound { message: message + 1 })
        };
        answers.iter().map(span).collect()
    }

    fn span(&self, chat: &Chat, whole: &str, message: usize) -> Option<Range<usize>> {
        let messages = &chat.messages;
        let prefix = |count: usize, asks: bool| {
            let text = self.render(chat, &messages[..count], asks).ok()?.text;
            whole.starts_with(&text).then_some(text.len())
        };
        // Templates look at the first message, so there must be one.
        let begin = if message > 0 { prefix(message, true) } else { None };
        let end = if message + 1 == messages.len() { Some(whole.len()) } else { prefix(message + 1, false) };
        if let (Some(begin), Some(end)) = (begin, end.filter(|end| begin.is_some_and(|begin| begin < *end))) {
            let Some((_, token)) = &self.end else { return Some(begin..end) };
            if let Some(place) = whole[begin..end].rfind(token.as_str()) {
                return Some(begin..begin + place + token.len());
            }
        }
        if !has_calls(&messages[message]) {
            let content = self.content_span(chat, whole, message)?;
            return Some(self.with_end(whole, begin.unwrap_or(content.start)..content.end));
        }
        // Calls are written as the template likes.
        let earlier = || prefix(message, false).unwrap_or(usize::MAX);
        let begin =
            begin.or_else(|| self.shared_with(chat, whole, message, true).filter(|begin| *begin >= earlier()))?;
        let token = self.end.as_ref().map(|(_, token)| token.as_str());
        let closed = |end: usize| {
            let place = whole.get(begin..end)?.find(token?)?;
            Some(begin + place + token?.len())
        };
        // Some close them in another way once there is a result, which must not be learned.
        let next = end.or_else(|| Some(self.content_span(chat, whole, message + 1)?.start));
        let end = next.and_then(closed).or(end).or_else(|| self.shared_with(chat, whole, message + 1, false));
        let calls = whole.get(begin..end?)?.trim_end();
        (!calls.is_empty()).then(|| begin..begin + calls.len())
    }

    /// The bytes of the tokens with which both the first `count` messages and the whole begin. An answer that is asked for
    /// may begin otherwise than calls, with `<think>` for example.
    fn shared_with(&self, chat: &Chat, whole: &str, count: usize, asks: bool) -> Option<usize> {
        let part = self.render(chat, &chat.messages[..count], asks).ok()?.text;
        let tokens = |text| self.tokenizer.encode_with_places(text, false).ok();
        let (part, there) = (tokens(&part)?, tokens(whole)?);
        let both = part.iter().zip(&there).take_while(|(one, other)| one == other);
        both.last().map(|(_, (_, place))| place.end)
    }

    /// The bytes of what a message says, by what stands around another word in its place.
    fn content_span(&self, chat: &Chat, whole: &str, message: usize) -> Option<Range<usize>> {
        let mut words = (0..1000).map(|i| format!("answer-{i}-answer"));
        let word = words.find(|word| !whole.contains(word.as_str()))?;
        let mut messages = chat.messages.clone();
        messages[message]["content"] = Value::from(word.as_str());
        let other = self.render(chat, &messages, false).ok()?.text;
        let (before, after) = other.split_once(&word).filter(|(_, after)| !after.contains(&word))?;
        let fits = whole.starts_with(before) && whole.ends_with(after) && before.len() + after.len() < whole.len();
        fits.then(|| before.len()..whole.len() - after.len())
    }

    /// The span with the token that ends it, if only white space is between them.
    fn with_end(&self, whole: &str, span: Range<usize>) -> Range<usize> {
        let Some((_, token)) = &self.end else { return span };
        if whole[span.clone()].ends_with(token.as_str()) {
            return span;
        }
        let after = &whole[span.end..];
        let next = after.trim_start();
        if next.starts_with(token.as_str()) {
            span.start..span.end + (after.len() - next.len()) + token.len()
        } else {
            span
        }
    }
}

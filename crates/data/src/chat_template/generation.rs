//! `{% generation %}` … `{% endgeneration %}`: which part of the text the model said.
//!
//! The tags become a call block, as `transformers` has them, whose function puts a character around its text that
//! occurs nowhere else. Afterwards these characters are taken out and their places kept.

use std::fmt::Write;

use minijinja::value::Kwargs;
use minijinja::{Error, State, Value};

use super::{ChatInput, RenderedChat};

/// The function behind the tags.
pub(super) const FUNCTION: &str = "__generation";
/// The variable that holds the mark.
pub(super) const MARK: &str = "__generation_mark";

/// The template with the tags as call blocks. Whitespace control stays as it is.
pub(super) fn rewrite(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            out.push_str(tag);
            return out;
        };
        let inner = &tag[2..end];
        let open = if inner.starts_with(['-', '+']) { &inner[..1] } else { "" };
        let close = if inner.len() > 1 && inner.ends_with(['-', '+']) { &inner[inner.len() - 1..] } else { "" };
        let replacement = match inner[open.len()..inner.len() - close.len()].trim() {
            "generation" => Some(format!("call {FUNCTION}()")),
            "endgeneration" => Some("endcall".to_owned()),
            _ => None,
        };
        let (tag, after) = tag.split_at(end + 2);
        match replacement {
            // Writing to a String cannot fail.
            Some(statement) => _ = write!(out, "{{%{open} {statement} {close}%}}"),
            None => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The text of the block between two marks.
#[allow(clippy::needless_pass_by_value)] // the shape that Jinja calls
pub(super) fn mark(state: &mut State, kwargs: Kwargs) -> Result<String, Error> {
    let caller: Value = kwargs.get("caller")?;
    let text = caller.call(state, &[])?;
    let mark = state.lookup(MARK).unwrap_or_default();
    Ok(format!("{mark}{text}{mark}"))
}

/// A character that means nothing to anybody and that `input` lacks.
pub(super) fn unused_mark(input: &ChatInput) -> char {
    let text = serde_json::to_string(input).unwrap_or_default();
    ('\u{FDD0}'..='\u{FDEF}').find(|mark| !text.contains(*mark)).unwrap_or('\u{FFFF}')
}

/// Takes the marks out. Blocks in blocks count as one.
pub(super) fn extract(marked: &str, mark: char) -> RenderedChat {
    let mut rendered = RenderedChat { text: String::with_capacity(marked.len()), generated: Vec::new() };
    let mut begin = None;
    for (place, piece) in marked.split(mark).enumerate() {
        if place > 0 {
            match begin.take() {
                None => begin = Some(rendered.text.len()),
                Some(start) => rendered.generated.push(start..rendered.text.len()),
            }
        }
        rendered.text.push_str(piece);
    }
    rendered
}

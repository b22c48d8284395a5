//! What `transformers` adds to Jinja.

use std::fmt::Write;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Local};
use minijinja::value::{Kwargs, Rest};
use minijinja::{Error, ErrorKind, Value};

use super::python::{self, JsonStyle};

/// `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)` as Python's `json.dumps` does it, HTML
/// left as it is.
#[allow(clippy::needless_pass_by_value)] // the shape that Jinja calls
pub(super) fn to_json(value: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let arg = |place: usize, name: &str| -> Result<Option<Value>, Error> {
        let given = args.get(place).cloned().or(kwargs.get::<Option<Value>>(name)?);
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let indent = match arg(1, "indent")? {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(indent.as_usize().filter(|n| *n <= 64).ok_or_else(|| bad("indent must be 0 to 64"))?),
        }),
    };
    let separators = arg(2, "separators")?.map(|pair| {
        let text = |place| pair.get_item_by_index(place).ok().and_then(|part| part.as_str().map(str::to_owned));
        text(0).zip(text(1)).ok_or_else(|| bad("separators must be two texts"))
    });
    let (between, colon) = separators.transpose()?.unwrap_or_else(|| {
        let between = if indent.is_some() { "," } else { ", " };
        (between.to_owned(), ": ".to_owned())
    });
    let ascii = arg(0, "ensure_ascii")?.is_some_and(|value| value.is_true());
    let sort_keys = arg(3, "sort_keys")?.is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;
    python::json(value, &JsonStyle { indent, between, colon, ascii, sort_keys })
}

/// `escape` as markupsafe does it; what is escaped already stays.
pub(super) fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let mut text = String::new();
    for c in python::text(value).chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&#34;"),
            '\'' => text.push_str("&#39;"),
            c => text.push(c),
        }
    }
    Value::from_safe_string(text)
}

/// `attr`: the attribute of an object, which the keys of a dictionary are not.
pub(super) fn attr(value: &Value, key: &Value) -> Result<Value, Error> {
    let is_dictionary = value.as_object().is_none_or(|object| {
        let name = object.type_name();
        !name.ends_with("::Namespace") && !name.ends_with("::Loop")
    });
    if is_dictionary { Ok(Value::UNDEFINED) } else { value.get_item(key) }
}

/// What Jinja has and no conversation needs.
pub(super) fn lipsum() -> Result<Value, Error> {
    Err(bad("lipsum is not supported: its text is random"))
}

/// `datetime.now().strftime(format)`.
pub(super) fn strftime(now: DateTime<Local>, format: &str) -> Result<String, Error> {
    let items: Vec<Item> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) {
        return Err(bad("strftime_now does not know this format"));
    }
    let mut text = String::new();
    write!(text, "{}", now.format_with_items(items.into_iter())).map_err(Error::from)?;
    Ok(text)
}

fn bad(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

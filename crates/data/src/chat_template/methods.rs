//! Python's methods of texts and lists that neither minijinja nor its `pycompat` knows.

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Calls a method of a value that minijinja does not know.
pub(super) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let found = match (value.kind(), value.as_str()) {
        (_, Some(text)) => of_text(state, text, method, args)?,
        (ValueKind::Seq, _) if method == "index" => {
            let (wanted,): (Value,) = from_args(args)?;
            let place = value.try_iter()?.position(|item| item == wanted);
            Some(Value::from(place.ok_or_else(|| error("the list does not hold this"))?))
        }
        (ValueKind::Seq | ValueKind::Map, _) if method == "copy" => {
            let () = from_args(args)?;
            Some(value.clone())
        }
        _ => None,
    };
    found.map_or_else(|| unknown_method_callback(state, value, method, args), Ok)
}

fn of_text(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(error("empty separator"));
            }
            let (parts, whole) = if method == "partition" {
                (text.split_once(separator), [text, "", ""])
            } else {
                (text.rsplit_once(separator), ["", "", text])
            };
            let [before, between, after] = parts.map_or(whole, |(before, after)| [before, separator, after]);
            Value::from(Tuple::from([before, between, after].map(Value::from)))
        }
        "rsplit" => {
            let (separator, most, kwargs): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
            let most = most.or(kwargs.get::<Option<i64>>("maxsplit")?).and_then(|most| usize::try_from(most).ok());
            let separator = separator.or(kwargs.get::<Option<Value>>("sep")?).filter(|sep| !sep.is_none());
            kwargs.assert_all_used()?;
            let parts = match &separator {
                None => rsplit_space(text, most.unwrap_or(usize::MAX)),
                Some(separator) => match separator.as_str() {
                    None | Some("") => return Err(error("the separator must be a text that is not empty")),
                    Some(separator) => {
                        text.rsplitn(most.map_or(usize::MAX, |n| n.saturating_add(1)), separator).collect()
                    }
                },
            };
            parts.into_iter().rev().map(Value::from).collect()
        }
        "index" | "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let place = if method == "index" { text.find(wanted) } else { text.rfind(wanted) };
            let place = place.ok_or_else(|| error("substring not found"))?;
            text[..place].chars().count().into()
        }
        "zfill" | "ljust" | "rjust" | "center" => padded(state, text, method, args)?.into(),
        "casefold" => {
            let () = from_args(args)?;
            text.to_lowercase().replace('ß', "ss").into()
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swap = |c: char| -> String {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            text.chars().map(swap).collect::<String>().into()
        }
        _ => return Ok(None),
    }))
}

/// A text of a width at least, filled as the method does.
fn padded(state: &State, text: &str, method: &str, args: &[Value]) -> Result<String, Error> {
    let (width, fill): (i64, Option<char>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    // As the engine counts: 64 bytes each.
    state.consume_fuel(missing as u64 / 16)?;
    let fill = |count: usize| String::from(if method == "zfill" { '0' } else { fill.unwrap_or(' ') }).repeat(count);
    Ok(match method {
        "ljust" => format!("{text}{}", fill(missing)),
        "rjust" => format!("{}{text}", fill(missing)),
        "center" => {
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", fill(left), fill(missing - left))
        }
        _ => {
            let sign = text.len() - text.strip_prefix(['+', '-']).unwrap_or(text).len();
            format!("{}{}{}", &text[..sign], fill(missing), &text[sign..])
        }
    })
}

/// Words from the end, `most` splits at most; what is left before them comes last.
fn rsplit_space(text: &str, most: usize) -> Vec<&str> {
    let mut rest = text.trim_end();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let Some(place) = rest.rfind(char::is_whitespace).filter(|_| parts.len() < most) else {
            parts.push(rest);
            break;
        };
        parts.push(rest[place..].trim_start());
        rest = rest[..place].trim_end();
    }
    parts
}

fn error(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

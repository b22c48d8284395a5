//! `--set section.key=value`.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::RunConfigError;
use super::error::nearest;

/// What `text` means as a TOML value; a string where it means nothing.
pub(super) fn parse_value(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1) // and not a line break with more keys
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_string()))
}

/// Puts `value` under the dotted `key`, whose first part must be a section.
pub(super) fn insert(
    table: &mut Table,
    key: &str,
    value: Value,
    sections: &[&str],
    origin: &str,
) -> Result<(), RunConfigError> {
    let known: Vec<String> = sections.iter().map(ToString::to_string).collect();
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let unknown = |near| Err(RunConfigError::unknown(origin, key, near, &known));
    match parts.first() {
        Some(section) if sections.contains(section) => {}
        Some(section) => {
            let near = nearest(section, &known).map(|near| key.replacen(section, &near, 1));
            return unknown(near);
        }
        None => {
            // A bare key: found in exactly the sections that have it.
            let near = sections.iter().find(|s| matches!(table.get(**s), Some(Value::Table(t)) if t.contains_key(key)));
            return unknown(near.map(|section| format!("{section}.{key}")));
        }
    }
    let mut inner = table;
    for part in parts {
        let entry = inner.entry(part).or_insert_with(|| Value::Table(Table::new()));
        match entry {
            Value::Table(table) => inner = table,
            other => {
                let message = format!("cannot be set: {part} is {other}, not a table");
                return Err(RunConfigError::Value { origin: origin.into(), key: key.into(), message });
            }
        }
    }
    // TOML tells 1 from 1.0, people do not.
    let value = match (&value, inner.get(last)) {
        (Value::Integer(whole), Some(Value::Float(_))) => Value::Float(*whole as f64),
        _ => value,
    };
    inner.insert(last.to_string(), value);
    Ok(())
}

/// All values by dotted key.
pub(super) fn flatten(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                flat.extend(flatten(inner).into_iter().map(|(k, v)| (format!("{key}.{k}"), v)));
            }
            value => {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    flat
}

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::RunConfigError;
use super::error::{nearest, unknown_field};
use super::overrides;

/// A configuration in TOML, of sections that are read by name. An unknown section or key is an error.
pub trait ConfigFile: Default + Serialize {
    /// The names of the sections.
    const SECTIONS: &'static [&'static str];

    /// Keys that may change when a run is resumed: they do not touch what the steps up to there have computed.
    const RESUMABLE: &'static [&'static str];

    /// Takes in the section `name`; `false` if there is none of that name.
    ///
    /// # Errors
    /// [`RunConfigError`] names `origin` and the key.
    fn set_section(&mut self, name: &str, value: Value, origin: &str) -> Result<bool, RunConfigError>;

    /// Rejects values that cannot be trained with.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    fn validate(&self) -> Result<(), RunConfigError>;

    /// Reads a file.
    ///
    /// # Errors
    /// [`RunConfigError`] names the file and the key.
    fn load(path: &Path) -> Result<Self, RunConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RunConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The configuration that `text` writes; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn parse(text: &str, origin: &str) -> Result<Self, RunConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| RunConfigError::Syntax {
            origin: origin.to_string(),
            message: error.to_string().trim_end().to_string(),
        })?;
        from_table(table, origin)
    }

    /// This configuration as TOML.
    ///
    /// # Errors
    /// A value that TOML cannot hold, such as a seed beyond 63 bits.
    fn to_toml(&self) -> Result<String, RunConfigError> {
        toml::to_string(self).map_err(|error| RunConfigError::Unwritable { message: error.to_string() })
    }

    /// Sets `section.key` to what `value` means in TOML; a word that means nothing there is a string.
    ///
    /// # Errors
    /// [`RunConfigError`] names the key and the nearest one there is.
    fn set(&mut self, key: &str, value: &str) -> Result<(), RunConfigError> {
        let mut table = to_table(self)?;
        // Two ways to say one thing: the later one counts.
        let other = match key {
            "train.max_steps" => "epochs",
            "train.epochs" => "max_steps",
            _ => "",
        };
        if let Some(Value::Table(train)) = table.get_mut("train") {
            train.remove(other);
        }
        let origin = format!("{key}={value}");
        overrides::insert(&mut table, key, overrides::parse_value(value), Self::SECTIONS, &origin)?;
        *self = from_table(table, &origin)?;
        Ok(())
    }

    /// The keys in which `self`, to resume with, differs from `saved`, and which must not change.
    ///
    /// # Errors
    /// [`RunConfigError::ChangedOnResume`] names the first key and both values.
    fn check_resume(&self, saved: &Self) -> Result<(), RunConfigError> {
        let [ours, theirs] = [to_table(self)?, to_table(saved)?].map(|table| overrides::flatten(&table));
        let keys: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        for key in keys.into_iter().filter(|key| !Self::RESUMABLE.contains(&key.as_str())) {
            if ours.get(key) != theirs.get(key) {
                let show = |value: Option<&Value>| value.map_or("not set".to_string(), ToString::to_string);
                return Err(RunConfigError::ChangedOnResume {
                    key: key.clone(),
                    saved: show(theirs.get(key)),
                    now: show(ours.get(key)),
                    allowed: Self::RESUMABLE.join(", "),
                });
            }
        }
        Ok(())
    }
}

fn to_table(config: &impl Serialize) -> Result<Table, RunConfigError> {
    Table::try_from(config).map_err(|error| RunConfigError::Unwritable { message: error.to_string() })
}

fn from_table<C: ConfigFile>(table: Table, origin: &str) -> Result<C, RunConfigError> {
    let mut config = C::default();
    for (name, value) in table {
        if !config.set_section(&name, value, origin)? {
            let known: Vec<String> = C::SECTIONS.iter().map(ToString::to_string).collect();
            return Err(RunConfigError::unknown(origin, &name, nearest(&name, &known), &known));
        }
    }
    Ok(config)
}

/// As [`section`], with `defaults` for the keys that are not there. Steps given one way void those given the other.
pub(super) fn section_over<T: Serialize + DeserializeOwned>(
    defaults: &T,
    name: &str,
    value: Value,
    origin: &str,
) -> Result<T, RunConfigError> {
    let Value::Table(given) = value else { return section(name, value, origin) };
    let mut table = to_table(defaults)?;
    if given.contains_key("max_steps") {
        table.remove("epochs");
    }
    table.extend(given);
    section(name, Value::Table(table), origin)
}

/// One section; where it does not fit, its keys are tried one by one to find the one to blame.
pub(super) fn section<T: DeserializeOwned>(name: &str, value: Value, origin: &str) -> Result<T, RunConfigError> {
    let Value::Table(table) = value else {
        let message = format!("is {value}, but must be a section: [{name}]");
        return Err(RunConfigError::Value { origin: origin.into(), key: name.into(), message });
    };
    let error = match Value::Table(table.clone()).try_into() {
        Ok(section) => return Ok(section),
        Err(error) => error,
    };
    let fails = |key: &String| Value::Table(Table::from_iter([(key.clone(), table[key].clone())])).try_into::<T>();
    let (key, error) = table
        .keys()
        .find_map(|key| fails(key).err().map(|error| (format!("{name}.{key}"), error)))
        .unwrap_or((name.to_string(), error));
    let message = error.to_string().trim_end().to_string();
    Err(match unknown_field(&message) {
        Some((field, known)) => {
            // A table within the section, such as model.dropout, has fields of its own.
            let parent = if key.ends_with(&format!(".{field}")) { name } else { &key };
            let closest = nearest(&field, &known).map(|near| format!("{parent}.{near}"));
            RunConfigError::unknown(origin, &format!("{parent}.{field}"), closest, &known)
        }
        None => RunConfigError::Value { origin: origin.into(), key, message: format!("cannot be read: {message}") },
    })
}

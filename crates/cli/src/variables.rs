//! Variables that a person gives to a chat template, such as `enable_thinking`.

use clap::Args;
use llm_data::ChatTemplate;
use serde_json::{Map, Value};

use crate::printer::Printer;

/// Values by name.
pub type Variables = Map<String, Value>;

/// `--chat-template-kwargs`.
#[derive(Debug, Clone, Default, Args)]
pub struct VariableArgs {
    /// Variables for the chat template, as a JSON object: '{"enable_thinking": false}'.
    #[arg(long, value_name = "JSON", value_parser = parse)]
    chat_template_kwargs: Option<Variables>,
}

impl VariableArgs {
    /// What was given, with a warning for what `template` does not read.
    pub fn given(&self, template: &ChatTemplate, printer: Printer) -> Variables {
        let given = self.chat_template_kwargs.clone().unwrap_or_default();
        let known = template.variables();
        for name in given.keys().filter(|name| !known.contains(*name)) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            printer.warn(format_args!(
                "the chat template does not read {name:?}; it has no effect\nhint: the template reads {}",
                if known.is_empty() { "no variables".to_owned() } else { known.join(", ") }
            ));
        }
        given
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.chat_template_kwargs.is_none()
    }
}

/// Reads a JSON object of variables.
fn parse(text: &str) -> Result<Variables, String> {
    let variables: Variables =
        serde_json::from_str(text).map_err(|error| format!("it must be a JSON object: {error}"))?;
    let given = ["messages", "add_generation_prompt"].into_iter().find(|name| variables.contains_key(*name));
    given.map_or(Ok(variables), |name| Err(format!("\"{name}\" is set by the program")))
}

/// A value as it is typed at the prompt: JSON, one of Python's words, or else a text.
pub fn value(typed: &str) -> Value {
    match typed.to_ascii_lowercase().as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "none" => Value::Null,
        _ => serde_json::from_str(typed).unwrap_or_else(|_| typed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_as_they_are_meant() {
        for (typed, meant) in [
            ("false", json!(false)),
            ("True", json!(true)),
            ("None", json!(null)),
            ("3", json!(3)),
            ("low", json!("low")),
            ("\"3\"", json!("3")),
            ("[1, 2]", json!([1, 2])),
        ] {
            assert_eq!(value(typed), meant, "{typed}");
        }
        assert_eq!(parse(r#"{"a": 1}"#).unwrap().len(), 1);
        for wrong in ["", "[1]", "{\"a\"", "enable_thinking=false", r#"{"messages": []}"#] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

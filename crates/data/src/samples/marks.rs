//! Whether a message or a sample says of itself that it is learned.

use serde_json::{Map, Value};

use super::format::Problem;

/// Keys of messages that say so: `weight` of mistral-finetune, OpenAI and Fireworks, `train` of open-instruct, `train`,
/// `training` and `trainable` of axolotl's configurations, `loss` of ms-swift.
const OF_MESSAGES: [&str; 5] = ["weight", "train", "training", "trainable", "loss"];
/// Keys of samples that say so.
const OF_SAMPLES: [&str; 2] = ["weight", "train"];
/// Keys that name parts of a message by their characters.
const OF_PARTS: [&str; 2] = ["train_detail", "training_detail"];

/// Takes what a message says of itself out of it; `None` if it says nothing.
pub(super) fn of_message(message: &mut Map<String, Value>, name: &str) -> Result<Option<bool>, Problem> {
    if let Some(key) = OF_PARTS.into_iter().find(|key| message.get(*key).is_some_and(|value| !value.is_null())) {
        let expected = format!("no \"{key}\" in {name}: an answer is learned as a whole or not at all");
        return Err(Problem::new(expected, message.get(key)));
    }
    let mark = mark(message, &OF_MESSAGES, name)?;
    for key in OF_MESSAGES {
        message.shift_remove(key);
    }
    Ok(mark)
}

/// What a sample says of itself as a whole.
pub(super) fn of_sample(sample: &Map<String, Value>) -> Result<Option<bool>, Problem> {
    mark(sample, &OF_SAMPLES, "the sample")
}

fn mark(object: &Map<String, Value>, keys: &[&str], name: &str) -> Result<Option<bool>, Problem> {
    let mut found = None;
    for key in keys {
        let value = object.get(*key);
        let learned = match value {
            None | Some(Value::Null) => continue,
            Some(Value::Bool(learned)) => *learned,
            Some(number) if number.as_f64() == Some(0.0) => false,
            Some(number) if number.as_f64() == Some(1.0) => true,
            Some(_) => {
                let expected =
                    format!("\"{key}\" of {name} to be 0 or 1 (or false or true); other weights are not supported");
                return Err(Problem::new(expected, value));
            }
        };
        if found.replace(learned).is_some_and(|before| before != learned) {
            return Err(Problem::new(format!("\"{key}\" of {name} to agree with the other marks beside it"), value));
        }
    }
    Ok(found)
}

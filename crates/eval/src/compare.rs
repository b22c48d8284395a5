//! Two models side by side: what they are made of, how well they predict, what they say.

use burn::tensor::Device;
use llm_checkpoint::{AdapterDescription, ModelFiles};
use llm_generate::Generator;
use llm_model::{CausalLm, ParamInfo, params};
use serde_json::{Map, Value, json};

use crate::measure::Score;
use crate::{EvalData, EvalError, Event, likeliest};

/// What both models are asked.
#[derive(Debug)]
pub struct Comparison<'a> {
    /// Data to measure both on.
    pub data: Option<EvalData>,
    /// Texts that both continue by the likeliest token each time.
    pub prompts: Vec<&'a str>,
    /// Maximum number of tokens per continuation.
    pub max_tokens: usize,
}

/// What is known of one of the two.
#[derive(Debug)]
pub struct Side {
    /// How many numbers its weights are, those of its adapters included.
    pub parameters: u64,
    /// Its settings and those of its adapters, by their names.
    pub config: Map<String, Value>,
    /// How well it predicts the data, if there are any.
    pub score: Option<Score>,
    /// What it continues each prompt with.
    pub texts: Vec<String>,
}

impl Comparison<'_> {
    /// Looks at `model`, which is that of `files` with `adapters`, each with its weight, on `device`. `tell` is told what
    /// happens while it is measured.
    ///
    /// # Errors
    /// Those of [`EvalData::read`], and of generation.
    pub fn look(
        &self,
        files: &ModelFiles,
        adapters: Vec<(AdapterDescription, f64)>,
        model: &CausalLm,
        device: &Device,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Side, EvalError> {
        let score = match &self.data {
            None => None,
            Some(data) => Some(data.read(files, tell)?.score(model, device, tell)),
        };
        let parameters = params(model).iter().map(ParamInfo::len).sum::<usize>() as u64;
        Ok(Side { parameters, config: settings(files, adapters), score, texts: self.texts(files, model, device)? })
    }

    /// What the model continues each prompt with.
    fn texts(&self, files: &ModelFiles, model: &CausalLm, device: &Device) -> Result<Vec<String>, EvalError> {
        let template = files.chat_template().ok().flatten();
        let stops = files.stop_tokens(template.as_ref());
        let mut generator = Generator::new(model, &files.tokenizer, device);
        let text = |prompt: &&str| {
            let ids = files.tokenizer.encode_prompt(prompt)?;
            likeliest(&mut generator, &ids, &stops, self.max_tokens)
        };
        self.prompts.iter().map(text).collect()
    }
}

/// The settings of a model, and those of its adapters.
fn settings(files: &ModelFiles, adapters: Vec<(AdapterDescription, f64)>) -> Map<String, Value> {
    let object = |value| if let Ok(Value::Object(keys)) = value { keys } else { Map::new() };
    let mut config = object(serde_json::to_value(&files.config));
    for (i, (adapter, weight)) in adapters.into_iter().enumerate() {
        let prefix = if i == 0 { "adapter".to_owned() } else { format!("adapter {}", i + 1) };
        let keys = object(serde_json::to_value(adapter)).into_iter().chain([("weight".to_owned(), json!(weight))]);
        config.extend(keys.map(|(key, value)| (format!("{prefix}.{key}"), value)));
    }
    config
}

/// The keys that differ, with both values.
pub fn differences<'a>(
    a: &'a Map<String, Value>,
    b: &'a Map<String, Value>,
) -> impl Iterator<Item = (String, [&'a Value; 2])> {
    let pair = move |key: &'a String| (key.clone(), [a, b].map(|config| config.get(key).unwrap_or(&Value::Null)));
    let only_b = b.keys().filter(move |key| !a.contains_key(*key));
    a.keys().chain(only_b).map(pair).filter(|(_, [a, b])| a != b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_either_side_differ() {
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        let [a, b] = [json!({"x": 1, "y": 2, "z": 3}), json!({"x": 1, "y": 4, "w": 5})].map(object);
        let found: Vec<_> = differences(&a, &b).map(|(key, [a, b])| (key, a.clone(), b.clone())).collect();
        let expected = [("y", json!(2), json!(4)), ("z", json!(3), Value::Null), ("w", Value::Null, json!(5))];
        assert_eq!(found, expected.map(|(key, a, b)| (key.to_owned(), a, b)));
    }
}

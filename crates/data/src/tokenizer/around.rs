//! The tokens that a tokenizer puts around a text: by `add_bos_token` and `add_eos_token`, or by `tokenizer.json`.
//!
//! `transformers` (4.57) takes the two flags for Llama's, Gemma's and Cohere's tokenizers, whatever `tokenizer.json` says;
//! for all others it goes by the post-processor of `tokenizer.json` alone. Version 5 goes by the post-processor wherever
//! there is a `tokenizer.json`, and writes none of the flags; what it has saved means the same by either rule.

use serde_json::{Map, Value, json};
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::tokenize;
use crate::DataError;

/// Kinds of tokenizers that heed the flags, with the token that begins their texts where none is named.
const HEEDING: [(&str, &str); 4] =
    [("Llama", "<s>"), ("CodeLlama", "<s>"), ("Gemma", "<bos>"), ("Cohere", "<BOS_TOKEN>")];
/// Models whose tokenizers are of such a kind where no file says so: `model_type` begins like this.
const MODELS: [(&str, &str); 6] = [
    ("llama", "Llama"),
    ("mistral", "Llama"),
    ("mixtral", "Llama"),
    ("phi3", "Llama"),
    ("gemma", "Gemma"),
    ("cohere", "Cohere"),
];

/// What the settings say.
#[derive(Debug, Clone)]
pub(super) struct Around {
    /// Nothing, if the class is not known either.
    default_bos: Option<&'static str>,
    bos: Option<bool>,
    eos: Option<bool>,
}

impl Around {
    /// Reads `tokenizer_config.json` and the model's files; `None` where the flags mean nothing.
    pub(super) fn read(config: &Map<String, Value>, models: &[&Map<String, Value>]) -> Option<Self> {
        let default_bos = match class(config, models) {
            Some(class) => Some(HEEDING.iter().find(|(name, _)| *name == class)?.1),
            None => None,
        };
        // Python takes `null` for false.
        let flag = |key: &str| config.get(key).map(|value| value.as_bool().unwrap_or(false));
        Some(Self { default_bos, bos: flag("add_bos_token"), eos: flag("add_eos_token") })
    }

    /// The token that begins a text where none is named.
    pub(super) fn default_bos(&self) -> Option<&'static str> {
        self.default_bos
    }

    /// Makes `tokenizer` put the tokens `bos` and `eos` around a text, as far as asked for.
    pub(super) fn put(&self, tokenizer: &mut Tokenizer, [bos, eos]: [Option<u32>; 2]) -> Result<(), DataError> {
        let now = of(tokenizer)?;
        let processor = serde_json::to_value(tokenizer.get_post_processor()).map_err(|e| tokenize(e.into()))?;
        // Llama's tokenizers begin a text unless something says that they do not.
        let by_class = self.default_bos.is_some() && !has_template(&processor);
        if self.bos.is_none() && self.eos.is_none() && !by_class {
            return Ok(());
        }
        let begins = bos.is_some() && now.first().copied() == bos;
        let ends = now.len() > usize::from(begins) && now.last().copied() == eos;
        let begin = self.bos.unwrap_or(begins || by_class);
        let end = self.eos.unwrap_or(ends);
        let [bos, eos] = [bos.filter(|_| begin), eos.filter(|_| end)];
        let wanted: Vec<u32> = [bos, eos].into_iter().flatten().collect();
        if now == wanted {
            return Ok(());
        }
        let around = [bos, eos].map(|id| id.and_then(|id| Some((tokenizer.id_to_token(id)?, u64::from(id)))));
        let mut steps: Vec<Value> =
            steps(&processor).iter().filter(|step| step["type"] == "ByteLevel").cloned().collect();
        steps.extend(tokens_around(&around));
        let processor = match steps.len() {
            0 => Value::Null,
            1 => steps.remove(0),
            _ => json!({ "type": "Sequence", "processors": steps }),
        };
        let processor: Option<PostProcessorWrapper> =
            serde_json::from_value(processor).map_err(|e| tokenize(e.into()))?;
        tokenizer.with_post_processor(processor);
        Ok(())
    }
}

/// The tokens that `tokenizer` puts around a text.
pub(super) fn of(tokenizer: &Tokenizer) -> Result<Vec<u32>, DataError> {
    Ok(tokenizer.encode_fast("", true).map_err(tokenize)?.get_ids().to_vec())
}

/// `Llama` for a `LlamaTokenizerFast`; nothing if neither the files nor the kind of the model say it.
pub(super) fn class<'a>(config: &'a Map<String, Value>, models: &[&'a Map<String, Value>]) -> Option<&'a str> {
    let named = |map: &'a Map<String, Value>| map.get("tokenizer_class").and_then(Value::as_str);
    if let Some(name) = named(config).or_else(|| models.iter().find_map(|model| named(model))) {
        return Some(name.trim_end_matches("Fast").trim_end_matches("Tokenizer"));
    }
    let kind = models.iter().find_map(|model| model.get("model_type")?.as_str())?;
    let known = MODELS.iter().find(|(name, _)| kind.starts_with(name));
    Some(known.map_or(kind, |(_, class)| class))
}

/// The steps of a post-processor.
fn steps(processor: &Value) -> &[Value] {
    match &processor["processors"] {
        Value::Array(steps) => steps,
        _ if processor.is_null() => &[],
        _ => std::slice::from_ref(processor),
    }
}

/// Whether a post-processor says which tokens are around a text.
fn has_template(processor: &Value) -> bool {
    steps(processor).iter().any(|step| step["type"] != "ByteLevel")
}

/// The `post_processor` of a `tokenizer.json` that puts a token before and one behind a text, or two texts; nothing for none.
pub fn tokens_around(around: &[Option<(String, u64)>; 2]) -> Option<Value> {
    let [first, last] = around;
    if first.is_none() && last.is_none() {
        return None;
    }
    let special = |token: &Option<(String, u64)>, part: u8| {
        token.as_ref().map(|(token, _)| json!({ "SpecialToken": { "id": token, "type_id": part } }))
    };
    let wrapped = |name: &str, part: u8| {
        let text = json!({ "Sequence": { "id": name, "type_id": part } });
        [special(first, part), Some(text), special(last, part)].into_iter().flatten().collect::<Vec<_>>()
    };
    let [a, b] = [wrapped("A", 0), wrapped("B", 1)];
    let tokens: Map<String, Value> = around
        .iter()
        .flatten()
        .map(|(token, id)| (token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] })))
        .collect();
    let pair = [a.as_slice(), b.as_slice()].concat();
    Some(json!({ "type": "TemplateProcessing", "single": a, "pair": pair, "special_tokens": tokens }))
}

//! Tokens that are found in a text before it is split.

use std::collections::BTreeMap;

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer};

use super::Settings;

/// Keys of `tokenizer_config.json` and `special_tokens_map.json` that name a token.
const KEYS: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// Keys that name several.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// A token and, if a file says so, its id.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    id: Option<u32>,
    token: AddedToken,
}

impl Token {
    pub(super) fn new(text: &str, special: bool) -> Self {
        Self { id: None, token: AddedToken::from(text, special).normalized(false) }
    }

    /// A token as the files write it: a text, or an object with `content`.
    fn read(value: &Value, special: bool) -> Option<Self> {
        let text = value.as_str().or_else(|| value["content"].as_str())?;
        let flag = |key: &str, default: bool| value[key].as_bool().unwrap_or(default);
        let special = flag("special", special);
        let token = AddedToken::from(text, special)
            .normalized(flag("normalized", !special))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .single_word(flag("single_word", false));
        Some(Self { id: None, token })
    }
}

/// The tokens of the model itself, then those that the files beside it name, by their ids, and special ones at last.
pub(super) fn tokens(settings: &Settings, model: Vec<Token>) -> Vec<Token> {
    let mut tokens = model;
    let decoder = settings.config.get("added_tokens_decoder").and_then(Value::as_object);
    let is_listed = |text: &str| listed(settings).any(|one| one.as_str() == Some(text) || one["content"] == text);
    let special = |text: &str| KEYS.iter().any(|key| settings.token(key) == Some(text)) || is_listed(text);
    let with_ids: BTreeMap<u32, Token> = if let Some(decoder) = decoder {
        decoder.iter().filter_map(|(id, token)| Some((id.parse().ok()?, Token::read(token, false)?))).collect()
    } else {
        let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        let token = |text: &str| AddedToken::from(text, special(text)).normalized(!special(text));
        let added = settings.added.iter();
        added.filter_map(|(text, value)| Some((id(value)?, Token { id: None, token: token(text) }))).collect()
    };
    tokens.extend(with_ids.into_iter().map(|(id, token)| Token { id: Some(id), ..token }));
    let single = KEYS.into_iter().filter_map(|key| named(settings, key));
    for token in single.chain(listed(settings)).filter_map(|value| Token::read(value, true)) {
        if tokens.iter().all(|other| other.token.content != token.token.content) {
            tokens.push(token);
        }
    }
    tokens
}

/// What the files say under a key.
fn named<'a>(settings: &'a Settings, key: &str) -> Option<&'a Value> {
    settings.config.get(key).or_else(|| settings.special.get(key))
}

/// The tokens under keys that name several.
fn listed(settings: &Settings) -> impl Iterator<Item = &Value> {
    LISTS.into_iter().filter_map(|key| named(settings, key)?.as_array()).flatten()
}

/// Adds the tokens. Those that the vocabulary has keep its ids; of the others, the files must name the next ones.
pub(super) fn add(tokenizer: &mut Tokenizer, tokens: Vec<Token>) -> Result<(), String> {
    let ids: Vec<(u32, String)> =
        tokens.iter().filter_map(|token| Some((token.id?, token.token.content.clone()))).collect();
    tokenizer.add_tokens(tokens.into_iter().map(|token| token.token)).map_err(|error| error.to_string())?;
    for (id, text) in ids {
        let found = tokenizer.token_to_id(&text);
        if found != Some(id) {
            let place = found.map_or("nowhere".to_owned(), |found| found.to_string());
            return Err(format!(
                "the files beside it put token {text:?} at id {id}, but the vocabulary has it at {place}"
            ));
        }
    }
    Ok(())
}

//! Tokenizers of Llama 2 and its kin: no splitting, spaces are `▁`, the pair that makes the token of the highest score merges
//! first, and what has no token falls into bytes. Without byte tokens, one token for each character, as `llm train` makes them.

use std::collections::HashMap;

use llm_gguf::{Array, Value};
use serde_json::{Value as Json, json};

use super::{Kind, Parts, Vocabulary, bpe};
use crate::CheckpointError;
use crate::keys::GgufKeys;

/// What a space is written as.
pub(super) const SPACE: &str = "▁";

/// What is not the vocabulary of a tokenizer of this kind.
pub(super) fn read(keys: &GgufKeys, vocabulary: &Vocabulary) -> Result<Parts, CheckpointError> {
    const SCORES: &str = "tokenizer.ggml.scores";
    const PREFIX: &str = "tokenizer.ggml.add_space_prefix";
    const EXTRA_SPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
    if keys.flag(EXTRA_SPACES)? == Some(true) {
        return Err(keys.bad(EXTRA_SPACES, "false; this program keeps all spaces"));
    }
    let prefix = keys.flag(PREFIX)?.unwrap_or(true);
    let unknown = vocabulary.iter().find(|(.., kind)| *kind == Kind::Unknown).map(|(_, token, _)| token);
    let default_ids = [Some(1), Some(2)];
    if !vocabulary.kinds.contains(&Kind::Byte) {
        let longer = vocabulary.iter().find(|(_, token, kind)| *kind == Kind::Normal && token.chars().nth(1).is_some());
        if longer.is_some() || prefix || unknown.is_none() {
            let expected = "a list with tokens for the 256 bytes, or characters only and one for unknown ones";
            return Err(keys.bad("tokenizer.ggml.tokens", expected));
        }
        return Ok(Parts {
            model: bpe(&json!([]), unknown, false, false),
            normalizer: Json::Null,
            pre_tokenizer: Json::Null,
            decoder: json!({ "type": "Fuse" }),
            spell: |token| token.replace(SPACE, " "),
            adds_unknown: false,
            adds_bos: true,
            strips: false,
            default_ids,
        });
    }
    let expected = format!("a list of {} numbers", vocabulary.tokens.len());
    let scores = keys.typed(SCORES, &expected, |value| match value {
        Value::Array(Array::F32(scores)) if scores.len() == vocabulary.tokens.len() => Some(scores),
        _ => None,
    })?;
    let scores = scores.ok_or_else(|| keys.missing(SCORES))?;
    let scored = vocabulary.iter().filter(|(.., kind)| matches!(kind, Kind::Normal | Kind::UserDefined));
    let merges: Vec<Json> = merges(scored.map(|(id, token, _)| (token, id, scores[id])))
        .into_iter()
        .map(|(left, right)| json!([left, right]))
        .collect();

    let escape = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    let normalizer = if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": SPACE }, escape] })
    } else {
        escape
    };
    Ok(Parts {
        model: bpe(&merges.into(), unknown, false, true),
        normalizer,
        pre_tokenizer: Json::Null,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        spell: str::to_owned,
        adds_unknown: true,
        adds_bos: true,
        strips: false,
        default_ids,
    })
}

/// The merges of tokens with ids and scores, in the order of `transformers`' `generate_merges`: the highest score first, then
/// the longest left part, then the longest right one, then by ids.
fn merges<'a>(tokens: impl Iterator<Item = (&'a str, usize, f32)>) -> Vec<(&'a str, &'a str)> {
    let tokens: Vec<_> = tokens.collect();
    let ids: HashMap<&str, usize> = tokens.iter().map(|&(token, id, _)| (token, id)).collect();
    let mut found = Vec::new();
    for &(token, _, score) in &tokens {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                let lengths = (left.chars().count(), right.chars().count());
                found.push((score, lengths, (l, r), (left, right)));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
    found.into_iter().map(|(.., pair)| pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_score_merges_first() {
        let tokens = [("a", 0, 0.0), ("b", 1, 0.0), ("ab", 2, -2.0), ("ba", 3, -1.0), ("aba", 4, -3.0)];
        let expected = [("b", "a"), ("a", "b"), ("ab", "a"), ("a", "ba")];
        assert_eq!(merges(tokens.into_iter()), expected);
    }
}

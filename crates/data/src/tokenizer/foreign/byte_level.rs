//! Byte-level BPE in two files: `vocab.json` with the ids of tokens, `merges.txt` with a pair a line.

use ahash::AHashMap;
use serde_json::{Value, json};
use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;

use super::{Settings, assemble, part};
use crate::DataError;
use crate::tokenizer::tokenize;

/// How Qwen 2 and its successors split a text.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the tokenizer, but for its added tokens: that of Qwen 2 for its classes, else that of GPT-2.
pub(super) fn build(vocab: &[u8], merges: &[u8], settings: &Settings) -> Result<Tokenizer, DataError> {
    let vocab: AHashMap<String, u32> =
        serde_json::from_slice(vocab).map_err(|error| DataError::Tokenize(error.to_string()))?;
    let merges = std::str::from_utf8(merges).map_err(|error| DataError::Tokenize(format!("merges.txt: {error}")))?;
    let is_pair = |(i, line): &(usize, &str)| !line.is_empty() && (*i > 0 || !line.starts_with("#version"));
    let lines = merges.lines().enumerate().filter(is_pair);
    let pair = |(i, line): (usize, &str)| {
        let pair = line.split_once(' ').map(|(left, right)| (left.to_owned(), right.trim_end().to_owned()));
        pair.ok_or_else(|| DataError::Tokenize(format!("line {} of merges.txt is not a pair of tokens", i + 1)))
    };
    let merges = lines.map(pair).collect::<Result<Vec<_>, _>>()?;
    let model = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(tokenize)?;
    let bytes = |prefix: bool, splits: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": splits });
    let after = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true });
    let is_qwen = settings.class().is_some_and(|class| class.to_lowercase().starts_with("qwen"));
    let [normalizer, pre_tokenizer] = if is_qwen {
        let split = json!({ "type": "Split", "pattern": { "Regex": QWEN2 }, "behavior": "Isolated", "invert": false });
        [json!({ "type": "NFC" }), json!({ "type": "Sequence", "pretokenizers": [split, bytes(false, false)] })]
    } else {
        [Value::Null, bytes(settings.flag("add_prefix_space").unwrap_or(false), true)]
    };
    assemble(model, part(normalizer)?, [pre_tokenizer, after, bytes(true, true)])
}

//! The vocabulary of a GGUF file ↔ `tokenizer.json`.
//!
//! Two kinds of tokenizers are known, by `tokenizer.ggml.model`: `gpt2`, byte-level BPE with one of many rules of splitting
//! ([`byte_level`]), and `llama`, where pairs merge by the scores of what they make ([`sentencepiece`]).

mod byte_level;
mod scores;
mod sentencepiece;
mod write;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use llm_data::{DataError, Tokenizer, tokens_around};
use llm_gguf::{Array, Value};
use serde_json::{Map, Value as Json, json};

use super::file::GgufFile;
use crate::CheckpointError;
use crate::keys::GgufKeys;
pub(super) use write::write;

/// Tokens that end an answer, whatever else the file names: those that llama.cpp stops at.
const ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<EOT>",
    "<end_of_utterance>",
];

/// Tokens that do not absorb surrounding white space, even where others do.
const NEVER_STRIPPING: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

/// What a token is (`llama_token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl Kind {
    /// Whether it is found in a text before anything else is.
    fn added(self) -> bool {
        matches!(self, Self::Unknown | Self::Control | Self::UserDefined)
    }
}

/// The tokens of a file.
struct Vocabulary<'a> {
    tokens: &'a [String],
    kinds: Vec<Kind>,
}

/// What one kind of tokenizer says about itself.
struct Parts {
    /// Without `vocab`.
    model: Map<String, Json>,
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
    /// How tokens of the vocabulary are spelled in `tokenizer.json`.
    spell: fn(&str) -> String,
    /// Whether the token for what is unknown is also found in a text where it is written out.
    adds_unknown: bool,
    /// Whether a text begins with the token for that, where the file does not say.
    adds_bos: bool,
    /// Whether special tokens take the white space after them along.
    strips: bool,
    /// Ids that begin and end a text, where the file does not say.
    default_ids: [Option<u64>; 2],
}

/// Builds the tokenizer of a file.
pub(crate) fn read(file: &GgufFile) -> Result<Tokenizer, CheckpointError> {
    const MODEL: &str = "tokenizer.ggml.model";
    let (path, metadata, keys) = (file.path(), file.metadata(), file.keys());
    let vocabulary = Vocabulary::read(&keys)?;
    let mut parts = match keys.text(MODEL)? {
        Some("gpt2") => byte_level::read(path, &keys)?,
        Some("llama") => sentencepiece::read(&keys, &vocabulary)?,
        _ => return Err(keys.bad(MODEL, "\"gpt2\" or \"llama\"")),
    };
    parts.strips = is_phi3(&keys)?;
    let id = |name: &str, default: Option<u64>| {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let expected = format!("an id below {}, the number of tokens", vocabulary.tokens.len());
        let in_range = |id: &u64| *id < vocabulary.tokens.len() as u64;
        keys.typed(&key, &expected, |value| value.as_u64().filter(in_range)).map(|id| id.or(default.filter(in_range)))
    };
    let [default_bos, default_eos] = parts.default_ids;
    let [bos, eos] = [id("bos", default_bos)?, id("eos", default_eos)?];
    let adds_bos = keys.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(parts.adds_bos);
    let adds_eos = keys.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false);

    let named_ends = ENDS.iter().filter_map(|&end| vocabulary.control(end));
    let mut ends: Vec<u64> =
        [eos, id("eot", None)?, id("eom", None)?].into_iter().flatten().chain(named_ends).collect();
    let mut seen = HashSet::new();
    ends.retain(|id| seen.insert(*id));

    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": adds_bos,
        "clean_up_tokenization_spaces": false,
    });
    let token = |id: u64| (parts.spell)(&vocabulary.tokens[id as usize]);
    let unknown = vocabulary.kinds.iter().position(|kind| *kind == Kind::Unknown).map(|id| id as u64);
    for (key, id) in
        [("bos_token", bos), ("eos_token", eos), ("unk_token", unknown), ("pad_token", id("padding", None)?)]
    {
        if let Some(id) = id {
            config[key] = token(id).into();
        }
    }
    if adds_eos {
        config["add_eos_token"] = true.into();
    }
    if let Some(template) = chat_template(metadata) {
        config["chat_template"] = template;
    }
    let Json::Object(config) = config else { unreachable!("made as an object") };
    let generation = Map::from_iter([("eos_token_id".to_owned(), json!(ends))]);

    let [first, last] = [bos.filter(|_| adds_bos), eos.filter(|_| adds_eos)].map(|id| id.map(|id| (token(id), id)));
    let json = tokenizer_json(&vocabulary, parts, &[first, last]).map_err(|problem| problem_at(path, problem))?;
    let tokenizer = Tokenizer::from_json(&json, config, &generation);
    let tokenizer = tokenizer.map_err(|error| problem_at(path, unusable(&json, &error)))?;
    vocabulary.check(&tokenizer).map_err(|problem| problem_at(path, problem))?;
    Ok(tokenizer)
}

/// What llama.cpp goes by: such files do not say that their special tokens take the white space after them along.
fn is_phi3(keys: &GgufKeys) -> Result<bool, CheckpointError> {
    let name = keys.text("general.name")?.unwrap_or_default().to_lowercase();
    Ok(name.contains("phi-3") || name.contains("phi3"))
}

/// Why a `tokenizer.json` that was made of a file is none, without what a terminal would not show.
fn unusable(json: &Json, error: &DataError) -> String {
    let model = &json["model"];
    let stranger = pairs(&model["merges"]).find(|pair| pair.iter().any(|part| model["vocab"][*part].is_null()));
    let Some([left, right]) = stranger else {
        let error = error.to_string();
        let reason = error.split("\nhint: ").next().unwrap_or_default();
        return reason.escape_debug().to_string();
    };
    format!("the merge of {left:?} and {right:?} names a token that the vocabulary lacks")
}

/// The pairs of the `merges` of a BPE model.
fn pairs(merges: &Json) -> impl Iterator<Item = [&str; 2]> {
    let merges = merges.as_array().into_iter().flatten();
    merges.filter_map(|merge| Some([merge[0].as_str()?, merge[1].as_str()?]))
}

fn problem_at(path: &Path, problem: String) -> CheckpointError {
    CheckpointError::GgufTokenizer { path: path.to_owned(), problem }
}

/// The chat template, or a list of named ones, as `tokenizer_config.json` has them.
fn chat_template(metadata: &BTreeMap<String, Value>) -> Option<Json> {
    const KEY: &str = "tokenizer.chat_template";
    let default = metadata.get(KEY).and_then(Value::as_str);
    let named: Vec<Json> = metadata
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(KEY)?.strip_prefix('.')?, value.as_str()?)))
        .chain(default.map(|template| ("default", template)))
        .map(|(name, template)| json!({ "name": name, "template": template }))
        .collect();
    match (named.len(), default) {
        (0, _) => None,
        (1, Some(template)) => Some(template.into()),
        _ => Some(named.into()),
    }
}

impl<'a> Vocabulary<'a> {
    fn read(keys: &'a GgufKeys) -> Result<Self, CheckpointError> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        const KINDS: &str = "tokenizer.ggml.token_type";
        let tokens = keys.texts(TOKENS)?.ok_or_else(|| keys.missing(TOKENS))?;
        let expected = format!("a list of {} numbers from 1 to 6", tokens.len());
        let kinds = keys.typed(KINDS, &expected, |value| {
            let Value::Array(array) = value else { return None };
            let kinds = array.as_i64s()?;
            let kind = |kind: &i64| match kind {
                0 | 1 => Some(Kind::Normal),
                2 => Some(Kind::Unknown),
                3 => Some(Kind::Control),
                4 => Some(Kind::UserDefined),
                5 => Some(Kind::Unused),
                6 => Some(Kind::Byte),
                _ => None,
            };
            kinds.iter().map(kind).collect::<Option<Vec<_>>>().filter(|kinds| kinds.len() == tokens.len())
        })?;
        let kinds = kinds.unwrap_or_else(|| vec![Kind::Normal; tokens.len()]);
        Ok(Self { tokens, kinds })
    }

    /// Tokens by id; those that only fill the table up are left out.
    fn iter(&self) -> impl DoubleEndedIterator<Item = (usize, &'a str, Kind)> {
        let all =
            self.tokens.iter().zip(&self.kinds).enumerate().map(|(id, (token, kind))| (id, token.as_str(), *kind));
        all.filter(|&(id, token, kind)| !token.is_empty() && (kind != Kind::Unused || token != padding(id)))
    }

    /// The id of a control token.
    fn control(&self, wanted: &str) -> Option<u64> {
        let found = self.iter().find(|&(_, token, kind)| kind == Kind::Control && token == wanted);
        found.map(|(id, ..)| id as u64)
    }

    /// Ids must be what the file says, wherever the tokens stand in `tokenizer.json`.
    fn check(&self, tokenizer: &Tokenizer) -> Result<(), String> {
        let wrong = self.iter().find(|&(id, ..)| tokenizer.token(id as u32).is_none());
        wrong.map_or(Ok(()), |(id, token, _)| Err(format!("token {id}, {token:?}, has no place in the vocabulary")))
    }
}

/// What stands for an id that has no token.
fn padding(id: usize) -> String {
    format!("[PAD{id}]")
}

/// A whole `tokenizer.json`; `around` are the tokens that begin and end every text.
fn tokenizer_json(vocabulary: &Vocabulary, parts: Parts, around: &[Option<(String, u64)>; 2]) -> Result<Json, String> {
    // Added tokens at the end of the table stand beside the vocabulary, all others in it too, which keeps their ids. So do
    // those that merges name: Gemma's last ones are tags and runs of white space that merge as well.
    let is_added = |kind: Kind| kind.added() && (kind != Kind::Unknown || parts.adds_unknown);
    let tail: HashSet<String> = vocabulary
        .iter()
        .rev()
        .take_while(|(.., kind)| is_added(*kind))
        .map(|(_, token, _)| (parts.spell)(token))
        .collect();
    let merging = merging(&parts.model, &tail);
    let stands_beside = |token: &str, kind: Kind| is_added(kind) && !merging.contains((parts.spell)(token).as_str());
    let others = vocabulary.iter().rev().skip_while(|&(_, token, kind)| stands_beside(token, kind)).count();
    let first_beside = vocabulary.iter().nth(others).map_or(usize::MAX, |(id, ..)| id);
    let beside_from = if first_beside == others { others } else { usize::MAX };
    let mut vocab = Map::new();
    let mut added = Vec::new();
    let mut seen = HashSet::new();
    for (id, token, kind) in vocabulary.iter() {
        let spelled = (parts.spell)(token);
        if !seen.insert(spelled.clone()) {
            return Err(format!("token {id}, {token:?}, occurs twice in the vocabulary"));
        }
        if is_added(kind) {
            let special = kind != Kind::UserDefined;
            added.push(json!({
                "id": id, "content": spelled, "single_word": false, "lstrip": false,
                "rstrip": parts.strips && !NEVER_STRIPPING.contains(&token),
                "normalized": false, "special": special,
            }));
        }
        if id < beside_from {
            vocab.insert(spelled, json!(id));
        }
    }
    let Parts { mut model, normalizer, pre_tokenizer, decoder, .. } = parts;
    model.insert("vocab".to_owned(), Json::Object(vocab));
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": tokens_around(around), "decoder": decoder, "model": model,
    }))
}

/// Those of `tokens` that a merge of a model takes or makes.
fn merging<'a>(model: &Map<String, Json>, tokens: &'a HashSet<String>) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    if tokens.is_empty() {
        return found;
    }
    let mut made = String::new();
    for [left, right] in pairs(&model["merges"]) {
        made.clear();
        made.extend([left, right]);
        found.extend([left, right, &made].into_iter().filter_map(|token| tokens.get(token)).map(String::as_str));
    }
    found
}

/// A BPE model without its vocabulary.
fn bpe(merges: &Json, unknown: Option<&str>, ignore_merges: bool, fallback: bool) -> Map<String, Json> {
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": fallback, "byte_fallback": fallback, "ignore_merges": ignore_merges,
        "merges": merges,
    });
    if let Json::Object(model) = model { model } else { Map::new() }
}

/// A list of whole numbers as files hold them.
fn i32s(numbers: impl Iterator<Item = i32>) -> Value {
    Value::Array(Array::I32(numbers.collect()))
}

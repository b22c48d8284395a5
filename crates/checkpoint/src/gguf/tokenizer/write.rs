//! `tokenizer.json` to metadata. Only what llama.cpp splits in the same way is written.

use llm_data::Tokenizer;
use llm_gguf::{Array, Value};
use serde_json::Value as Json;

use super::scores::{Token, scores};
use super::sentencepiece::SPACE;
use super::{Kind, byte_level, i32s, padding};
use crate::CheckpointError;

/// Keys and values of a file.
type Metadata = Vec<(String, Value)>;

/// What a `tokenizer.json` holds, by id.
struct Table {
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    /// Pairs, the first to merge first.
    merges: Vec<(String, String)>,
}

/// The metadata of a tokenizer for a model with `rows` embeddings, and what llama.cpp will not do.
pub(in super::super) fn write(tokenizer: &Tokenizer, rows: usize) -> Result<(Metadata, Vec<String>), CheckpointError> {
    let json = tokenizer.to_json()?;
    let (mut table, rowless) = Table::read(&json, rows).map_err(CheckpointError::NotGguf)?;
    let mut metadata = Vec::new();
    let mut notes = Vec::new();
    if let Some(token) = rowless.first() {
        let count = rowless.len();
        notes.push(format!(
            "{count} tokens beyond the {rows} rows of the embedding are skipped, the first is {token:?}"
        ));
    }
    let mut put = |key: &str, value: Value| metadata.push((format!("tokenizer.{key}"), value));
    let text = |text: &str| Value::String(text.to_owned());
    let unwritable = || {
        let split = shortened(&json["pre_tokenizer"]);
        CheckpointError::NotGguf(format!("llama.cpp has no tokenizer that splits a text by {split}"))
    };
    if json["decoder"]["type"] == "ByteLevel" {
        let pre = table.pre(&json).ok_or_else(unwritable)?;
        put("ggml.model", text("gpt2"));
        put("ggml.pre", text(pre));
        let joined = table.merges.iter().map(|(left, right)| format!("{left} {right}"));
        put("ggml.merges", Value::Array(Array::String(joined.collect())));
        if !changes_nothing(&json["normalizer"]) {
            notes.push(format!(
                "llama.cpp does not normalize texts as this tokenizer: {}",
                shortened(&json["normalizer"])
            ));
        }
    } else {
        let (scores, prefix) = if json["model"]["byte_fallback"] == true {
            table.kinds_of_bytes();
            let prefix = space_prefix(&json).ok_or_else(unwritable)?;
            if prefix && json["pre_tokenizer"]["type"] == "Metaspace" {
                let first = json["pre_tokenizer"]["prepend_scheme"] == "first";
                let after = if first { " or follows a special token" } else { "" };
                notes.push(format!(
                    "llama.cpp puts a space before a text also where it begins with one{after}; this tokenizer does not"
                ));
            }
            (table.scores().map_err(CheckpointError::NotGguf)?, prefix)
        } else if table.is_of_characters(&json) {
            table.tokens.iter_mut().filter(|token| *token == " ").for_each(|token| SPACE.clone_into(token));
            notes.push("llama.cpp fails on characters that the vocabulary lacks".to_owned());
            (vec![0.0; table.tokens.len()], false)
        } else {
            return Err(unwritable());
        };
        put("ggml.model", text("llama"));
        put("ggml.pre", text("default"));
        put("ggml.scores", Value::Array(Array::F32(scores)));
        put("ggml.add_space_prefix", Value::Bool(prefix));
    }
    put("ggml.token_type", i32s(table.kinds.iter().map(|kind| *kind as i32)));
    let named = |key: &str| {
        let value = tokenizer.config().get(key)?;
        tokenizer.id(value.as_str().or_else(|| value["content"].as_str())?)
    };
    let mut ends = tokenizer.eos_ids().iter().copied();
    for (key, id) in [
        ("bos", tokenizer.bos_id()),
        ("eos", ends.next()),
        ("eot", ends.next()),
        ("unknown", named("unk_token")),
        ("padding", named("pad_token")),
    ] {
        if let Some(id) = id.filter(|&id| (id as usize) < rows) {
            put(&format!("ggml.{key}_token_id"), Value::U32(id));
        }
    }
    let empty = tokenizer.encode_prompt("")?;
    put("ggml.add_bos_token", Value::Bool(tokenizer.bos_id().is_some_and(|bos| empty.first() == Some(&bos))));
    put(
        "ggml.add_eos_token",
        Value::Bool(empty.len() > 1 && empty.last().is_some_and(|id| tokenizer.eos_ids().contains(id))),
    );
    match tokenizer.config().get("chat_template") {
        Some(Json::String(template)) => put("chat_template", text(template)),
        Some(Json::Array(templates)) => {
            for template in templates {
                if let (Some(name), Some(template)) = (template["name"].as_str(), template["template"].as_str()) {
                    let key = if name == "default" { "chat_template".into() } else { format!("chat_template.{name}") };
                    put(&key, text(template));
                }
            }
        }
        _ => {}
    }
    let phi3 = table.is_of_phi3(&json);
    put("ggml.tokens", Value::Array(Array::String(table.tokens)));
    if phi3 {
        metadata.push(("general.name".to_owned(), text("Phi-3")));
    }
    Ok((metadata, notes))
}

impl Table {
    /// The table of a model with `rows` embeddings, and the added tokens that have no row.
    fn read(json: &Json, rows: usize) -> Result<(Self, Vec<String>), String> {
        let model = &json["model"];
        if model["type"] != "BPE" {
            return Err(format!("its tokenizer is a {}, not BPE", model["type"]));
        }
        let mut tokens: Vec<String> = (0..rows).map(padding).collect();
        let mut kinds = vec![Kind::Unused; rows];
        let mut set = |id: u64, token: &str, kind: Kind| -> Result<(), String> {
            let at = usize::try_from(id).ok().filter(|&at| at < rows);
            let at = at.ok_or_else(|| format!("token {id} is beyond the {rows} embeddings of the model"))?;
            (tokens[at], kinds[at]) = (token.to_owned(), kind);
            Ok(())
        };
        let unknown = model["unk_token"].as_str();
        for (token, id) in model["vocab"].as_object().into_iter().flatten() {
            let kind = if unknown == Some(token) { Kind::Unknown } else { Kind::Normal };
            set(id.as_u64().unwrap_or(u64::MAX), token, kind)?;
        }
        let mut rowless = Vec::new();
        for token in json["added_tokens"].as_array().into_iter().flatten() {
            let (content, id) = (token["content"].as_str().unwrap_or_default(), token["id"].as_u64());
            if id.is_some_and(|id| id >= rows as u64) && model["vocab"][content].is_null() {
                rowless.push(content.to_owned());
                continue;
            }
            let kind = match token["special"].as_bool() {
                _ if unknown == Some(content) => Kind::Unknown,
                Some(true) => Kind::Control,
                _ => Kind::UserDefined,
            };
            set(id.unwrap_or(u64::MAX), content, kind)?;
        }
        let merge = |merge: &Json| match merge {
            Json::String(merge) => merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
            merge => Some((merge[0].as_str()?.to_owned(), merge[1].as_str()?.to_owned())),
        };
        let merges = model["merges"].as_array().into_iter().flatten().map(merge).collect::<Option<_>>();
        Ok((Self { tokens, kinds, merges: merges.ok_or("its merges are not pairs of tokens")? }, rowless))
    }

    /// The name of the rule by which a byte-level tokenizer splits.
    fn pre(&self, json: &Json) -> Option<&'static str> {
        // Where nothing merges, it does not matter where a text is split.
        if self.merges.is_empty() && json["model"]["ignore_merges"] == false {
            return Some(byte_level::PRES[0].names[0]);
        }
        let same = |pre: &&byte_level::Pre| {
            normal(&pre.json()) == normal(&json["pre_tokenizer"]) && json["model"]["ignore_merges"] == pre.ignore_merges
        };
        byte_level::PRES.iter().find(same).map(|pre| pre.names[0])
    }

    /// One token for each character.
    fn is_of_characters(&self, json: &Json) -> bool {
        let parts = ["normalizer", "pre_tokenizer"].iter().all(|part| json[part].is_null());
        let single = |(token, kind): (&String, &Kind)| *kind != Kind::Normal || token.chars().count() == 1;
        parts
            && json["decoder"]["type"] == "Fuse"
            && json["model"]["unk_token"].is_string()
            && self.merges.is_empty()
            && self.tokens.iter().zip(&self.kinds).all(single)
            && !self.tokens.iter().any(|token| token == SPACE)
    }

    /// Special tokens that take the white space after them along, which llama.cpp knows of Phi-3 only, by its name, and if
    /// it finds these tokens.
    fn is_of_phi3(&self, json: &Json) -> bool {
        let stripping = json["added_tokens"].as_array().into_iter().flatten().any(|token| token["rstrip"] == true);
        stripping && ["</s>", "<unk>", "<s>", "<|endoftext|>"].iter().all(|name| self.tokens.iter().any(|t| t == name))
    }

    /// Marks the tokens that stand for bytes.
    fn kinds_of_bytes(&mut self) {
        for (token, kind) in self.tokens.iter().zip(&mut self.kinds) {
            let byte = token.strip_prefix("<0x").and_then(|rest| u8::from_str_radix(rest.strip_suffix('>')?, 16).ok());
            if byte.is_some_and(|byte| *token == format!("<0x{byte:02X}>")) {
                *kind = Kind::Byte;
            }
        }
    }

    /// Scores by which pairs merge as by the merges.
    fn scores(&self) -> Result<Vec<f32>, String> {
        let mut tokens = Vec::with_capacity(self.tokens.len());
        for (text, kind) in self.tokens.iter().zip(&self.kinds) {
            let takes_part = matches!(kind, Kind::Normal | Kind::UserDefined);
            tokens.push(takes_part.then_some(Token { text, found_first: *kind == Kind::UserDefined }));
        }
        scores(&tokens, &self.merges)
    }
}

/// Whether a space is put before a text, for a tokenizer that writes spaces as `▁` and does nothing else.
fn space_prefix(json: &Json) -> Option<bool> {
    let escapes =
        |step: &Json| step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == SPACE;
    let (normalizer, pre) = (&json["normalizer"], &json["pre_tokenizer"]);
    if pre["type"] == "Metaspace" && normalizer.is_null() && pre["replacement"] == SPACE && pre["split"] == false {
        return Some(pre["prepend_scheme"] != "never");
    }
    // Gemma's splits at spaces, of which the normalizer has left none.
    let at_spaces = pre["type"] == "Split" && pre["pattern"]["String"] == " " && pre["invert"] == false;
    if !(pre.is_null() || at_spaces) {
        return None;
    }
    match normalizer["normalizers"].as_array().map(Vec::as_slice) {
        None if escapes(normalizer) => Some(false),
        Some([prepend, replace]) if prepend["type"] == "Prepend" && prepend["prepend"] == SPACE && escapes(replace) => {
            Some(true)
        }
        _ => None,
    }
}

/// Whether a normalizer leaves every text as it is.
fn changes_nothing(normalizer: &Json) -> bool {
    normalizer.is_null() || normalizer["normalizers"].as_array().is_some_and(Vec::is_empty)
}

/// A part of `tokenizer.json` without what does not change the ids.
fn normal(json: &Json) -> Json {
    match json {
        Json::Object(keys) => keys
            .iter()
            .filter(|(key, _)| *key != "trim_offsets")
            .map(|(key, value)| (key.clone(), normal(value)))
            .collect(),
        Json::Array(list) => list.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn shortened(json: &Json) -> String {
    const LONGEST: usize = 120;
    let text = json.to_string();
    text.char_indices().nth(LONGEST).map_or(text.clone(), |(end, _)| format!("{}…", &text[..end]))
}

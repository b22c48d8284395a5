//! Tokenizers of directories without a `tokenizer.json`: a SentencePiece model, or `vocab.json` and `merges.txt`. They are
//! built as `transformers` (4.57) converts them, by the class that `tokenizer_config.json` or the kind of the model names.

mod added;
mod byte_level;
mod charsmap;
mod class;
mod proto;
mod sentencepiece;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

use super::files::object;
use super::{around, tokenize};
use crate::DataError;

/// Where the parts of a tokenizer are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// A `tokenizer.json`.
    Json(PathBuf),
    /// A SentencePiece model.
    SentencePiece(PathBuf),
    /// `vocab.json` and, beside it, `merges.txt`.
    ByteLevel(PathBuf),
}

impl Files {
    /// The files that `path` names: a file, or those in a directory, where `tokenizer.json` takes precedence.
    pub(super) fn find(path: &Path) -> Result<Self, DataError> {
        if !path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            return Ok(match path.extension() {
                Some(kind) if kind == "model" => Self::SentencePiece(path.to_owned()),
                _ if name == "vocab.json" => Self::ByteLevel(path.to_owned()),
                _ => Self::Json(path.to_owned()),
            });
        }
        let [json, model, vocab, merges] =
            ["tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"].map(|name| path.join(name));
        if json.exists() {
            return Ok(Self::Json(json));
        }
        match (model.exists(), vocab.exists() && merges.exists()) {
            (true, _) => Ok(Self::SentencePiece(model)),
            (false, true) => Ok(Self::ByteLevel(vocab)),
            (false, false) => Err(DataError::NoTokenizer { path: path.to_owned(), there: similar(path) }),
        }
    }

    /// The file to name in errors.
    pub(super) fn path(&self) -> &Path {
        let (Self::Json(path) | Self::SentencePiece(path) | Self::ByteLevel(path)) = self;
        path
    }

    /// Builds the tokenizer.
    ///
    /// # Errors
    /// A file that cannot be read, or what is wrong with it.
    pub(super) fn build(&self) -> Result<Tokenizer, DataError> {
        let path = self.path();
        let unusable = |message: String| DataError::Tokenizer { path: path.to_owned(), message };
        let read = |path: &Path| std::fs::read(path).map_err(|e| DataError::io(path, e));
        match self {
            Self::Json(_) => Tokenizer::from_bytes(read(path)?).map_err(|e| unusable(e.to_string())),
            Self::SentencePiece(_) => {
                let settings = Settings::read(path)?;
                let model = proto::Model::read(&read(path)?).map_err(unusable)?;
                let mut tokenizer = sentencepiece::build(&model, &settings).map_err(|e| unusable(problem(e)))?;
                let tokens = added::tokens(&settings, model.added(&settings));
                added::add(&mut tokenizer, tokens).map_err(unusable)?;
                Ok(tokenizer)
            }
            Self::ByteLevel(_) => {
                let settings = Settings::read(path)?;
                let merges = path.with_file_name("merges.txt");
                let mut tokenizer =
                    byte_level::build(&read(path)?, &read(&merges)?, &settings).map_err(|e| unusable(problem(e)))?;
                added::add(&mut tokenizer, added::tokens(&settings, Vec::new())).map_err(unusable)?;
                Ok(tokenizer)
            }
        }
    }
}

/// What is wrong, without the words of an error that stands alone.
fn problem(error: DataError) -> String {
    match error {
        DataError::Tokenize(problem) => problem,
        other => other.to_string(),
    }
}

/// Names in a folder that look like a tokenizer's.
fn similar(folder: &Path) -> Vec<String> {
    const NAMES: [&str; 6] = ["tekken", "tiktoken", "vocab", "merges", "tokenizer", "spiece"];
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| NAMES.iter().any(|part| name.contains(part)) && name != "tokenizer_config.json")
        .collect();
    names.sort();
    names.truncate(8);
    names
}

/// The files beside a tokenizer.
struct Settings {
    /// `tokenizer_config.json`.
    config: Map<String, Value>,
    /// `config.json`.
    model: Map<String, Value>,
    /// `special_tokens_map.json`.
    special: Map<String, Value>,
    /// `added_tokens.json`: ids by token.
    added: Map<String, Value>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self, DataError> {
        let beside = |name: &str| object(&path.with_file_name(name));
        Ok(Self {
            config: beside("tokenizer_config.json")?,
            model: beside("config.json")?,
            special: beside("special_tokens_map.json")?,
            added: beside("added_tokens.json")?,
        })
    }

    /// `Llama`, `Gemma`, `Qwen2` and so on, if anything says so.
    fn class(&self) -> Option<&str> {
        around::class(&self.config, &[&self.model])
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.config.get(key)?.as_bool()
    }

    /// The text of a special token that the files name.
    fn token(&self, key: &str) -> Option<&str> {
        let value = self.config.get(key).or_else(|| self.special.get(key))?;
        value.as_str().or_else(|| value["content"].as_str())
    }
}

/// A part of a tokenizer as `tokenizer.json` writes it; `null` for none.
fn part<T: DeserializeOwned>(json: Value) -> Result<Option<T>, DataError> {
    serde_json::from_value(json).map_err(|e| tokenize(e.into()))
}

/// Puts the parts around a model, all but the normalizer as `tokenizer.json` writes them.
fn assemble(
    model: impl Into<ModelWrapper>,
    normalizer: Option<NormalizerWrapper>,
    [pre_tokenizer, post_processor, decoder]: [Value; 3],
) -> Result<Tokenizer, DataError> {
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(normalizer).map_err(tokenize)?;
    tokenizer.with_pre_tokenizer(part::<PreTokenizerWrapper>(pre_tokenizer)?);
    tokenizer.with_post_processor(part::<PostProcessorWrapper>(post_processor)?);
    tokenizer.with_decoder(part::<DecoderWrapper>(decoder)?);
    Ok(tokenizer)
}

//! The files beside `tokenizer.json`: which tokens begin and end a text.

use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{END_OF_TEXT, around};
use crate::DataError;

/// Tokens that end a text, by the names that published models give them, for directories that do not say.
const KNOWN_ENDS: [&str; 4] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>"];

/// Special tokens and the settings they come from.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens {
    pub(super) bos: Option<u32>,
    pub(super) eos: Vec<u32>,
    pub(super) end_of_text: Option<u32>,
    /// Prompts begin with `bos`.
    pub(super) adds_bos: bool,
    /// What the settings say of tokens around a text; else `tokenizer.json` says it.
    around: Option<around::Around>,
    /// `tokenizer_config.json`.
    pub(super) config: Map<String, Value>,
}

impl SpecialTokens {
    /// Reads the files of a model directory; each of them may be absent.
    pub(super) fn read(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let mut config = object(&folder.join("tokenizer_config.json"))?;
        let model = object(&folder.join("config.json"))?;
        let generation = object(&folder.join("generation_config.json"))?;
        // Newer directories keep chat templates in files of their own, which then hold; what we save has one place.
        if let Some(templates) = template_files(folder)? {
            config.insert("chat_template".into(), templates);
        }
        Ok(Self::resolve(config, [&generation, &model], tokenizer))
    }

    /// The special tokens of a tokenizer trained here.
    pub(super) fn trained(tokenizer: &Tokenizer, unknown: Option<&str>) -> Self {
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "add_bos_token": false,
            "clean_up_tokenization_spaces": false,
        });
        if let Some(unknown) = unknown {
            config["unk_token"] = unknown.into();
        }
        let Value::Object(config) = config else { return Self::default() };
        Self::resolve(config, [], tokenizer)
    }

    /// The special tokens by the contents of `tokenizer_config.json` and of the model's files.
    pub(super) fn resolve<const N: usize>(
        mut config: Map<String, Value>,
        models: [&Map<String, Value>; N],
        tokenizer: &Tokenizer,
    ) -> Self {
        let named = |key: &str| named(&config, key, tokenizer);
        let mut eos: Vec<u32> = Vec::new();
        for id in models.iter().flat_map(|model| ids(model.get("eos_token_id"))).chain(named("eos_token")) {
            if !eos.contains(&id) && tokenizer.id_to_token(id).is_some() {
                eos.push(id);
            }
        }
        let known = KNOWN_ENDS.iter().find_map(|token| tokenizer.token_to_id(token));
        if eos.is_empty() {
            eos.extend(known);
        }
        let bos =
            named("bos_token").or_else(|| models.iter().find_map(|m| ids(m.get("bos_token_id")).first().copied()));
        let document_end = KNOWN_ENDS[..2].iter().find_map(|token| tokenizer.token_to_id(token));
        let around = around::Around::read(&config, &models);
        let bos = bos.or_else(|| tokenizer.token_to_id(around.as_ref()?.default_bos()?));
        // A directory without settings must still load in transformers once we have saved it.
        config.entry("tokenizer_class").or_insert_with(|| "PreTrainedTokenizerFast".into());
        if let Some(token) = eos.first().and_then(|&id| tokenizer.id_to_token(id)) {
            config.entry("eos_token").or_insert_with(|| token.into());
        }
        let end_of_text = document_end.or(eos.first().copied());
        Self { bos, end_of_text, eos, adds_bos: false, around, config }
    }

    /// Makes `tokenizer` put the tokens around a text that the settings ask for.
    pub(super) fn put_around(&mut self, tokenizer: &mut Tokenizer) -> Result<(), DataError> {
        // Where no other file names it, a text begins with what `tokenizer.json` puts before it.
        let begins = around::of(tokenizer)?.first().copied();
        self.bos = self.bos.or(begins.filter(|id| !self.eos.contains(id)));
        if let Some(around) = &self.around {
            around.put(tokenizer, [self.bos, self.named_eos(tokenizer)])?;
        }
        self.adds_bos = self.bos.is_some() && around::of(tokenizer)?.first().copied() == self.bos;
        Ok(())
    }

    /// The one token that ends a text by `tokenizer_config.json`, or else the first that is known.
    fn named_eos(&self, tokenizer: &Tokenizer) -> Option<u32> {
        named(&self.config, "eos_token", tokenizer).or(self.eos.first().copied())
    }

    /// Those of them that a model with `rows` embeddings has.
    pub(super) fn below(&self, rows: usize) -> Self {
        let known = |id: &u32| (*id as usize) < rows;
        let mut below = self.clone();
        below.eos.retain(known);
        below.bos = below.bos.filter(known);
        below.end_of_text = below.end_of_text.filter(known).or(below.eos.first().copied());
        below
    }
}

/// The id of a token that `tokenizer_config.json` names.
fn named(config: &Map<String, Value>, key: &str, tokenizer: &Tokenizer) -> Option<u32> {
    let value = config.get(key)?;
    tokenizer.token_to_id(value.as_str().or_else(|| value["content"].as_str())?)
}

/// `chat_template.jinja` and, beside it, `additional_chat_templates/NAME.jinja`, as `tokenizer_config.json` has them.
fn template_files(folder: &Path) -> Result<Option<Value>, DataError> {
    let read = |path: &Path| match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataError::io(path, error)),
    };
    let Some(default) = read(&folder.join("chat_template.jinja"))? else { return Ok(None) };
    let Ok(entries) = std::fs::read_dir(folder.join("additional_chat_templates")) else {
        return Ok(Some(default.into()));
    };
    let mut templates = vec![json!({ "name": "default", "template": default })];
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|kind| kind == "jinja")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        templates.extend(read(path)?.map(|template| json!({ "name": name, "template": template })));
    }
    Ok(Some(templates.into()))
}

/// One id or a list of them.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The JSON object in a file; empty if there is no file.
pub(super) fn object(path: &Path) -> Result<Map<String, Value>, DataError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(DataError::io(path, error)),
    };
    serde_json::from_slice(&text)
        .map_err(|error| DataError::Tokenizer { path: path.to_owned(), message: error.to_string() })
}

/// Writes a file beside its place, syncs it and renames it, so that a reader sees the old or the new one whole.
pub(crate) fn write_beside(path: &Path, contents: &[u8]) -> Result<(), DataError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| DataError::write(folder, 0, e))?;
    file.write_all(contents).and_then(|()| file.as_file().sync_all()).map_err(|e| DataError::write(path, 0, e))?;
    open_to_others(file.as_file()).map_err(|e| DataError::write(path, 0, e))?;
    file.persist(path).map_err(|e| DataError::write(path, 0, e.error))?;
    Ok(())
}

/// Temporary files are for their owner only; what stays is readable as any file is.
pub(crate) fn open_to_others(file: &std::fs::File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

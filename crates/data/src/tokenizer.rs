//! Tokenizers: trained here or loaded from any Hugging Face `tokenizer.json`.
//!
//! Everything is a [`tokenizers::Tokenizer`] inside and `tokenizer.json` outside, so that Python reads what we train and
//! the other way round. Beside it stand three things of our own: a fast path for the tokenizers trained here
//! (`encode`), text out of ids without ever breaking a character (`stream`), and the special tokens that the
//! files beside `tokenizer.json` name (`files`).

mod around;
mod bytes;
mod count;
mod decode;
mod encode;
mod files;
mod foreign;
mod prompt;
mod split;
mod stream;
mod train;
mod utf8;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use ahash::AHashMap;
use serde::{Deserialize, Serialize};
use tokenizers::AddedToken;

use crate::DataError;
pub use around::tokens_around;
use decode::Decoding;
use encode::Encoder;
use files::SpecialTokens;
pub(crate) use files::{open_to_others, write_beside};
use foreign::Files;
pub use stream::TextStream;

/// Ids between 0 and the largest that may have no token, beside 16 for each token; tables have a row for each.
const MOST_UNUSED_IDS: usize = 1 << 20;

/// The special token that ends every document, and the line that separates documents in `.txt` files.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// What one token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenizerKind {
    /// A character; those that the training text lacks become `<unk>`.
    Char,
    /// A byte; the id is the value of the byte.
    Byte,
    /// A word or a punctuation mark, with the space before it; rarer words fall back to bytes.
    Word,
    /// A byte-level BPE unit with the splitting rule of GPT-2.
    Bpe,
}

impl fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Char => "char",
            Self::Byte => "byte",
            Self::Word => "word",
            Self::Bpe => "bpe",
        })
    }
}

impl FromStr for TokenizerKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Char, Self::Byte, Self::Word, Self::Bpe]
            .into_iter()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| format!("unknown tokenizer {name:?}; expected char, byte, word or bpe"))
    }
}

/// The section `[tokenizer]` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerSection {
    /// What to train.
    pub kind: TokenizerKind,
    /// Largest number of tokens, the end of text included; for `word` and `bpe`.
    pub vocab_size: usize,
    /// A word or pair must occur this often to become a token; for `word` and `bpe`.
    pub min_frequency: u64,
    /// Use this `tokenizer.json` or model directory and train nothing.
    pub path: Option<PathBuf>,
}

impl Default for TokenizerSection {
    fn default() -> Self {
        Self { kind: TokenizerKind::Bpe, vocab_size: 8192, min_frequency: 2, path: None }
    }
}

/// One token of a text, as a person wants to see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Row in the embedding table.
    pub id: u32,
    /// The token as `tokenizer.json` writes it, for example `Ġlove`.
    pub token: String,
    /// The text it stands for, for example ` love`; a part of a character is shown as U+FFFD.
    pub text: String,
    /// Bytes of the input that it covers.
    pub span: Range<usize>,
}

/// A tokenizer. Clones share their tables.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    special: Arc<SpecialTokens>,
    /// Ids from here on have no embedding in the model.
    rows: usize,
}

struct Inner {
    /// Takes special tokens written in a text for plain text: a corpus cannot inject them.
    plain: tokenizers::Tokenizer,
    /// The same, but special tokens are read; made when a prompt comes.
    prompting: OnceLock<tokenizers::Tokenizer>,
    /// Made when a text comes.
    encoder: OnceLock<Encoder>,
    decoding: Decoding,
    added: AHashMap<u32, AddedToken>,
    vocab_size: usize,
    /// The same without added tokens.
    core_size: usize,
    /// Made when it is asked for.
    hash: OnceLock<String>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, special, rows } = self;
        let mut shown = f.debug_struct("Tokenizer");
        shown.field("vocab_size", &inner.vocab_size).field("rows", rows).field("special", special).finish()
    }
}

impl Tokenizer {
    /// Reads the tokenizer in a directory and the special tokens that the files beside it name: a `tokenizer.json`, else a
    /// SentencePiece `tokenizer.model`, else `vocab.json` with `merges.txt`. A path may name one of these files, too.
    ///
    /// # Errors
    /// A missing file, or [`DataError::Tokenizer`].
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let files = Files::find(path)?;
        let plain = files.build()?;
        let file = files.path();
        let special = SpecialTokens::read(file.parent().unwrap_or(Path::new(".")), &plain)?;
        Self::from_parts(plain, special)
            .map_err(|e| DataError::Tokenizer { path: file.to_owned(), message: e.to_string() })
    }

    /// A tokenizer out of what would stand in `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.
    ///
    /// # Errors
    /// [`DataError::Tokenize`] for a `json` that is not a tokenizer.
    pub fn from_json(
        json: &serde_json::Value,
        config: serde_json::Map<String, serde_json::Value>,
        generation: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, DataError> {
        let plain = tokenizers::Tokenizer::from_bytes(json.to_string()).map_err(tokenize)?;
        let special = SpecialTokens::resolve(config, [generation], &plain);
        Self::from_parts(plain, special)
    }

    /// What stands in `tokenizer.json`.
    ///
    /// # Errors
    /// None that is known of; the `tokenizers` crate could report one.
    pub fn to_json(&self) -> Result<serde_json::Value, DataError> {
        let json = self.inner.plain.to_string(false).map_err(tokenize)?;
        serde_json::from_str(&json).map_err(|e| tokenize(e.into()))
    }

    fn from_parts(mut plain: tokenizers::Tokenizer, mut special: SpecialTokens) -> Result<Self, DataError> {
        plain.with_padding(None).with_truncation(None).map_err(tokenize)?;
        plain.set_encode_special_tokens(true);
        special.put_around(&mut plain)?;
        // Ids may have gaps, so the embedding table needs the largest id, not the number of tokens.
        let vocab = plain.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let most = MOST_UNUSED_IDS + 16 * vocab.len();
        if vocab_size > most {
            let problem = format!("its largest id is {}, but it has {} tokens only", vocab_size - 1, vocab.len());
            return Err(DataError::Tokenize(problem));
        }
        let added = plain.get_added_tokens_decoder();
        let core = vocab.values().filter(|id| !added.contains_key(id));
        let core_size = core.max().map_or(0, |&id| id as usize + 1);
        let decoding = Decoding::new(&plain, &vocab, vocab_size);
        let (prompting, encoder, hash) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let inner = Inner { plain, prompting, encoder, decoding, added, vocab_size, core_size, hash };
        Ok(Self { inner: Arc::new(inner), special: Arc::new(special), rows: vocab_size })
    }

    /// The same tokenizer for a model with `rows` embeddings. Published tokenizers may have more tokens than that (Gemma 3
    /// names a token for pictures that its text models lack): such a token is an error where it stands in a text, and
    /// neither begins nor ends one.
    #[must_use]
    pub fn for_rows(&self, rows: usize) -> Self {
        let rows = rows.min(self.inner.vocab_size);
        if rows == self.rows {
            return self.clone();
        }
        Self { inner: self.inner.clone(), special: Arc::new(self.special.below(rows)), rows }
    }

    /// Fails for ids that the model has no embedding for.
    fn check_rows(&self, ids: impl IntoIterator<Item = u32>) -> Result<(), DataError> {
        if self.rows == self.inner.vocab_size {
            return Ok(());
        }
        let Some(id) = ids.into_iter().find(|&id| id as usize >= self.rows) else { return Ok(()) };
        let token = self.token(id).unwrap_or_default();
        Err(DataError::NoEmbedding { id, token, rows: self.rows })
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, which Hugging Face transformers loads as a
    /// `PreTrainedTokenizerFast`. Other settings of a loaded tokenizer, a chat template for example, are kept.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), DataError> {
        std::fs::create_dir_all(dir).map_err(|e| DataError::write(dir, 0, e))?;
        // tokenizer.json last: a directory that has it has both.
        let config = serde_json::to_string_pretty(&self.special.config).map_err(|e| tokenize(e.into()))?;
        write_beside(&dir.join("tokenizer_config.json"), config.as_bytes())?;
        let json = self.inner.plain.to_string(true).map_err(tokenize)?;
        write_beside(&dir.join("tokenizer.json"), json.as_bytes())
    }

    /// Ids of a text. Nothing is added, and special tokens written in the text are plain text.
    ///
    /// # Errors
    /// When the tokenizer has no token for a part of the text and no unknown token either.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut ids = Vec::new();
        self.encode_into(text, false, &mut ids)?;
        Ok(ids)
    }

    /// Appends the ids of a text; `continues` says that it follows the last one directly. Returns how many unknown
    /// tokens are among them.
    pub(crate) fn encode_into(&self, text: &str, continues: bool, ids: &mut Vec<u32>) -> Result<u64, DataError> {
        let encoder = self.inner.encoder.get_or_init(|| Encoder::new(&self.inner.plain));
        let before = ids.len();
        let unknown = encoder.encode(&self.inner.plain, text, continues, ids)?;
        self.check_rows(ids[before..].iter().copied())?;
        Ok(unknown)
    }

    /// Text of the ids, without special tokens. Bytes that form no character become U+FFFD, ids that the vocabulary
    /// lacks are passed over.
    ///
    /// # Errors
    /// When the decoder of a foreign `tokenizer.json` fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        self.inner.decoding.decode(&self.inner.plain, ids)
    }

    /// Text out of ids as they come, never a part of a character. What it gives in sum is what
    /// [`decode`](Self::decode) gives for all ids.
    pub fn decode_stream(&self) -> TextStream<'_> {
        TextStream::new(self, false)
    }

    /// A stream that continues the text of `context`: where Llama-like tokenizers drop the space at the start of a
    /// text, this one keeps it.
    pub fn decode_stream_after(&self, context: &[u32]) -> TextStream<'_> {
        TextStream::new(self, context.iter().any(|&id| !self.inner.decoding.is_special(id)))
    }

    /// Rows that an embedding table needs: the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.inner.vocab_size
    }

    /// Rows that an embedding table needs for the tokens that a text is split into: without those that were added to them.
    pub fn core_size(&self) -> usize {
        self.inner.core_size
    }

    /// Tokens after which generation stops; empty if none is known.
    pub fn eos_ids(&self) -> &[u32] {
        &self.special.eos
    }

    /// The token that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.special.bos
    }

    /// The token that ends a document in training data.
    pub fn end_of_text_id(&self) -> Option<u32> {
        self.special.end_of_text
    }

    /// Whether an id is a special token, which stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.decoding.is_special(id)
    }

    /// The token of an id as `tokenizer.json` writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        // Of an added token, the crate's `id_to_token` gives what the normalizer makes of it.
        let added = self.inner.added.get(&id).map(|token| token.content.clone());
        added.or_else(|| self.inner.plain.id_to_token(id))
    }

    /// The id of a token as `tokenizer.json` writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.plain.token_to_id(token)
    }

    /// `tokenizer_config.json` as it was read or will be written; a chat template is under `chat_template`.
    pub fn config(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.special.config
    }

    /// blake3 of the canonical `tokenizer.json`, in hex: equal for equal tokenizers.
    pub fn hash(&self) -> &str {
        self.inner.hash.get_or_init(|| {
            // No error of it is known.
            let canonical = self.inner.plain.to_string(false).unwrap_or_default();
            blake3::hash(canonical.as_bytes()).to_hex().to_string()
        })
    }
}

/// An error of the `tokenizers` crate.
#[allow(clippy::needless_pass_by_value)] // so that it fits `map_err`
fn tokenize(error: tokenizers::Error) -> DataError {
    DataError::Tokenize(error.to_string())
}

//! Tokenizers: trained here or loaded from any Hugging Face `tokenizer.json`.
//!
//! Everything is a [`tokenizers::Tokenizer`] inside and `tokenizer.json` outside, so that Python reads what we train and
//! the other way round. Beside it stand three things of our own: a fast path for the tokenizers trained here
//! (`encode`), text out of ids without ever breaking a character (`stream`), and the special tokens that the
//! files beside `tokenizer.json` name (`files`).

mod bytes;
mod count;
mod decode;
mod encode;
mod files;
mod split;
mod stream;
mod train;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::DataError;
use decode::Decoding;
use encode::Encoder;
use files::SpecialTokens;
pub(crate) use files::{open_to_others, write_beside};
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
            .ok_or_else(|| format!("unknown tokenizer {name:?}; there are char, byte, word and bpe"))
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
}

struct Inner {
    /// Takes special tokens written in a text for plain text: a corpus cannot inject them.
    plain: tokenizers::Tokenizer,
    /// The same, but special tokens are read; made when a prompt comes.
    prompting: OnceLock<tokenizers::Tokenizer>,
    /// Made when a text comes.
    encoder: OnceLock<Encoder>,
    decoding: Decoding,
    special: SpecialTokens,
    vocab_size: usize,
    /// Made when it is asked for.
    hash: OnceLock<String>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { vocab_size, special, .. } = &*self.inner;
        f.debug_struct("Tokenizer").field("vocab_size", vocab_size).field("special", special).finish()
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, or the one in a directory, and the special tokens that `tokenizer_config.json`,
    /// `config.json` and `generation_config.json` beside it name.
    ///
    /// # Errors
    /// A missing file, or [`DataError::Tokenizer`].
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_owned() };
        let json = std::fs::read(&file).map_err(|e| DataError::io(&file, e))?;
        let unusable = |message: String| DataError::Tokenizer { path: file.clone(), message };
        let plain = tokenizers::Tokenizer::from_bytes(json).map_err(|e| unusable(e.to_string()))?;
        let folder = file.parent().unwrap_or(Path::new("."));
        let special = SpecialTokens::read(folder, &plain)?;
        Self::from_parts(plain, special).map_err(|e| unusable(e.to_string()))
    }

    /// A tokenizer out of what would stand in `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.
    ///
    /// # Errors
    /// [`DataError::Tokenize`] for a `json` that is no tokenizer.
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

    fn from_parts(mut plain: tokenizers::Tokenizer, special: SpecialTokens) -> Result<Self, DataError> {
        plain.with_padding(None).with_truncation(None).map_err(tokenize)?;
        plain.set_encode_special_tokens(true);
        // Ids may have gaps, so the embedding table needs the largest id, not the number of tokens.
        let vocab = plain.get_vocab(true);
        let vocab_size = vocab.values().max().map_or(0, |&id| id as usize + 1);
        let most = MOST_UNUSED_IDS + 16 * vocab.len();
        if vocab_size > most {
            let problem = format!("its largest id is {}, but it has {} tokens only", vocab_size - 1, vocab.len());
            return Err(DataError::Tokenize(problem));
        }
        let decoding = Decoding::new(&plain, &vocab, vocab_size);
        let (prompting, encoder, hash) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let inner = Inner { plain, prompting, encoder, decoding, special, vocab_size, hash };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, which Hugging Face transformers loads as a
    /// `PreTrainedTokenizerFast`. Other settings of a loaded tokenizer, a chat template for example, are kept.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), DataError> {
        std::fs::create_dir_all(dir).map_err(|e| DataError::write(dir, 0, e))?;
        // tokenizer.json last: a directory that has it has both.
        let config = serde_json::to_string_pretty(&self.inner.special.config).map_err(|e| tokenize(e.into()))?;
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

    /// Appends the ids of a text; `continues` says that it goes on where the last one ended. Returns how many unknown
    /// tokens are among them.
    pub(crate) fn encode_into(&self, text: &str, continues: bool, ids: &mut Vec<u32>) -> Result<u64, DataError> {
        let encoder = self.inner.encoder.get_or_init(|| Encoder::new(&self.inner.plain));
        encoder.encode(&self.inner.plain, text, continues, ids)
    }

    /// Ids of a prompt: special tokens written in it are read, and those that the tokenizer adds by itself (a
    /// beginning-of-text token for Llama) are added.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut ids = self.encode_with_special(text, true)?;
        if let Some(bos) = self.inner.special.bos.filter(|_| self.inner.special.add_bos)
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// Ids of a conversation that a chat template has rendered: special tokens written in it are read, and none are
    /// added, as the template writes them all.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, DataError> {
        self.encode_with_special(text, false)
    }

    fn encode_with_special(&self, text: &str, add: bool) -> Result<Vec<u32>, DataError> {
        Ok(self.prompting().encode_fast(text, add).map_err(tokenize)?.get_ids().to_vec())
    }

    fn prompting(&self) -> &tokenizers::Tokenizer {
        self.inner.prompting.get_or_init(|| {
            let mut prompting = self.inner.plain.clone();
            prompting.set_encode_special_tokens(false);
            prompting
        })
    }

    /// Ids of a text in which special tokens are read, each with the bytes that it stands for: as a prompt, or else
    /// with no token added. A token that the tokenizer adds stands for no bytes.
    pub(crate) fn encode_with_places(
        &self,
        text: &str,
        as_prompt: bool,
    ) -> Result<Vec<(u32, Range<usize>)>, DataError> {
        let encoding = self.prompting().encode(text, as_prompt).map_err(tokenize)?;
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        let mut tokens: Vec<_> = encoding.get_ids().iter().copied().zip(places).collect();
        if as_prompt && let Some(bos) = self.inner.special.bos {
            let begins = tokens.iter().take_while(|(id, _)| *id == bos).count();
            if begins > 1 {
                // It was written in the text and added again.
                tokens.drain(1..begins);
            } else if begins == 0 && self.inner.special.add_bos {
                tokens.insert(0, (bos, 0..0));
            }
        }
        Ok(tokens)
    }

    /// The tokens of a text one by one, with what they stand for.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn pieces(&self, text: &str) -> Result<Vec<Piece>, DataError> {
        let encoding = self.inner.plain.encode(text, false).map_err(tokenize)?;
        let offsets = encoding.get_offsets();
        let ids = encoding.get_ids();
        let byte_spans = self.inner.decoding.byte_spans(ids, text);
        let piece = |(i, (&id, token)): (usize, (&u32, &String))| {
            let span = byte_spans.as_ref().map_or(offsets[i].0..offsets[i].1, |spans| spans[i].clone());
            let text = String::from_utf8_lossy(&text.as_bytes()[span.clone()]).into_owned();
            Piece { id, token: token.clone(), text, span }
        };
        Ok(ids.iter().zip(encoding.get_tokens()).enumerate().map(piece).collect())
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

    /// Tokens after which generation stops; empty if none is known.
    pub fn eos_ids(&self) -> &[u32] {
        &self.inner.special.eos
    }

    /// The token that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.inner.special.bos
    }

    /// The token that ends a document in training data.
    pub fn end_of_text_id(&self) -> Option<u32> {
        self.inner.special.end_of_text
    }

    /// Whether an id is a special token, which stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.decoding.is_special(id)
    }

    /// The token of an id as `tokenizer.json` writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.plain.id_to_token(id)
    }

    /// The id of a token as `tokenizer.json` writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.plain.token_to_id(token)
    }

    /// `tokenizer_config.json` as it was read or will be written; a chat template is under `chat_template`.
    pub fn config(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.inner.special.config
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

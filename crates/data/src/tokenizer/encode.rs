//! Text to ids. The tokenizers trained here have a path of their own, several times faster than the general one.

use std::sync::{Mutex, PoisonError};

use ahash::AHashMap;
use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::{Model, Tokenizer};

use super::split::{Splitter, WORDS};
use super::{bytes, tokenize};
use crate::DataError;

/// Pieces longer than this are not kept in a cache.
const LONGEST_CACHED: usize = 48;
/// Pieces a cache holds before it is emptied: about 4 MB.
const CACHE_ENTRIES: usize = 1 << 15;

/// How texts are encoded. Every way gives the ids that the `tokenizers` crate gives.
pub(super) enum Encoder {
    /// One id for each character, and the one for unknown characters.
    Characters { ids: AHashMap<char, u32>, unknown: u32 },
    /// One id for each byte.
    Bytes(Box<[u32; 256]>),
    /// Pieces found by hand; ids within a piece by the model, remembered.
    Pieces { splitter: Splitter, caches: Mutex<Vec<PieceCache>> },
    /// Anything else.
    General {
        unknown: Option<u32>,
        /// The normalizer puts a space before a text, so that a segment which begins with one must lose it.
        prepends_space: bool,
    },
}

impl Encoder {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        Self::fast(tokenizer).unwrap_or_else(|| Self::general(tokenizer))
    }

    /// The fast way, if the tokenizer is one of those it is written for.
    fn fast(tokenizer: &Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(model) = tokenizer.get_model() else { return None };
        let only_special = tokenizer.get_added_tokens_decoder().values().all(|token| token.special);
        let plain = model.dropout.is_none_or(|p| p == 0.0)
            && model.continuing_subword_prefix.as_deref().unwrap_or("").is_empty()
            && model.end_of_word_suffix.as_deref().unwrap_or("").is_empty()
            && !model.byte_fallback
            && !model.fuse_unk;
        if tokenizer.get_normalizer().is_some() || !only_special || !plain {
            return None;
        }
        let vocab = model.get_vocab();
        let unknown = model.unk_token.as_ref().map(|token| vocab.get(token).copied());
        let special = tokenizer.get_added_tokens_decoder();
        let single = |token: &str, id: &u32| {
            token.chars().count() == 1 || special.contains_key(id) || model.unk_token.as_deref() == Some(token)
        };
        // Without a token of two characters there are no merges.
        let no_merges = vocab.iter().all(|(token, id)| single(token, id));
        match (tokenizer.get_pre_tokenizer(), unknown) {
            (None, Some(Some(unknown))) if no_merges && !model.ignore_merges => {
                let one = |(token, &id): (&String, &u32)| {
                    let mut chars = token.chars();
                    chars.next().filter(|_| chars.next().is_none()).map(|c| (c, id))
                };
                Some(Self::Characters { ids: vocab.iter().filter_map(one).collect(), unknown })
            }
            (Some(rule), _) => {
                // With all 256 bytes in the vocabulary nothing is unknown.
                let alphabet: Option<Vec<u32>> =
                    bytes::CHARACTERS.iter().map(|c| vocab.get(c.to_string().as_str()).copied()).collect();
                let alphabet = alphabet?.try_into().ok()?;
                match Rule::read(&serde_json::to_value(rule).ok()?)? {
                    Rule::Bytes => no_merges.then(|| Self::Bytes(Box::new(alphabet))),
                    Rule::Pieces(splitter) => Some(Self::Pieces { splitter, caches: Mutex::default() }),
                }
            }
            _ => None,
        }
    }

    fn general(tokenizer: &Tokenizer) -> Self {
        let unknown = unknown_id(tokenizer);
        let ids = |text| tokenizer.encode_fast(text, false).map(|e| e.get_ids().to_vec()).unwrap_or_default();
        let word = ids("a");
        let prepends_space = ids("a a") == [word.clone(), word].concat();
        Self::General { unknown, prepends_space }
    }

    /// Appends the ids of `text` and returns how many of them are the unknown token. `continues`: the text goes on
    /// where another ended, before a space.
    pub(super) fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        continues: bool,
        out: &mut Vec<u32>,
    ) -> Result<u64, DataError> {
        match self {
            Self::Characters { ids, unknown } => {
                let mut missing = 0;
                out.extend(text.chars().map(|c| {
                    ids.get(&c).copied().unwrap_or_else(|| {
                        missing += 1;
                        *unknown
                    })
                }));
                Ok(missing)
            }
            Self::Bytes(ids) => {
                out.extend(text.bytes().map(|byte| ids[usize::from(byte)]));
                Ok(0)
            }
            Self::Pieces { splitter, caches } => {
                // A cache is taken out while it is in use, so there are as many as threads at work.
                let taken = caches.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut cache = taken.unwrap_or_default();
                let mut outcome = Ok(());
                splitter.for_each(text, |piece| {
                    if outcome.is_ok() {
                        outcome = cache.encode(tokenizer, piece, out);
                    }
                });
                caches.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
                outcome.map(|()| 0)
            }
            Self::General { unknown, prepends_space } => {
                let text = if continues && *prepends_space { text.strip_prefix(' ').unwrap_or(text) } else { text };
                let encoding = tokenizer.encode_fast(text, false).map_err(tokenize)?;
                out.extend_from_slice(encoding.get_ids());
                Ok(encoding.get_ids().iter().filter(|id| Some(**id) == *unknown).count() as u64)
            }
        }
    }
}

/// The pre-tokenizers that are written by hand here.
enum Rule {
    /// Bytes without splitting.
    Bytes,
    /// Pieces, and then bytes.
    Pieces(Splitter),
}

impl Rule {
    /// Reads the `pre_tokenizer` of a `tokenizer.json`; `None` for all others.
    fn read(rule: &Value) -> Option<Self> {
        let byte_level = |rule: &Value, use_regex: bool| {
            rule["type"] == "ByteLevel" && rule["add_prefix_space"] == false && rule["use_regex"] == use_regex
        };
        if byte_level(rule, false) {
            return Some(Self::Bytes);
        }
        if byte_level(rule, true) {
            return Some(Self::Pieces(Splitter::Gpt2));
        }
        let [split, bytes] = rule["pretokenizers"].as_array()?.as_slice() else { return None };
        let by_words = split["type"] == "Split"
            && split["pattern"]["Regex"] == WORDS
            && split["behavior"] == "Isolated"
            && split["invert"] == false;
        (rule["type"] == "Sequence" && by_words && byte_level(bytes, false)).then_some(Self::Pieces(Splitter::Words))
    }
}

/// The id that a model gives to what it does not know.
fn unknown_id(tokenizer: &Tokenizer) -> Option<u32> {
    match tokenizer.get_model() {
        ModelWrapper::BPE(model) => model.token_to_id(model.unk_token.as_ref()?),
        ModelWrapper::WordLevel(model) => model.token_to_id(&model.unk_token),
        ModelWrapper::WordPiece(model) => model.token_to_id(&model.unk_token),
        ModelWrapper::Unigram(_) => None,
    }
}

/// Ids of the pieces met so far.
#[derive(Default)]
pub(super) struct PieceCache {
    /// Start and length in `ids`.
    places: AHashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
}

impl PieceCache {
    fn encode(&mut self, tokenizer: &Tokenizer, piece: &str, out: &mut Vec<u32>) -> Result<(), DataError> {
        if let Some(&(start, len)) = self.places.get(piece) {
            out.extend_from_slice(&self.ids[start as usize..][..len as usize]);
            return Ok(());
        }
        let tokens = tokenizer.get_model().tokenize(&bytes::spell(piece.as_bytes())).map_err(tokenize)?;
        out.extend(tokens.iter().map(|token| token.id));
        if piece.len() <= LONGEST_CACHED {
            if self.places.len() == CACHE_ENTRIES {
                self.places.clear();
                self.ids.clear();
            }
            self.places.insert(piece.into(), (self.ids.len() as u32, tokens.len() as u32));
            self.ids.extend(tokens.iter().map(|token| token.id));
        }
        Ok(())
    }
}

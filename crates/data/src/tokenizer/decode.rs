//! Ids to text.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::utf8::Utf8Stream;
use super::{bytes, tokenize};
use crate::DataError;

/// How ids become text.
pub(super) enum Decoding {
    /// Every token stands for bytes of its own: byte-level BPE, byte fallback, characters, Metaspace.
    Bytes(TokenBytes),
    /// The decoder of the `tokenizers` crate, which sees all tokens at once.
    General { special: Vec<bool> },
}

/// The bytes of every token, one after the other.
pub(super) struct TokenBytes {
    bytes: Vec<u8>,
    /// Token `i` is `bytes[ends[i - 1]..ends[i]]`.
    ends: Vec<u32>,
    special: Vec<bool>,
    /// A text that starts with a space loses it: the normalizer put it there.
    strips_space: bool,
    /// The bytes of all tokens of a text are the text.
    lossless: bool,
}

/// A decoder whose tokens stand for bytes of their own.
#[derive(Default)]
struct Recipe {
    byte_level: bool,
    byte_fallback: bool,
    /// Replaced in order: pattern and content.
    replace: Vec<(String, String)>,
    strips_space: bool,
}

impl Decoding {
    pub(super) fn new(tokenizer: &Tokenizer, vocab: &HashMap<String, u32>, vocab_size: usize) -> Self {
        let mut special = vec![false; vocab_size];
        for (id, token) in tokenizer.get_added_tokens_decoder() {
            if let Some(flag) = special.get_mut(id as usize) {
                *flag = token.special;
            }
        }
        let decoder = tokenizer.get_decoder().and_then(|d| serde_json::to_value(d).ok());
        let Some(recipe) = decoder.and_then(|decoder| Recipe::read(&decoder)) else {
            return Self::General { special };
        };
        let mut tokens = vec![""; vocab_size];
        for (token, &id) in vocab {
            tokens[id as usize] = token;
        }
        let mut table = TokenBytes {
            bytes: Vec::new(),
            ends: Vec::with_capacity(vocab_size),
            special,
            strips_space: recipe.strips_space,
            lossless: recipe.byte_level && tokenizer.get_normalizer().is_none(),
        };
        for token in tokens {
            recipe.append(token, &mut table.bytes);
            table.ends.push(table.bytes.len() as u32);
        }
        Self::Bytes(table)
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        let (Self::Bytes(TokenBytes { special, .. }) | Self::General { special }) = self;
        special.get(id as usize).copied().unwrap_or(false)
    }

    pub(super) fn decode(&self, tokenizer: &Tokenizer, ids: &[u32]) -> Result<String, DataError> {
        let Self::Bytes(table) = self else { return tokenizer.decode(ids, true).map_err(tokenize) };
        let mut stream = Utf8Stream::new(table.strips_space);
        let mut text = String::with_capacity(ids.len() * 4);
        for &id in ids {
            stream.push(table.get(id), &mut text);
        }
        stream.finish(&mut text);
        Ok(text)
    }

    /// The bytes of `text` that each token covers, exact within characters, where tokens are bytes of the text; `written`
    /// gives those of the `i`-th token, if it is special.
    pub(super) fn byte_spans(
        &self,
        ids: &[u32],
        text: &str,
        written: impl Fn(usize) -> usize,
    ) -> Option<Vec<Range<usize>>> {
        let Self::Bytes(table) = self else { return None };
        let mut at = 0;
        let mut span = |(i, &id): (usize, &u32)| {
            let start = at;
            at += table.get(id).len() + written(i);
            start..at
        };
        let spans: Vec<_> = ids.iter().enumerate().map(&mut span).collect();
        (table.lossless && at == text.len()).then_some(spans)
    }
}

impl TokenBytes {
    /// The bytes of a token; none for special and unknown ones.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let i = id as usize;
        if self.special.get(i).copied().unwrap_or(true) {
            return &[];
        }
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    pub(super) fn strips_space(&self) -> bool {
        self.strips_space
    }
}

impl Recipe {
    /// Reads the `decoder` of a `tokenizer.json`; `None` if its tokens depend on each other.
    fn read(decoder: &Value) -> Option<Self> {
        let mut recipe = Self::default();
        let steps = match decoder["type"].as_str()? {
            "Sequence" => decoder["decoders"].as_array()?.as_slice(),
            _ => std::slice::from_ref(decoder),
        };
        let mut fused = false;
        for step in steps {
            // Once the tokens are fused, only the space at the start can still be told apart.
            match step["type"].as_str()? {
                "Strip" if fused && step["content"] == " " && step["start"] == 1 && step["stop"] == 0 => {
                    recipe.strips_space = true;
                }
                "Fuse" => fused = true,
                _ if fused => return None,
                "ByteLevel" if steps.len() == 1 => (recipe.byte_level, fused) = (true, true),
                "ByteFallback" => recipe.byte_fallback = true,
                "Replace" => {
                    let pattern = step["pattern"]["String"].as_str()?;
                    recipe.replace.push((pattern.into(), step["content"].as_str()?.into()));
                }
                "Metaspace" if steps.len() == 1 => {
                    recipe.replace.push((step["replacement"].as_str()?.into(), " ".into()));
                    recipe.strips_space = step["prepend_scheme"] != "never";
                    fused = true;
                }
                _ => return None,
            }
        }
        Some(recipe)
    }

    /// Appends the bytes that a token stands for.
    fn append(&self, token: &str, out: &mut Vec<u8>) {
        if self.byte_level {
            match token.chars().map(bytes::byte).collect::<Option<Vec<u8>>>() {
                Some(spelled) => out.extend(spelled),
                None => out.extend(token.as_bytes()),
            }
            return;
        }
        if self.byte_fallback
            && let Some(hex) = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'))
            && token.len() == 6
            && let Ok(byte) = u8::from_str_radix(hex, 16)
        {
            out.push(byte);
            return;
        }
        let text = self.replace.iter().fold(token.to_owned(), |text, (from, to)| text.replace(from, to));
        out.extend(text.as_bytes());
    }
}

//! Texts in which special tokens are read: prompts, and what chat templates write.

use std::ops::Range;

use super::{Piece, Tokenizer, tokenize};
use crate::DataError;

impl Tokenizer {
    /// Ids of a prompt: special tokens written in it are read, and those that the tokenizer adds by itself (a
    /// beginning-of-text token for Llama) are added. A beginning that is written already is not added again.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let mut ids = self.prompting().encode_fast(text, true).map_err(tokenize)?.get_ids().to_vec();
        if self.begins_twice(ids.iter().copied()) {
            ids.remove(0);
        }
        self.check_rows(ids.iter().copied())?;
        Ok(ids)
    }

    /// Ids of a conversation that a chat template has rendered: special tokens written in it are read, and none are
    /// added, as the template writes them all.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let ids = self.prompting().encode_fast(text, false).map_err(tokenize)?.get_ids().to_vec();
        self.check_rows(ids.iter().copied())?;
        Ok(ids)
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
        if as_prompt && self.begins_twice(tokens.iter().map(|(id, _)| *id)) {
            tokens.remove(0);
        }
        self.check_rows(tokens.iter().map(|(id, _)| *id))?;
        Ok(tokens)
    }

    /// The tokens of a text one by one, with what they stand for. None is added; `special` says whether special tokens
    /// that are written in the text are read, as they are in prompts, or are plain text, as in a corpus.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn pieces(&self, text: &str, special: bool) -> Result<Vec<Piece>, DataError> {
        let tokenizer = if special { self.prompting() } else { &self.inner.plain };
        let encoding = tokenizer.encode(text, false).map_err(tokenize)?;
        let offsets = encoding.get_offsets();
        let ids = encoding.get_ids();
        // Where special tokens are read, they stand for their own text.
        let written = |i: usize| if special && self.is_special(ids[i]) { encoding.get_tokens()[i].len() } else { 0 };
        let byte_spans = self.inner.decoding.byte_spans(ids, text, written);
        let piece = |(i, (&id, token)): (usize, (&u32, &String))| {
            let span = byte_spans.as_ref().map_or(offsets[i].0..offsets[i].1, |spans| spans[i].clone());
            let text = String::from_utf8_lossy(&text.as_bytes()[span.clone()]).into_owned();
            Piece { id, token: token.clone(), text, span }
        };
        Ok(ids.iter().zip(encoding.get_tokens()).enumerate().map(piece).collect())
    }

    /// Whether a text begins with the token for that because it is written there, and with another that was added.
    fn begins_twice(&self, mut ids: impl Iterator<Item = u32>) -> bool {
        self.special.adds_bos && ids.next() == self.special.bos && ids.next() == self.special.bos
    }

    fn prompting(&self) -> &tokenizers::Tokenizer {
        self.inner.prompting.get_or_init(|| {
            let mut prompting = self.inner.plain.clone();
            prompting.set_encode_special_tokens(false);
            prompting
        })
    }
}

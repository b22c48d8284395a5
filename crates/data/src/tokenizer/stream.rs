//! Text out of ids one at a time, with complete characters only.

use super::decode::Decoding;
use super::{Tokenizer, tokenize};
use crate::DataError;

/// Tokens that a foreign decoder may hold back before they are shown as they are.
const LONGEST_HELD: usize = 8;

/// Turns ids into text as they come; see [`Tokenizer::decode_stream`]. The work for an id does not grow with the text.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    state: State,
}

enum State {
    Bytes(Utf8Stream),
    /// A short window of ids: the first `shown` have been shown and are context for the others.
    Window {
        ids: Vec<u32>,
        shown: usize,
    },
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, continues: bool) -> Self {
        let state = match &tokenizer.inner.decoding {
            Decoding::Bytes(table) => State::Bytes(Utf8Stream::new(table.strips_space() && !continues)),
            Decoding::General { .. } => State::Window { ids: Vec::new(), shown: 0 },
        };
        Self { tokenizer, state }
    }

    /// Takes the next id and gives the text that is now complete, if any.
    ///
    /// # Errors
    /// When the decoder of a foreign `tokenizer.json` fails.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, DataError> {
        let text = match (&mut self.state, &self.tokenizer.inner.decoding) {
            (State::Bytes(stream), Decoding::Bytes(table)) => {
                let mut text = String::new();
                stream.push(table.get(id), &mut text);
                text
            }
            (State::Window { ids, .. }, _) => {
                ids.push(id);
                self.slide(false)?
            }
            (State::Bytes(_), Decoding::General { .. }) => String::new(),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The rest: an unfinished character becomes U+FFFD, as [`Tokenizer::decode`] has it.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<Option<String>, DataError> {
        let text = match &mut self.state {
            State::Bytes(stream) => {
                let mut text = String::new();
                stream.finish(&mut text);
                text
            }
            State::Window { .. } => self.slide(true)?,
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Decodes the window and gives what the ids not yet shown add to it.
    fn slide(&mut self, last: bool) -> Result<String, DataError> {
        let State::Window { ids, shown } = &mut self.state else { return Ok(String::new()) };
        let decode = |ids: &[u32]| self.tokenizer.inner.plain.decode(ids, true).map_err(tokenize);
        let before = decode(&ids[..*shown])?;
        let all = decode(ids)?;
        let held = ids.len() - *shown;
        if !last && held < LONGEST_HELD && (all.ends_with(char::REPLACEMENT_CHARACTER) || all.len() <= before.len()) {
            return Ok(String::new());
        }
        let text = all.get(before.len()..).unwrap_or("").to_owned();
        ids.drain(..*shown);
        *shown = ids.len();
        Ok(text)
    }
}

/// UTF-8 as it comes: whole characters out, at most three bytes held back, invalid sequences as U+FFFD exactly as
/// [`String::from_utf8_lossy`] has it for all bytes at once.
pub(super) struct Utf8Stream {
    held: Vec<u8>,
    strip_space: bool,
}

impl Utf8Stream {
    /// `strip_space`: a space at the very start is left out.
    pub(super) fn new(strip_space: bool) -> Self {
        Self { held: Vec::new(), strip_space }
    }

    pub(super) fn push(&mut self, bytes: &[u8], text: &mut String) {
        let Some(&first) = bytes.first() else { return };
        let bytes = if std::mem::take(&mut self.strip_space) && first == b' ' { &bytes[1..] } else { bytes };
        if self.held.is_empty()
            && let Ok(whole) = std::str::from_utf8(bytes)
        {
            text.push_str(whole);
            return;
        }
        self.held.extend_from_slice(bytes);
        let mut rest = self.held.as_slice();
        while let Err(error) = std::str::from_utf8(rest) {
            let (valid, bad) = rest.split_at(error.valid_up_to());
            text.push_str(&String::from_utf8_lossy(valid));
            rest = bad;
            let Some(len) = error.error_len() else { break };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &bad[len..];
        }
        if let Ok(valid) = std::str::from_utf8(rest) {
            text.push_str(valid);
            rest = &[];
        }
        let done = self.held.len() - rest.len();
        self.held.drain(..done);
    }

    pub(super) fn finish(&mut self, text: &mut String) {
        text.push_str(&String::from_utf8_lossy(&self.held));
        self.held.clear();
    }
}

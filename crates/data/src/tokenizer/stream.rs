//! Text out of ids one at a time, with complete characters only.

use super::decode::Decoding;
use super::utf8::Utf8Stream;
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

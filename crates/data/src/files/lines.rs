//! A text file by lines, with one in memory at a time.

use super::{Decoder, FileError};
use crate::DataError;

/// A line is parsed as a whole, in memory.
const LONGEST: usize = 64 << 20;

/// Reads line by line.
pub(crate) struct Lines {
    decoder: Decoder,
    buffer: String,
    /// Everything before this position of the buffer has been handed out.
    start: usize,
    number: u64,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(decoder: Decoder) -> Self {
        Self { decoder, buffer: String::new(), start: 0, number: 0, ended: false }
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The next line, without the line feed, and its number, from 1.
    ///
    /// # Errors
    /// What is not text, and [`FileError::LineTooLong`].
    pub(crate) fn next_line(&mut self) -> Result<Option<(u64, &str)>, DataError> {
        let mut searched = self.start;
        let end = loop {
            if let Some(at) = self.buffer[searched..].find('\n') {
                break searched + at;
            }
            searched = self.buffer.len();
            if self.ended {
                break searched;
            }
            if searched - self.start > LONGEST {
                let path = self.decoder.path().to_owned();
                return Err(FileError::LineTooLong { path, line: self.number + 1, most: LONGEST }.into());
            }
            self.buffer.drain(..self.start);
            searched -= self.start;
            self.start = 0;
            self.ended = !self.decoder.read_into(&mut self.buffer)?;
        };
        if self.start == self.buffer.len() {
            return Ok(None);
        }
        let line = self.start..end;
        self.start = (end + 1).min(self.buffer.len());
        self.number += 1;
        Ok(Some((self.number, &self.buffer[line])))
    }
}

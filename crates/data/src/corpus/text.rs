//! `.txt` and `.md`: plain text, cut into segments as it is read.

use super::segment::{SEGMENT_BYTES, Segment, cut};
use crate::DataError;
use crate::files::{Decoder, Encoding};
use crate::tokenizer::END_OF_TEXT;

/// Bytes that stay in the buffer when a segment is cut, so that a separator line is never cut in two.
const MARGIN: usize = 64;

pub(super) struct TextReader {
    text: Decoder,
    /// Whether lines `<|endoftext|>` separate documents.
    separated: bool,
    buffer: String,
    /// Everything before this position of the buffer has been handed out.
    start: usize,
    /// Where the search for a separator continues.
    searched: usize,
    /// The last character handed out was a line feed, or nothing was: the buffer starts a line.
    at_line_start: bool,
    in_document: bool,
    end_of_file: bool,
}

impl TextReader {
    pub(super) fn new(text: Decoder, separated: bool) -> Self {
        Self {
            text,
            separated,
            buffer: String::new(),
            start: 0,
            searched: 0,
            at_line_start: true,
            in_document: false,
            end_of_file: false,
        }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.text.encoding()
    }

    pub(super) fn next_segment(&mut self) -> Result<Option<Segment>, DataError> {
        loop {
            if let Some((end, resume)) = self.find_separator() {
                let segment = self.take(end, true);
                (self.start, self.searched, self.at_line_start) = (resume, resume, true);
                if segment.is_some() {
                    return Ok(segment);
                }
            } else if self.buffer.len() - self.start > SEGMENT_BYTES + MARGIN {
                let end = self.start + cut(&self.buffer[self.start..], SEGMENT_BYTES);
                return Ok(self.take(end, false));
            } else if self.end_of_file {
                return Ok(self.take(self.buffer.len(), true));
            } else {
                self.fill()?;
            }
        }
    }

    fn fill(&mut self) -> Result<(), DataError> {
        self.buffer.drain(..self.start);
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
        self.end_of_file = !self.text.read_into(&mut self.buffer)?;
        Ok(())
    }

    /// The end of the text before the next separator line and the position after that line, once all of it is here.
    fn find_separator(&mut self) -> Option<(usize, usize)> {
        while self.separated {
            let from = self.searched.max(self.start);
            let Some(at) = self.buffer[from..].find(END_OF_TEXT).map(|i| from + i) else {
                // A separator may lie half in the buffer; all before it has been searched.
                let keep = self.buffer.len().saturating_sub(END_OF_TEXT.len());
                self.searched = from.max(self.buffer.floor_char_boundary(keep));
                return None;
            };
            let before = &self.buffer[self.start..at];
            let starts_line = if before.is_empty() { self.at_line_start } else { before.ends_with('\n') };
            let after = &self.buffer[at + END_OF_TEXT.len()..];
            let blank = after.len() - after.trim_start_matches([' ', '\t', '\r']).len();
            let line_end = after[blank..].chars().next();
            if starts_line && line_end.is_none() && !self.end_of_file && blank < MARGIN {
                self.searched = at;
                return None;
            }
            if starts_line && matches!(line_end, None | Some('\n')) {
                let resume = at + END_OF_TEXT.len() + blank + line_end.map_or(0, char::len_utf8);
                // The line feed before the separator belongs to the separator.
                let text = before.strip_suffix('\n').map_or(before, |t| t.strip_suffix('\r').unwrap_or(t));
                return Some((self.start + text.len(), resume));
            }
            self.searched = at + END_OF_TEXT.len();
        }
        None
    }

    /// Hands out the buffer up to `end`. Documents of nothing but white space are dropped.
    fn take(&mut self, end: usize, ends_document: bool) -> Option<Segment> {
        let text = &self.buffer[self.start..end];
        let starts_document = !self.in_document;
        if starts_document && ends_document && text.trim().is_empty() {
            self.start = end;
            return None;
        }
        let segment = Segment { text: text.to_owned(), starts_document, ends_document };
        self.at_line_start = text.ends_with('\n');
        self.start = end;
        self.in_document = !ends_document;
        Some(segment)
    }
}

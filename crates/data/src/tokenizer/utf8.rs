//! Bytes to text, as they come.

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

//! Pieces of documents.

/// Documents longer than this many bytes are handed out in several segments.
pub(crate) const SEGMENT_BYTES: usize = 256 << 10;

/// How the files of a corpus are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorpusOptions {
    /// Key of a `.jsonl` line that holds the text.
    pub text_key: String,
    /// Replace invalid UTF-8 by U+FFFD instead of stopping.
    pub lossy: bool,
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self { text_key: "text".into(), lossy: false }
    }
}

/// A piece of a document, or all of it.
///
/// Longer documents are cut between a letter or digit and the space after it, where no usual tokenizer has a token,
/// so that segments can be tokenized on their own. Only a text without such a place for 256 KiB is cut elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The text; empty only if a document ends exactly where its last segment was cut.
    pub text: String,
    /// Whether a document starts here.
    pub starts_document: bool,
    /// Whether a document ends here.
    pub ends_document: bool,
}

/// Where to cut a text that is longer than `limit` bytes: before the last space that follows a letter or digit, else
/// before the last line feed or space, else after the last whole character. The result is within `1..=limit`.
pub(crate) fn cut(text: &str, limit: usize) -> usize {
    let limit = text.floor_char_boundary(limit);
    let head = &text[..limit];
    let after_word = |&(i, _): &(usize, &str)| head[..i].chars().next_back().is_some_and(char::is_alphanumeric);
    if let Some((i, _)) = head.rmatch_indices(' ').find(after_word) {
        return i;
    }
    match head.rfind(['\n', ' ']) {
        Some(i) if i > 0 => i,
        _ => limit,
    }
}

//! The splitting rules of the tokenizers trained here, by hand.
//!
//! The `tokenizers` crate splits with a regular expression, which takes most of the time of encoding. These functions
//! find the same pieces, and tests hold them to the expression. Letters, marks, numbers and white space beyond ASCII are
//! what the same regular-expression engine says they are, asked once.

use std::sync::LazyLock;

use tokenizers::utils::SysRegex;

/// How a text is split before tokens are formed within the pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Splitter {
    /// Words and punctuation marks, each with the space before it.
    Words,
    /// The rule of GPT-2: as above, with runs of punctuation and with English contractions.
    Gpt2,
}

/// The rule [`Splitter::Words`] as it stands in `tokenizer.json`.
pub(super) const WORDS: &str =
    r"(?: ?[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*)|(?: ?\p{N}+)|(?: ?[^\s\p{L}\p{M}\p{N}])|(?:\s+(?!\S))|(?:\s+)";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Letter,
    Mark,
    Number,
    Space,
}

/// Classes of all code points, 1.1 MB, made when a text beyond ASCII is first met.
static CLASSES: LazyLock<Vec<Class>> = LazyLock::new(|| {
    let all: String = ('\0'..=char::MAX).collect();
    let mut classes = vec![Class::Other; 0x11_0000];
    for (pattern, class) in
        [(r"\p{L}+", Class::Letter), (r"\p{M}+", Class::Mark), (r"\p{N}+", Class::Number), (r"\s+", Class::Space)]
    {
        // The patterns are constants that a test compiles; without one, the class would be empty, never wrong memory.
        let Ok(regex) = SysRegex::new(pattern) else { continue };
        for (start, end) in regex.find_iter(&all) {
            for c in all[start..end].chars() {
                classes[c as usize] = class;
            }
        }
    }
    classes
});

fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => Class::Letter,
        '0'..='9' => Class::Number,
        ' ' | '\t'..='\r' => Class::Space,
        '\0'..='\x7f' => Class::Other,
        _ => CLASSES[c as usize],
    }
}

/// A position in a text.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        // The first byte alone is a character for ASCII, which nearly all are.
        match *self.text.as_bytes().get(self.at)? {
            byte @ 0..=0x7f => Some(char::from(byte)),
            _ => self.text[self.at..].chars().next(),
        }
    }

    fn bump(&mut self, c: char) {
        self.at += c.len_utf8();
    }

    /// Moves past all characters whose class is accepted.
    fn skip(&mut self, accept: impl Fn(Class) -> bool) {
        while let Some(c) = self.peek().filter(|&c| accept(class(c))) {
            self.bump(c);
        }
    }
}

impl Splitter {
    /// Calls `found` with every piece of the text, in order; together they are the text.
    pub(super) fn for_each<'a>(self, text: &'a str, mut found: impl FnMut(&'a str)) {
        let mut scan = Scan { text, at: 0 };
        while let Some(first) = scan.peek() {
            let start = scan.at;
            self.advance(&mut scan, first);
            found(&text[start..scan.at]);
        }
    }

    /// Moves to the end of the piece that starts here.
    fn advance(self, scan: &mut Scan<'_>, first: char) {
        let mut lead = first;
        if self == Self::Gpt2 && first == '\'' {
            let rest = &scan.text.as_bytes()[scan.at + 1..];
            match rest {
                [b'r' | b'v', b'e', ..] | [b'l', b'l', ..] => return scan.at += 3,
                [b's' | b't' | b'm' | b'd', ..] => return scan.at += 2,
                _ => {}
            }
        }
        scan.bump(first);
        if class(first) == Class::Space {
            match scan.peek() {
                // A space belongs to what follows it, unless that is white space too.
                Some(next) if first == ' ' && class(next) != Class::Space => {
                    lead = next;
                    scan.bump(next);
                }
                _ => return white_space(scan, first),
            }
        }
        match (self, class(lead)) {
            (_, Class::Number) => scan.skip(|c| c == Class::Number),
            (Self::Gpt2, Class::Letter) => scan.skip(|c| c == Class::Letter),
            (Self::Gpt2, _) => scan.skip(|c| matches!(c, Class::Other | Class::Mark)),
            (Self::Words, Class::Letter | Class::Mark) => word(scan),
            (Self::Words, _) => {}
        }
    }
}

/// The rest of a word: letters, and apostrophes between letters.
fn word(scan: &mut Scan<'_>) {
    let in_word = |c| matches!(c, Class::Letter | Class::Mark);
    loop {
        scan.skip(in_word);
        let Some(apostrophe @ ('\'' | '’')) = scan.peek() else { return };
        let back = scan.at;
        scan.bump(apostrophe);
        if !scan.peek().is_some_and(|c| in_word(class(c))) {
            scan.at = back;
            return;
        }
    }
}

/// The rest of a run of white space: all of it at the end of the text, else all but its last character.
fn white_space(scan: &mut Scan<'_>, first: char) {
    let start = scan.at - first.len_utf8();
    scan.skip(|c| c == Class::Space);
    if scan.at < scan.text.len() {
        let last = scan.text[start..scan.at].chars().next_back().map_or(0, char::len_utf8);
        if scan.at - last > start {
            scan.at -= last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::PreTokenizerWrapper;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::pre_tokenizers::split::Split;
    use tokenizers::pre_tokenizers::split::SplitPattern;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

    fn by_hand(splitter: Splitter, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        splitter.for_each(text, |piece| pieces.push(piece.to_owned()));
        pieces
    }

    fn by_expression(splitter: Splitter, text: &str) -> Vec<String> {
        let rule: PreTokenizerWrapper = match splitter {
            Splitter::Gpt2 => ByteLevel::new(false, false, true).into(),
            Splitter::Words => {
                Split::new(SplitPattern::Regex(WORDS.into()), SplitDelimiterBehavior::Isolated, false).unwrap().into()
            }
        };
        let mut split = PreTokenizedString::from(text);
        rule.pre_tokenize(&mut split).unwrap();
        let offsets = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
        offsets.into_iter().map(|(_, (start, end), _)| text[start..end].to_owned()).collect()
    }

    #[test]
    fn words_and_punctuation() {
        assert_eq!(by_hand(Splitter::Words, "I love AI!"), ["I", " love", " AI", "!"]);
        assert_eq!(
            by_hand(Splitter::Words, "don't  stop... 3.14\n"),
            ["don't", " ", " stop", ".", ".", ".", " 3", ".", "14", "\n"]
        );
        assert_eq!(by_hand(Splitter::Gpt2, "don't  stop...\n\nx"), ["don", "'t", " ", " stop", "...", "\n", "\n", "x"]);
    }

    #[test]
    fn every_character_has_the_class_of_the_expression() {
        // The rule of GPT-2 as the `tokenizers` crate writes it, where it is private.
        let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
        let text: String = ('\0'..=char::MAX).flat_map(|c| ['a', c, ' ', c]).collect();
        for (splitter, rule) in [(Splitter::Gpt2, gpt2), (Splitter::Words, WORDS)] {
            let regex = SysRegex::new(rule).unwrap();
            let expected = regex.find_iter(&text).map(|(start, end)| &text[start..end]);
            let mut pieces = Vec::new();
            splitter.for_each(&text, |piece| pieces.push(piece));
            assert!(pieces.into_iter().eq(expected), "{splitter:?}");
        }
    }

    proptest! {
        #[test]
        fn same_pieces_as_the_expression(text in r"([ a-c'’sтréll\n\t\r  .,!0-9٣é́中👩🏽‍🚀]|'(s|t|re|ve|m|ll|d)|  |\PC){0,40}") {
            for splitter in [Splitter::Gpt2, Splitter::Words] {
                prop_assert_eq!(by_hand(splitter, &text), by_expression(splitter, &text));
            }
        }
    }
}

/// Looks for stop strings in a text that comes in pieces.
///
/// Holds back what may be the beginning of one. The result does not depend on where the text is cut. Special tokens are no
/// part of the text that is given out, but a stop string may name them: it is looked for in the text without them, and in
/// the text with them.
pub(crate) struct StopStrings {
    stops: Vec<String>,
    /// The text held back.
    held: String,
    /// Special tokens in it: where in `held` they stand, and how they are written.
    hidden: Vec<(usize, String)>,
}

/// A piece of the text held back, and where it stands when special tokens are written out.
struct Whole {
    text: String,
    /// For each special token: its place in `held`, and its beginning and end in `text`.
    hidden: Vec<(usize, usize, usize)>,
}

impl StopStrings {
    /// None of `stops` is empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), hidden: Vec::new() }
    }

    /// Takes more text. Appends what is certainly before any stop string to `out`; true if one has come.
    pub(crate) fn push(&mut self, text: &str, out: &mut String) -> bool {
        self.held.push_str(text);
        self.advance(out)
    }

    /// Takes a special token, which is not given out, as it is written; else as [`push`](Self::push).
    pub(crate) fn push_hidden(&mut self, token: &str, out: &mut String) -> bool {
        self.hidden.push((self.held.len(), token.to_owned()));
        self.advance(out)
    }

    /// The text held back, for there is no more to come.
    pub(crate) fn finish(&mut self) -> String {
        self.hidden.clear();
        std::mem::take(&mut self.held)
    }

    fn advance(&mut self, out: &mut String) -> bool {
        let whole = self.whole();
        if let Some(start) = self.first_match(&whole) {
            out.push_str(&self.held[..start]);
            self.finish();
            return true;
        }
        let keep = self.possible_start(&self.held);
        let begins = self.possible_start(&whole.text);
        let keep = keep.min(whole.in_held(begins));
        self.hidden = std::mem::take(&mut self.hidden)
            .into_iter()
            .zip(&whole.hidden)
            .filter(|((at, _), (.., end))| *at > keep || *end > begins)
            .map(|((at, token), _)| (at.saturating_sub(keep), token))
            .collect();
        out.extend(self.held.drain(..keep));
        false
    }

    /// The text held back with the special tokens written out.
    fn whole(&self) -> Whole {
        let mut whole = Whole { text: String::with_capacity(self.held.len()), hidden: Vec::new() };
        let mut at = 0;
        for (place, token) in &self.hidden {
            whole.text.push_str(&self.held[at..*place]);
            let start = whole.text.len();
            whole.text.push_str(token);
            whole.hidden.push((*place, start, whole.text.len()));
            at = *place;
        }
        whole.text.push_str(&self.held[at..]);
        whole
    }

    /// Start, in the text held back, of the stop string that is complete first, the longer one if two are.
    fn first_match(&self, whole: &Whole) -> Option<usize> {
        let shown = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((whole.of_held(start + stop.len()), start))
        });
        let written = self.stops.iter().filter(|_| !whole.hidden.is_empty()).filter_map(|stop| {
            let start = whole.text.find(stop.as_str())?;
            Some((start + stop.len(), whole.in_held(start)))
        });
        shown.chain(written).min().map(|(_, start)| start)
    }

    /// Where the longest end of `text` begins that a stop string begins with.
    fn possible_start(&self, text: &str) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = text.ceil_char_boundary((text.len() + 1).saturating_sub(longest));
        let begins = |&at: &usize| self.stops.iter().any(|stop| stop.starts_with(&text[at..]));
        let mut starts = text[from..].char_indices().map(|(at, _)| from + at);
        starts.find(begins).unwrap_or(text.len())
    }
}

impl Whole {
    /// The place in the text held back of a place in the whole; within a special token, that of the token.
    fn in_held(&self, at: usize) -> usize {
        let before = self.hidden.iter().map(|(_, start, end)| at.clamp(*start, *end) - start);
        at - before.sum::<usize>()
    }

    /// The place in the whole after the first `at` bytes of the text held back.
    fn of_held(&self, at: usize) -> usize {
        at + self.hidden.iter().filter(|(place, ..)| *place < at).map(|(_, start, end)| end - start).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All text given out, and whether a stop string came.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopStrings::new(stops.clone());
        let mut out = String::new();
        for piece in pieces {
            if matcher.push(piece, &mut out) {
                return (out, true);
            }
        }
        out += &matcher.finish();
        (out, false)
    }

    #[test]
    fn a_stop_string_across_pieces_is_not_given_out() {
        assert_eq!(run(&["\nUser:"], &["Yes.", "\n", "Us", "er", ": and"]), ("Yes.".into(), true));
        assert_eq!(run(&["\nUser:"], &["Yes.", "\n", "Use", " it"]), ("Yes.\nUse it".into(), false));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
        assert_eq!(run(&["…."], &["wait…", "…", "."]), ("wait…".into(), true));
    }

    /// The same for pieces of which those in angle brackets are special tokens.
    fn run_with_special(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopStrings::new(stops.clone());
        let mut out = String::new();
        for piece in pieces {
            let special = piece.starts_with('<');
            if if special { matcher.push_hidden(piece, &mut out) } else { matcher.push(piece, &mut out) } {
                return (out, true);
            }
        }
        out += &matcher.finish();
        (out, false)
    }

    #[test]
    fn a_special_token_stops_though_it_is_not_given_out() {
        assert_eq!(run_with_special(&["<end>"], &["B", "<end>", "C"]), ("B".into(), true));
        assert_eq!(run_with_special(&["<end>\nUser"], &["B", "<end>", "\nUs", "er"]), ("B".into(), true));
        assert_eq!(run_with_special(&["B<end><x>C"], &["AB", "<end>", "<x>", "C"]), ("A".into(), true));
        assert_eq!(run_with_special(&[">C"], &["B", "<end>", "C"]), ("B".into(), true));
        assert_eq!(run_with_special(&["<end>\nUser"], &["B", "<end>", "\nUs", "e it"]), ("B\nUse it".into(), false));
        // What a reader sees stops as well.
        assert_eq!(run_with_special(&["BC"], &["AB", "<end>", "C"]), ("A".into(), true));
        assert_eq!(run_with_special(&["BC"], &["AB", "<end>", "D"]), ("ABD".into(), false));
    }

    #[test]
    fn text_that_no_stop_string_begins_with_is_given_out_at_once() {
        let stops = ["END".to_owned()];
        let mut matcher = StopStrings::new(stops.to_vec());
        let mut out = String::new();
        matcher.push("see the EN", &mut out);
        assert_eq!(out, "see the ");
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(text in "[abé]{0,24}", stops in prop::collection::vec("[abé]{1,4}", 0..4)) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let letters: Vec<String> = text.chars().map(String::from).collect();
            let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
            let whole = run(&stops, &[&text]);
            prop_assert_eq!(&run(&stops, &letters), &whole);
            prop_assert!(text.starts_with(&whole.0));
            prop_assert!(!whole.1 || stops.iter().any(|stop| text[whole.0.len()..].starts_with(stop)));
            prop_assert!(whole.1 || (whole.0 == text && stops.iter().all(|stop| !text.contains(stop))));
        }

        #[test]
        fn special_tokens_change_no_text(
            pieces in prop::collection::vec(prop::sample::select(vec!["a", "b", "é", "ab", "<a>", "<b>"]), 0..16),
            stops in prop::collection::vec("[ab<>é]{1,5}", 0..4),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (shown, stopped) = run_with_special(&stops, &pieces);
            // Up to the first piece with which a stop string stands in either text.
            let shows = |piece: &&&str| !piece.starts_with('<');
            let texts = |n: usize| {
                (pieces[..n].iter().filter(shows).copied().collect::<String>(), pieces[..n].concat())
            };
            let has = |text: &str| stops.iter().any(|stop| text.contains(stop));
            let first = (0..=pieces.len()).find(|&n| has(&texts(n).0) || has(&texts(n).1));
            prop_assert_eq!(stopped, first.is_some());
            let whole = texts(first.unwrap_or(pieces.len())).0;
            prop_assert!(whole.starts_with(&shown));
            prop_assert!(stopped || shown == whole);
            // Nothing of a stop string that was seen is given out.
            prop_assert!(!has(&shown));
        }
    }
}

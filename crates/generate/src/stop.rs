/// Looks for stop strings in a text that comes in pieces.
///
/// Holds back what may be the beginning of one. The result does not depend on where the text is cut.
pub(crate) struct StopStrings<'a> {
    stops: &'a [String],
    held: String,
}

impl<'a> StopStrings<'a> {
    /// None of `stops` is empty.
    pub(crate) fn new(stops: &'a [String]) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes more text. Appends what is certainly before any stop string to `out`; true if one has come.
    pub(crate) fn push(&mut self, text: &str, out: &mut String) -> bool {
        self.held.push_str(text);
        if let Some(start) = self.first_match() {
            out.push_str(&self.held[..start]);
            self.held.clear();
            return true;
        }
        let keep = self.possible_start();
        out.extend(self.held.drain(..keep));
        false
    }

    /// The text held back, for there is no more to come.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Start of the stop string that is complete first, the longer one if two are.
    fn first_match(&self) -> Option<usize> {
        let found = |stop: &String| self.held.find(stop.as_str()).map(|start| (start + stop.len(), start));
        self.stops.iter().filter_map(found).min().map(|(_, start)| start)
    }

    /// Where the longest end of the held text begins that a stop string begins with.
    fn possible_start(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.ceil_char_boundary((self.held.len() + 1).saturating_sub(longest));
        let begins = |&at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[at..]));
        let mut starts = self.held[from..].char_indices().map(|(at, _)| from + at);
        starts.find(begins).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All text given out, and whether a stop string came.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut matcher = StopStrings::new(&stops);
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

    #[test]
    fn text_that_no_stop_string_begins_with_is_given_out_at_once() {
        let stops = ["END".to_owned()];
        let mut matcher = StopStrings::new(&stops);
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
    }
}

//! Merges in order to scores of tokens. llama.cpp merges the pair that makes the token of the highest score, and the leftmost of
//! those; a `tokenizer.json` merges the pair that comes first in its list. Where every split of a token is in the list, and
//! the splits of one token come before those of the next, both are the same but for ties; published lists are nearly so. What
//! is left is tried out.

use std::collections::{BTreeSet, HashMap};

use super::sentencepiece::SPACE;

/// Texts that are tried out; where more would have to be, the merges are in no order.
const MOST_TRIED: usize = 100_000;

/// A token that merges can make.
pub(super) struct Token<'a> {
    pub text: &'a str,
    /// Whether it is found in a text before anything merges.
    pub found_first: bool,
}

/// The merges of a tokenizer, by the numbers of their tokens.
struct Merges<'a> {
    tokens: &'a HashMap<&'a str, (usize, bool)>,
    /// The pair of each rank, and what it makes.
    pairs: Vec<([&'a str; 2], usize)>,
    ranks: HashMap<[&'a str; 2], usize>,
    /// The rank of the first pair that makes a token.
    first: HashMap<usize, usize>,
}

/// Scores of all `tokens`, by which texts merge as by `merges`; `None` stands for a token that takes no part.
///
/// # Errors
/// Why there are none, with a text that would merge differently.
pub(super) fn scores(tokens: &[Option<Token>], merges: &[(String, String)]) -> Result<Vec<f32>, String> {
    let known = tokens.iter().enumerate().filter_map(|(id, token)| {
        let token = token.as_ref()?;
        Some((token.text, (id, token.found_first)))
    });
    let known: HashMap<&str, (usize, bool)> = known.collect();
    let merges = Merges::new(&known, merges)?;
    let mut tried = BTreeSet::new();
    merges.unlisted(&mut tried)?;
    merges.ties(&mut tried)?;
    merges.late(&mut tried)?;
    for text in &tried {
        let by_rank = merged(text, |pair| merges.ranks.get(&pair).copied());
        let by_score = merged(text, |[left, right]| merges.first.get(&known.get(format!("{left}{right}").as_str())?.0));
        if by_rank != by_score {
            return Err(format!("{text:?} merges to {by_rank:?}, but token scores would make it {by_score:?}"));
        }
    }
    // Ranks below 2²⁴ are exact in float32; tokens that nothing merges into come last.
    let last = merges.pairs.len();
    let rank = |id: usize| merges.first.get(&id).copied().unwrap_or(last + id);
    Ok((0..tokens.len()).map(|id| -(rank(id) as f32)).collect())
}

impl<'a> Merges<'a> {
    fn new(tokens: &'a HashMap<&'a str, (usize, bool)>, merges: &'a [(String, String)]) -> Result<Self, String> {
        let mut found = Self { tokens, pairs: Vec::new(), ranks: HashMap::new(), first: HashMap::new() };
        let mut made = String::new();
        for (rank, (left, right)) in merges.iter().enumerate() {
            made.clear();
            made.extend([left.as_str(), right.as_str()]);
            let &(id, _) =
                tokens.get(made.as_str()).ok_or_else(|| format!("its merges make {made:?}, which is not a token"))?;
            let pair = [left.as_str(), right.as_str()];
            found.pairs.push((pair, id));
            found.ranks.entry(pair).or_insert(rank);
            found.first.entry(id).or_insert(rank);
        }
        Ok(found)
    }

    /// Adds a text to those that are tried out, if it can be there when merging begins.
    fn add(&self, tried: &mut BTreeSet<String>, text: String) -> Result<(), String> {
        if tried.contains(&text) {
            return Ok(());
        }
        let ends = || text.char_indices().map(|(at, _)| at).skip(1).chain([text.len()]);
        let is_found = |part: &str| self.tokens.get(part).is_some_and(|(_, found_first)| *found_first);
        // Spaces are `▁` only after such tokens are found.
        let found = |part: &str| !part.contains(SPACE) && is_found(part);
        let starts = text.char_indices().map(|(at, _)| at);
        if starts.into_iter().any(|start| ends().filter(|&end| end > start).any(|end| found(&text[start..end]))) {
            return Ok(());
        }
        tried.insert(text);
        if tried.len() > MOST_TRIED { Err("its merges cannot be ordered by tokens".to_owned()) } else { Ok(()) }
    }

    /// Pairs that make a token and are not in the list.
    fn unlisted(&self, tried: &mut BTreeSet<String>) -> Result<(), String> {
        for token in self.tokens.keys() {
            for (at, _) in token.char_indices().skip(1) {
                let pair: [&str; 2] = token.split_at(at).into();
                let listed = self.ranks.contains_key(&pair) || pair.iter().any(|part| !self.tokens.contains_key(part));
                if !listed {
                    self.add(tried, (*token).to_owned())?;
                }
            }
        }
        Ok(())
    }

    /// Two pairs of one token that overlap, of which the right one comes first in the list.
    fn ties(&self, tried: &mut BTreeSet<String>) -> Result<(), String> {
        for (&[left, middle], &rank) in &self.ranks {
            // The right pair makes the same token, so that it begins with this `middle` and ends with what follows there.
            let made = format!("{left}{middle}");
            let Some(right) = made.strip_prefix(middle).filter(|right| !right.is_empty()) else { continue };
            let earlier = self.ranks.get(&[middle, right]).is_some_and(|other| *other < rank);
            if earlier {
                self.add(tried, format!("{made}{right}"))?;
            }
        }
        Ok(())
    }

    /// Pairs that come after one of a token that begins later in the list, and overlap with it.
    fn late(&self, tried: &mut BTreeSet<String>) -> Result<(), String> {
        let mut latest = 0;
        let mut late = Vec::new();
        for (rank, (_, made)) in self.pairs.iter().enumerate() {
            let first = self.first[made];
            if first < latest {
                late.push((rank, first));
            }
            latest = latest.max(first);
        }
        if late.is_empty() {
            return Ok(());
        }
        let mut by_end: [HashMap<&str, Vec<usize>>; 2] = Default::default();
        for (rank, (pair, _)) in self.pairs.iter().enumerate() {
            for (ends, part) in by_end.iter_mut().zip(pair) {
                ends.entry(part).or_default().push(rank);
            }
        }
        for (rank, first) in late {
            let [left, right] = self.pairs[rank].0;
            let before = by_end[1].get(left).into_iter().flatten().map(|other| (other, true));
            let after = by_end[0].get(right).into_iter().flatten().map(|other| (other, false));
            for (&other, is_before) in before.chain(after) {
                let ([a, b], made) = self.pairs[other];
                if other < rank && self.first[&made] > first {
                    self.add(tried, if is_before { format!("{a}{left}{right}") } else { format!("{left}{a}{b}") })?;
                }
            }
        }
        Ok(())
    }
}

/// What the characters of a text merge to: the first pair by `order` first, of equal ones the leftmost.
fn merged<O: Ord>(text: &str, order: impl Fn([&str; 2]) -> Option<O>) -> Vec<&str> {
    // Where its tokens begin, and its end.
    let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let pair = |cuts: &[usize; 3]| order([&text[cuts[0]..cuts[1]], &text[cuts[1]..cuts[2]]]);
    let best = |cuts: &[usize]| {
        let pairs = cuts.array_windows().enumerate().filter_map(|(at, cuts)| Some((pair(cuts)?, at)));
        pairs.min_by(|(a, _), (b, _)| a.cmp(b))
    };
    while let Some((_, at)) = best(&cuts) {
        cuts.remove(at + 1);
    }
    cuts.array_windows().map(|[start, end]| &text[*start..*end]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tokens: &[&str], merges: &[(&str, &str)]) -> Result<Vec<f32>, String> {
        let tokens: Vec<_> = tokens.iter().map(|text| Some(Token { text, found_first: false })).collect();
        let merges: Vec<_> = merges.iter().map(|(left, right)| ((*left).to_owned(), (*right).to_owned())).collect();
        scores(&tokens, &merges)
    }

    #[test]
    fn the_first_merge_of_a_token_is_its_score() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc"];
        let merges = [("a", "b"), ("b", "c"), ("a", "bc"), ("ab", "c")];
        assert_eq!(of(&tokens, &merges).unwrap(), [-4.0, -5.0, -6.0, 0.0, -1.0, -2.0]);
        // The splits of one token in any order.
        let other = [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")];
        assert_eq!(of(&tokens, &other).unwrap()[5], -2.0);
    }

    #[test]
    fn a_list_without_all_splits_will_do_where_the_others_never_come_up() {
        // `bc` never is there beside `a`, since `ab` merges first.
        let tokens = ["a", "b", "c", "ab", "bc", "abc"];
        of(&tokens, &[("a", "b"), ("b", "c"), ("ab", "c")]).unwrap();
        let error = of(&tokens, &[("b", "c"), ("a", "b"), ("ab", "c")]).unwrap_err();
        assert_eq!(error, r#""abc" merges to ["a", "bc"], but token scores would make it ["abc"]"#);
    }

    #[test]
    fn overlapping_splits_of_one_token_must_give_the_leftmost() {
        let tokens = ["a", "b", "ab", "ba", "aba"];
        // `ab`, `a` and `b`, `a` never are together in "abaab", but `a`, `ba` and `ab`, `a` are one token.
        of(&tokens, &[("b", "a"), ("a", "b"), ("a", "ba"), ("ab", "a")]).unwrap();
        of(&tokens, &[("b", "a"), ("a", "b"), ("ab", "a"), ("a", "ba")]).unwrap();
        // x, y, z = "xyx", "y", "xyx" would be; its characters never merge so.
        let tokens = ["x", "y", "xy", "yx", "xyx"];
        of(&tokens, &[("x", "y"), ("y", "x"), ("x", "yx"), ("xy", "x")]).unwrap();
    }

    #[test]
    fn what_two_tokens_dispute_must_go_to_the_one_with_the_higher_score() {
        // "abc" begins in the list before "bcd", so that by scores it would win "abcd" by either of its splits.
        let tokens = ["a", "b", "c", "d", "bc", "ab", "abc", "bcd"];
        let merges = [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc"), ("bc", "d")];
        of(&tokens, &merges).unwrap();
        let merges = [("b", "c"), ("a", "b"), ("ab", "c"), ("bc", "d"), ("a", "bc")];
        let error = of(&tokens, &merges).unwrap_err();
        assert_eq!(error, r#""abcd" merges to ["a", "bcd"], but token scores would make it ["abc", "d"]"#);
        assert!(of(&["a", "b"], &[("a", "b")]).unwrap_err().contains("\"ab\", which is not a token"));
    }
}

//! Samples as token ids, each with whether it is learned.

use std::ops::Range;

use rayon::prelude::*;

use super::render::{Renderer, Written};
use super::split::split;
use super::summary::Tokenized;
use super::{
    BadLine, Content, LeftOut, LeftOutReason, Origin, Remark, RemarkKind, Sample, SampleLimits, SampleSet,
    SampleSummary, TokenizedPairs, TokenizedSamples, TrainOn, Truncated,
};
use crate::{ChatTemplate, DataError, Tokenizer};

/// A sample as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedSample {
    /// Ids, special tokens included.
    pub ids: Vec<u32>,
    /// Whether each of them is learned; of the first there is nothing to learn it from.
    pub trained: Vec<bool>,
    /// Where the sample stands.
    pub origin: Origin,
}

/// A preference as tokens. Only what comes after the shared messages is learned, on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedPair {
    /// The better one.
    pub chosen: TokenizedSample,
    /// The worse one.
    pub rejected: TokenizedSample,
}

impl TokenizedPair {
    /// Tokens of its longer side.
    pub fn longest(&self) -> usize {
        self.chosen.ids.len().max(self.rejected.ids.len())
    }
}

impl TokenizedSample {
    /// How many of its tokens are learned.
    pub fn targets(&self) -> usize {
        self.trained.iter().skip(1).filter(|&&trained| trained).count()
    }

    pub(super) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.ids.len() as u64).to_le_bytes());
        for (id, &trained) in self.ids.iter().zip(&self.trained) {
            hasher.update(&id.to_le_bytes());
            hasher.update(&[u8::from(trained)]);
        }
    }
}

/// What became of a sample.
struct Outcome<S> {
    kept: Result<S, LeftOutReason>,
    /// Its tokens, before it was cut or left out.
    tokens: usize,
    /// Its tokens, after it was cut.
    cut_to: Option<usize>,
    endless: bool,
    remarks: Vec<RemarkKind>,
}

impl SampleSet {
    /// The samples as tokens, by the model's chat template or, if it has none, a [default](super::Rendering). Of
    /// preferences the chosen side is taken. `stop_tokens` are those that generation stops at; the first of them ends
    /// texts and completions.
    ///
    /// # Errors
    /// [`DataError::NoEndOfText`] for a tokenizer without any; a failure of the tokenizer.
    pub fn tokenize(
        &self,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        stop_tokens: &[u32],
        limits: SampleLimits,
    ) -> Result<TokenizedSamples, DataError> {
        let maker = Maker { renderer: Renderer::new(tokenizer, template, stop_tokens)?, stop_tokens, limits };
        let mut tokenized =
            self.map_all(&maker, |sample| maker.sample(&sample.content, &sample.origin, 0, limits.train_on))?;
        let preferences = |sample: &&Sample| matches!(sample.content, Content::Preference { .. });
        tokenized.summary.chosen_only = self.all().filter(preferences).count();
        Ok(tokenized)
    }

    /// The preferences as tokens.
    ///
    /// # Errors
    /// As [`tokenize`](Self::tokenize), and [`DataError::BadSamples`] if there are samples that are not preferences.
    pub fn tokenize_pairs(
        &self,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        stop_tokens: &[u32],
        limits: SampleLimits,
    ) -> Result<TokenizedPairs, DataError> {
        let others = self.all().filter(|sample| !matches!(sample.content, Content::Preference { .. }));
        let bad: Vec<BadLine> = others.map(|sample| BadLine::no_preference(&sample.origin)).collect();
        if !bad.is_empty() {
            return Err(DataError::BadSamples { lines: bad });
        }
        let maker = Maker { renderer: Renderer::new(tokenizer, template, stop_tokens)?, stop_tokens, limits };
        self.map_all(&maker, |sample| maker.pair(sample))
    }

    fn map_all<'s, S: Send>(
        &'s self,
        maker: &Maker,
        make: impl Fn(&Sample) -> Result<Outcome<S>, DataError> + Sync,
    ) -> Result<Tokenized<S>, DataError> {
        let mut summary = SampleSummary {
            rendering: maker.renderer.rendering,
            end_of_turn: maker.renderer.end.as_ref().map(|(id, _)| *id),
            left_out: Vec::new(),
            truncated: Vec::new(),
            endless: Vec::new(),
            chosen_only: 0,
            samples: [0; 3],
            remarks: Vec::new(),
        };
        let make = |sample: &Sample| {
            if sample.learned { make(sample) } else { Ok(Outcome::left_out(LeftOutReason::Unlearned)) }
        };
        let mut take = |samples: &'s [Sample]| {
            let outcomes: Result<Vec<_>, _> = samples.par_iter().map(make).collect();
            let mut kept = Vec::with_capacity(samples.len());
            for (outcome, sample) in outcomes?.into_iter().zip(samples) {
                let origin = || sample.origin.clone();
                match outcome.kept {
                    Ok(made) => kept.push((sample, made)),
                    Err(reason) => {
                        summary.left_out.push(LeftOut { origin: origin(), reason });
                        continue;
                    }
                }
                if let Some(to) = outcome.cut_to {
                    summary.truncated.push(Truncated { origin: origin(), tokens: outcome.tokens, kept: to });
                } else if outcome.endless {
                    summary.endless.push(origin());
                }
                let unused = sample.unused.iter().map(|key| RemarkKind::UnusedKey { key: key.clone() });
                let remarks = outcome.remarks.into_iter().chain(unused);
                summary.remarks.extend(remarks.map(|kind| Remark { origin: origin(), kind }));
            }
            Ok::<_, DataError>(kept)
        };
        let (mut train, mut valid, test) = (take(&self.train)?, take(&self.valid)?, take(&self.test)?);
        if let Some(share) = self.share.filter(|_| !summary.left_out.is_empty()) {
            // What is left out does not count for the share, so that nothing depends on it.
            train.append(&mut valid);
            train.sort_by_key(|(sample, _)| &sample.origin);
            (train, valid) = split(train, share, |(sample, _)| sample);
        }
        summary.samples = [train.len(), valid.len(), test.len()];
        let [train, valid, test] = [train, valid, test].map(|part| part.into_iter().map(|(_, made)| made).collect());
        Ok(Tokenized { train, valid, test, summary })
    }
}

/// The tokens of a text.
struct Encoded {
    ids: Vec<u32>,
    /// Whether each of them is learned.
    trained: Vec<bool>,
    /// The token with which an answer begins, if it belongs to its prompt as well.
    shared: Option<RemarkKind>,
}

/// Makes tokens of samples.
struct Maker<'a> {
    renderer: Renderer<'a>,
    stop_tokens: &'a [u32],
    limits: SampleLimits,
}

impl Maker<'_> {
    fn pair(&self, sample: &Sample) -> Result<Outcome<TokenizedPair>, DataError> {
        let Content::Preference { chosen, rejected, shared } = &sample.content else {
            return Ok(Outcome::left_out(LeftOutReason::NothingToTrain));
        };
        if chosen == rejected {
            return Ok(Outcome::left_out(LeftOutReason::SameAnswers));
        }
        // What both sides share says nothing about which is better.
        let train_on = if self.limits.train_on == TrainOn::Last { TrainOn::Last } else { TrainOn::All };
        let chosen = self.sample(chosen, &sample.origin, *shared, train_on)?;
        let rejected = self.sample(rejected, &sample.origin, *shared, train_on)?;
        Ok(Outcome {
            kept: match (chosen.kept, rejected.kept) {
                (Ok(chosen), Ok(rejected)) => Ok(TokenizedPair { chosen, rejected }),
                (Err(reason), _) | (_, Err(reason)) => Err(reason),
            },
            tokens: chosen.tokens.max(rejected.tokens),
            cut_to: chosen.cut_to.or(rejected.cut_to),
            endless: chosen.endless || rejected.endless,
            remarks: chosen.remarks.into_iter().chain(rejected.remarks).collect(),
        })
    }

    fn sample(
        &self,
        content: &Content,
        origin: &Origin,
        given: usize,
        train_on: TrainOn,
    ) -> Result<Outcome<TokenizedSample>, DataError> {
        let SampleLimits { max_length, truncate, .. } = self.limits;
        let written = match self.renderer.write(content, train_on, given) {
            Ok(written) => written,
            Err(reason) => return Ok(Outcome::left_out(reason)),
        };
        let Encoded { mut ids, mut trained, shared } = self.encode(&written)?;
        let tokens = ids.len();
        let endless = self.is_endless(&ids, &trained, train_on);
        let too_long = tokens > max_length;
        if too_long && !truncate {
            let reason = LeftOutReason::TooLong { tokens, max_length };
            return Ok(Outcome { tokens, ..Outcome::left_out(reason) });
        }
        ids.truncate(max_length);
        trained.truncate(max_length);
        let sample = TokenizedSample { ids, trained, origin: origin.clone() };
        let kept = if sample.targets() > 0 { Ok(sample) } else { Err(LeftOutReason::NothingToTrain) };
        let remarks = written.remarks.into_iter().chain(shared).collect();
        Ok(Outcome { kept, tokens, cut_to: too_long.then_some(max_length), endless, remarks })
    }

    /// Ids of a text. Those that stand for a byte that is learned are learned.
    fn encode(&self, written: &Written) -> Result<Encoded, DataError> {
        let places = self.renderer.tokenizer.encode_with_places(&written.text, written.is_bare)?;
        let begins = |place: &Range<usize>| {
            written.trained.iter().any(|span| span.start > place.start && span.start < place.end && !span.is_empty())
        };
        let shared = places.iter().find(|(_, place)| begins(place)).map(|(_, place)| RemarkKind::SharedToken {
            text: written.text.get(place.clone()).unwrap_or_default().to_owned(),
        });
        let overlaps =
            |place: &Range<usize>| written.trained.iter().any(|span| place.end > span.start && place.start < span.end);
        let (mut ids, mut trained): (Vec<_>, Vec<_>) = places.iter().map(|(id, place)| (*id, overlaps(place))).unzip();
        if written.is_bare {
            // The end may be written in the text already, or be put there by the tokenizer.
            if ids.last().is_none_or(|id| !self.stop_tokens.contains(id) && *id != self.renderer.eos) {
                ids.push(self.renderer.eos);
                trained.push(true);
            } else if let Some(last) = trained.last_mut() {
                *last = true;
            }
        }
        Ok(Encoded { ids, trained, shared })
    }

    /// Whether something that is learned ends without a token that generation stops at.
    fn is_endless(&self, ids: &[u32], trained: &[bool], train_on: TrainOn) -> bool {
        let stops =
            |id: &u32| self.stop_tokens.contains(id) || self.renderer.end.as_ref().is_some_and(|(end, _)| end == id);
        if train_on == TrainOn::Everything {
            // Templates close the last turn with a line break.
            return !ids.iter().rev().take(3).any(stops);
        }
        let ends = (0..ids.len()).filter(|&i| trained[i] && !trained.get(i + 1).copied().unwrap_or(false));
        ends.into_iter().any(|i| !stops(&ids[i]))
    }
}

impl<S> Outcome<S> {
    fn left_out(reason: LeftOutReason) -> Self {
        Self { kept: Err(reason), tokens: 0, cut_to: None, endless: false, remarks: Vec::new() }
    }
}

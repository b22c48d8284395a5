use std::fmt::Debug;
use std::sync::Arc;

use llm_data::{
    Batch, BatchSampler, DataError, PreferenceSampler, Prepared, SampleSampler, Tokenizer, evaluation_windows,
};
use llm_model::CausalLm;

use crate::PreferenceSection;
use crate::objective::Objective;
use crate::plan::TextSummary;
use crate::preference::Preferences;

/// Batches to evaluate on.
type Evaluation<'a, B> = Box<dyn Iterator<Item = Result<B, DataError>> + 'a>;

/// What a run learns from. Micro-batches are a pure function of (seed, step, rank).
pub trait Source: Debug {
    /// A micro-batch.
    type Batch: Objective;

    /// The micro-batch of `rank` at `step`.
    fn batch(&self, seed: u64, step: u64, rank: u32) -> Result<Self::Batch, DataError>;

    /// The same batches every time, of up to `rows` rows each, of at most `windows` rows in all, spread evenly; and
    /// the number of batches.
    fn evaluation(&self, windows: usize, rows: usize) -> Result<(usize, Evaluation<'_, Self::Batch>), DataError>;

    /// Whether there is anything to evaluate on.
    fn validates(&self) -> bool;

    /// Its tokenizer.
    fn tokenizer(&self) -> &Tokenizer;

    /// Its sizes.
    fn summary(&self) -> TextSummary;

    /// Hash of everything that the tokens depend on.
    fn hash(&self) -> String;
}

/// Texts.
#[derive(Debug)]
pub struct TextSource {
    pub(super) data: Prepared,
    pub(super) sampler: BatchSampler,
    /// Tokens of a window.
    pub(super) time: usize,
}

impl Source for TextSource {
    type Batch = Batch;

    fn batch(&self, seed: u64, step: u64, rank: u32) -> Result<Batch, DataError> {
        self.sampler.batch(seed, step, rank)
    }

    fn evaluation(&self, windows: usize, rows: usize) -> Result<(usize, Evaluation<'_, Batch>), DataError> {
        let batches = evaluation_windows(&self.data.split.valid, windows, rows, self.time)?;
        Ok((windows.div_ceil(rows), Box::new(batches)))
    }

    fn validates(&self) -> bool {
        !self.data.split.valid.is_empty()
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.data.tokenizer
    }

    fn summary(&self) -> TextSummary {
        TextSummary::of_text(&self.data, &self.sampler, self.time)
    }

    fn hash(&self) -> String {
        self.data.split.hash.clone()
    }
}

/// Samples, of which some tokens are learned.
#[derive(Debug)]
pub struct SampleSource {
    pub(super) tokenizer: Tokenizer,
    pub(super) train: SampleSampler,
    /// To evaluate on, if anything.
    pub(super) valid: Option<SampleSampler>,
}

impl Source for SampleSource {
    type Batch = Batch;

    fn batch(&self, seed: u64, step: u64, rank: u32) -> Result<Batch, DataError> {
        Ok(self.train.batch(seed, step, rank))
    }

    fn evaluation(&self, windows: usize, rows: usize) -> Result<(usize, Evaluation<'_, Batch>), DataError> {
        let Some(valid) = &self.valid else { return Ok((0, Box::new(std::iter::empty()))) };
        let (count, chosen) = spread(valid.rows() as usize, windows, rows);
        Ok((count, Box::new(valid.evaluation().enumerate().filter(chosen).map(|(_, batch)| Ok(batch)))))
    }

    fn validates(&self) -> bool {
        self.valid.is_some()
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn summary(&self) -> TextSummary {
        let sizes = |side: &SampleSampler| (side.tokens(), side.samples().len());
        let valid = self.valid.as_ref().map_or((0, 0), sizes);
        TextSummary::of_samples(self.train.steps_per_epoch(), self.train.max_length(), sizes(&self.train), valid)
    }

    fn hash(&self) -> String {
        format!("{} {}", self.train.hash(), self.valid.as_ref().map_or("none".into(), SampleSampler::hash))
    }
}

/// Preferences, and the model that they are compared with.
#[derive(Debug)]
pub struct PreferenceSource {
    pub(super) tokenizer: Tokenizer,
    pub(super) train: PreferenceSampler,
    /// To evaluate on, if anything.
    pub(super) valid: Option<PreferenceSampler>,
    /// Tokens that no side of a pair has more of.
    pub(super) max_length: usize,
    pub(super) section: Arc<PreferenceSection>,
    pub(super) reference: Arc<CausalLm>,
}

impl PreferenceSource {
    fn objective(&self, pairs: llm_data::PreferenceBatch) -> Preferences {
        Preferences { pairs, section: self.section.clone(), reference: self.reference.clone() }
    }
}

impl Source for PreferenceSource {
    type Batch = Preferences;

    fn batch(&self, seed: u64, step: u64, rank: u32) -> Result<Preferences, DataError> {
        Ok(self.objective(self.train.batch(seed, step, rank)))
    }

    fn evaluation(&self, windows: usize, rows: usize) -> Result<(usize, Evaluation<'_, Preferences>), DataError> {
        let Some(valid) = &self.valid else { return Ok((0, Box::new(std::iter::empty()))) };
        let (count, chosen) = spread(valid.pairs().len(), windows, rows);
        let batches = valid.evaluation().enumerate().filter(chosen);
        Ok((count, Box::new(batches.map(|(_, pairs)| Ok(self.objective(pairs))))))
    }

    fn validates(&self) -> bool {
        self.valid.is_some()
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn summary(&self) -> TextSummary {
        let sizes = |side: &PreferenceSampler| (side.tokens(), side.pairs().len());
        let valid = self.valid.as_ref().map_or((0, 0), sizes);
        TextSummary::of_samples(self.train.steps_per_epoch(), self.max_length, sizes(&self.train), valid)
    }

    fn hash(&self) -> String {
        format!("{} {}", self.train.hash(), self.valid.as_ref().map_or("none".into(), PreferenceSampler::hash))
    }
}

/// Which batches of `rows` rows, out of all that hold `all` rows, make up about `windows` rows, evenly spread; and how
/// many batches these are.
fn spread<B>(all: usize, windows: usize, rows: usize) -> (usize, impl FnMut(&(usize, B)) -> bool) {
    let batches = all.div_ceil(rows);
    let count = batches.min(windows.div_ceil(rows));
    // The first batch of each of `count` equal parts.
    (count, move |(i, _): &(usize, B)| *i == 0 || i * count / batches != (i - 1) * count / batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_batches_are_spread_evenly() {
        for (all, windows, rows, expected) in [
            (10, 100, 1, (0..10).collect()),
            (10, 5, 1, vec![0, 2, 4, 6, 8]),
            (7, 4, 2, vec![0, 2]),
            (1, 1, 4, vec![0]),
        ] {
            let (count, mut chosen) = spread(all, windows, rows);
            let found: Vec<usize> = (0..all.div_ceil(rows)).filter(|&i| chosen(&(i, ()))).collect();
            assert_eq!((count, found), (expected.len(), expected), "{all} rows, {windows} of them, by {rows}");
        }
    }
}

//! Rows of samples, as a pure function of (seed, step, rank).

use std::sync::Arc;

use super::TokenizedSample;
use super::pack::best_fit_decreasing;
use crate::batch::{Permutation, mix};
use crate::{Batch, DataError};

/// The target of a position that is not learned from; the loss passes over it.
pub(super) const IGNORED: i32 = -100;

/// Chooses rows of samples.
///
/// Samples are packed once; a permutation of the rows, new in every epoch, says in which order they come. Every epoch
/// sees each sample exactly once, and a batch is computed from its number.
#[derive(Debug, Clone)]
pub struct SampleSampler {
    samples: Arc<[TokenizedSample]>,
    /// Samples of each row.
    rows: Arc<[Vec<u32>]>,
    batch_rows: usize,
    /// Tokens per row, if all rows are equally long.
    time: Option<usize>,
    ranks: u32,
    pad: i32,
    max_length: usize,
}

impl SampleSampler {
    /// `batch_rows` rows at once, and `ranks` such batches per step. With `packing`, a row has `max_length` tokens and as
    /// many samples as fit; without, it has one sample, and as many tokens as the longest of its batch. What is left
    /// of a row is filled with `pad_id`, which is never a target.
    ///
    /// # Errors
    /// [`DataError::NoSamples`] without any; [`DataError::SampleTooLong`] for one of more than `max_length` tokens.
    ///
    /// # Panics
    /// If `batch_rows` or `ranks` is 0.
    pub fn new(
        samples: Vec<TokenizedSample>,
        batch_rows: usize,
        max_length: usize,
        ranks: u32,
        packing: bool,
        pad_id: u32,
    ) -> Result<Self, DataError> {
        assert!(batch_rows > 0 && ranks > 0, "a batch has at least one row");
        if samples.is_empty() {
            return Err(DataError::NoSamples);
        }
        if let Some(long) = samples.iter().find(|sample| sample.ids.len() > max_length) {
            let (origin, tokens) = (long.origin.clone(), long.ids.len());
            return Err(DataError::SampleTooLong { origin, tokens, max_length });
        }
        let rows = if packing {
            let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
            best_fit_decreasing(&lengths, max_length)
        } else {
            (0..samples.len() as u32).map(|sample| vec![sample]).collect()
        };
        Ok(Self {
            samples: samples.into(),
            rows: rows.into(),
            batch_rows,
            time: packing.then_some(max_length),
            ranks,
            pad: pad_id as i32,
            max_length,
        })
    }

    /// The samples.
    pub fn samples(&self) -> &[TokenizedSample] {
        &self.samples
    }

    /// Rows of an epoch.
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Tokens of an epoch, without padding.
    pub fn tokens(&self) -> u64 {
        self.samples.iter().map(|sample| sample.ids.len() as u64).sum()
    }

    /// Targets of an epoch that are learned.
    pub fn trained_tokens(&self) -> u64 {
        self.samples.iter().map(|sample| sample.targets() as u64).sum()
    }

    /// Most tokens of a row.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Steps per epoch; the last is shared with the next epoch unless the rows divide evenly.
    pub fn steps_per_epoch(&self) -> f64 {
        self.rows() as f64 / (self.batch_rows as f64 * f64::from(self.ranks))
    }

    /// The batch of a rank at a step.
    ///
    /// # Panics
    /// If `rank` is not below the number of ranks.
    pub fn batch(&self, seed: u64, step: u64, rank: u32) -> Batch {
        let places = places(seed, step, rank, self.ranks, self.batch_rows, self.rows());
        let rows: Vec<&[u32]> = places.map(|place| &*self.rows[place as usize]).collect();
        self.fill(&rows)
    }

    /// All rows once and in their order, for evaluation; the last batch may be smaller.
    pub fn evaluation(&self) -> impl Iterator<Item = Batch> + '_ {
        self.rows.chunks(self.batch_rows).map(|rows| self.fill(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }

    /// blake3 of all that the batches are made of, in hex: equal hashes, seeds, steps and ranks mean equal batches.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let numbers =
            [self.batch_rows as u64, self.time.unwrap_or(0) as u64, u64::from(self.ranks), u64::from(self.pad as u32)];
        numbers.iter().for_each(|number| _ = hasher.update(&number.to_le_bytes()));
        self.samples.iter().for_each(|sample| sample.hash_into(&mut hasher));
        hasher.finalize().to_hex().to_string()
    }

    fn fill(&self, rows: &[&[u32]]) -> Batch {
        let length = |row: &[u32]| row.iter().map(|&sample| self.samples[sample as usize].ids.len()).sum();
        let time = self.time.unwrap_or_else(|| rows.iter().map(|row| length(row)).max().unwrap_or(0));
        let row = |row: &&[u32]| row.iter().map(|&sample| &self.samples[sample as usize]).collect::<Vec<_>>();
        fill(rows.iter().map(row), time, self.pad)
    }
}

/// The rows of a rank's batch at a step, of `rows` in an epoch.
pub(super) fn places(
    seed: u64,
    step: u64,
    rank: u32,
    ranks: u32,
    batch_rows: usize,
    rows: u64,
) -> impl Iterator<Item = u64> {
    assert!(rank < ranks, "rank {rank} of {ranks}");
    let first = (step * u64::from(ranks) + u64::from(rank)) * batch_rows as u64;
    (first..first + batch_rows as u64).map(move |row| Permutation::new(rows, mix(seed, row / rows)).apply(row % rows))
}

/// A batch of rows of `time` tokens with these samples.
pub(super) fn fill<'s>(rows: impl Iterator<Item = Vec<&'s TokenizedSample>>, time: usize, pad: i32) -> Batch {
    let (mut batch, mut starts) = (Batch { time, ..Batch::default() }, Vec::new());
    for row in rows {
        let mut start = 0;
        for sample in row {
            batch.inputs.extend(sample.ids.iter().map(|&id| id as i32));
            let targets = sample.ids.iter().zip(&sample.trained).skip(1);
            batch.targets.extend(targets.map(|(&id, &trained)| if trained { id as i32 } else { IGNORED }));
            batch.targets.push(IGNORED);
            starts.extend(std::iter::repeat_n(start, sample.ids.len()));
            start += sample.ids.len() as u32;
        }
        batch.batch += 1;
        batch.inputs.resize(batch.batch * time, pad);
        batch.targets.resize(batch.batch * time, IGNORED);
        starts.resize(batch.batch * time, start);
    }
    batch.sample_starts = Some(starts.into());
    batch
}

#[cfg(test)]
mod tests;

//! Batches of preference pairs.

use std::sync::Arc;

use super::TokenizedPair;
use super::batch::{fill, places};
use crate::{Batch, DataError};

/// Preferred and rejected samples: row `i` of both is one pair. Both have the same `time`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreferenceBatch {
    /// The better ones.
    pub chosen: Batch,
    /// The worse ones.
    pub rejected: Batch,
}

/// Chooses preference pairs, as [`SampleSampler`](super::SampleSampler) does without packing: a row has one sample, and
/// as many tokens as the longest of its batch.
#[derive(Debug, Clone)]
pub struct PreferenceSampler {
    pairs: Arc<[TokenizedPair]>,
    batch_rows: usize,
    ranks: u32,
    pad: i32,
}

impl PreferenceSampler {
    /// `batch_rows` pairs at once, and `ranks` such batches per step; rows are filled with `pad_id`, which is never a
    /// target.
    ///
    /// # Errors
    /// [`DataError::NoSamples`] without any.
    ///
    /// # Panics
    /// If `batch_rows` or `ranks` is 0.
    pub fn new(pairs: Vec<TokenizedPair>, batch_rows: usize, ranks: u32, pad_id: u32) -> Result<Self, DataError> {
        assert!(batch_rows > 0 && ranks > 0, "a batch has at least one pair");
        if pairs.is_empty() {
            return Err(DataError::NoSamples);
        }
        Ok(Self { pairs: pairs.into(), batch_rows, ranks, pad: pad_id as i32 })
    }

    /// The pairs.
    pub fn pairs(&self) -> &[TokenizedPair] {
        &self.pairs
    }

    /// Tokens of an epoch, of both sides, without padding.
    pub fn tokens(&self) -> u64 {
        self.pairs.iter().map(|pair| (pair.chosen.ids.len() + pair.rejected.ids.len()) as u64).sum()
    }

    /// Steps per epoch; the last is shared with the next epoch unless the pairs divide evenly.
    pub fn steps_per_epoch(&self) -> f64 {
        self.pairs.len() as f64 / (self.batch_rows as f64 * f64::from(self.ranks))
    }

    /// The batch of a rank at a step.
    ///
    /// # Panics
    /// If `rank` is not below the number of ranks.
    pub fn batch(&self, seed: u64, step: u64, rank: u32) -> PreferenceBatch {
        let places = places(seed, step, rank, self.ranks, self.batch_rows, self.pairs.len() as u64);
        let pairs: Vec<&TokenizedPair> = places.map(|place| &self.pairs[place as usize]).collect();
        self.fill(&pairs)
    }

    /// All pairs once and in their order, for evaluation; the last batch may be smaller.
    pub fn evaluation(&self) -> impl Iterator<Item = PreferenceBatch> + '_ {
        self.pairs.chunks(self.batch_rows).map(|pairs| self.fill(&pairs.iter().collect::<Vec<_>>()))
    }

    /// blake3 of all that the batches are made of, in hex: equal hashes, seeds, steps and ranks mean equal batches.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let numbers = [self.batch_rows as u64, u64::from(self.ranks), u64::from(self.pad as u32)];
        numbers.iter().for_each(|number| _ = hasher.update(&number.to_le_bytes()));
        for pair in &*self.pairs {
            pair.chosen.hash_into(&mut hasher);
            pair.rejected.hash_into(&mut hasher);
        }
        hasher.finalize().to_hex().to_string()
    }

    fn fill(&self, pairs: &[&TokenizedPair]) -> PreferenceBatch {
        let time = pairs.iter().map(|pair| pair.longest()).max().unwrap_or(0);
        PreferenceBatch {
            chosen: fill(pairs.iter().map(|pair| vec![&pair.chosen]), time, self.pad),
            rejected: fill(pairs.iter().map(|pair| vec![&pair.rejected]), time, self.pad),
        }
    }
}

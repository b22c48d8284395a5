//! Batches: a pure function of (seed, step, rank).

mod permute;

use std::sync::Arc;

use crate::{DataError, TokenShards};
pub(crate) use permute::{Permutation, mix};

/// Rows of tokens: windows of a text, or samples packed one behind the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Ids, (b, t), row-major.
    pub inputs: Vec<i32>,
    /// The id after each input, (b, t), row-major.
    pub targets: Vec<i32>,
    /// Where in its row the sample of each token begins, (b, t), row-major: tokens attend to none before it. `None`
    /// where every row is one text.
    pub sample_starts: Option<Arc<[u32]>>,
    /// Rows `b`.
    pub batch: usize,
    /// Tokens of a row `t`.
    pub time: usize,
}

/// Chooses windows of `time` tokens.
///
/// The text is a ring cut into `len / time` windows from an offset that is new in every epoch; a permutation of the
/// windows, new in every epoch too, says in which order they come. Every epoch sees each window exactly once, and
/// nothing is kept in memory or in a checkpoint: whatever the length of the text, a batch is computed from its number.
#[derive(Debug, Clone)]
pub struct BatchSampler {
    shards: TokenShards,
    batch: usize,
    time: usize,
    ranks: u32,
}

impl BatchSampler {
    /// Rows of `time` tokens, `batch` of them at once, and `ranks` such batches per step: micro-batches, devices, or their
    /// product.
    ///
    /// # Errors
    /// [`DataError::TooShort`] for a text of less than one window and its last target.
    ///
    /// # Panics
    /// If `batch`, `time` or `ranks` is 0.
    pub fn new(shards: TokenShards, batch: usize, time: usize, ranks: u32) -> Result<Self, DataError> {
        assert!(batch > 0 && time > 0 && ranks > 0, "a batch has at least one token");
        if shards.len() <= time as u64 {
            return Err(DataError::TooShort { tokens: shards.len(), context: time });
        }
        Ok(Self { shards, batch, time, ranks })
    }

    /// The tokens that batches are made of.
    pub fn shards(&self) -> &TokenShards {
        &self.shards
    }

    /// Windows of an epoch.
    pub fn windows_per_epoch(&self) -> u64 {
        self.shards.len() / self.time as u64
    }

    /// Steps per epoch; the last is shared with the next epoch unless the windows divide evenly.
    pub fn steps_per_epoch(&self) -> f64 {
        self.windows_per_epoch() as f64 / (self.batch as f64 * f64::from(self.ranks))
    }

    /// The batch of a rank at a step.
    ///
    /// # Errors
    /// [`DataError::Shards`] for a damaged shard file.
    ///
    /// # Panics
    /// If `rank` is not below the number of ranks.
    pub fn batch(&self, seed: u64, step: u64, rank: u32) -> Result<Batch, DataError> {
        assert!(rank < self.ranks, "rank {rank} of {}", self.ranks);
        let first = (step * u64::from(self.ranks) + u64::from(rank)) * self.batch as u64;
        let mut batch = Batch::with_capacity(self.batch, self.time);
        for window in first..first + self.batch as u64 {
            let start = self.start(seed, window);
            batch.push_row(&self.shards, start, self.time)?;
        }
        Ok(batch)
    }

    /// First token of the window that comes as number `window` since the start of training.
    fn start(&self, seed: u64, window: u64) -> u64 {
        let windows = self.windows_per_epoch();
        let (epoch, index) = (window / windows, window % windows);
        let key = mix(seed, epoch);
        let offset = mix(key, 0) % self.shards.len();
        let place = Permutation::new(windows, key).apply(index);
        (offset + place * self.time as u64) % self.shards.len()
    }
}

/// The same windows every time, for evaluation: at most `count` of `time` tokens, evenly spread over the text, or all
/// that do not overlap if there are no more; in batches of up to `batch` rows. A text shorter than one window gives
/// one row of what there is.
///
/// # Errors
/// [`DataError::ValidationTooShort`] for a text of less than two tokens.
pub fn evaluation_windows(
    shards: &TokenShards,
    count: usize,
    batch: usize,
    time: usize,
) -> Result<impl Iterator<Item = Result<Batch, DataError>> + use<>, DataError> {
    let targets = shards.len().saturating_sub(1);
    if targets == 0 {
        return Err(DataError::ValidationTooShort { tokens: shards.len() });
    }
    let time = (time.max(1) as u64).min(targets);
    let all = targets / time;
    let count = (count.max(1) as u64).min(all);
    let batch = batch.max(1) as u64;
    let shards = shards.clone();
    Ok((0..count).step_by(batch as usize).map(move |first| {
        let rows = batch.min(count - first);
        let mut out = Batch::with_capacity(rows as usize, time as usize);
        for row in first..first + rows {
            // 128 bits, as row · all may pass 64.
            let place = (u128::from(row) * u128::from(all) / u128::from(count)) as u64;
            out.push_row(&shards, place * time, time as usize)?;
        }
        Ok(out)
    }))
}

impl Batch {
    fn with_capacity(batch: usize, time: usize) -> Self {
        let tokens = batch * time;
        Self {
            inputs: Vec::with_capacity(tokens),
            targets: Vec::with_capacity(tokens),
            sample_starts: None,
            batch: 0,
            time,
        }
    }

    /// Appends the window at `start`; behind the last token the text begins again.
    fn push_row(&mut self, shards: &TokenShards, start: u64, time: usize) -> Result<(), DataError> {
        let end = start + time as u64 + 1;
        let mut ids = Vec::with_capacity(time + 1);
        shards.read(start..end.min(shards.len()), &mut ids)?;
        if end > shards.len() {
            shards.read(0..end - shards.len(), &mut ids)?;
        }
        self.inputs.extend(ids[..time].iter().map(|&id| id as i32));
        self.targets.extend(ids[1..].iter().map(|&id| id as i32));
        self.batch += 1;
        Ok(())
    }
}

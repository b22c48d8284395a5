//! Several processes that train one model together.

use std::fmt;

/// What one process of a group knows of the others. The configuration means the same run however many there are: they share
/// the micro-batches of a step among them, and their sums take the place of those that one process computes alone.
pub trait Group: fmt::Debug + Send + Sync {
    /// The number of this process, from 0. Number 0 writes the run directory.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn size(&self) -> usize;

    /// Replaces `values` by their sums over all processes, added in the order of ranks, so that all get the same bits. Every
    /// process calls it at the same places with as many values.
    ///
    /// # Errors
    /// A process that is gone, or is at another place.
    fn sum(&self, values: &mut [f32]) -> Result<(), GroupError>;

    /// [`Self::sum`] of numbers that need more precision, such as counts.
    ///
    /// # Errors
    /// As [`Self::sum`].
    fn sum_numbers(&self, numbers: &mut [f64]) -> Result<(), GroupError>;
}

/// A group that has broken up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("process {rank} of {size}: {problem}\nhint: end the other processes and resume the run")]
pub struct GroupError {
    /// The process that reports it.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// What happened.
    pub problem: String,
}

/// A process by itself: its sums are its own values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alone;

impl Group for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, _: &mut [f32]) -> Result<(), GroupError> {
        Ok(())
    }

    fn sum_numbers(&self, _: &mut [f64]) -> Result<(), GroupError> {
        Ok(())
    }
}

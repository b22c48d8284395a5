use llm_checkpoint::write_atomic;

use super::RunOptions;
use super::directory::{CHART, RunLock, training_dir};
use crate::TrainError;
use crate::chart::Curves;
use crate::metrics::{Line, Metrics};
use crate::tensorboard::Board;

/// What is kept of a run beside its checkpoints: metrics, their chart, and files for TensorBoard. Of a group of processes one
/// keeps it, and holds the run directory.
#[derive(Debug)]
pub(super) struct Records {
    _lock: RunLock,
    metrics: Metrics,
    curves: Curves,
    board: Option<Board>,
}

impl Records {
    /// Those of a run that goes on after `step` steps and an evaluation after `evaluated` of them.
    pub fn open(lock: RunLock, options: &RunOptions, step: u64, evaluated: Option<u64>) -> Result<Self, TrainError> {
        let training = training_dir(&options.out);
        let (metrics, lines) = Metrics::open(&training.join("metrics.jsonl"), step, evaluated)?;
        let mut curves = Curves::default();
        lines.iter().for_each(|line| curves.push(line));
        let board = options.tensorboard.then(|| Board::create(&training.join("tensorboard"), step)).transpose()?;
        Ok(Self { _lock: lock, metrics, curves, board })
    }

    /// Keeps a line for the file and the chart.
    pub fn write(&mut self, line: &Line) -> Result<(), TrainError> {
        self.curves.push(line);
        if let Some(board) = &mut self.board {
            board.write(line)?;
        }
        self.metrics.write(line)
    }

    /// Waits until the lines are on the disk.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.metrics.sync()
    }

    /// Draws the chart of the run that `options` name.
    pub fn draw(&self, options: &RunOptions) -> Result<(), TrainError> {
        let svg = self.curves.svg()?;
        let path = training_dir(&options.out).join(CHART);
        Ok(write_atomic(&path, |out| out.write_all(svg.as_bytes()))?)
    }
}

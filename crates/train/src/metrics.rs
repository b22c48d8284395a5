//! `metrics.jsonl`: one object a line.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use llm_checkpoint::write_atomic;
use serde::{Deserialize, Serialize};

use crate::{EvalRecord, StepRecord, TrainError};

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// A training step.
    Step(StepRecord),
    /// An evaluation.
    Eval(EvalRecord),
}

/// The file, open for appending.
#[derive(Debug)]
pub struct Metrics {
    file: File,
    path: PathBuf,
}

impl Metrics {
    /// Opens the file of a run that continues after `step` steps, the last evaluation of which was after `evaluated`
    /// steps, and gives the lines up to there. Later lines are of steps that will be computed again, and are removed.
    pub fn open(path: &Path, step: u64, evaluated: Option<u64>) -> Result<(Self, Vec<Line>), TrainError> {
        let keep = |line: &Line| match line {
            Line::Step(record) => record.step <= step,
            Line::Eval(record) => evaluated.is_some_and(|evaluated| record.step <= evaluated),
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(TrainError::io(path)(error)),
        };
        // A killed run may have left half a line, which does not parse.
        let parsed = text.lines().filter_map(|text| Some((text, serde_json::from_str::<Line>(text).ok()?)));
        let (texts, lines): (Vec<&str>, Vec<Line>) = parsed.filter(|(_, line)| keep(line)).unzip();
        let kept = texts.iter().flat_map(|text| [*text, "\n"]).collect::<String>();
        if kept != text {
            write_atomic(path, |out| out.write_all(kept.as_bytes()))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(TrainError::io(path))?;
        Ok((Self { file, path: path.to_path_buf() }, lines))
    }

    /// Appends a line.
    pub fn write(&mut self, line: &Line) -> Result<(), TrainError> {
        let written = serde_json::to_string(line).map_err(io::Error::other).and_then(|mut text| {
            text.push('\n');
            self.file.write_all(text.as_bytes())
        });
        written.map_err(TrainError::io(&self.path))
    }

    /// Waits until the lines are on the disk.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(TrainError::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Line {
        Line::Step(StepRecord {
            step,
            tokens: 8 * step,
            loss: 1.0 / step as f32,
            lr: 1e-3,
            grad_norm: 0.3,
            tokens_per_s: 100.0,
            flops_utilization: 0.5,
            peak_rss_mib: None,
            seconds: 1.0,
        })
    }

    fn eval(step: u64) -> Line {
        Line::Eval(EvalRecord { step, tokens: 8 * step, val_loss: 2.5, accuracy: None, seconds: 1.0, best: false })
    }

    #[test]
    fn lines_after_the_checkpoint_and_half_lines_are_removed() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("metrics.jsonl");
        let (mut metrics, lines) = Metrics::open(&path, 0, None)?;
        assert!(lines.is_empty());
        let all = [eval(0), step(1), step(2), eval(2), step(3)];
        for line in &all {
            metrics.write(line)?;
        }
        metrics.file.write_all(b"{\"step\":4,\"tok")?;
        drop(metrics);

        // The checkpoint of step 2 was saved before its evaluation.
        let (mut metrics, lines) = Metrics::open(&path, 2, Some(0))?;
        assert_eq!(lines, all[..3]);
        metrics.write(&eval(2))?;
        let (_, lines) = Metrics::open(&path, 2, Some(2))?;
        assert_eq!(lines, all[..4]);
        Ok(())
    }
}

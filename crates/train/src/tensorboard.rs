//! Event files for TensorBoard: records of `tensorflow.Event` messages with checksums, as
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto> and TFRecord define them.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

use crate::TrainError;
use crate::metrics::Line;

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct TensorboardEvent {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An event file for each time that a run starts or resumes; TensorBoard joins those of one folder.
#[derive(Debug)]
pub struct Board {
    file: File,
    path: PathBuf,
}

impl Board {
    /// A new file in `dir`, for a run that has done `step` steps. TensorBoard drops what older files say about later
    /// steps, because those are computed again.
    pub fn create(dir: &Path, step: u64) -> Result<Self, TrainError> {
        std::fs::create_dir_all(dir).map_err(TrainError::io(dir))?;
        let time = wall_time();
        let path = dir.join(format!("events.out.tfevents.{:010}.{:06}.llm", time as u64, (time.fract() * 1e6) as u32));
        let file = File::create_new(&path).map_err(TrainError::io(&path))?;
        let mut board = Self { file, path };
        let version = Some("brain.Event:2".to_string());
        board.append(&TensorboardEvent { wall_time: time, file_version: version, ..Default::default() })?;
        let session_log = Some(SessionLog { status: START });
        board.append(&TensorboardEvent {
            wall_time: time,
            step: step as i64 + 1,
            session_log,
            ..Default::default()
        })?;
        Ok(board)
    }

    /// Appends the values of a line of the metrics.
    pub fn write(&mut self, line: &Line) -> Result<(), TrainError> {
        let (step, values) = match line {
            Line::Eval(record) => (record.step, vec![("loss/validation", record.val_loss)]),
            Line::Step(record) => {
                let values = vec![
                    ("loss/training", record.loss),
                    ("learning_rate", record.lr as f32),
                    ("grad_norm", record.grad_norm as f32),
                    ("speed/tokens_per_s", record.tokens_per_s as f32),
                    ("speed/flops_utilization", record.flops_utilization as f32),
                ];
                (record.step, values)
            }
        };
        let value = |(tag, simple_value): (&str, f32)| Value { tag: tag.to_string(), simple_value };
        let summary = Some(Summary { value: values.into_iter().map(value).collect() });
        self.append(&TensorboardEvent { wall_time: wall_time(), step: step as i64, summary, ..Default::default() })
    }

    fn append(&mut self, event: &TensorboardEvent) -> Result<(), TrainError> {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked_checksum(&length).to_le_bytes());
        record.extend(&data);
        record.extend(masked_checksum(&data).to_le_bytes());
        self.file.write_all(&record).map_err(TrainError::io(&self.path))
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// TFRecord's checksum: CRC-32C, rotated and shifted so that checksums of checksums stay good ones.
fn masked_checksum(data: &[u8]) -> u32 {
    CASTAGNOLI.checksum(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EvalRecord;

    /// The events of a file, checksums verified.
    fn read(mut bytes: &[u8]) -> Vec<TensorboardEvent> {
        let mut events = Vec::new();
        while let Some((header, rest)) = bytes.split_at_checked(12) {
            let length = u64::from_le_bytes(header[..8].try_into().unwrap()) as usize;
            assert_eq!(header[8..], masked_checksum(&header[..8]).to_le_bytes());
            let (data, rest) = rest.split_at(length);
            assert_eq!(rest[..4], masked_checksum(data).to_le_bytes());
            events.push(TensorboardEvent::decode(data).unwrap());
            bytes = &rest[4..];
        }
        assert!(bytes.is_empty());
        events
    }

    #[test]
    fn events_read_back_with_good_checksums() {
        let dir = tempfile::tempdir().unwrap();
        let mut board = Board::create(dir.path(), 7).unwrap();
        board
            .write(&Line::Eval(EvalRecord {
                step: 9,
                tokens: 1,
                val_loss: 2.5,
                accuracy: None,
                seconds: 0.0,
                best: true,
            }))
            .unwrap();
        let events = read(&std::fs::read(&board.path).unwrap());
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!((events[1].step, &events[1].session_log), (8, &Some(SessionLog { status: START })));
        let value = Value { tag: "loss/validation".into(), simple_value: 2.5 };
        assert_eq!((events[2].step, &events[2].summary), (9, &Some(Summary { value: vec![value] })));
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(CASTAGNOLI.checksum(&[0; 32]), 0x8a91_36aa);
    }
}

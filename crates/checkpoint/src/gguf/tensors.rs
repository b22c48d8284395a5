//! The tensors of a file, under the names and in the layout of a Hugging Face checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use llm_gguf::{GgufError, TensorInfo, TensorType};
use llm_model::QuantizedWeight;

use super::config;
use super::description::{Architecture, SETTINGS};
use super::file::GgufFile;
use crate::CheckpointError;
use crate::families::Place;
use crate::floats::{FloatKind, Floats};

/// How a tensor of GGUF differs from the checkpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all.
    None,
    /// `(out, in)` here, `(in, out)` there.
    Transposed,
    /// The two entries that rotate together lie side by side within a head, and there half a head apart.
    Interleaved {
        /// Heads in the tensor.
        heads: usize,
    },
    /// Has 1 added here.
    Shifted,
}

impl Change {
    /// What happens to the checkpoint's tensor `name` of a model with so many query and key heads.
    pub fn of(architecture: &Architecture, name: &str, heads: usize, kv_heads: usize) -> Self {
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        let linear_of_gpt2 = || {
            name.ends_with(".weight")
                && ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
                    .iter()
                    .any(|linear| module.ends_with(linear))
        };
        match () {
            () if architecture.interleaved && module.ends_with("self_attn.q_proj") => Self::Interleaved { heads },
            () if architecture.interleaved && module.ends_with("self_attn.k_proj") => {
                Self::Interleaved { heads: kv_heads }
            }
            () if architecture.transposed && linear_of_gpt2() => Self::Transposed,
            () if architecture.shifted_norms && module.ends_with("norm") => Self::Shifted,
            () => Self::None,
        }
    }

    /// The shape there of a tensor with the `shape` here, and the other way round.
    pub fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if self == Self::Transposed {
            shape.reverse();
        }
        shape
    }

    /// The checkpoint's values out of those of GGUF, whose shape is `shape`.
    fn undo(self, values: Floats, shape: &[usize]) -> Floats {
        let Floats { kind, bytes } = values;
        let bytes = match (self, kind) {
            (Self::None, _) => bytes,
            (Self::Transposed, FloatKind::F32) => transpose(bytes.as_chunks::<4>().0, shape).into_flattened().into(),
            (Self::Transposed, _) => transpose(bytes.as_chunks::<2>().0, shape).into_flattened().into(),
            (Self::Interleaved { heads }, _) => permute_rows(&bytes, shape[0], heads, true).into(),
            (Self::Shifted, _) => {
                let shifted = Floats { kind, bytes }.into_f32().into_iter().map(|x| x - 1.0).collect();
                return Floats::from_f32(shifted);
            }
        };
        Floats { kind, bytes }
    }

    /// The values for GGUF out of the checkpoint's, whose shape is `shape`.
    pub fn apply(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match self {
            Self::None => values,
            Self::Transposed => transpose(&values, shape),
            Self::Interleaved { heads } => permute_rows(&values, shape[0], heads, false),
            Self::Shifted => values.into_iter().map(|x| x + 1.0).collect(),
        }
    }
}

fn transpose<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let columns = shape.get(1).copied().unwrap_or(1);
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend(values[column..].iter().step_by(columns));
    }
    out
}

/// Moves rows between the two orders: row `2·j + s` of a head here is row `s·half + j` there.
fn permute_rows<T: Copy>(values: &[T], rows: usize, heads: usize, undo: bool) -> Vec<T> {
    let width = values.len() / rows;
    let head_dim = rows / heads;
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, i) = (row / head_dim, row % head_dim);
        let half = head_dim / 2;
        let from = head * head_dim + if undo { i % half * 2 + i / half } else { i % 2 * half + i / 2 };
        out.extend(&values[from * width..(from + 1) * width]);
    }
    out
}

/// The tensors of a file as a checkpoint has them.
pub(crate) struct GgufTensors {
    file: Arc<GgufFile>,
    /// By the checkpoint's name: the name here, how it differs, and the checkpoint's shape.
    tensors: BTreeMap<String, (String, Change, Vec<usize>)>,
}

impl GgufTensors {
    /// The tensors of `file`.
    pub fn of(file: Arc<GgufFile>) -> Result<Self, CheckpointError> {
        let architecture = config::architecture(&file)?;
        let config = config(&file)?;
        let entry = |(gguf, info): (&String, &TensorInfo)| {
            // What has no place keeps its name, to be reported by it.
            let name = architecture.checkpoint_name(gguf).unwrap_or_else(|| gguf.clone());
            let change = Change::of(architecture, &name, config.num_heads, config.num_kv_heads);
            (name, (gguf.clone(), change, change.shape(&info.shape)))
        };
        let tensors = file.tensors().filter(|(name, _)| !SETTINGS.contains(&name.as_str())).map(entry).collect();
        Ok(Self { file, tensors })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The checkpoint's names of its tensors.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The shape of a tensor in a checkpoint.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(.., shape)| shape.as_slice())
    }

    /// The values of a tensor in the checkpoint's layout: those in floating point as they are stored, and in the mapped file
    /// if their layout is the checkpoint's, quantized ones in float32. All must be finite.
    pub fn floats(&self, name: &str) -> Result<Floats, CheckpointError> {
        let missing = || self.file.damaged(GgufError::MissingTensor { tensor: name.to_owned() });
        let (tensor, change, shape) = self.tensors.get(name).ok_or_else(missing)?;
        let gguf = self.file.gguf(tensor);
        let damaged = |source| self.file.damaged(source);
        let kind = match self.file.info(tensor).map(|info| info.kind) {
            Some(TensorType::F32) => Some(FloatKind::F32),
            Some(TensorType::F16) => Some(FloatKind::F16),
            Some(TensorType::Bf16) => Some(FloatKind::Bf16),
            _ => None,
        };
        let values = match kind {
            Some(kind) => Floats { kind, bytes: gguf.bytes().slice_ref(gguf.stored(tensor).map_err(damaged)?) },
            None => Floats::from_f32(gguf.values(tensor).map_err(damaged)?),
        };
        values.check_finite(self.file.path(), tensor)?;
        Ok(change.undo(values, &change.shape(shape)))
    }

    /// Whether a tensor is stored in blocks.
    pub fn is_in_blocks(&self, name: &str) -> bool {
        let kind = self.tensors.get(name).and_then(|(gguf, ..)| self.file.info(gguf)).map(|info| info.kind);
        kind.is_some_and(|kind| kind.block_len() > 1)
    }

    /// The matrix of `shape` at `place` of a tensor in the blocks that the file has it in, if these are of a type that is
    /// `kept`, and if the rows here are those of the matrix. All values are finite.
    pub fn blocks(
        &self,
        name: &str,
        place: &Place,
        shape: [usize; 2],
        kept: &dyn Fn(TensorType) -> bool,
    ) -> Result<Option<QuantizedWeight>, CheckpointError> {
        let Some((gguf, change, _)) = self.tensors.get(name).filter(|_| self.is_in_blocks(name)) else {
            return Ok(None);
        };
        let Some(kind) = self.file.info(gguf).map(|info| info.kind).filter(|kind| kept(*kind)) else { return Ok(None) };
        if place.transposed != (*change == Change::Transposed) {
            return Ok(None);
        }
        let [rows, columns] = shape;
        let start = place.part.map_or(0, |part| part.start);
        let of_rows = |stored| {
            let row = kind.bytes(columns as u64)? as usize;
            let stored: &[u8] = <[u8]>::get(stored, start * row..(start + rows) * row)?;
            match change {
                Change::Interleaved { heads } => {
                    QuantizedWeight::new(kind, shape, &permute_rows(stored, rows, *heads, true))
                }
                _ => QuantizedWeight::new(kind, shape, stored),
            }
        };
        let stored = self.file.gguf(gguf).stored(gguf).map_err(|source| self.file.damaged(source))?;
        let Some(blocks) = of_rows(stored) else { return Ok(None) };
        match blocks.first_not_finite() {
            None => Ok(Some(blocks)),
            Some((index, value)) => Err(CheckpointError::NotFinite {
                path: self.file.path().clone(),
                tensor: gguf.clone(),
                value,
                index: start * columns + index,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_pairs_are_brought_together_and_apart() {
        // Two heads of four rows: halves (0, 1) and (2, 3) become pairs (0, 2) and (1, 3).
        let values: Vec<f32> = (0..8u8).flat_map(|row| [f32::from(row), -f32::from(row)]).collect();
        let change = Change::Interleaved { heads: 2 };
        let stored = change.apply(values.clone(), &[8, 2]);
        let rows: Vec<f32> = stored.iter().step_by(2).copied().collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(change.undo(Floats::from_f32(stored), &[8, 2]).into_f32(), values);
    }

    #[test]
    fn transposed_twice_is_the_same() {
        let values: Vec<f32> = (0..6u8).map(f32::from).collect();
        let stored = Change::Transposed.apply(values.clone(), &[2, 3]);
        assert_eq!(stored, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(Change::Transposed.undo(Floats::from_f32(stored), &[3, 2]).into_f32(), values);
    }
}

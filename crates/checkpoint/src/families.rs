//! The published architectures: for each, how its `config.json` is read and written, and how its tensors are named.
//!
//! A new family is a page beside these two and a row in [`FAMILIES`].

mod gpt2;
mod llama;

use llm_model::ModelConfig;
use serde_json::{Map, Value};

use crate::CheckpointError;
use crate::config::raw::RawConfig;

/// A published architecture.
pub(crate) struct Family {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// Its class in `transformers`.
    pub architecture: &'static str,
    /// What a `config.json` means.
    pub resolve: fn(&RawConfig) -> Result<ModelConfig, CheckpointError>,
    /// Whether it computes exactly what a config says.
    pub represents: fn(&ModelConfig) -> bool,
    /// Adds the keys of a config that it represents.
    pub write: fn(&ModelConfig, &mut Map<String, Value>),
    /// Where it stores a parameter, given our name of it.
    pub place: fn(&str) -> Place,
}

/// All families, the plainest first: the first that represents a config gives it its name.
pub(crate) const FAMILIES: [Family; 5] = [gpt2::GPT2, llama::LLAMA, llama::MISTRAL, llama::QWEN2, llama::QWEN3];

/// Where a checkpoint stores a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Name of the tensor.
    pub tensor: String,
    /// Stored as `(in, out)`.
    pub transposed: bool,
    /// The parameter is this part of several that share the tensor, side by side along `out`.
    pub part: Option<Part>,
}

/// One of several parameters of equal shape in one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Place {
    /// A tensor that is the parameter, under the same name.
    pub fn same(name: &str) -> Self {
        Self { tensor: name.to_owned(), transposed: false, part: None }
    }

    /// The shape of the stored tensor, for a parameter of `shape`.
    pub fn stored_shape(&self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        shape[0] *= self.part.map_or(1, |part| part.of);
        if self.transposed {
            shape.reverse();
        }
        shape
    }

    /// The parameter of `shape` out of the values of the stored tensor.
    pub fn extract(&self, stored: &[f32], shape: &[usize]) -> Vec<f32> {
        let Part { index, of } = self.part.unwrap_or(Part { index: 0, of: 1 });
        let [rows, columns] = [shape[0], shape[1..].iter().product()]; // (out, in)
        if !self.transposed {
            return stored[index * rows * columns..(index + 1) * rows * columns].to_vec();
        }
        let mut values = vec![0.0; rows * columns];
        in_blocks(columns, rows, |column, row| {
            values[row * columns + column] = stored[column * rows * of + index * rows + row];
        });
        values
    }

    /// The values of the stored tensor out of its parts, each of `shape`.
    pub fn assemble(&self, parts: &[Vec<f32>], shape: &[usize]) -> Vec<f32> {
        if !self.transposed {
            return parts.concat();
        }
        let [rows, columns] = [shape[0], shape[1..].iter().product()];
        let mut values = vec![0.0; parts.len() * rows * columns];
        for (index, part) in parts.iter().enumerate() {
            in_blocks(rows, columns, |row, column| {
                values[column * rows * parts.len() + index * rows + row] = part[row * columns + column];
            });
        }
        values
    }
}

/// Visits all (i, j) below (`n`, `m`), a block of 16 `i` for each `j`: a transposition then uses the whole of every
/// cache line that it touches.
fn in_blocks(n: usize, m: usize, mut visit: impl FnMut(usize, usize)) {
    for start in (0..n).step_by(16) {
        for j in 0..m {
            for i in start..(start + 16).min(n) {
                visit(i, j);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_out_of_a_fused_tensor_as_they_went_in() {
        for (rows, columns) in [(1, 1), (3, 5), (16, 16), (17, 33), (40, 1)] {
            let shape = [rows, columns];
            let parts: Vec<Vec<f32>> =
                (0..3).map(|part| (0..rows * columns).map(|i| (part * 10_000 + i) as f32).collect()).collect();
            let place = |index| Place { tensor: String::new(), transposed: true, part: Some(Part { index, of: 3 }) };
            let stored = place(2).assemble(&parts, &shape);
            assert_eq!(place(0).stored_shape(&shape), [columns, 3 * rows]);
            // A stored row is one input to all queries, then to all keys, then to all values.
            assert_eq!(stored[0], parts[0][0]);
            assert_eq!(stored[rows], parts[1][0]);
            for (index, part) in parts.iter().enumerate() {
                assert_eq!(&place(index).extract(&stored, &shape), part);
            }
        }
    }
}

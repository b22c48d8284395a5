//! Weights of 8 bits (FP8) that are multiplied by scales: one for all, one for a row, or one for a block.

use std::path::Path;

use crate::CheckpointError;
use crate::keys::JsonKeys;
use crate::layout::CONFIG;

/// How weights of 8 bits are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scales {
    /// Rows and columns of a block.
    block: [usize; 2],
}

/// The block of DeepSeek and Qwen.
const BLOCK: [usize; 2] = [128, 128];
/// The way out for weights in a form that is not read.
const WAY_OUT: &str = "use the unquantized model, or a GGUF file of it";

impl Scales {
    /// What `quantization_config` says; nothing if there is none.
    pub fn read(raw: &JsonKeys) -> Result<Option<Self>, CheckpointError> {
        let Some(table) = raw.table("quantization_config")? else { return Ok(None) };
        let method = table.text("quant_method")?.ok_or_else(|| table.missing("quant_method"))?;
        match method {
            "fp8" | "fbgemm_fp8" => {}
            "compressed-tensors" => compressed(&table)?,
            _ => {
                return Err(table.unsupported(
                    "quant_method",
                    "FP8 is the only quantization that can be read here, besides GGUF",
                    WAY_OUT,
                ));
            }
        }
        let block = table.sizes("weight_block_size")?;
        let block = block.map_or(Ok(BLOCK), |sizes| {
            <[usize; 2]>::try_from(sizes).map_err(|_| table.bad("weight_block_size", "a list of two sizes"))
        })?;
        Ok(Some(Self { block }))
    }

    /// The names that the scales of a weight may have.
    pub fn names(tensor: &str) -> [String; 2] {
        ["_scale_inv", "_scale"].map(|end| format!("{tensor}{end}"))
    }

    /// Whether a tensor is one of scales: of weights, or of activations and caches, which are not quantized here.
    pub fn belongs(name: &str) -> bool {
        const ENDS: [&str; 8] = [
            "weight_scale_inv",
            "weight_scale",
            "input_scale",
            "input_scale_ub",
            "activation_scale",
            "output_scale",
            "k_scale",
            "v_scale",
        ];
        name.rsplit('.').next().is_some_and(|last| ENDS.contains(&last))
    }

    /// `values` of `shape` times `scales` of `scales_shape`; nothing if the shapes do not fit.
    pub fn apply(
        &self,
        mut values: Vec<f32>,
        shape: &[usize],
        scales: &[f32],
        scales_shape: &[usize],
    ) -> Option<Vec<f32>> {
        let (&[rows, columns], &[first, ..]) = (shape, scales) else { return None };
        let [block_rows, block_columns] = self.block;
        // Rows and columns that share a scale, and scales in a row of them.
        let (height, width, across) = match scales_shape {
            [] | [1] | [1, 1] => {
                values.iter_mut().for_each(|value| *value *= first);
                return Some(values);
            }
            [n] | [n, 1] if *n == rows => (1, columns, 1),
            [n, m] if *n == rows.div_ceil(block_rows) && *m == columns.div_ceil(block_columns) => {
                (block_rows, block_columns, *m)
            }
            _ => return None,
        };
        for (row, values) in values.chunks_mut(columns).enumerate() {
            for (column, values) in values.chunks_mut(width).enumerate() {
                let scale = scales[row / height * across + column];
                values.iter_mut().for_each(|value| *value *= scale);
            }
        }
        Some(values)
    }
}

/// Fails unless all weights that llm-compressor quantized are FP8.
fn compressed(table: &JsonKeys) -> Result<(), CheckpointError> {
    let problem = "of the formats of llm-compressor, only FP8 can be read";
    let format = table.text("format")?.unwrap_or_default();
    if !["float-quantized", "naive-quantized"].contains(&format) {
        return Err(table.unsupported("format", problem, WAY_OUT));
    }
    let Some(groups) = table.table("config_groups")? else { return Ok(()) };
    for name in groups.names() {
        let weights = groups.table(name)?.map_or(Ok(None), |group| group.table("weights"))?;
        let Some(weights) = weights else { continue };
        if weights.get("type").is_some_and(|kind| kind != "float") {
            return Err(weights.unsupported("type", problem, WAY_OUT));
        }
        if weights.get("num_bits").is_some_and(|bits| bits != 8) {
            return Err(weights.unsupported("num_bits", problem, WAY_OUT));
        }
    }
    Ok(())
}

/// The scales of the weights in `dir`, by its `config.json`; nothing without one, as a file of weights may be read alone.
pub(super) fn scales(dir: &Path) -> Result<Option<Scales>, CheckpointError> {
    let path = dir.join(CONFIG);
    let Ok(text) = std::fs::read(&path) else { return Ok(None) };
    Scales::read(&JsonKeys::parse(&path, &text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_of_all_of_a_row_or_of_a_block() {
        let ones = || vec![1.0; 15];
        let scales = Scales { block: [2, 4] };
        let applied = |scales_shape: &[usize], values: &[f32]| scales.apply(ones(), &[3, 5], values, scales_shape);
        assert_eq!(applied(&[], &[2.0]), Some(vec![2.0; 15]));
        assert_eq!(applied(&[1], &[2.0]), Some(vec![2.0; 15]));
        let rows = [[1.0; 5], [2.0; 5], [3.0; 5]].concat();
        assert_eq!(applied(&[3], &[1.0, 2.0, 3.0]), Some(rows.clone()));
        assert_eq!(applied(&[3, 1], &[1.0, 2.0, 3.0]), Some(rows));
        let blocks = [[1.0, 1.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0, 2.0], [3.0, 3.0, 3.0, 3.0, 4.0]].concat();
        assert_eq!(applied(&[2, 2], &[1.0, 2.0, 3.0, 4.0]), Some(blocks));
        for (shape, values) in [(&[2][..], 2), (&[2, 1], 2), (&[1, 2], 2), (&[3, 5], 15), (&[0], 0)] {
            assert_eq!(applied(shape, &vec![1.0; values]), None, "{shape:?}");
        }
    }
}

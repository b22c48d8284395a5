use std::path::Path;

use serde::Serialize;

use super::config::{AdapterConfig, Format};
use super::tensors::{AdapterTensors, TOKEN_ROWS};
use crate::CheckpointError;

/// What an adapter is, without the model that it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterDescription {
    /// The program that wrote it: `peft`, whose layout is this program's too, or `mlx-lm`.
    pub format: &'static str,
    /// The model that it was trained on, as its settings name it: a path, or a name on the hub.
    pub base: Option<String>,
    /// Rank, where no layer has another.
    pub rank: usize,
    /// Alpha, where no layer has another.
    pub alpha: f64,
    /// Dropout of its training.
    pub dropout: f64,
    /// Whether the scale is alpha over the root of the rank.
    pub rslora: bool,
    /// Whether rows have a trained magnitude.
    pub dora: bool,
    /// The last parts of the names of the layers that it adds to, each once.
    pub targets: Vec<String>,
    /// Linear layers and tables that it adds to.
    pub layers: usize,
    /// Numbers of the factors that were trained.
    pub parameters: usize,
    /// Tensors of the base that it has whole or in rows, by their names in the base's checkpoint: trained ones, or those that
    /// it carries along.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// Settings that are not known, and not heeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_settings: Vec<String>,
    /// Tensors of parts of the model that text does not pass through, which are not read.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_parts: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Describes the adapter in `dir` by its settings and the names and shapes of its tensors.
///
/// # Errors
/// Missing and damaged files, and settings that are not supported.
pub fn describe_adapter(dir: &Path) -> Result<AdapterDescription, CheckpointError> {
    let config = AdapterConfig::read(dir)?;
    let tensors = AdapterTensors::open(dir, config.format)?;
    let mut described = AdapterDescription {
        format: if config.format == Format::Mlx { "mlx-lm" } else { "peft" },
        rank: config.rank(),
        alpha: config.alpha(),
        dropout: config.dropout,
        rslora: config.rslora,
        dora: config.dora,
        base: config.base,
        targets: Vec::new(),
        layers: 0,
        parameters: 0,
        replaced: Vec::new(),
        unknown_settings: config.unknown,
        other_parts: tensors.other_parts,
    };
    for name in tensors.names() {
        let Some((module, kind)) = name.split_once(".lora_") else {
            let rows = name.strip_suffix(TOKEN_ROWS).and_then(|table| table.strip_suffix('.'));
            described.replaced.push(rows.map_or_else(|| name.to_owned(), |table| format!("{table} (rows)")));
            continue;
        };
        described.parameters += tensors.shape(name).map_or(0, |shape| shape.iter().product());
        if kind == "A.weight" || kind == "embedding_A" {
            described.layers += 1;
            let last = module.rsplit('.').next().unwrap_or(module);
            if !described.targets.iter().any(|target| target == last) {
                described.targets.push(last.to_owned());
            }
        }
    }
    described.targets.sort();
    Ok(described)
}

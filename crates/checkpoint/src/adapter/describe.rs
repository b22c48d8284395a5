use std::path::Path;

use serde::Serialize;

use super::PREFIX;
use super::config::PeftConfig;
use super::load::open_tensors;
use crate::CheckpointError;

/// What an adapter is, without the model that it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterDescription {
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
    /// The last parts of the names of the linear layers that it adds to, each once.
    pub targets: Vec<String>,
    /// Linear layers that it adds to.
    pub layers: usize,
    /// Numbers that were trained.
    pub parameters: usize,
}

/// Describes the adapter in `dir` by its settings and the names and shapes of its tensors.
///
/// # Errors
/// Missing and damaged files, and settings that are not supported.
pub fn describe_adapter(dir: &Path) -> Result<AdapterDescription, CheckpointError> {
    let config = PeftConfig::read(dir)?;
    let file = open_tensors(dir)?;
    let mut described = AdapterDescription {
        rank: config.rank(),
        alpha: config.alpha(),
        dropout: config.dropout,
        rslora: config.rslora,
        dora: config.dora,
        base: config.base,
        targets: Vec::new(),
        layers: 0,
        parameters: 0,
    };
    for name in file.names() {
        // PEFT stores some layers of the base along with their adapter.
        let Some((module, kind)) = name.split_once(".lora_") else { continue };
        described.parameters += file.shape(&name).map_or(0, |shape| shape.iter().product());
        if kind.starts_with("A.") {
            described.layers += 1;
            let module = module.strip_prefix(PREFIX).unwrap_or(module);
            let last = module.rsplit('.').next().unwrap_or(module);
            if !described.targets.iter().any(|target| target == last) {
                described.targets.push(last.to_owned());
            }
        }
    }
    described.targets.sort();
    Ok(described)
}

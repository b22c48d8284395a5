use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use llm_model::{CausalLm, Lora, LoraConfig, TargetModules};

use super::replace::replace;
use super::stored::{Factors, Stored};
use super::targets;
use crate::CheckpointError;

/// `model`, frozen, with the adapter in `dir`, whose factors are trained on from there. What the adapter has besides, other
/// embeddings and whole layers, becomes the model's own.
///
/// # Errors
/// Missing and damaged files; settings that are not supported; tensors that are missing, superfluous, not finite, or of
/// another shape than the model makes them: each with the file, the name and both values.
pub fn load_adapter(dir: &Path, model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let stored = [(Stored::open(dir)?, 1.0)];
    let model = prepare(&stored, model)?;
    let [(stored, _)] = stored;
    let factors = stored.factors(&model)?;
    let linears = model.linears();
    let names: Vec<&str> = linears.iter().map(|(name, _)| name.as_str()).collect();
    let chosen: Vec<&str> = names.iter().copied().filter(|name| factors.contains_key(*name)).collect();
    let config = LoraConfig {
        rank: stored.config.rank(),
        alpha: stored.config.alpha(),
        dropout: stored.config.dropout,
        target_modules: TargetModules::Names(targets(&names, &chosen)),
        rslora: stored.config.rslora,
        dora: stored.config.dora,
    };
    install(model, Some(config), factors, stored.config.dropout)
}

/// `model` with the adapters in several directories, each times a weight: what it then adds is the weighted sum of what
/// they add, and what they replace moves by the weighted sum of the differences. For inference.
///
/// # Errors
/// As [`load_adapter`]; and DoRA adapters, which are not a sum, beside others or with a weight that is not 1.
pub fn load_adapters(adapters: &[(&Path, f64)], model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let alone = adapters.len() == 1;
    let mut all = Vec::new();
    for &(dir, weight) in adapters {
        let stored = Stored::open(dir)?;
        if stored.config.dora && !(alone && weight == 1.0) {
            return Err(CheckpointError::WeightedDora { path: dir.to_owned() });
        }
        all.push((stored, weight));
    }
    let model = prepare(&all, model)?;
    let mut sum: BTreeMap<String, Factors> = BTreeMap::new();
    for (stored, weight) in &all {
        for (name, mut factors) in stored.factors(&model)? {
            factors.scale *= weight;
            let factors = match sum.remove(&name) {
                Some(before) => before.and(factors),
                None => factors,
            };
            sum.insert(name, factors);
        }
    }
    install(model, None, sum, 0.0)
}

/// `model` with all that adapters have but their factors; its head is one of its own where an adapter asks for that.
fn prepare(adapters: &[(Stored, f64)], model: CausalLm) -> Result<CausalLm, CheckpointError> {
    let tied = model.config().tied;
    let model = if adapters.iter().any(|(stored, _)| stored.unties(&model)) { model.untied() } else { model };
    adapters.iter().try_for_each(|(stored, _)| stored.check(&model, tied))?;
    replace(adapters, model, tied)
}

fn install(
    model: CausalLm,
    config: Option<LoraConfig>,
    mut factors: BTreeMap<String, Factors>,
    dropout: f64,
) -> Result<CausalLm, CheckpointError> {
    let device = model.device();
    model.replace_adapters(config, |name, _| {
        Ok(factors.remove(name).map(|f| {
            let rows = f.b.len() / f.rank;
            let magnitude = f.magnitude.map(|values| TensorData::new(values, [rows]));
            let columns = f.a.len() / f.rank;
            let factors = [TensorData::new(f.a, [f.rank, columns]), TensorData::new(f.b, [rows, f.rank])];
            Lora::new(factors, magnitude, f.scale, dropout, &device)
        }))
    })
}

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use llm_model::{CausalLm, Lora, LoraConfig};
use serde_json::{Map, Value, json};

use super::{CONFIG, Module, PREFIX, WEIGHTS, modules, targets};
use crate::config::write_json;
use crate::{CheckpointError, save_tensors};

/// Writes the adapters of `model` as PEFT does, in float32; `base` names the model without them: a path, or a name on the
/// hub.
///
/// # Errors
/// A model without adapters of its own, and those of [`write_atomic`](crate::write_atomic).
pub fn save_adapter(dir: &Path, model: &CausalLm, base: Option<&str>) -> Result<(), CheckpointError> {
    let Some(config) = model.lora_config() else {
        return Err(CheckpointError::NoAdapter { path: dir.to_owned() });
    };
    fs::create_dir_all(dir).map_err(|e| CheckpointError::write(dir, e, None))?;
    let all = modules(model);
    let stored: Vec<Stored> = all.iter().filter_map(|module| Stored::of(module, config)).collect();
    write_json(&dir.join(CONFIG), &peft_config(config, &all, &stored, base))?;
    let tensors: Vec<_> = stored.into_iter().flat_map(Stored::tensors).collect();
    save_tensors(&dir.join(WEIGHTS), &tensors)
}

/// The adapter of a layer of the base's checkpoint.
struct Stored {
    module: String,
    transposed: bool,
    rank: usize,
    /// What makes the scale, by PEFT's formula.
    alpha: f64,
    a: TensorData,
    b: TensorData,
    magnitude: Option<TensorData>,
}

impl Stored {
    /// That of a module, if any of its members has one.
    fn of(module: &Module, config: &LoraConfig) -> Option<Self> {
        let adapters: Vec<Option<&Lora>> = module.members.iter().map(|member| member.linear.lora.as_ref()).collect();
        let first = adapters.iter().flatten().next()?;
        let factors: Vec<Option<[Vec<f32>; 2]>> = adapters
            .iter()
            .map(|lora| lora.map(|lora| [floats(lora.lora_a.val()), floats(lora.lora_b.val())]))
            .collect();
        // Those that were one adapter, and have not been trained since, are one again.
        let shared = factors.iter().flatten().all(|[a, _]| Some(a) == factors.iter().flatten().next().map(|[a, _]| a));
        let blocks = if shared && factors.iter().all(Option::is_some) { 1 } else { factors.len() };
        let (block, columns) = (first.rank(), module.columns);
        let rank = block * blocks;
        let mut a = vec![0.0; rank * columns];
        let mut b = vec![0.0; module.rows * rank];
        for (i, (member, factors)) in module.members.iter().zip(&factors).enumerate() {
            let Some([own_a, own_b]) = factors else { continue };
            let at = if blocks == 1 { 0 } else { i * block };
            a[at * columns..(at + block) * columns].copy_from_slice(own_a);
            let rows = b[member.start * rank..].chunks_mut(rank).zip(own_b.chunks(block));
            rows.for_each(|(row, own)| row[at..at + block].copy_from_slice(own));
        }
        let rooted = |rank: usize| if config.rslora { (rank as f64).sqrt() } else { rank as f64 };
        Some(Self {
            module: module.name.clone(),
            transposed: module.transposed,
            rank,
            alpha: rounded(first.scale() * rooted(rank)),
            a: TensorData::new(a, [rank, columns]),
            b: TensorData::new(b, [module.rows, rank]),
            magnitude: first.magnitude.is_some().then(|| magnitude(module, &first.lora_a.lazy_device())),
        })
    }

    fn tensors(self) -> Vec<(String, TensorData)> {
        let name = |kind: &str| format!("{PREFIX}{}.{kind}", self.module);
        let mut tensors = vec![(name("lora_A.weight"), self.a), (name("lora_B.weight"), self.b)];
        tensors.extend(self.magnitude.map(|magnitude| (name("lora_magnitude_vector"), magnitude)));
        tensors
    }
}

/// The magnitudes of all rows of a module; those without an adapter have the norm that they have.
fn magnitude(module: &Module, device: &Device) -> TensorData {
    let of_member = |member: &super::Member| {
        let magnitude = member.linear.lora.as_ref().and_then(|lora| lora.magnitude.as_ref());
        let norms = || member.linear.weight.stored().in_float32(device).square().sum_dim(1).sqrt();
        magnitude.map_or_else(|| floats(norms()), |magnitude| floats(magnitude.val()))
    };
    let values: Vec<f32> = module.members.iter().flat_map(of_member).collect();
    TensorData::new(values, [module.rows])
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// `alpha` without what the way over the scale has added.
fn rounded(alpha: f64) -> f64 {
    let near = (alpha * 1e9).round() / 1e9;
    if (near - alpha).abs() < 1e-12 * alpha.abs() { near } else { alpha }
}

fn peft_config(config: &LoraConfig, all: &[Module], stored: &[Stored], base: Option<&str>) -> Value {
    let names: Vec<&str> = all.iter().map(|module| module.name.as_str()).collect();
    let chosen: Vec<&str> = stored.iter().map(|stored| stored.module.as_str()).collect();
    let number = |x: f64| if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) };
    // Dots of names are dots, not any character.
    let by_name = |differs: &dyn Fn(&Stored) -> Option<Value>| -> Map<String, Value> {
        stored.iter().filter_map(|s| Some((s.module.replace('.', r"\."), differs(s)?))).collect()
    };
    json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": true,
        "r": config.rank,
        "lora_alpha": number(config.alpha),
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "use_dora": config.dora,
        "target_modules": targets(&names, &chosen),
        "rank_pattern": by_name(&|s| (s.rank != config.rank).then(|| json!(s.rank))),
        "alpha_pattern": by_name(&|s| (s.alpha != config.alpha).then(|| number(s.alpha))),
        "fan_in_fan_out": stored.iter().any(|stored| stored.transposed),
        "bias": "none",
        "init_lora_weights": true,
        "modules_to_save": null,
        "layers_to_transform": null,
        "layers_pattern": null,
        "revision": null,
    })
}

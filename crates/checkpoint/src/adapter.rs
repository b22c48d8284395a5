//! Adapters as PEFT stores them, a directory of `adapter_config.json` and `adapter_model.safetensors`; those of mlx-lm are read
//! too.
//!
//! PEFT names modules as the base model's checkpoint does. Where that has one linear layer for several of ours (the
//! queries, keys and values of GPT-2 and Phi-3, gate and up projection of Phi-3), PEFT has one adapter, of which each of
//! ours takes its rows of `lora_B`, and all share `lora_A`. The other way, ours become one adapter of as many times the
//! rank, with a block-diagonal `lora_B`, unless they share `lora_A` still.

mod config;
mod describe;
mod load;
mod replace;
mod save;
mod tensors;

use std::path::Path;

use llm_model::{CausalLm, Linear, TargetModules};

use crate::families::{Part, Place};
use crate::weights::places;

pub use config::adapter_base;
pub use describe::{AdapterDescription, describe_adapter};
pub use load::{load_adapter, load_adapters};
pub use save::save_adapter;

/// The settings.
const CONFIG: &str = "adapter_config.json";
/// The tensors.
const WEIGHTS: &str = "adapter_model.safetensors";
/// The tensors, as old versions of PEFT wrote them.
const PICKLED: &str = "adapter_model.bin";
/// The tensors, as mlx-lm writes them.
const MLX_WEIGHTS: &str = "adapters.safetensors";
/// What PEFT wraps the base model in.
const PREFIX: &str = "base_model.model.";

/// Whether `path` is a directory with an adapter.
pub fn is_adapter(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// A linear layer of ours within a linear layer of the base's checkpoint.
struct Member<'a> {
    /// Our name.
    name: String,
    linear: &'a Linear,
    /// Its rows in the checkpoint's layer.
    start: usize,
    rows: usize,
}

/// A linear layer of the base's checkpoint.
struct Module<'a> {
    /// The name there, `transformer.h.0.attn.c_attn`.
    name: String,
    /// Stored as `(in, out)`.
    transposed: bool,
    rows: usize,
    columns: usize,
    /// The layers of ours that it holds, in order.
    members: Vec<Member<'a>>,
}

/// All linear layers of `model`'s checkpoint.
fn modules(model: &CausalLm) -> Vec<Module<'_>> {
    let place = places(model.config());
    let mut modules: Vec<Module> = Vec::new();
    for (name, linear) in model.linears() {
        let [rows, columns] = linear.weight.shape();
        let Place { tensor, transposed, part } = place(&format!("{name}.weight"));
        let theirs = tensor.trim_end_matches(".weight");
        let Part { start, total } = part.unwrap_or(Part { start: 0, total: rows });
        let member = Member { name, linear, start, rows };
        match modules.last_mut() {
            Some(module) if module.name == theirs => module.members.push(member),
            _ => modules.push(Module {
                name: theirs.to_owned(),
                transposed,
                rows: total,
                columns,
                members: vec![member],
            }),
        }
    }
    modules
}

/// `targets` by our names: what no linear layer of `model` goes by, but one of its checkpoint does, as PEFT names it
/// (`c_attn`, `qkv_proj`, `gate_up_proj`), means the layers that it holds. All else is left as it is.
#[must_use]
pub fn own_targets(targets: &TargetModules, model: &CausalLm) -> TargetModules {
    let modules = modules(model);
    let theirs: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let ours: Vec<&str> =
        modules.iter().flat_map(|module| &module.members).map(|member| member.name.as_str()).collect();
    let meant = |one: &TargetModules| -> Option<Vec<String>> {
        let chosen = one.choose(&theirs).ok().filter(|_| one.choose(&ours).is_err())?;
        let held = modules.iter().filter(|module| chosen.contains(&module.name.as_str()));
        Some(held.flat_map(|module| &module.members).map(|member| member.name.clone()).collect())
    };
    match targets {
        TargetModules::Pattern(_) => meant(targets).map_or_else(|| targets.clone(), TargetModules::Names),
        TargetModules::Names(names) => {
            let each = |name: &String| {
                let alone = vec![name.clone()];
                meant(&TargetModules::Names(alone.clone())).unwrap_or(alone)
            };
            TargetModules::Names(names.iter().flat_map(each).collect())
        }
    }
}

/// The shortest list that picks `chosen` out of `names` by the ends of names: the last parts, if nothing else ends so.
fn targets<'a>(names: &[&'a str], chosen: &[&'a str]) -> Vec<String> {
    let last = |name: &&'a str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let mut ends: Vec<String> = Vec::new();
    for name in chosen {
        let end = last(name);
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    let picked = names.iter().filter(|name| ends.contains(&last(name))).count();
    if picked == chosen.len() { ends } else { chosen.iter().map(ToString::to_string).collect() }
}

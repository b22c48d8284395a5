//! `adapter_config.json`.

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Map, Value, json};

use super::CONFIG;
use crate::CheckpointError;
use crate::config::raw::RawConfig;

/// What an `adapter_config.json` means, as far as it changes what the model computes.
#[derive(Debug)]
pub(super) struct PeftConfig {
    rank: usize,
    alpha: f64,
    pub dropout: f64,
    pub rslora: bool,
    pub dora: bool,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    pub base: Option<String>,
}

/// Keys that must not have a value, other than false or an empty one: each changes what the adapter computes, or stores
/// something else.
const UNSUPPORTED: [&str; 14] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
    "lora_ga_config",
];

/// Keys that change nothing here: where adapters are is told by the tensors, and how they began is past.
const WITHOUT_EFFECT: [&str; 23] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "lora_alpha",
    "r",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
];

/// Ways to begin that leave the base model's weights as they are.
const INITIALIZATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl PeftConfig {
    /// Reads the file in `dir`.
    pub fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let raw = open(dir)?;
        check(&raw)?;
        let rank = raw.size("r")?.unwrap_or(8);
        let alpha = raw.number("lora_alpha")?.unwrap_or(8.0);
        Ok(Self {
            rank,
            alpha,
            dropout: raw.probability("lora_dropout")?.unwrap_or(0.0),
            rslora: raw.flag("use_rslora")?.unwrap_or(false),
            dora: raw.flag("use_dora")?.unwrap_or(false),
            ranks: patterns(&raw, "rank_pattern", RawConfig::required_size)?,
            alphas: patterns(&raw, "alpha_pattern", RawConfig::required_number)?,
            base: raw.text("base_model_name_or_path")?.filter(|base| !base.is_empty()),
        })
    }

    /// Rank where no pattern says otherwise.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Alpha where no pattern says otherwise.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The rank of a module.
    pub fn rank_of(&self, module: &str) -> usize {
        first_match(&self.ranks, module).unwrap_or(self.rank)
    }

    /// The alpha of a module.
    pub fn alpha_of(&self, module: &str) -> f64 {
        first_match(&self.alphas, module).unwrap_or(self.alpha)
    }
}

/// The model that the adapter in `dir` was trained on, as its `adapter_config.json` names it: a path, or a name on the hub.
///
/// # Errors
/// A missing or damaged file.
pub fn adapter_base(dir: &Path) -> Result<Option<String>, CheckpointError> {
    Ok(PeftConfig::read(dir)?.base)
}

fn open(dir: &Path) -> Result<RawConfig, CheckpointError> {
    let path: PathBuf = dir.join(CONFIG);
    let hint = "an adapter is a directory with adapter_config.json and adapter_model.safetensors, as PEFT writes it";
    let text = std::fs::read(&path).map_err(|e| CheckpointError::read(&path, e, hint))?;
    let keys: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|e| CheckpointError::Json { path: path.clone(), message: e.to_string() })?;
    Ok(RawConfig::new(&path, keys))
}

/// Fails where a key asks for something that is not computed here.
fn check(raw: &RawConfig) -> Result<(), CheckpointError> {
    let kind = raw.text("peft_type")?.ok_or_else(|| raw.missing("peft_type"))?;
    if kind != "LORA" {
        return Err(raw.bad("peft_type", "\"LORA\"; other methods are not supported"));
    }
    raw.only("bias", &json!("none"))?;
    raw.only("task_type", &json!("CAUSAL_LM"))?;
    let leaves_base =
        |begin: &Value| begin.is_boolean() || begin.as_str().is_some_and(|name| INITIALIZATIONS.contains(&name));
    if raw.get("init_lora_weights").is_some_and(|begin| !leaves_base(begin)) {
        let expected = "a way to begin that does not change the base model; in PEFT, save_pretrained(…, \
                        path_initial_model_for_weight_conversion=…) makes such an adapter";
        return Err(raw.bad("init_lora_weights", expected));
    }
    for key in UNSUPPORTED {
        if raw.get(key).is_some_and(|value| !is_empty(value)) {
            return Err(raw.bad(key, "null; this is not supported"));
        }
    }
    let checked = ["peft_type", "bias", "task_type", "init_lora_weights", "use_dora"];
    let known = |key: &&String| [&checked[..], &UNSUPPORTED, &WITHOUT_EFFECT].concat().contains(&key.as_str());
    match raw.keys().find(|key| !known(key) && raw.get(key).is_some_and(|value| !is_empty(value))) {
        Some(unknown) => Err(raw.bad(unknown, "absent; this setting is not known")),
        None => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        _ => false,
    }
}

/// A table of values by patterns of module names: each is a regular expression for the name, or for its end after a dot.
fn patterns<T>(
    raw: &RawConfig,
    key: &str,
    read: impl Fn(&RawConfig, &str) -> Result<T, CheckpointError>,
) -> Result<Vec<(Regex, T)>, CheckpointError> {
    let Some(table) = raw.table(key)? else { return Ok(Vec::new()) };
    let pattern = |pattern: &String| {
        let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
            .map_err(|_| table.bad(pattern, "under a name that is a regular expression"))?;
        Ok((regex, read(&table, pattern)?))
    };
    table.keys().map(pattern).collect()
}

fn first_match<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find_map(|(pattern, value)| pattern.is_match(module).then_some(*value))
}

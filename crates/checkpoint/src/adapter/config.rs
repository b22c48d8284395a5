//! `adapter_config.json`.

use std::path::{Path, PathBuf};

use llm_model::LoraConfig;
use regex::Regex;
use serde_json::Value;

use crate::CheckpointError;
use crate::keys::JsonKeys;
use crate::layout::ADAPTER_CONFIG;

/// Who wrote an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// PEFT, or this program.
    Peft,
    /// mlx-lm.
    Mlx,
}

/// What an `adapter_config.json` means, as far as it changes what the model computes.
#[derive(Debug)]
pub(super) struct AdapterConfig {
    pub format: Format,
    rank: usize,
    alpha: f64,
    pub dropout: f64,
    pub rslora: bool,
    pub dora: bool,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    pub base: Option<String>,
    /// Modules that are trained as a whole, by the ends of their names.
    saved: Vec<String>,
    /// The head that is the embedding follows what becomes of that.
    pub ties: bool,
    /// Rows of tables that are trained alone, by the ends of the tables' names.
    rows: Vec<(String, Vec<usize>)>,
    /// Keys that are not known.
    pub unknown: Vec<String>,
}

/// Keys that must not have a value, other than false or an empty one: each changes what the adapter computes, or stores
/// something else.
const UNSUPPORTED: [&str; 12] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "use_bdlora",
    "use_qalora",
    "velora_config",
    "lora_ga_config",
];

/// Keys that are read, and those that change nothing here: where adapters are is told by the tensors, and how they began is
/// past.
const KNOWN: [&str; 30] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "alpha_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "trainable_token_indices",
    "use_dora",
    "use_rslora",
];

/// Ways to begin that leave the base model's weights as they are.
const INITIALIZATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The way out where an adapter asks for what is not computed here.
const MERGE: &str = "merge the adapter where it was made, with PEFT's model.merge_and_unload().save_pretrained(…), and use \
                     the result as a model";

impl AdapterConfig {
    /// Reads the file in `dir`.
    pub fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let raw = open(dir)?;
        if raw.has("fine_tune_type") || raw.has("lora_parameters") { Self::of_mlx(&raw) } else { Self::of_peft(&raw) }
    }

    fn of_peft(raw: &JsonKeys) -> Result<Self, CheckpointError> {
        check(raw)?;
        let known = |key: &&String| KNOWN.contains(&key.as_str()) || UNSUPPORTED.contains(&key.as_str());
        let unknown = raw.names().filter(|key| !known(key) && raw.get(key).is_some_and(|value| !is_empty(value)));
        Ok(Self {
            format: Format::Peft,
            rank: raw.size("r")?.unwrap_or(8),
            alpha: raw.number("lora_alpha")?.unwrap_or(8.0),
            dropout: raw.probability("lora_dropout")?.unwrap_or(0.0),
            rslora: raw.flag("use_rslora")?.unwrap_or(false),
            dora: raw.flag("use_dora")?.unwrap_or(false),
            ranks: patterns(raw, "rank_pattern", JsonKeys::required_size)?,
            alphas: patterns(raw, "alpha_pattern", JsonKeys::required_number)?,
            base: raw.text("base_model_name_or_path")?.filter(|base| !base.is_empty()).map(str::to_owned),
            saved: raw.texts("modules_to_save")?.unwrap_or_default(),
            ties: raw.flag("ensure_weight_tying")?.unwrap_or(false),
            rows: token_rows(raw)?,
            unknown: unknown.cloned().collect(),
        })
    }

    /// mlx-lm writes down how it trained, and multiplies by `scale` itself.
    fn of_mlx(raw: &JsonKeys) -> Result<Self, CheckpointError> {
        let kind = raw.text("fine_tune_type")?.unwrap_or("lora");
        if !["lora", "dora", "full"].contains(&kind) {
            return Err(raw.bad("fine_tune_type", "\"lora\", \"dora\" or \"full\""));
        }
        let parameters = raw.table("lora_parameters")?;
        let table = parameters.as_ref().filter(|_| kind != "full");
        if kind != "full" && table.is_none() {
            return Err(raw.missing("lora_parameters"));
        }
        let rank = table.map_or(Ok(1), |table| table.required_size("rank"))?;
        let scale = table.map_or(Ok(1.0), |table| table.required_number("scale"))?;
        if let Some(table) = table {
            let alpha = table.number("alpha")?;
            if alpha.is_some_and(|alpha| alpha != rank as f64) {
                let hint = format!(
                    "remove it; if a version of mlx-lm from 2024 or earlier trained the adapter, also set scale to {scale} × alpha / {rank}"
                );
                let problem = "versions of mlx-lm disagree on whether it counts";
                return Err(table.unsupported("alpha", problem, &hint));
            }
        }
        Ok(Self {
            format: Format::Mlx,
            rank,
            alpha: scale * rank as f64,
            dropout: table.map_or(Ok(None), |table| table.probability("dropout"))?.unwrap_or(0.0),
            rslora: false,
            dora: kind == "dora",
            ranks: Vec::new(),
            alphas: Vec::new(),
            base: raw.text("model")?.filter(|base| !base.is_empty()).map(str::to_owned),
            saved: Vec::new(),
            ties: false,
            rows: Vec::new(),
            unknown: Vec::new(),
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

    /// What the addition to a module is multiplied by.
    pub fn scale_of(&self, module: &str) -> f64 {
        let alpha = first_match(&self.alphas, module).unwrap_or(self.alpha);
        LoraConfig { rslora: self.rslora, ..LoraConfig::default() }.scale(self.rank_of(module), alpha)
    }

    /// Whether a module is trained as a whole, apart from the base's.
    pub fn saves(&self, module: &str) -> bool {
        self.saved.iter().any(|end| module.ends_with(end.as_str()))
    }

    /// The rows of a table that are trained alone.
    pub fn rows_of(&self, table: &str) -> &[usize] {
        self.rows.iter().find(|(end, _)| table.ends_with(end.as_str())).map_or(&[], |(_, rows)| rows.as_slice())
    }
}

/// The model that the adapter in `dir` was trained on, as its `adapter_config.json` names it: a path, or a name on the hub.
///
/// # Errors
/// A missing or damaged file.
pub fn adapter_base(dir: &Path) -> Result<Option<String>, CheckpointError> {
    Ok(AdapterConfig::read(dir)?.base)
}

fn open(dir: &Path) -> Result<JsonKeys, CheckpointError> {
    let path: PathBuf = dir.join(ADAPTER_CONFIG);
    let hint = "an adapter is a directory with adapter_config.json and adapter_model.safetensors, as PEFT writes it, or \
                adapters.safetensors, as mlx-lm does";
    let text = std::fs::read(&path).map_err(|e| CheckpointError::read(&path, e, hint))?;
    JsonKeys::parse(&path, &text)
}

/// Fails where a key asks for something that is not computed here.
fn check(raw: &JsonKeys) -> Result<(), CheckpointError> {
    let kind = raw.text("peft_type")?.ok_or_else(|| raw.missing("peft_type"))?;
    if kind != "LORA" {
        return Err(raw.unsupported("peft_type", "only LoRA adapters can be loaded", MERGE));
    }
    if raw.get("task_type").is_some_and(|task| task != "CAUSAL_LM") {
        let hint = "adapters that classify or embed have a head of their own, which this program lacks";
        return Err(raw.unsupported("task_type", "only adapters for text generation, CAUSAL_LM, can be loaded", hint));
    }
    raw.choice("bias", &[("none", ()), ("all", ()), ("lora_only", ())])?;
    let leaves_base =
        |begin: &Value| begin.is_boolean() || begin.as_str().is_some_and(|name| INITIALIZATIONS.contains(&name));
    if raw.get("init_lora_weights").is_some_and(|begin| !leaves_base(begin)) {
        let hint =
            "in PEFT, save_pretrained(…, path_initial_model_for_weight_conversion=…) makes an adapter that does not";
        return Err(raw.unsupported("init_lora_weights", "this initialization also changes the base model", hint));
    }
    match UNSUPPORTED.into_iter().find(|key| raw.get(key).is_some_and(|value| !is_empty(value))) {
        Some(key) => Err(raw.unsupported(key, "adapters with this setting cannot be loaded", MERGE)),
        None => Ok(()),
    }
}

/// `trainable_token_indices`: a list is of the token embedding.
fn token_rows(raw: &JsonKeys) -> Result<Vec<(String, Vec<usize>)>, CheckpointError> {
    const KEY: &str = "trainable_token_indices";
    let Some(value) = raw.get(KEY) else { return Ok(Vec::new()) };
    let bad = || raw.bad(KEY, "a list of token ids, or a table of such lists");
    let rows = |value: &Value| -> Option<Vec<usize>> {
        value.as_array()?.iter().map(|id| id.as_u64().map(|id| id as usize)).collect()
    };
    match value {
        Value::Object(tables) => tables
            .iter()
            .map(|(table, value)| Ok((table.clone(), rows(value).ok_or_else(bad)?)))
            .collect::<Result<_, CheckpointError>>(),
        // The token embedding of GPT-2 and of all others.
        list => {
            let rows = rows(list).ok_or_else(bad)?;
            Ok(["embed_tokens", "wte"].map(|table| (table.to_owned(), rows.clone())).to_vec())
        }
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
    raw: &JsonKeys,
    key: &str,
    read: impl Fn(&JsonKeys, &str) -> Result<T, CheckpointError>,
) -> Result<Vec<(Regex, T)>, CheckpointError> {
    let Some(table) = raw.table(key)? else { return Ok(Vec::new()) };
    let pattern = |pattern: &String| {
        let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
            .map_err(|_| table.bad(pattern, "under a name that is a regular expression"))?;
        Ok((regex, read(&table, pattern)?))
    };
    table.names().map(pattern).collect()
}

fn first_match<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find_map(|(pattern, value)| pattern.is_match(module).then_some(*value))
}

use std::path::Path;

use llm_checkpoint::Quantize;
use llm_data::{DataSection as TextSection, SampleSection as DataSection};
use llm_model::{LoraConfig, ModelConfig};
use serde::{Deserialize, Serialize};
use toml::Value;

use super::file::section_over;
use super::sections::{check, validate_optimizer, validate_schedule};
use super::{ConfigFile, EvalSection, RunConfigError, TrainSection};
use crate::{OptimizerSection, ScheduleKind, ScheduleSection};

/// Everything that decides what fine-tuning computes. Saved with the run as `training/config.toml`, it repeats it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneConfig {
    /// What is fine-tuned, and how much of it.
    pub finetune: FinetuneSection,
    /// The samples that it learns from, and how long a row is.
    pub data: DataSection,
    /// Plain text to learn from instead, in windows of `data.max_length` tokens: continued pretraining.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<TextSection>,
    /// The adapter of the methods `lora` and `dpo`.
    pub lora: LoraConfig,
    /// The loss of the method `dpo`.
    pub preference: PreferenceSection,
    /// Batches, steps and checkpoints.
    pub train: TrainSection,
    /// How gradients become weights.
    pub optimizer: OptimizerSection,
    /// Course of the learning rate.
    pub schedule: ScheduleSection,
    /// Measuring on the validation samples.
    pub eval: EvalSection,
}

impl Default for FinetuneConfig {
    fn default() -> Self {
        Self {
            finetune: FinetuneSection::default(),
            data: DataSection::default(),
            text: None,
            lora: LoraConfig::default(),
            preference: PreferenceSection::default(),
            train: TrainSection { epochs: Some(3.0), batch_size: 4, checkpoint_every: 100, ..TrainSection::default() },
            optimizer: OptimizerSection { lr: 2e-4, betas: [0.9, 0.999], weight_decay: 0.0, ..Default::default() },
            schedule: ScheduleSection { kind: ScheduleKind::Cosine, warmup_steps: 10, ..ScheduleSection::default() },
            eval: EvalSection { every: 50, windows: 256, patience: 3 },
        }
    }
}

impl FinetuneConfig {
    /// The longest windows over a text, where `data.max_length` is not set.
    const WINDOW: usize = 1024;

    /// What a run on plain text begins with: one pass over it.
    pub fn on_text(text: TextSection) -> Self {
        let config = Self::default();
        let train = TrainSection { epochs: Some(1.0), ..config.train };
        let eval = EvalSection { windows: 64, ..config.eval };
        Self { text: Some(text), train, eval, ..config }
    }

    /// Tokens of a window over a text, for a model of `context` positions.
    pub fn window(&self, context: usize) -> usize {
        self.data.max_length.unwrap_or(Self::WINDOW).min(context)
    }

    /// Whether the configuration at `path` is that of a run which began with a model.
    pub fn is_at(path: &Path) -> bool {
        let table = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
        table.is_some_and(|table| table.contains_key("finetune"))
    }
}

/// Which weights are trained, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A low-rank adapter beside frozen weights.
    Lora,
    /// All weights.
    Full,
    /// The last blocks, the last norm and the head.
    Head,
    /// An adapter, by preferences (Rafailov et al., 2023, arXiv:2305.18290).
    Dpo,
}

impl Method {
    /// The name as the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Full => "full",
            Self::Head => "head",
            Self::Dpo => "dpo",
        }
    }

    /// Whether it trains an adapter and leaves the model's weights as they are.
    pub fn adapts(self) -> bool {
        matches!(self, Self::Lora | Self::Dpo)
    }
}

/// The section `[finetune]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneSection {
    /// The model to begin from: a directory, a .gguf file or ORG/NAME on the hub.
    pub model: String,
    /// Which weights are trained (default: `lora` for models above 50 million parameters and with `quantize`, otherwise
    /// `full`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Blocks that the method `head` trains.
    pub layers: usize,
    /// Bits in which the linear layers beside which an adapter is trained are held, instead of those of the file: `q8` or
    /// `q4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantize>,
}

impl Default for FinetuneSection {
    fn default() -> Self {
        Self { model: String::new(), method: None, layers: 2, quantize: None }
    }
}

impl FinetuneSection {
    /// The method for a model of `config`.
    pub fn method_for(&self, config: &ModelConfig) -> Method {
        /// Parameters above which an adapter is trained where no method is named.
        const LARGE: f64 = 5e7;
        let adapts = self.quantize.is_some() || config.parameters() > LARGE;
        self.method.unwrap_or(if adapts { Method::Lora } else { Method::Full })
    }

    fn validate(&self) -> Result<(), RunConfigError> {
        check("finetune.layers", self.layers as f64, self.layers > 0, "must be at least 1")?;
        match self.method {
            Some(method) if self.quantize.is_some() && !method.adapts() => {
                Err(RunConfigError::Quantized { method: method.name() })
            }
            _ => Ok(()),
        }
    }
}

/// How a preference becomes a loss; Δ is what the model prefers the chosen answer by, in nats, less what the model
/// before training did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceLoss {
    /// `−log σ(β·Δ)` (Rafailov et al., 2023, arXiv:2305.18290).
    #[default]
    Sigmoid,
    /// `max(0, 1 − β·Δ)` (Zhao et al., 2023, arXiv:2305.10425).
    Hinge,
    /// `(Δ − 1/(2β))²`, with the answers' likelihoods a token (Azar et al., 2023, arXiv:2310.12036).
    Ipo,
    /// `−log σ(β·Δ − γ)`, with likelihoods a token and without the model before training (Meng et al., 2024,
    /// arXiv:2405.14734).
    Simpo,
}

/// The section `[preference]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreferenceSection {
    /// The loss.
    pub loss: PreferenceLoss,
    /// How far the model may go from where it began: the smaller, the farther.
    pub beta: f64,
    /// Share of the preferences that may be the wrong way round; `sigmoid` only.
    pub label_smoothing: f64,
    /// Take the likelihoods per token, not those of whole answers, of which longer ones have lower; `ipo` and `simpo`
    /// always do.
    pub length_normalized: bool,
    /// Margin γ of `simpo`.
    pub margin: f64,
}

impl Default for PreferenceSection {
    fn default() -> Self {
        Self { loss: PreferenceLoss::Sigmoid, beta: 0.1, label_smoothing: 0.0, length_normalized: false, margin: 0.5 }
    }
}

impl PreferenceSection {
    fn validate(&self) -> Result<(), RunConfigError> {
        let (beta, margin, smoothing) = (self.beta, self.margin, self.label_smoothing);
        check("preference.beta", beta, beta.is_finite() && beta > 0.0, "must be a positive number")?;
        check("preference.margin", margin, margin.is_finite() && margin >= 0.0, "must not be negative")?;
        check("preference.label_smoothing", smoothing, (0.0..0.5).contains(&smoothing), "must lie in [0, 0.5)")?;
        if smoothing > 0.0 && self.loss != PreferenceLoss::Sigmoid {
            let rule = "requires preference.loss = \"sigmoid\"";
            return check("preference.label_smoothing", smoothing, false, rule);
        }
        Ok(())
    }
}

/// `data.paths` was `data.path` when it was one file only: runs that were begun then can still be resumed.
fn with_paths(mut data: Value) -> Value {
    if let Value::Table(keys) = &mut data
        && let Some(path) = keys.remove("path")
    {
        keys.insert("paths".into(), path);
    }
    data
}

impl ConfigFile for FinetuneConfig {
    const SECTIONS: &'static [&'static str] =
        &["finetune", "data", "text", "lora", "preference", "train", "optimizer", "schedule", "eval"];

    const RESUMABLE: &'static [&'static str] = &[
        // What may have moved is compared by its contents.
        "finetune.model",
        "data.paths",
        "text.paths",
        "text.valid",
        "text.cache_dir",
        "train.max_steps",
        "train.epochs",
        "train.checkpoint_every",
        "train.keep_checkpoints",
        "eval.every",
        "eval.patience",
    ];

    fn set_section(&mut self, name: &str, value: Value, origin: &str) -> Result<bool, RunConfigError> {
        match name {
            "finetune" => self.finetune = section_over(&self.finetune, name, value, origin)?,
            "data" => self.data = section_over(&self.data, name, with_paths(value), origin)?,
            "text" => self.text = Some(section_over(&self.text.clone().unwrap_or_default(), name, value, origin)?),
            "lora" => self.lora = section_over(&self.lora, name, value, origin)?,
            "preference" => self.preference = section_over(&self.preference, name, value, origin)?,
            "train" => self.train = section_over(&self.train, name, value, origin)?,
            "optimizer" => self.optimizer = section_over(&self.optimizer, name, value, origin)?,
            "schedule" => self.schedule = section_over(&self.schedule, name, value, origin)?,
            "eval" => self.eval = section_over(&self.eval, name, value, origin)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn validate(&self) -> Result<(), RunConfigError> {
        self.train.validate()?;
        validate_optimizer(&self.optimizer)?;
        validate_schedule(&self.schedule)?;
        self.eval.validate()?;
        self.preference.validate()?;
        if self.text.is_some() && self.finetune.method == Some(Method::Dpo) {
            let rule = "needs preferences, not plain text";
            return Err(RunConfigError::Invalid { key: "finetune.method", value: "\"dpo\"".into(), rule });
        }
        if self.finetune.method == Some(Method::Dpo) && self.train.recompute {
            let rule = "must be false with finetune.method = \"dpo\", whose loss is not computed block by block";
            return Err(RunConfigError::Invalid { key: "train.recompute", value: "true".into(), rule });
        }
        self.finetune.validate()
    }
}

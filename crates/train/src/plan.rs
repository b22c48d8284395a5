//! What a run will take: parameters, tokens, memory, time.

use burn::tensor::{DType, Device};
use llm_data::{BatchSampler, Prepared};
use llm_kernels::is_fused;
use llm_model::{CausalLm, ModelConfig, NormPlacement, ParamInfo, Position, Precision, Role, params, trainable_params};

use crate::{Optimizer, RunConfig, TrainSection};

/// What a run will do, known before its first step.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPlan {
    /// The device, as its user calls it.
    pub device: String,
    /// Precision of matrix products.
    pub precision: Precision,
    /// Parameters in all.
    pub parameters: usize,
    /// Those of them that are trained.
    pub trained_parameters: usize,
    /// Sequences computed at once.
    pub micro_batch_size: usize,
    /// Tokens of a sequence.
    pub context_length: usize,
    /// Micro-batches per step.
    pub accumulation: usize,
    /// Steps in all.
    pub steps: u64,
    /// Steps done before, by the run that is resumed.
    pub first_step: u64,
    /// Steps over which the learning rate rises.
    pub warmup_steps: u64,
    /// Passes over the training text in all; 0 without a text.
    pub epochs: f64,
    /// Tokens to train on; 0 without a text.
    pub train_tokens: u64,
    /// Tokens to validate on.
    pub valid_tokens: u64,
    /// What was taken for validation.
    pub split: String,
    /// Whether text and tokenizer came from the cache.
    pub cached: bool,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Loss of a model that knows nothing, ln(vocabulary), where it begins as such.
    pub uniform_loss: Option<f64>,
    /// Measured loss of the first batch.
    pub first_loss: f32,
    /// Measured time per step, in seconds; before a run, without the update of the weights.
    pub seconds_per_step: f64,
}

/// Sizes of what is learned.
#[derive(Debug, Clone, PartialEq)]
pub struct TextSummary {
    /// Steps of an epoch; infinite without a text.
    pub steps_per_epoch: f64,
    /// Tokens of a row.
    pub row_length: usize,
    /// Tokens to train on.
    pub train_tokens: u64,
    /// Tokens to validate on.
    pub valid_tokens: u64,
    /// What was taken for validation.
    pub split: String,
    /// Whether tokens came from the cache.
    pub cached: bool,
}

impl TextSummary {
    /// No text at all, in rows of `row_length`.
    pub fn none(row_length: usize) -> Self {
        let split = String::new();
        Self { steps_per_epoch: f64::INFINITY, row_length, train_tokens: 0, valid_tokens: 0, split, cached: false }
    }

    pub(crate) fn of_text(data: &Prepared, sampler: &BatchSampler, row_length: usize) -> Self {
        Self {
            steps_per_epoch: sampler.steps_per_epoch(),
            row_length,
            train_tokens: data.split.train.len(),
            valid_tokens: data.split.valid.len(),
            split: data.split.note.clone(),
            cached: data.cached,
        }
    }

    /// Tokens and number of the samples, or pairs of them, to train and to validate on.
    pub(crate) fn of_samples(
        steps_per_epoch: f64,
        row_length: usize,
        train: (u64, usize),
        valid: (u64, usize),
    ) -> Self {
        let valid_samples = if valid.1 == 0 { "none".to_string() } else { valid.1.to_string() };
        let split = format!("{} samples to train on, {valid_samples} to validate on", train.1);
        Self { steps_per_epoch, row_length, train_tokens: train.0, valid_tokens: valid.0, split, cached: false }
    }

    /// Tokens to train and to validate on.
    pub fn tokens(&self) -> [u64; 2] {
        [self.train_tokens, self.valid_tokens]
    }
}

impl RunPlan {
    /// What `train` means for a text; nothing is measured yet.
    pub(crate) fn new(train: &TrainSection, text: TextSummary, model: &CausalLm) -> Self {
        let steps = train.steps(text.steps_per_epoch);
        let vocab_size = model.config().vocab_size;
        Self {
            device: String::new(),
            precision: train.precision,
            parameters: parameter_count(model),
            trained_parameters: trainable_params(model).iter().map(ParamInfo::len).sum(),
            micro_batch_size: train.micro_batch_size(),
            context_length: text.row_length,
            accumulation: train.accumulation(),
            steps,
            first_step: 0,
            warmup_steps: 0,
            epochs: steps as f64 / text.steps_per_epoch,
            train_tokens: text.train_tokens,
            valid_tokens: text.valid_tokens,
            split: text.split,
            cached: text.cached,
            vocab_size,
            uniform_loss: Some((vocab_size as f64).ln()),
            first_loss: f32::NAN,
            seconds_per_step: 0.0,
        }
    }

    /// Tokens per step.
    pub fn tokens_per_step(&self) -> usize {
        self.micro_batch_size * self.context_length * self.accumulation
    }

    /// Expected time of the steps that are left, in seconds.
    pub fn seconds(&self) -> f64 {
        self.steps.saturating_sub(self.first_step) as f64 * self.seconds_per_step
    }
}

/// Parameters by part of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterCount {
    /// The part.
    pub part: &'static str,
    /// Its parameters.
    pub count: usize,
}

/// Parameters by part, those parts that have any.
pub fn parameters_by_part(model: &CausalLm) -> Vec<ParameterCount> {
    const PARTS: [&str; 8] = [
        "token embedding",
        "position embedding",
        "attention matrices",
        "feed-forward matrices",
        "norms",
        "biases",
        "head",
        "adapters",
    ];
    let mut counts = PARTS.map(|part| ParameterCount { part, count: 0 });
    for info in params(model) {
        let part = match info.role {
            Role::Embedding if info.name.contains("positions") => 1,
            Role::Embedding => 0,
            Role::Matrix if info.name.contains("self_attn") => 2,
            Role::Matrix => 3,
            Role::Norm => 4,
            Role::Bias => 5,
            Role::Head => 6,
            Role::Adapter => 7,
        };
        counts[part].count += info.len();
    }
    counts.into_iter().filter(|part| part.count > 0).collect()
}

/// Parameters of a model.
pub fn parameter_count(model: &CausalLm) -> usize {
    params(model).iter().map(ParamInfo::len).sum()
}

/// Memory of training by what it is for, in bytes; an estimate from the shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// The parameters, in float32.
    pub weights: u64,
    /// Their gradients.
    pub gradients: u64,
    /// What the optimizer remembers.
    pub optimizer: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: u64,
}

impl MemoryEstimate {
    /// The estimate for training `model` on `device` as `config` says.
    pub fn new(model: &CausalLm, config: &RunConfig, device: &Device) -> Self {
        let weights = 4 * parameter_count(model) as u64;
        Self {
            weights,
            gradients: weights,
            optimizer: 4 * Optimizer::state_len(&config.optimizer, model) as u64,
            activations: activation_bytes(model.config(), &config.train, device),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.optimizer + self.activations
    }
}

/// Bytes that the forward pass of a micro-batch keeps for the backward pass, counted by layer and token, in the manner of
/// Korthikanti et al., 2022 (arXiv:2205.05198). With the fused kernels: the inputs and outputs of all norms, queries,
/// keys and values (twice, where they are normalized or rotated), the output of attention, and what enters the
/// activation of the feed-forward network. With plain operations more of each, all attention weights and the logits,
/// three times.
fn activation_bytes(config: &ModelConfig, train: &TrainSection, device: &Device) -> u64 {
    let (layers, t) = (config.num_layers as u64, config.context_length as u64);
    let tokens = train.micro_batch_size() as u64 * t;
    let [d, f, v] = [config.hidden_size, config.intermediate_size, config.vocab_size].map(|n| n as u64);
    let [h, kv, hd] = [config.num_heads, config.num_kv_heads, config.head_dim].map(|n| n as u64);
    let (q, qkv) = (h * hd, (h + 2 * kv) * hd);
    let gated = u64::from(config.feed_forward.gated());
    let norms = if config.norm_placement == NormPlacement::Both { 4 } else { 2 };
    let fused = is_fused(device, DType::F32);
    let (layer, ends) = if fused {
        let altered = u64::from(config.qk_norm.is_some()) + u64::from(config.position != Position::Learned);
        (2 * norms * d + (1 + altered) * qkv + q + (1 + gated) * f, 2 * d)
    } else {
        ((6 + 2 * norms) * d + 4 * qkv + (3 + 2 * gated) * f + 3 * h * t, 2 * d + 3 * v)
    };
    let layers = if train.recompute { layer + layers * d } else { layers * layer };
    // The plain operations keep a copy of two bytes beside the inputs of every matrix product.
    let bytes = if fused || train.precision == Precision::F32 { 4 } else { 5 };
    tokens * (layers + ends) * bytes
}

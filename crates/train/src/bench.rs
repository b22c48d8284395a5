//! `llm bench`: the speed of training steps, of well-known shapes and of fine-tuning.

use std::collections::BTreeMap;
use std::time::Instant;

use burn::tensor::Device;
use llm_checkpoint::Quantize;
use llm_data::Batch;
use llm_kernels::{OperationCost, memory_bandwidth, profile};
use llm_model::{CausalLm, ConfigError, ModelSection, ParamInfo, Precision, trainable_params};
use serde::Serialize;

use crate::optim::OptimizerSection;
use crate::plan::parameter_count;
use crate::trainer::{check_precision, precision_name};
use crate::{Learner, ScheduleSection, TrainError, matmul_peak, memory};

/// Steps before the measured ones.
const WARMUP: u64 = 3;

/// The shape of a training step: a GPT-2 with biases and a tied head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// Sequences per step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Layers.
    pub layers: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
}

/// nanoGPT's character model for a laptop, its "baby GPT", and GPT-2 with 124 M parameters.
pub const PRESETS: [Preset; 3] = [
    Preset { name: "small", batch: 12, context: 64, width: 128, heads: 4, layers: 4, vocab: 65 },
    Preset { name: "baby", batch: 8, context: 256, width: 384, heads: 6, layers: 6, vocab: 65 },
    Preset { name: "gpt2", batch: 4, context: 256, width: 768, heads: 12, layers: 12, vocab: 50304 },
];

/// What else is asked of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BenchOptions {
    /// Tell where the time goes.
    pub profile: bool,
    /// Recompute activations in the backward pass.
    pub recompute: bool,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchRecord {
    /// Name of the preset.
    pub preset: &'static str,
    /// The device.
    pub device: String,
    /// Precision of matrix products.
    pub precision: &'static str,
    /// What frozen weights were held in, where they were quantized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantize>,
    /// Sequences per step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Parameters.
    pub params: usize,
    /// Those that are trained.
    pub trained: usize,
    /// Mean time per step.
    pub ms_per_step: f64,
    /// Tokens a second.
    pub tokens_per_s: f64,
    /// Peak memory of the process so far, if the system reports it.
    pub peak_rss_mib: Option<u64>,
    /// Arithmetic a second, as a share of the measured matrix-multiply peak in float32.
    pub utilization: f64,
    /// Where the time of a step goes, the costliest first; the fused operations of the CPU only, and last all the rest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<OperationRecord>,
}

/// What one operation costs per step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperationRecord {
    /// Its name.
    pub operation: &'static str,
    /// Calls per step.
    pub calls: f64,
    /// Time per step.
    pub ms: f64,
    /// Time per step if its arithmetic ran at the matrix-multiply peak and its memory traffic at the measured bandwidth,
    /// whichever takes longer.
    pub best_ms: f64,
    /// 10⁹ floating-point operations per step, of matrix products.
    pub gflop: f64,
    /// 10⁹ bytes per step that must be read or written.
    pub gb: f64,
}

impl Preset {
    /// The model's configuration.
    ///
    /// # Errors
    /// None for the presets that there are.
    pub fn model(&self) -> Result<llm_model::ModelConfig, ConfigError> {
        let section = ModelSection {
            context_length: self.context,
            hidden_size: self.width,
            num_heads: self.heads,
            num_layers: self.layers,
            ..ModelSection::default()
        };
        section.resolve(self.vocab)
    }
}

/// Trains `preset` on a pseudorandom text for `steps` steps after a few to warm up, each a whole step with its batch,
/// clipping and `AdamW`. See [`BenchOptions`] for more.
///
/// # Errors
/// A precision that the device does not have, or a loss that is not finite.
pub fn bench_train(
    preset: &Preset,
    device: &Device,
    device_name: &str,
    precision: Precision,
    steps: u64,
    with: BenchOptions,
) -> Result<BenchRecord, TrainError> {
    let model = CausalLm::new(&preset.model()?, &device.clone().autodiff()).initialize(1);
    let shape = Shape { name: preset.name, batch: preset.batch, context: preset.context };
    bench_model(model, shape, device, device_name, precision, steps, with)
}

/// What is trained in a measured step, beside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// What the record calls it.
    pub name: &'static str,
    /// Sequences per step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub context: usize,
}

/// [`bench_train`] of a model that is there, on the autodiff device of `device`: of those of its parameters that are not
/// frozen.
///
/// # Errors
/// As [`bench_train`].
pub fn bench_model(
    model: CausalLm,
    shape: Shape,
    device: &Device,
    device_name: &str,
    precision: Precision,
    steps: u64,
    with: BenchOptions,
) -> Result<BenchRecord, TrainError> {
    check_precision(precision, device, device_name)?;
    let config = model.config().clone();
    let autodiff = device.clone().autodiff();
    let params = parameter_count(&model);
    let trained = trainable_params(&model).iter().map(ParamInfo::len).sum();
    let learner = Learner::new(model, &autodiff, &OptimizerSection::default(), precision, 1);
    let mut learner = learner.with_recompute(with.recompute);
    for step in 0..WARMUP {
        learner = train_step(learner, shape, step)?;
    }
    let sync = || device.sync().map_err(|error| TrainError::Device(error.to_string()));
    sync()?;
    let begin = Instant::now();
    let (done, operations) = profile(|| {
        for step in WARMUP..WARMUP + steps {
            learner = train_step(learner, shape, step)?;
        }
        sync()
    });
    done?;
    let seconds = begin.elapsed().as_secs_f64() / steps.max(1) as f64;
    let peak_rss_mib = memory::peak_rss_mib(); // before the peak's own matrices
    let tokens_per_s = (shape.batch * shape.context) as f64 / seconds;
    let flops = config.training_flops_per_token(shape.context) * tokens_per_s;
    let peak = matmul_peak(device, precision);
    let profile = if with.profile { profile_of_step(&operations, seconds, steps, peak) } else { Vec::new() };
    Ok(BenchRecord {
        preset: shape.name,
        device: device_name.to_string(),
        precision: precision_name(precision),
        quantize: None,
        batch: shape.batch,
        context: shape.context,
        params,
        trained,
        ms_per_step: round(seconds * 1e3),
        tokens_per_s: tokens_per_s.round(),
        peak_rss_mib,
        utilization: (flops / peak * 1e4).round() / 1e4,
        profile,
    })
}

fn train_step(mut learner: Learner, shape: Shape, step: u64) -> Result<Learner, TrainError> {
    let gradients = learner.gradients(step, &[batch(shape, learner.model.config().vocab_size, step)]);
    Ok(learner.apply(
        gradients.map_err(|error| error.at(step, &OptimizerSection::default(), &ScheduleSection::default(), None))?,
        1.0,
    ))
}

/// The costs of `steps` steps that took `seconds` each, by operation.
fn profile_of_step(
    operations: &BTreeMap<&'static str, OperationCost>,
    seconds: f64,
    steps: u64,
    peak: f64,
) -> Vec<OperationRecord> {
    let bandwidth = memory_bandwidth();
    let per_step = |total: f64| total / steps.max(1) as f64;
    let record = |(operation, cost): (&&'static str, &OperationCost)| OperationRecord {
        operation,
        calls: per_step(cost.calls as f64),
        ms: round(per_step(cost.seconds) * 1e3),
        best_ms: round(per_step((cost.flops / peak).max(cost.bytes / bandwidth)) * 1e3),
        gflop: per_step(cost.flops) / 1e9,
        gb: per_step(cost.bytes) / 1e9,
    };
    let mut records: Vec<OperationRecord> = operations.iter().map(record).collect();
    records.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    let accounted: f64 = records.iter().map(|record| record.ms).sum();
    let rest = round(seconds * 1e3 - accounted);
    records.push(OperationRecord {
        operation: "all the rest",
        calls: 1.0,
        ms: rest,
        best_ms: 0.0,
        gflop: 0.0,
        gb: 0.0,
    });
    records
}

fn round(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// Ids that look random; the work of a step does not depend on them.
fn batch(Shape { batch, context, .. }: Shape, vocab: usize, step: u64) -> Batch {
    let ids = |shift: u64| -> Vec<i32> {
        let id = |i: u64| ((i + shift).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % vocab as u64;
        let tokens = (batch * context) as u64;
        (step * tokens..(step + 1) * tokens).map(|i| id(i) as i32).collect()
    };
    Batch { inputs: ids(0), targets: ids(1), sample_starts: None, batch, time: context }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_model::CausalLm;

    #[test]
    fn the_presets_have_the_parameters_of_the_pytorch_models() {
        // Printed by the PyTorch program that defines the presets.
        for (preset, expected) in PRESETS.iter().zip([809_856, 10_770_816, 123_886_080]) {
            let config = preset.model().unwrap();
            let model = CausalLm::new(&config, &Device::flex());
            assert_eq!(parameter_count(&model), expected, "{}", preset.name);
        }
    }
}

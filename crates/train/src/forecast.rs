//! `llm plan`: what a run will take, from its shapes and measured on a few of its micro-batches.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use llm_data::{Batch, BatchSampler, Progress, Tokenizer, TokenizerKind, TokenizerSection, prepare};
use llm_model::{CausalLm, ModelConfig};

use crate::plan::{MemoryEstimate, ParameterCount, RunPlan, TextSummary, parameters_by_part};
use crate::trainer::{check_precision, learner, sampler};
use crate::{ConfigFile, Learner, RunConfig, RunConfigError, TrainError, matmul_peak, memory};

/// Steps that are measured at most.
const STEPS: usize = 4;
/// No step is begun after this time, nor one that would take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a run will take, as far as its shapes show.
#[derive(Debug)]
pub struct Forecast {
    /// Tokens and steps; nothing is measured yet.
    pub plan: RunPlan,
    /// Parameters by part.
    pub parameters: Vec<ParameterCount>,
    /// Memory by what it is for.
    pub memory: MemoryEstimate,
    /// FLOPs to train on one token.
    pub flops_per_token: f64,
    model: ModelConfig,
    sampler: Option<BatchSampler>,
}

/// What a few steps took.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The plan, with its first loss and the time of a whole step.
    pub plan: RunPlan,
    /// What the process took at most for its steps, weights and optimizer included, in MiB, if the system reports it. On
    /// a GPU, that is the memory of the host.
    pub mib: Option<u64>,
    /// Arithmetic a second, as a share of the measured matrix-multiply peak in float32.
    pub utilization: f64,
}

/// What one step took, in seconds, and its loss.
#[derive(Debug, Clone, Copy)]
struct StepTime {
    gradients: f64,
    update: f64,
    loss: f32,
}

impl Forecast {
    /// Prepares the text, if the configuration names one, and works out the sizes. Nothing is written but the cache.
    ///
    /// # Errors
    /// As [`Trainer::open`](crate::Trainer::open); and where without a text the vocabulary or the steps are open.
    pub fn new(
        config: &RunConfig,
        device: &Device,
        device_name: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        config.validate()?;
        check_precision(config.train.precision, device, device_name)?;
        let data = match config.data.paths.as_slice() {
            [] => None,
            _ => Some(prepare(&config.data, &config.tokenizer, progress)?),
        };
        let vocab_size = match &data {
            Some(data) => data.tokenizer.vocab_size(),
            None => expected_vocab_size(&config.tokenizer)?,
        };
        if data.is_none() && config.train.epochs.is_some() {
            return Err(RunConfigError::OpenWithoutText { key: "train.epochs" }.into());
        }
        let model_config = config.model.resolve(vocab_size)?;
        let sampler = data.as_ref().map(|data| sampler(config, data, &model_config)).transpose()?;
        let model = CausalLm::new(&model_config, device); // its weights take no memory yet
        let context = model_config.context_length;
        let text = data.as_ref().zip(sampler.as_ref());
        let text = text
            .map_or_else(|| TextSummary::none(context), |(data, sampler)| TextSummary::of_text(data, sampler, context));
        let mut plan = RunPlan::new(&config.train, text, &model);
        plan.device = device_name.to_string();
        Ok(Self {
            parameters: parameters_by_part(&model),
            memory: MemoryEstimate::new(&model, config, device),
            flops_per_token: model_config.training_flops_per_token(plan.context_length),
            plan,
            model: model_config,
            sampler,
        })
    }

    /// Trains for a few steps of one micro-batch each, for some seconds or until the first is done. Where a micro-batch
    /// might not fit into memory or would take too long, fewer sequences are measured, and time and memory are scaled by
    /// their number.
    ///
    /// # Errors
    /// A loss that is not finite, and failures of the device.
    pub fn measure(&self, config: &RunConfig, device: &Device) -> Result<Measurement, TrainError> {
        let peak = matmul_peak(device, config.train.precision);
        let before = memory::rss_mib();
        let learner = learner(config, &self.model, &device.clone().autodiff())?;
        let mut plan = self.plan.clone();
        // One to warm up caches and threads and to compile the kernels of a GPU, and one to time.
        let (learner, warmup) = self.train(learner, config, 0, 1)?;
        plan.first_loss = warmup.loss;
        let (mut learner, time) = self.train(learner, config, 1, 1)?;
        let affordable = PATIENCE.as_secs_f64() / (time.gradients + time.update);
        let rows = self.fitting_rows().min(affordable as usize).max(1);
        let mut times = vec![time];
        if rows > 1 {
            (learner, _) = self.train(learner, config, 2, rows)?; // other shapes, other kernels
            times.clear();
            let begin = Instant::now();
            while times.is_empty() || (times.len() < STEPS && begin.elapsed() < PATIENCE) {
                let time;
                (learner, time) = self.train(learner, config, 3 + times.len() as u64, rows)?;
                times.push(time);
            }
        }
        let mean = |part: fn(&StepTime) -> f64| times.iter().map(part).sum::<f64>() / times.len() as f64;
        let scale = plan.micro_batch_size as f64 / rows as f64;
        plan.seconds_per_step =
            mean(|time| time.gradients) * scale * plan.accumulation as f64 + mean(|time| time.update);
        let tokens_per_s = plan.tokens_per_step() as f64 / plan.seconds_per_step;
        Ok(Measurement {
            plan,
            mib: memory::peak_rss_mib().zip(before).map(|(after, before)| {
                let measured = after.saturating_sub(before);
                let fixed = measured.min((self.memory.total() - self.memory.activations) >> 20);
                fixed + ((measured - fixed) as f64 * scale) as u64
            }),
            utilization: self.flops_per_token * tokens_per_s / peak,
        })
    }

    /// Trains for one step, counted from 0, of one micro-batch of `rows` sequences.
    fn train(
        &self,
        mut learner: Learner,
        config: &RunConfig,
        step: u64,
        rows: usize,
    ) -> Result<(Learner, StepTime), TrainError> {
        let batch = self.batch(config.train.seed, step, rows)?;
        let start = Instant::now();
        let gradients = learner
            .gradients(step, &[batch])
            .map_err(|error| error.at(step, &config.optimizer, &config.schedule, None))?;
        let (loss, of_gradients) = (gradients.loss, start.elapsed().as_secs_f64());
        let start = Instant::now();
        let learner = learner.apply(gradients, config.schedule.factor(step, self.plan.steps));
        learner.device().sync().map_err(|error| TrainError::Device(error.to_string()))?;
        Ok((learner, StepTime { gradients: of_gradients, update: start.elapsed().as_secs_f64(), loss }))
    }

    /// Sequences of a micro-batch whose activations fit into half of this machine's memory, at least one.
    fn fitting_rows(&self) -> usize {
        let micro_batch = self.plan.micro_batch_size;
        let of_one = self.memory.activations / micro_batch as u64;
        let memory = memory::total_mib().map_or(u64::MAX, |mib| mib << 19);
        micro_batch.min((memory / of_one.max(1)) as usize).max(1)
    }

    /// The first sequences of a micro-batch of the text; without one, of tokens that are as good as any to measure with.
    fn batch(&self, seed: u64, step: u64, batch: usize) -> Result<Batch, TrainError> {
        let time = self.plan.context_length;
        if let Some(sampler) = &self.sampler {
            let Batch { mut inputs, mut targets, .. } = sampler.batch(seed, step, 0)?;
            inputs.truncate(batch * time);
            targets.truncate(batch * time);
            return Ok(Batch { inputs, targets, sample_starts: None, batch, time });
        }
        let id = |i: usize| (i.wrapping_mul(2_654_435_761) % self.plan.vocab_size) as i32;
        let inputs = (0..batch * time).map(id).collect();
        let targets = (1..=batch * time).map(id).collect();
        Ok(Batch { inputs, targets, sample_starts: None, batch, time })
    }
}

/// The size that a tokenizer will have once it is trained, where that does not depend on the text.
fn expected_vocab_size(section: &TokenizerSection) -> Result<usize, TrainError> {
    if let Some(path) = &section.path {
        return Ok(Tokenizer::load(path)?.vocab_size());
    }
    match section.kind {
        TokenizerKind::Word | TokenizerKind::Bpe => Ok(section.vocab_size),
        TokenizerKind::Byte => Ok(257),
        TokenizerKind::Char => Err(RunConfigError::OpenWithoutText { key: "tokenizer.kind = \"char\"" }.into()),
    }
}

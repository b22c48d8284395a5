//! `llm plan`: what a run will take, measured on a few of its steps.

use std::time::Instant;

use burn::tensor::Device;
use llm_data::{Progress, prepare};

use crate::plan::{MemoryEstimate, ParameterCount, RunPlan, parameters_by_part};
use crate::trainer::{assemble, check_precision};
use crate::{RunConfig, TrainError, matmul_peak, memory};

/// Steps that are measured, after one to warm up.
const STEPS: u64 = 3;

/// What a run will take.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Tokens, steps and time; the time is that of whole steps.
    pub plan: RunPlan,
    /// Parameters by part.
    pub parameters: Vec<ParameterCount>,
    /// Memory by what it is for, from the shapes.
    pub memory: MemoryEstimate,
    /// What the process took at most for its steps, weights and optimizer included, in MiB, where the system tells. On
    /// a GPU, that is the memory of the host.
    pub measured_mib: Option<u64>,
    /// FLOPs to train on one token.
    pub flops_per_token: f64,
    /// Arithmetic a second, as a share of the measured matrix-multiply peak in float32.
    pub utilization: f64,
}

/// Prepares the text and trains for a few steps, without writing anything but the cache.
///
/// # Errors
/// As [`Trainer::open`](crate::Trainer::open), and a loss that is not finite.
pub fn forecast(
    config: &RunConfig,
    device: &Device,
    device_name: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<Forecast, TrainError> {
    config.validate()?;
    check_precision(config.train.precision, device, device_name)?;
    let data = prepare(&config.data, &config.tokenizer, progress)?;
    let peak = matmul_peak(device);
    let before = memory::rss_mib();
    let (mut learner, sampler) = assemble(config, &data, &device.clone().autodiff())?;
    let mut plan = RunPlan::new(config, &data, &sampler, &learner.model);
    plan.device = device_name.to_string();

    let mut begin = Instant::now();
    for step in 0..=STEPS {
        if step == 1 {
            begin = Instant::now();
        }
        let batch = |rank| sampler.batch(config.train.seed, step, rank);
        let batches = (0..plan.accumulation as u32).map(batch).collect::<Result<Vec<_>, _>>()?;
        let gradients = learner.gradients(step, &batches);
        let gradients = gradients.map_err(|defect| defect.at(step, config, None))?;
        if step == 0 {
            plan.first_loss = gradients.loss;
        }
        learner = learner.apply(gradients, config.schedule.factor(step, plan.steps));
    }
    device.sync().map_err(|error| TrainError::Device(error.to_string()))?;
    plan.seconds_per_step = begin.elapsed().as_secs_f64() / STEPS as f64;

    let model_config = learner.model.config();
    let flops_per_token = model_config.training_flops_per_token(plan.context_length);
    let tokens_per_s = plan.tokens_per_step() as f64 / plan.seconds_per_step;
    let (model, optimizer) = (&learner.model, &learner.optimizer);
    Ok(Forecast {
        parameters: parameters_by_part(model),
        memory: MemoryEstimate::new(model, optimizer, plan.micro_batch_size, plan.precision),
        measured_mib: memory::peak_rss_mib().zip(before).map(|(after, before)| after.saturating_sub(before)),
        flops_per_token,
        utilization: flops_per_token * tokens_per_s / peak,
        plan,
    })
}

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::{DType, Device};
use llm_checkpoint::{SavedWeights, load_training, write_atomic};
use llm_data::{BatchSampler, Prepared, Progress, prepare};
use llm_kernels::{has_fast_bf16, is_fused};
use llm_model::{CausalLm, Dropout, ModelConfig, Precision};

use super::directory::{check_directory, claim, damaged, resume_point, training_dir};
use super::product::Product;
use super::records::Records;
use super::state::RunState;
use super::work::Work;
use super::{RunOptions, Settings, Source, TextSource, Trainer};
use crate::{ConfigFile, Learner, RunConfig, TrainError, memory};

impl Trainer<TextSource> {
    /// Prepares the text, builds the model, and loads what there is to resume.
    ///
    /// # Errors
    /// Everything that can be wrong with the configuration, the text, the run directory and the device.
    pub fn open(
        mut config: RunConfig,
        options: RunOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        config.validate()?;
        if config.train.overfit_batch {
            config.model.dropout = Dropout::default();
        }
        check_precision(config.train.precision, &options.device, &options.device_name)?;
        check_directory(&config, &options)?;

        let data = prepare(&config.data, &config.tokenizer, progress)
            .map_err(|error| TrainError::of_text(error, options.resume))?;
        let device = options.device.clone().autodiff();
        let model = config.model.resolve(data.tokenizer.vocab_size())?;
        let sampler = sampler(&config, &data, &model)?;
        let learner = learner(&config, &model, &device)?;
        let text = config.to_toml()?;
        let RunConfig { train, optimizer, schedule, eval, sample, .. } = config;
        let settings = Settings { train, optimizer, schedule, eval, sample };
        let source = TextSource { data, sampler, time: model.context_length };
        Self::begin(settings, &text, options, source, Product::Model, learner)
    }
}

impl<S: Source> Trainer<S> {
    /// A trainer that begins, or goes on from what there is to resume. `text` is the configuration as it is saved.
    pub(super) fn begin(
        config: Settings,
        text: &str,
        options: RunOptions,
        source: S,
        product: Product,
        learner: Learner,
    ) -> Result<Self, TrainError> {
        if !config.train.overfit_batch && source.validates() {
            drop(source.evaluation(1, 1)?); // has any
        }
        let fresh = RunState {
            tokenizer: source.tokenizer().hash().to_string(),
            text: source.hash(),
            text_tokens: source.summary().tokens(),
            frozen: product.frozen_sum(&learner.model),
            loss_scale: learner.loss_scale,
            ..RunState::default()
        };
        let [micro_batches, processes] = [config.train.accumulation(), options.group.size()];
        if !micro_batches.is_multiple_of(processes) {
            return Err(TrainError::Indivisible { micro_batches, processes });
        }
        let lock = (options.group.rank() == 0).then(|| claim(&options)).transpose()?;
        let checkpoint = if options.resume { resume_point(&options.out)? } else { None };
        let (learner, state) = match &checkpoint {
            Some(path) => restore(learner, path, product.weights(), &fresh)?,
            None => (learner, fresh),
        };

        let learner = learner.with_group(options.group.clone());
        let summary = source.summary();
        let steps = config.train.steps(summary.steps_per_epoch);
        if state.step <= steps && lock.is_some() {
            // Otherwise nothing is done, and what repeats the run stays.
            let path = training_dir(&options.out).join("config.toml");
            write_atomic(&path, |out| out.write_all(text.as_bytes()))?;
        }
        let records = lock.map(|lock| Records::open(lock, &options, state.step, state.evaluated)).transpose()?;
        Ok(Self {
            steps,
            work: Work::of(&learner.model, summary.row_length),
            saved_step: checkpoint.is_some().then_some(state.step),
            seconds_before: state.seconds,
            begin: Instant::now(),
            config,
            options,
            source,
            product,
            learner,
            state,
            records,
            checkpoint,
        })
    }
}

/// Refuses what takes `bytes` at least, if the machine has not as many.
pub(super) fn check_memory(bytes: f64) -> Result<(), TrainError> {
    const GIB: f64 = (1_u64 << 30) as f64;
    let needed = bytes / GIB;
    match memory::total_mib().map(|mib| mib as f64 / 1024.0) {
        Some(available) if needed > available => Err(TrainError::TooLarge { needed, available }),
        _ => Ok(()),
    }
}

/// The sampler of the micro-batches.
pub(crate) fn sampler(config: &RunConfig, data: &Prepared, model: &ModelConfig) -> Result<BatchSampler, TrainError> {
    let (shards, accumulation) = (data.split.train.clone(), config.train.accumulation() as u32);
    Ok(BatchSampler::new(shards, config.train.micro_batch_size(), model.context_length, accumulation)?)
}

/// A learner with fresh weights on the autodiff device `device`.
///
/// # Errors
/// [`TrainError::TooLarge`] where weights and gradients alone are more than the machine's memory.
pub(crate) fn learner(config: &RunConfig, model: &ModelConfig, device: &Device) -> Result<Learner, TrainError> {
    // Initial weights are drawn on the host, whatever the device.
    check_memory(8.0 * model.parameters())?;
    let train = &config.train;
    let model = CausalLm::new(model, device).initialize(train.seed);
    let learner = Learner::new(model, device, &config.optimizer, train.precision, train.seed);
    Ok(learner.with_recompute(train.recompute))
}

/// The learner and the state that the checkpoint at `path` holds, of a run that would begin as `fresh`.
fn restore(
    mut learner: Learner,
    path: &Path,
    weights: SavedWeights,
    fresh: &RunState,
) -> Result<(Learner, RunState), TrainError> {
    // Another text means another vocabulary, and is better said so than by the shape of a tensor.
    check_unchanged(path, fresh)?;
    let loaded = load_training(path, learner.model, weights).map_err(|error| damaged(path, &error.into()));
    let (model, tensors, state): (_, _, RunState) = loaded?;
    learner.model = model;
    let restored = learner.optimizer.restore(tensors, &learner.model, &learner.device().clone().inner());
    restored.map_err(|source| damaged(path, &TrainError::Optimizer { path: PathBuf::from(path), source }))?;
    learner.loss_scale = state.loss_scale;
    Ok((learner, state))
}

/// Compares what the run learns from with what the checkpoint at `path` was trained on. What cannot be read here,
/// [`load_training`] complains about.
fn check_unchanged(path: &Path, now: &RunState) -> Result<(), TrainError> {
    let text = std::fs::read(path.join("state.json")).unwrap_or_default();
    let Ok(saved) = serde_json::from_slice::<RunState>(&text) else { return Ok(()) };
    let [train, valid] = [0, 1].map(|side| (saved.text_tokens[side].to_string(), now.text_tokens[side].to_string()));
    let frozen = |state: &RunState| state.frozen.map_or("none".into(), |sum| sum.to_string());
    let checks = [
        ("the hash of the tokenizer", (saved.tokenizer.clone(), now.tokenizer.clone())),
        ("the training text's length in tokens", train),
        ("the validation text's length in tokens", valid),
        ("the hash of the text", (saved.text.clone(), now.text.clone())),
        ("the sum of the weights that are not trained", (frozen(&saved), frozen(now))),
    ];
    match checks.into_iter().find(|(_, (saved, now))| saved != now) {
        Some((what, (saved, now))) => Err(TrainError::Changed { what, saved, now }),
        None => Ok(()),
    }
}

/// Refuses a number type that the device has no arithmetic for.
pub(crate) fn check_precision(precision: Precision, device: &Device, name: &str) -> Result<(), TrainError> {
    let supported = |precision: Precision| device.supports_dtype(DType::from(precision.dtype()));
    let names: Vec<_> = [Precision::F32, Precision::F16, Precision::Bf16]
        .into_iter()
        .filter(|precision| supported(*precision))
        .map(precision_name)
        .collect();
    if supported(precision) {
        return Ok(());
    }
    Err(TrainError::Precision {
        device: name.to_string(),
        precision: precision_name(precision),
        supported: names.join(", "),
        first: names.first().copied().unwrap_or("f32"),
    })
}

/// What one should know before training in `precision` on `device`, if anything.
pub fn precision_warning(precision: Precision, device: &Device) -> Option<String> {
    let fast = precision == Precision::F32 || (precision == Precision::Bf16 && has_fast_bf16());
    let slower = !fast && is_fused(device, DType::F32);
    slower.then(|| {
        let (name, missing) = match precision {
            Precision::Bf16 => ("bf16", "this one has no AVX512-BF16 instructions"),
            Precision::F16 | Precision::F32 => (precision_name(precision), "no instructions for it are used"),
        };
        format!(
            "{name} is slower than f32 on this CPU: {missing}, so the factors of every product are rounded and then \
             multiplied as f32; use it to compare results, not to save time"
        )
    })
}

/// The name as the configuration writes it.
pub(crate) fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
        Precision::Bf16 => "bf16",
    }
}

//! Fine-tuning runs: what is trained, what is saved, and that an interrupted run goes on bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, TensorData};
use llm_checkpoint::{Quantize, load_adapter, load_frozen, load_model, load_tensors};
use llm_data::{Corpus, CorpusOptions, Origin, SampleSet, Tokenizer, TokenizerKind, TokenizerSection};
use llm_model::{CausalLm, ModelSection, named_params, params, trainable_params};
use llm_train::{Ending, Event, FinetuneConfig, Finetuning, Method, Outcome, RunOptions, ScheduleSection, TrainError};

const CONTEXT: usize = 64;

/// Dropout's random numbers come from one generator for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Sandbox {
    dir: tempfile::TempDir,
    base: PathBuf,
    tokenizer: Tokenizer,
    _alone: MutexGuard<'static, ()>,
}

impl Sandbox {
    fn new() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text.txt");
        std::fs::write(&text, "What is the colour of grass?").unwrap();
        let section = TokenizerSection { kind: TokenizerKind::Byte, ..TokenizerSection::default() };
        let tokenizer = Tokenizer::train(&section, &Corpus::open(&[text], CorpusOptions::default()).unwrap()).unwrap();
        let section = ModelSection {
            context_length: CONTEXT,
            hidden_size: 32,
            num_heads: 2,
            num_layers: 2,
            ..ModelSection::default()
        };
        let config = section.resolve(tokenizer.vocab_size()).unwrap();
        let model = CausalLm::new(&config, &Device::flex()).initialize(7);
        let base = dir.path().join("base");
        llm_checkpoint::save_model(&base, &model, &tokenizer).unwrap();
        let colour = |i: usize| ["green", "blue", "red"][i % 3];
        let sample = |i: usize| format!("{{\"prompt\": \"Colour of {i}? \", \"completion\": \"{}\"}}\n", colour(i));
        let pair =
            |i: usize| format!("{{\"prompt\": \"Colour of {i}? \", \"chosen\": \"green\", \"rejected\": \"red\"}}\n");
        std::fs::write(dir.path().join("samples.jsonl"), (0..60).map(sample).collect::<String>()).unwrap();
        std::fs::write(dir.path().join("pairs.jsonl"), (0..60).map(pair).collect::<String>()).unwrap();
        Self { dir, base, tokenizer, _alone: alone }
    }

    fn config(&self, method: Method) -> FinetuneConfig {
        let mut config = FinetuneConfig::default();
        config.finetune.method = Some(method);
        config.finetune.layers = 1;
        config.finetune.model = "base".into();
        config.data.paths =
            vec![self.dir.path().join(if method == Method::Dpo { "pairs.jsonl" } else { "samples.jsonl" })];
        config.data.valid_fraction = 0.2;
        config.lora.dropout = 0.1;
        config.train.epochs = None;
        config.train.max_steps = Some(8);
        config.train.batch_size = 4;
        config.train.micro_batch_size = Some(2);
        config.train.checkpoint_every = 2;
        config.optimizer.lr = 1e-2;
        config.schedule = ScheduleSection { warmup_steps: 2, ..ScheduleSection::default() };
        config.eval.every = 4;
        config
    }

    fn run(
        &self,
        config: &FinetuneConfig,
        name: &str,
        resume: bool,
        stop_at: Option<u64>,
    ) -> Result<Outcome, TrainError> {
        let device = Device::flex();
        let out = self.dir.path().join(name);
        let options = RunOptions { out, resume, tensorboard: false, device: device.clone(), device_name: "cpu".into() };
        let model = match config.finetune.quantize {
            None => load_model(&self.base, &device.autodiff())?,
            quantize => load_frozen(&self.base, &device.autodiff(), quantize)?,
        };
        Finetuning::check(config, model.config(), &options)?;
        let (set, limits) = (SampleSet::load(&config.data, config.train.seed)?, config.data.limits(CONTEXT));
        let stops = self.tokenizer.eos_ids().to_vec();
        let tuning = Finetuning { config: config.clone(), model, tokenizer: self.tokenizer.clone(), options };
        let stop = AtomicBool::new(false);
        let mut on_event = |event: Event| {
            if let Event::Step(record) = event {
                stop.store(Some(record.step) == stop_at, Ordering::SeqCst);
            }
        };
        if config.finetune.method == Some(Method::Dpo) {
            let pairs = set.tokenize_pairs(&self.tokenizer, None, &stops, limits)?;
            tuning.on_preferences(pairs)?.run(&mut on_event, &stop)
        } else {
            tuning.on_samples(set.tokenize(&self.tokenizer, None, &stops, limits)?)?.run(&mut on_event, &stop)
        }
    }

    fn checkpoint(&self, name: &str, step: u64) -> [BTreeMap<String, TensorData>; 2] {
        let dir = self.dir.path().join(name).join(format!("training/checkpoints/step-{step:08}"));
        ["trained.safetensors", "optimizer.safetensors"].map(|file| load_tensors(&dir.join(file)).unwrap())
    }
}

const METHODS: [Method; 4] = [Method::Lora, Method::Full, Method::Head, Method::Dpo];

#[test]
fn an_interrupted_run_goes_on_bit_for_bit() {
    let sandbox = Sandbox::new();
    let quantized = [(Method::Lora, Quantize::Q8), (Method::Lora, Quantize::Q4), (Method::Dpo, Quantize::Q4)];
    let quantized = quantized.map(|(method, quantize)| (method, Some(quantize)));
    for (method, quantize) in METHODS.map(|method| (method, None)).into_iter().chain(quantized) {
        let mut config = sandbox.config(method);
        config.finetune.quantize = quantize;
        let [whole, parts] = ["whole", "parts"].map(|name| format!("{name}-{}-{quantize:?}", method.name()));
        let left_alone = sandbox.run(&config, &whole, false, None).unwrap();
        assert_eq!((left_alone.ending, left_alone.step), (Ending::Finished, 8));
        let stopped = sandbox.run(&config, &parts, false, Some(3)).unwrap();
        assert_eq!((stopped.ending, stopped.step), (Ending::Interrupted, 3), "{method:?}");
        let resumed = sandbox.run(&config, &parts, true, None).unwrap();
        assert_eq!(resumed.best, left_alone.best, "{method:?}");
        assert_eq!(resumed.first_val_loss, left_alone.first_val_loss);
        assert_eq!(sandbox.checkpoint(&parts, 8), sandbox.checkpoint(&whole, 8), "{method:?}");
        let (before, after) = (resumed.first_val_loss.unwrap(), resumed.best.unwrap().val_loss);
        assert!(after < before, "{method:?}: {before} became {after}");
    }
}

/// The adapter of a run on a quantized base holds what is trained alone, and is one for the base as it is.
#[test]
fn a_quantized_base_is_not_saved_and_cannot_be_trained() {
    let sandbox = Sandbox::new();
    let device = Device::flex();
    let mut config = sandbox.config(Method::Lora);
    config.finetune.quantize = Some(Quantize::Q4);
    sandbox.run(&config, "q4", false, None).unwrap();
    let [trained, _] = sandbox.checkpoint("q4", 8);
    assert!(trained.keys().all(|name| name.contains(".lora.")), "{:?}", trained.keys());
    let base = load_model(&sandbox.base, &device).unwrap();
    let adapted = load_adapter(&sandbox.dir.path().join("q4"), base.clone()).unwrap();
    let ids = burn::tensor::Tensor::from_data([[1, 2, 3]], &device);
    let merged = adapted.clone().merge_lora().forward(ids.clone(), None);
    let adapted = adapted.forward(ids.clone(), None);
    assert!((adapted.clone() - base.forward(ids, None)).abs().max().into_scalar::<f32>() > 1e-4);
    assert!((adapted - merged).abs().max().into_scalar::<f32>() < 1e-4);

    // A run goes on with the bits that it began with.
    let error = |config: &FinetuneConfig, resume| sandbox.run(config, "q4", resume, None).unwrap_err().to_string();
    for other in [Some(Quantize::Q8), None] {
        config.finetune.quantize = other;
        let error = error(&config, true);
        assert!(error.contains("finetune.quantize was \"q4\" when the run began and is "), "{error}");
    }
    config.finetune.quantize = Some(Quantize::Q8);
    for method in [Method::Full, Method::Head] {
        config.finetune.method = Some(method);
        let error = error(&config, false);
        let expected = format!("but finetune.method = \"{}\" trains them\nhint: ", method.name());
        assert!(error.contains(&expected), "{error}");
    }
    config.finetune.method = None;
    assert_eq!(config.finetune.method_for(base.config()), Method::Lora);
    config.finetune.quantize = None;
    assert_eq!(config.finetune.method_for(base.config()), Method::Full);
}

fn values(model: &CausalLm) -> BTreeMap<String, TensorData> {
    let mut found = BTreeMap::new();
    named_params(model, &mut |info, data| _ = found.insert(info.name.clone(), data));
    found
}

#[test]
fn exactly_what_the_method_names_is_trained() {
    let sandbox = Sandbox::new();
    let device = Device::flex();
    let base = load_model(&sandbox.base, &device).unwrap();
    let before = values(&base);
    for method in METHODS {
        sandbox.run(&sandbox.config(method), method.name(), false, None).unwrap();
        let out = sandbox.dir.path().join(method.name());
        let [trained, moments] = sandbox.checkpoint(method.name(), 8);
        assert_eq!(moments.len(), 2 * trained.len(), "{method:?}: moments of what is trained, and of nothing else");
        if method.adapts() {
            assert!(!out.join("model.safetensors").exists() && trained.keys().all(|name| name.contains(".lora.")));
            let adapted = load_adapter(&out, base.clone()).unwrap();
            let ids = burn::tensor::Tensor::from_data([[1, 2, 3]], &device);
            let moved = (adapted.forward(ids.clone(), None) - base.forward(ids, None)).abs().max().into_scalar::<f32>();
            assert!(moved > 1e-4, "{method:?}");
            continue;
        }
        for (name, value) in values(&load_model(&out, &device).unwrap()) {
            let expected =
                method == Method::Full || name.starts_with("model.layers.1.") || name.starts_with("model.norm.");
            assert_eq!(value != before[&name], expected, "{method:?}: {name}");
        }
    }
    let config = sandbox.config(Method::Lora);
    let frozen = load_model(&sandbox.base, &device.autodiff()).unwrap().with_lora(&config.lora, 1).unwrap();
    assert!(trainable_params(&frozen).len() < params(&frozen).len());
}

#[test]
fn what_cannot_be_trained_on_is_said() {
    let sandbox = Sandbox::new();
    let error =
        |config: &FinetuneConfig, name: &str, resume| sandbox.run(config, name, resume, None).unwrap_err().to_string();
    let mut config = sandbox.config(Method::Lora);
    config.data.valid_fraction = 0.0;
    assert!(error(&config, "none", false).starts_with("there are no samples to validate on\nhint: "));
    config.data.valid_fraction = 0.2;
    config.lora.target_modules = serde_json::from_str("[\"x_proj\"]").unwrap();
    assert!(error(&config, "targets", false).contains("no linear layer is named x_proj\nhint: the model has"));
    let mut dpo = sandbox.config(Method::Dpo);
    dpo.data.paths = vec![sandbox.dir.path().join("samples.jsonl")];
    assert!(error(&dpo, "pairs", false).contains("samples.jsonl:1: "));

    // What a run began with must be what it goes on with.
    let config = sandbox.config(Method::Lora);
    sandbox.run(&config, "run", false, Some(2)).unwrap();
    let other = FinetuneConfig { lora: llm_model::LoraConfig { rank: 4, ..config.lora.clone() }, ..config.clone() };
    assert!(error(&other, "run", true).starts_with("lora.rank was 8 when the run began and is 4 now"));
    let model = load_model(&sandbox.base, &Device::flex()).unwrap();
    let other = CausalLm::new(model.config(), &Device::flex()).initialize(8);
    llm_checkpoint::save_model(&sandbox.base, &other, &sandbox.tokenizer).unwrap();
    assert!(error(&config, "run", true).starts_with("the sum of the weights that are not trained was "));
    assert!(error(&config, "run", false).contains("there is a training run already"));
}

#[test]
fn it_stops_when_the_validation_loss_rises() {
    let sandbox = Sandbox::new();
    let mut config = sandbox.config(Method::Full);
    config.train.max_steps = Some(400);
    config.eval.every = 5;
    config.eval.patience = 2;
    config.optimizer.lr = 3e-2;
    let outcome = sandbox.run(&config, "early", false, None).unwrap();
    assert_eq!(outcome.ending, Ending::EarlyStop);
    let best = outcome.best.unwrap().step;
    assert!(best + 10 == outcome.step, "best at {best}, stopped at {}", outcome.step);
}

#[test]
fn a_sample_keeps_its_place() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(Method::Lora);
    let set = SampleSet::load(&config.data, 1).unwrap();
    let path: &Path = &config.data.paths[0];
    assert!(set.all().all(|sample| matches!(&sample.origin, Origin { file, .. } if **file == *path)));
    assert_eq!(set.all().count(), 60);
}

//! Fine-tuning runs: what is trained, what is saved, and that an interrupted run goes on bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, TensorData};
use llm_checkpoint::{Quantize, load_adapter, load_frozen, load_model, load_tensors};
use llm_data::{
    Corpus, CorpusOptions, DataSection, Origin, SampleSet, Tokenizer, TokenizerKind, TokenizerSection, prepare_split,
};
use llm_model::{CausalLm, ModelSection, named_params, params, trainable_params};
use llm_train::{
    Alone, ConfigFile, Ending, Event, FinetuneConfig, Finetuning, Method, Outcome, RunOptions, ScheduleSection,
    TrainError,
};

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
        let options = RunOptions {
            out,
            resume,
            tensorboard: false,
            device: device.clone(),
            device_name: "cpu".into(),
            group: Arc::new(Alone),
        };
        let model = match config.finetune.quantize {
            None => load_model(&self.base, &device.autodiff())?,
            quantize => load_frozen(&self.base, &device.autodiff(), quantize)?,
        };
        Finetuning::check(config, model.config(), &options)?;
        let tuning = Finetuning { config: config.clone(), model, tokenizer: self.tokenizer.clone(), options };
        let stop = AtomicBool::new(false);
        let mut on_event = |event: Event| {
            if let Event::Step(record) = event {
                stop.store(Some(record.step) == stop_at, Ordering::SeqCst);
            }
        };
        if let Some(text) = &config.text {
            let split = prepare_split(text, &self.tokenizer, &mut |_| ())?;
            return tuning.on_text(split)?.run(&mut on_event, &stop);
        }
        let (set, limits) = (SampleSet::load(&config.data, config.train.seed)?, config.data.limits(CONTEXT));
        let stops = self.tokenizer.eos_ids().to_vec();
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

/// Plain text is learned in windows, by every method that does not need pairs, and a run on it is resumed like any other.
#[test]
fn a_model_is_trained_further_on_text() {
    let sandbox = Sandbox::new();
    let line = |i: usize| format!("Line {i} says that the sky is {}.\n", ["blue", "grey"][i % 2]);
    let text = sandbox.dir.path().join("book.txt");
    std::fs::write(&text, (0..60).map(line).collect::<String>()).unwrap();
    for method in [Method::Lora, Method::Full, Method::Head] {
        let mut config = sandbox.config(method);
        let cache_dir = Some(sandbox.dir.path().join("cache"));
        config.text = Some(DataSection { paths: vec![text.clone()], cache_dir, ..DataSection::default() });
        let [whole, parts] = ["whole", "parts"].map(|name| format!("{name}-{}", method.name()));
        let left_alone = sandbox.run(&config, &whole, false, None).unwrap();
        assert_eq!((left_alone.ending, left_alone.tokens), (Ending::Finished, 8 * 4 * CONTEXT as u64));
        let stopped = sandbox.run(&config, &parts, false, Some(3)).unwrap();
        assert_eq!((stopped.ending, stopped.step), (Ending::Interrupted, 3), "{method:?}");
        let resumed = sandbox.run(&config, &parts, true, None).unwrap();
        assert_eq!((resumed.best, resumed.first_val_loss), (left_alone.best, left_alone.first_val_loss));
        assert_eq!(sandbox.checkpoint(&parts, 8), sandbox.checkpoint(&whole, 8), "{method:?}");
        let (before, after) = (resumed.first_val_loss.unwrap(), resumed.best.unwrap().val_loss);
        assert!(after < before, "{method:?}: {before} became {after}");
        let saved = sandbox.dir.path().join(whole).join("training/config.toml");
        assert_eq!(FinetuneConfig::load(&saved).unwrap(), config);
        assert!(FinetuneConfig::is_at(&saved));
    }
    // A text that is shorter than a window, and preferences, which it has none of.
    let mut config = sandbox.config(Method::Full);
    std::fs::write(&text, "A short text.").unwrap();
    config.text = Some(DataSection { paths: vec![text], ..DataSection::default() });
    assert_eq!(sandbox.run(&config, "short", false, None).unwrap().ending, Ending::Finished);
    config.finetune.method = Some(Method::Dpo);
    let error = sandbox.run(&config, "pairs", false, None).unwrap_err().to_string();
    assert!(error.contains("needs preferences, not plain text"), "{error}");
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
        assert!(error.contains("finetune.quantize was \"q4\" when the run started and is "), "{error}");
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
    config.lora.target_modules = serde_json::from_str("[\"x_proj\"]").unwrap();
    assert!(error(&config, "targets", false).contains("no linear layer is named x_proj\nhint: the model has"));
    let mut dpo = sandbox.config(Method::Dpo);
    dpo.data.paths = vec![sandbox.dir.path().join("samples.jsonl")];
    assert!(error(&dpo, "pairs", false).contains("samples.jsonl:1: "));

    // What a run began with must be what it goes on with.
    let config = sandbox.config(Method::Lora);
    sandbox.run(&config, "run", false, Some(2)).unwrap();
    let other = FinetuneConfig { lora: llm_model::LoraConfig { rank: 4, ..config.lora.clone() }, ..config.clone() };
    assert!(error(&other, "run", true).starts_with("lora.rank was 8 when the run started and is 4 now"));
    let model = load_model(&sandbox.base, &Device::flex()).unwrap();
    let other = CausalLm::new(model.config(), &Device::flex()).initialize(8);
    llm_checkpoint::save_model(&sandbox.base, &other, &sandbox.tokenizer).unwrap();
    assert!(error(&config, "run", true).starts_with("the sum of the weights that are not trained was "));
    assert!(error(&config, "run", false).contains("already holds a training run"));
}

/// Without anything to validate on, the last weights are the result, also of a run that was interrupted.
#[test]
fn without_validation_the_last_weights_are_the_result() {
    let sandbox = Sandbox::new();
    for method in METHODS {
        let mut config = sandbox.config(method);
        config.data.valid_fraction = 0.0;
        let name = |what: &str| format!("{what}-{}", method.name());
        let whole = sandbox.run(&config, &name("whole"), false, None).unwrap();
        assert_eq!((whole.ending, whole.best, whole.first_val_loss), (Ending::Finished, None, None));
        sandbox.run(&config, &name("parts"), false, Some(3)).unwrap();
        sandbox.run(&config, &name("parts"), true, None).unwrap();
        let [trained, _] = sandbox.checkpoint(&name("whole"), 8);
        let out = |run: &str| sandbox.dir.path().join(name(run));
        let file = if method.adapts() { "adapter_model.safetensors" } else { "model.safetensors" };
        let read = |run: &str| std::fs::read(out(run).join(file)).unwrap();
        assert!(read("whole") == read("parts"), "{method:?}");
        if method.adapts() {
            let base = load_model(&sandbox.base, &Device::flex()).unwrap();
            let saved = values(&load_adapter(&out("whole"), base).unwrap());
            assert!(trained.iter().all(|(name, value)| &saved[name] == value), "{method:?}");
        } else {
            let saved = values(&load_model(&out("whole"), &Device::flex()).unwrap());
            assert!(trained.iter().all(|(name, value)| &saved[name] == value), "{method:?}");
        }
        let metrics = std::fs::read_to_string(out("whole").join("training/metrics.jsonl")).unwrap();
        assert!(metrics.lines().count() == 8 && !metrics.contains("val_loss"), "{metrics}");
    }
}

/// One sample that nothing can be done with makes no row longer.
#[test]
fn what_is_left_out_changes_no_row() {
    let sandbox = Sandbox::new();
    let mut config = sandbox.config(Method::Full);
    config.train.max_steps = None;
    config.train.epochs = Some(1.0);
    config.data.max_length = Some(40);
    let good = sandbox.run(&config, "good", false, None).unwrap();
    let long = format!("{{\"prompt\": \"q\", \"completion\": \"{}\"}}\n", "long ".repeat(50));
    let samples = std::fs::read_to_string(&config.data.paths[0]).unwrap() + &long;
    config.data.paths = vec![sandbox.dir.path().join("more.jsonl")];
    std::fs::write(&config.data.paths[0], samples).unwrap();
    let more = sandbox.run(&config, "more", false, None).unwrap();
    assert_eq!((good.steps, good.tokens, good.best), (more.steps, more.tokens, more.best));
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

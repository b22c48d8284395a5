//! Whole runs on a small text: what they leave on disk, and that going on is the same as never having stopped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use llm_checkpoint::load_model;
use llm_train::{
    Advice, Alone, ConfigFile, Ending, Event, Outcome, RunConfig, RunOptions, TextSource, TrainError, Trainer,
};
use serde_json::Value;

/// Dropout's random numbers come from one generator for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Sandbox {
    dir: tempfile::TempDir,
    config: RunConfig,
}

impl Sandbox {
    fn new(overrides: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let line = |i: u32| format!("The {} cat sees dog number {}.\n", i % 7, i * i % 31);
        let text = (0..400).map(line).collect::<Vec<_>>().concat();
        std::fs::write(dir.path().join("text.txt"), text).unwrap();
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let mut config = RunConfig::default();
        let base = [
            ("data.paths", format!("[{}]", quoted(dir.path().join("text.txt")))),
            ("data.cache_dir", quoted(dir.path().join("cache"))),
            ("tokenizer.kind", "char".into()),
            ("model.hidden_size", "16".into()),
            ("model.num_layers", "2".into()),
            ("model.num_heads", "2".into()),
            ("model.context_length", "16".into()),
            ("model.dropout.residual", "0.1".into()),
            ("train.batch_size", "4".into()),
            ("train.micro_batch_size", "2".into()),
            ("train.max_steps", "24".into()),
            ("train.checkpoint_every", "5".into()),
            ("eval.every", "4".into()),
            ("eval.windows", "6".into()),
            ("schedule.warmup_steps", "3".into()),
            ("optimizer.lr", "0.01".into()),
        ];
        let base = base.iter().map(|(key, value)| (*key, value.as_str()));
        base.chain(overrides.iter().copied()).for_each(|(key, value)| config.set(key, value).unwrap());
        Self { dir, config }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, name: &str, resume: bool) -> Result<Trainer<TextSource>, TrainError> {
        let options = RunOptions {
            out: self.out(name),
            resume,
            tensorboard: false,
            device: Device::flex(),
            device_name: "cpu".into(),
            group: Arc::new(Alone),
        };
        Trainer::open(self.config.clone(), options, &mut |_| ())
    }

    /// Runs, and stops in the way of Ctrl-C once `stop_after` steps are done.
    fn run(&self, name: &str, resume: bool, stop_after: Option<u64>) -> Result<Outcome, TrainError> {
        let stop = AtomicBool::new(false);
        self.open(name, resume)?.run(
            &mut |event| {
                if let Event::Step(record) = event {
                    stop.store(stop_after.is_some_and(|step| record.step >= step), Ordering::Relaxed);
                }
            },
            &stop,
        )
    }
}

/// What must not depend on interruptions: every line of the metrics without times and memory.
fn metrics(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("training/metrics.jsonl")).unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        let object = value.as_object_mut().unwrap();
        for key in ["tokens_per_s", "flops_utilization", "peak_rss_mib", "seconds"] {
            object.remove(key);
        }
        value
    };
    text.lines().map(line).collect()
}

fn weights(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("model.safetensors")).unwrap()
}

fn newest_checkpoint(out: &Path) -> Vec<Vec<u8>> {
    let (_, path) = llm_checkpoint::latest_training(out).unwrap().unwrap();
    ["model.safetensors", "optimizer.safetensors"].map(|file| std::fs::read(path.join(file)).unwrap()).to_vec()
}

fn lock() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message<T>(result: Result<T, TrainError>) -> String {
    match result {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

/// Without anything to validate on, the model is that of the last checkpoint.
#[test]
fn without_validation_the_last_weights_are_the_result() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[("data.valid_fraction", "0")]);
    let whole = sandbox.run("whole", false, None).unwrap();
    assert_eq!((whole.ending, whole.step, whole.best), (Ending::Finished, 24, None));
    assert_eq!(weights(&sandbox.out("whole")), newest_checkpoint(&sandbox.out("whole"))[0]);
    sandbox.run("parts", false, Some(7)).unwrap();
    sandbox.run("parts", true, None).unwrap();
    assert_eq!(weights(&sandbox.out("parts")), weights(&sandbox.out("whole")));
    assert_eq!(metrics(&sandbox.out("parts")), metrics(&sandbox.out("whole")));
    assert!(metrics(&sandbox.out("whole")).iter().all(|line| line.get("val_loss").is_none()));
}

#[test]
fn a_run_leaves_a_model_and_its_history() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[]);
    let outcome = sandbox.run("run", false, None).unwrap();
    let out = sandbox.out("run");
    assert_eq!((outcome.ending, outcome.step, outcome.tokens), (Ending::Finished, 24, 24 * 4 * 16));

    let lines = metrics(&out);
    let steps: Vec<&Value> = lines.iter().filter(|line| line.get("loss").is_some()).collect();
    let evals: Vec<&Value> = lines.iter().filter(|line| line.get("val_loss").is_some()).collect();
    assert_eq!(
        steps.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..=24).collect::<Vec<_>>()
    );
    assert_eq!(evals.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 4, 8, 12, 16, 20, 24]);
    assert!(steps[23]["loss"].as_f64() < steps[0]["loss"].as_f64());
    let best = evals.iter().map(|line| line["val_loss"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert!((f64::from(outcome.best.unwrap().val_loss) - best).abs() < 1e-6);

    load_model(&out, &Device::flex()).unwrap();
    assert!(std::fs::read_to_string(out.join("training/loss.svg")).unwrap().contains("</svg>"));
    // The saved configuration repeats the run.
    let mut again = Sandbox { config: RunConfig::load(&out.join("training/config.toml")).unwrap(), ..sandbox };
    assert_eq!(again.config.train.max_steps, Some(24));
    again.run("again", false, None).unwrap();
    assert_eq!(metrics(&again.out("again")), lines);
    assert_eq!(weights(&again.out("again")), weights(&out));
    // Another seed is another run.
    again.config.set("train.seed", "7").unwrap();
    again.run("other", false, None).unwrap();
    assert_ne!(metrics(&again.out("other")), lines);
}

#[test]
fn interrupted_and_resumed_is_uninterrupted_bit_for_bit() {
    let _guard = lock();
    for kind in ["adamw", "sgd", "muon"] {
        let sandbox = Sandbox::new(&[("optimizer.kind", kind)]);
        sandbox.run("whole", false, None).unwrap();
        let whole = sandbox.out("whole");
        // Between checkpoints, at one, at an evaluation, and at the first step.
        for points in [vec![1, 7], vec![4, 5, 20], vec![23]] {
            let name = format!("parts-{points:?}");
            for (i, point) in points.iter().enumerate() {
                let outcome = sandbox.run(&name, i > 0, Some(*point)).unwrap();
                assert_eq!((outcome.ending, outcome.step), (Ending::Interrupted, *point));
            }
            let outcome = sandbox.run(&name, true, None).unwrap();
            assert_eq!((outcome.ending, outcome.step), (Ending::Finished, 24));
            let parts = sandbox.out(&name);
            assert_eq!(metrics(&parts), metrics(&whole), "{kind} {points:?}");
            assert_eq!(weights(&parts), weights(&whole), "{kind} {points:?}");
            assert_eq!(newest_checkpoint(&parts), newest_checkpoint(&whole), "{kind} {points:?}");
        }
    }
}

/// Every file of a run directory but the lock, with its bytes.
fn contents(out: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![out.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "lock") {
                let bytes = std::fs::read(&path).unwrap();
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_run_whose_checkpoints_are_gone_is_not_begun_again() {
    let _guard = lock();
    let mut sandbox = Sandbox::new(&[]);
    sandbox.run("run", false, None).unwrap();
    let out = sandbox.out("run");
    let checkpoints = out.join("training/checkpoints");
    for emptied in [false, true] {
        std::fs::remove_dir_all(&checkpoints).unwrap();
        if emptied {
            std::fs::create_dir(&checkpoints).unwrap();
        }
        let before = contents(&out);
        sandbox.config.set("train.max_steps", "48").unwrap();
        let Err(error) = sandbox.open("run", true) else { panic!("it opens") };
        assert!(error.to_string().contains("the checkpoints of this run are gone"), "{error}");
        assert_eq!(error.advice(), Some(Advice::TrainFurther { dir: out.clone() }));
        assert_eq!(contents(&out), before);
        std::fs::create_dir_all(&checkpoints).unwrap();
    }
}

#[test]
fn a_trained_model_never_lies_where_there_is_no_checkpoint() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[("train.checkpoint_every", "0"), ("eval.every", "2")]);
    let (out, mut saved) = (sandbox.out("run"), 0);
    let on_event = &mut |event: Event| {
        if let Event::BestSaved { step: 1.. } = event {
            let (step, _) = llm_checkpoint::latest_training(&out).unwrap().expect("a checkpoint");
            assert_eq!(step, 2, "one is enough");
            saved += 1;
        }
    };
    sandbox.open("run", false).unwrap().run(on_event, &AtomicBool::new(false)).unwrap();
    assert!(saved > 1);
}

#[test]
fn a_run_directory_has_one_process() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[]);
    let trainer = sandbox.open("run", false).unwrap();
    let error = message(sandbox.open("run", true));
    assert!(error.contains(&format!("process {} is training here", std::process::id())), "{error}");
    trainer.run(&mut |_| (), &AtomicBool::new(false)).unwrap();
    sandbox.open("run", true).unwrap();
}

#[test]
fn fewer_steps_than_are_done_change_nothing() {
    let _guard = lock();
    let mut sandbox = Sandbox::new(&[]);
    sandbox.run("run", false, None).unwrap();
    let before = contents(&sandbox.out("run"));
    sandbox.config.set("train.max_steps", "5").unwrap();
    let mut told = None;
    let on_event = &mut |event: Event| match event {
        Event::NothingLeft { done, steps } => told = Some((done, steps)),
        event => panic!("{event:?}"),
    };
    let outcome = sandbox.open("run", true).unwrap().run(on_event, &AtomicBool::new(false)).unwrap();
    assert_eq!((told, outcome.ending, outcome.step), (Some((24, 5)), Ending::Finished, 24));
    assert_eq!(contents(&sandbox.out("run")), before);
}

#[test]
fn a_damaged_checkpoint_names_the_one_before() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[]);
    sandbox.run("whole", false, None).unwrap();
    sandbox.run("run", false, Some(22)).unwrap();
    let checkpoints = sandbox.out("run").join("training/checkpoints");
    let newest = checkpoints.join("step-00000022");
    for file in ["optimizer.safetensors", "model.safetensors", "state.json"] {
        let whole = std::fs::read(newest.join(file)).unwrap();
        std::fs::write(newest.join(file), &whole[..whole.len() / 2]).unwrap();
        let error = message(sandbox.open("run", true));
        let hint = format!("\nhint: delete {} to resume from step 20", newest.display());
        assert!(error.starts_with("cannot read the newest checkpoint: ") && error.ends_with(&hint), "{error}");
        assert_eq!(error.matches("hint: ").count(), 1, "{error}");
        std::fs::write(newest.join(file), whole).unwrap();
    }
    std::fs::remove_dir_all(checkpoints.join("step-00000020")).unwrap();
    std::fs::write(newest.join("state.json"), "{").unwrap();
    let error = message(sandbox.open("run", true));
    assert!(error.contains("no older checkpoint exists"), "{error}");
}

#[test]
fn a_text_may_move_but_not_change() {
    let _guard = lock();
    let mut sandbox = Sandbox::new(&[]);
    sandbox.run("whole", false, None).unwrap();
    sandbox.run("moved", false, Some(7)).unwrap();
    let [text, moved] = ["text.txt", "moved.old.txt"].map(|name| sandbox.dir.path().join(name));
    std::fs::rename(&text, &moved).unwrap();
    let Err(error) = sandbox.open("moved", true) else { panic!("it opens") };
    assert!(error.to_string().ends_with("the text of this run no longer exists"), "{error}");
    assert_eq!(error.advice(), Some(Advice::NewPlace));
    let path = format!("[{:?}]", moved.display().to_string());
    sandbox.config.set("data.paths", &path).unwrap();
    sandbox.run("moved", true, None).unwrap();
    assert_eq!(weights(&sandbox.out("moved")), weights(&sandbox.out("whole")));
    // The same length, and one letter is another.
    let changed = std::fs::read_to_string(&moved).unwrap().replacen("cat", "cot", 1);
    std::fs::write(&moved, changed).unwrap();
    let error = message(sandbox.open("moved", true));
    assert!(error.contains("the hash of the text was"), "{error}");
}

/// As after a kill: the metrics are ahead of the checkpoint, and the last line is cut.
#[test]
fn what_came_after_the_newest_checkpoint_is_computed_again() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[]);
    sandbox.run("whole", false, None).unwrap();
    sandbox.run("killed", false, Some(17)).unwrap();
    let killed = sandbox.out("killed");
    std::fs::remove_dir_all(killed.join("training/checkpoints/step-00000017")).unwrap();
    let path = killed.join("training/metrics.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();
    sandbox.run("killed", true, None).unwrap();
    assert_eq!(metrics(&killed), metrics(&sandbox.out("whole")));
    assert_eq!(weights(&killed), weights(&sandbox.out("whole")));

    // And before the first checkpoint, which the chart is drawn with.
    sandbox.run("early", false, Some(2)).unwrap();
    std::fs::remove_dir_all(sandbox.out("early").join("training/checkpoints")).unwrap();
    std::fs::remove_file(sandbox.out("early").join("training/loss.svg")).unwrap();
    sandbox.run("early", true, None).unwrap();
    assert_eq!(metrics(&sandbox.out("early")), metrics(&sandbox.out("whole")));
}

#[test]
fn training_stops_early_without_a_new_best_and_stays_stopped() {
    let _guard = lock();
    // At learning rate 0 on the way back up nothing improves after the first evaluation.
    let sandbox = Sandbox::new(&[("optimizer.lr", "3.0"), ("eval.patience", "2"), ("optimizer.kind", "adam")]);
    let outcome = sandbox.run("run", false, None).unwrap();
    assert_eq!(outcome.ending, Ending::EarlyStop);
    let best = outcome.best.unwrap();
    assert_eq!(outcome.step, best.step + 8);
    let mut told = None;
    let on_event = &mut |event: Event| match event {
        Event::EarlyStop { evaluations } => told = Some(evaluations),
        Event::Plan(_) => panic!("there is nothing to plan"),
        _ => {}
    };
    let resumed = sandbox.open("run", true).unwrap().run(on_event, &AtomicBool::new(false)).unwrap();
    assert_eq!((resumed.ending, resumed.step, told), (Ending::EarlyStop, outcome.step, Some(2)));
    assert_eq!(resumed.best, outcome.best);
}

#[test]
fn one_batch_is_learned_by_heart() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[
        ("train.overfit_batch", "true"),
        ("train.max_steps", "300"),
        ("train.checkpoint_every", "0"),
        ("model.hidden_size", "32"),
        ("optimizer.lr", "0.01"),
    ]);
    let outcome = sandbox.run("run", false, None).unwrap();
    assert!(outcome.loss.unwrap() < 0.1, "{:?}", outcome.loss);
    load_model(&sandbox.out("run"), &Device::flex()).unwrap();
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_says_where() {
    let _guard = lock();
    let diverging = [
        ("optimizer.kind", "sgd"),
        ("optimizer.lr", "1e30"),
        ("optimizer.grad_clip", "0.0"),
        ("optimizer.weight_decay", "0.0"),
        ("train.checkpoint_every", "1"),
        ("eval.every", "0"),
    ];
    let sandbox = Sandbox::new(&diverging);
    let text = message(sandbox.run("run", false, None));
    assert!(text.starts_with("step "), "{text}");
    assert!(text.contains("not finite; it begins in "), "{text}");
    assert!(text.contains("model.") || text.contains("lm_head"), "{text}");
    assert!(text.contains("no checkpoint was saved before this step"), "{text}");
    assert!(text.contains("\nhint: lower optimizer.lr (now 1"), "{text}");
    // What is on disk is still good.
    load_model(&sandbox.out("run"), &Device::flex()).unwrap();

    // After three good steps: the checkpoint of the third, and not of the one that ruined the weights.
    let mut sandbox = Sandbox::new(&diverging);
    sandbox.config.set("optimizer.lr", "0.01").unwrap();
    sandbox.run("run", false, Some(3)).unwrap();
    sandbox.config.set("optimizer.lr", "1e30").unwrap();
    let saved = sandbox.out("run").join("training/config.toml");
    std::fs::write(saved, sandbox.config.to_toml().unwrap()).unwrap();
    let text = message(sandbox.run("run", true, None));
    assert!(text.contains("the last good checkpoint is ") && text.contains("checkpoints/step-00000003"), "{text}");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_resumed_by_mistake() {
    let _guard = lock();
    let mut sandbox = Sandbox::new(&[("train.max_steps", "2")]);
    let text = message(sandbox.open("none", true));
    assert!(text.ends_with(": no run to resume"), "{text}");
    sandbox.run("run", false, None).unwrap();
    let text = message(sandbox.open("run", false));
    assert!(text.contains("already holds a training run, which is not overwritten"), "{text}");
    sandbox.config.set("train.max_steps", "4").unwrap();
    assert_eq!(sandbox.run("run", true, None).unwrap().step, 4);
    sandbox.config.set("train.batch_size", "8").unwrap();
    let text = message(sandbox.open("run", true));
    assert!(text.starts_with("train.batch_size was 4 when the run started and is 8 now\nhint: "), "{text}");
    sandbox.config.set("train.batch_size", "4").unwrap();
    std::fs::write(sandbox.dir.path().join("text.txt"), "The cat sees another dog.\n".repeat(300)).unwrap();
    let text = message(sandbox.open("run", true));
    assert!(text.contains(" was ") && text.contains("when the run started and is"), "{text}");
}

#[test]
fn computing_activations_anew_changes_no_bit() {
    let _guard = lock();
    for family in ["gpt2", "qwen3"] {
        let sandbox = |recompute| {
            Sandbox::new(&[("model.family", family), ("model.dropout.residual", "0"), ("train.recompute", recompute)])
        };
        let [plain, recomputing] = [sandbox("false"), sandbox("true")];
        plain.run("run", false, None).unwrap();
        recomputing.run("run", false, None).unwrap();
        assert_eq!(metrics(&plain.out("run")), metrics(&recomputing.out("run")), "{family}");
        assert_eq!(newest_checkpoint(&plain.out("run")), newest_checkpoint(&recomputing.out("run")), "{family}");
    }
}

#[test]
fn events_tell_the_plan_first_and_ask_for_samples() {
    let _guard = lock();
    let sandbox = Sandbox::new(&[("sample.every", "10")]);
    let mut told = Vec::new();
    let trainer = sandbox.open("run", false).unwrap();
    let outcome = trainer.run(
        &mut |event| match event {
            Event::Plan(plan) => {
                assert_eq!((plan.tokens_per_step(), plan.steps, plan.accumulation), (64, 24, 2));
                assert!((f64::from(plan.first_loss) - plan.uniform_loss.unwrap()).abs() < 0.2);
                told.push("plan".to_string());
            }
            Event::Sample(request) => told.push(format!("sample {} {}", request.step, request.last)),
            Event::CheckpointSaved { step, .. } => told.push(format!("checkpoint {step}")),
            _ => {}
        },
        &AtomicBool::new(false),
    );
    let best = outcome.unwrap().best.unwrap().step;
    let expected = [
        "plan",
        "checkpoint 4", // before the first model that has learned anything is put into the directory
        "checkpoint 5",
        "sample 10 false",
        "checkpoint 10",
        "checkpoint 15",
        "sample 20 false",
        "checkpoint 20",
        "checkpoint 24",
    ];
    assert_eq!(told[..9], expected);
    assert_eq!(told[9..], [format!("sample {best} true")]);
}

//! Ten steps of every optimizer on every golden model, against PyTorch (`scripts/golden.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_checkpoint::{SavedWeights, load_model, load_tensors, load_training, save_training};
use llm_data::Batch;
use llm_model::{CausalLm, LoraConfig, Precision, named_params, trainable_params};
use llm_train::{Learner, OptimizerKind, OptimizerSection};

/// The settings of `scripts/golden.py`.
fn section(kind: OptimizerKind) -> OptimizerSection {
    let base = OptimizerSection { kind, lr: 1e-2, muon_lr: 1e-2, ..OptimizerSection::default() };
    match kind {
        OptimizerKind::Sgd => OptimizerSection { lr: 0.1, momentum: 0.9, weight_decay: 0.0, ..base },
        _ => base,
    }
}

fn golden_dirs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden");
    let mut dirs: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    dirs
}

fn floats(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |worst, d| if d <= worst { worst } else { d })
}

/// All values by name.
fn weights(model: &CausalLm) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    named_params(model, &mut |info, data| drop(all.insert(info.name.clone(), floats(&data))));
    all
}

/// Some steps along pseudorandom batches.
fn steps(mut learner: Learner, steps: std::ops::Range<u64>) -> Learner {
    for step in steps {
        let ids = |shift: u64| (0..32).map(|i| ((i * 37 + step * 11 + shift) % 97) as i32).collect();
        let batch = Batch { inputs: ids(0), targets: ids(5), sample_starts: None, batch: 2, time: 16 };
        let gradients = learner.gradients(step, &[batch]).unwrap();
        learner = learner.apply(gradients, 1.0);
    }
    learner
}

#[test]
fn frozen_parameters_are_neither_changed_nor_remembered() {
    let device = Device::flex().autodiff();
    let dir = golden_dirs().into_iter().find(|dir| dir.ends_with("llama_llama3")).unwrap();
    let adapted = |dora| {
        let config = LoraConfig { dora, ..LoraConfig::default() };
        load_model(&dir, &device).unwrap().with_lora(&config, 1).unwrap()
    };
    let head = load_model(&dir, &device).unwrap().freeze_below(1);
    for (model, trained) in [(adapted(false), ".lora."), (adapted(true), ".lora."), (head, "")] {
        let before = weights(&model);
        let names: Vec<String> = trainable_params(&model).into_iter().map(|info| info.name).collect();
        assert!(names.len() < before.len() && names.iter().all(|name| name.contains(trained)), "{names:?}");
        let learner = Learner::new(model, &device, &OptimizerSection::default(), Precision::F32, 0);
        let learner = steps(learner, 0..3);
        for (name, after) in weights(&learner.model) {
            assert_eq!(after != before[&name], names.contains(&name), "{name}");
        }
        let remembered = learner.optimizer.save();
        assert_eq!(remembered.len(), 2 * names.len());
    }
}

#[test]
fn adapters_go_on_bit_for_bit_from_a_checkpoint_that_holds_them_alone() {
    let device = Device::flex().autodiff();
    let dir = golden_dirs().into_iter().find(|dir| dir.ends_with("gpt2")).unwrap();
    let run = tempfile::tempdir().unwrap();
    for dora in [false, true] {
        // Without dropout: its random numbers are the device's, which other tests draw as well.
        let config = LoraConfig { rank: 3, dora, ..LoraConfig::default() };
        let new = || {
            let model = load_model(&dir, &device).unwrap().with_lora(&config, 1).unwrap();
            Learner::new(model, &device, &OptimizerSection::default(), Precision::F32, 7)
        };
        let whole = steps(new(), 0..4);
        let half = steps(new(), 0..2);
        let saved =
            save_training(run.path(), 2, (&half.model, SavedWeights::Trained), &half.optimizer.save(), &(), 1).unwrap();
        assert!(!saved.join("model.safetensors").exists() && saved.join("trained.safetensors").exists());
        let mut resumed = new();
        let (model, tensors, ()) = load_training(&saved, resumed.model.clone(), SavedWeights::Trained).unwrap();
        resumed.optimizer.restore(tensors, &model, &device.clone().inner()).unwrap();
        resumed.model = model;
        assert_eq!(weights(&steps(resumed, 2..4).model), weights(&whole.model), "DoRA: {dora}");
    }
}

#[test]
fn ten_steps_of_each_optimizer_agree_with_pytorch() {
    let kinds = [
        ("adamw", OptimizerKind::AdamW),
        ("adam", OptimizerKind::Adam),
        ("sgd", OptimizerKind::Sgd),
        ("muon", OptimizerKind::Muon),
    ];
    let device = Device::flex().autodiff();
    let mut compared = 0;
    for dir in golden_dirs() {
        let golden = load_tensors(&dir.join("golden.safetensors")).unwrap();
        if !golden.contains_key("adamw.losses") {
            continue; // a family whose gradients are compared in `checkpoint`
        }
        compared += 1;
        let [b, t] = golden["ids"].shape().dims();
        let ints = |name: &str| golden[name].iter::<i32>().collect::<Vec<_>>();
        let batch = Batch { inputs: ints("ids"), targets: ints("targets"), sample_starts: None, batch: b, time: t };
        for (name, kind) in kinds {
            let model = load_model(&dir, &device).unwrap();
            let mut learner = Learner::new(model, &device, &section(kind), Precision::F32, 0);
            let mut losses = Vec::new();
            for step in 0..10 {
                let gradients = learner.gradients(step, std::slice::from_ref(&batch)).unwrap();
                losses.push(gradients.loss);
                learner = learner.apply(gradients, 1.0);
            }
            let worst = largest_difference(&losses, &floats(&golden[&format!("{name}.losses")]));
            assert!(worst < 1e-4, "{name} in {}: losses differ by {worst:e}", dir.display());

            let ids = TensorData::new(ints("ids"), [b, t]);
            let ids = Tensor::<2, Int>::from_data(ids, &device.clone().inner());
            let logits = learner.inference_model().forward(ids, None).into_data();
            let worst = largest_difference(&floats(&logits), &floats(&golden[&format!("{name}.final_logits")]));
            assert!(worst < 2e-3, "{name} in {}: logits differ by {worst:e}", dir.display());
        }
    }
    assert_eq!(compared, 6);
}

#[test]
fn gradients_have_the_golden_norm() {
    let device = Device::flex().autodiff();
    for dir in golden_dirs() {
        let golden = load_tensors(&dir.join("golden.safetensors")).unwrap();
        let [b, t] = golden["ids"].shape().dims();
        let ints = |name: &str| golden[name].iter::<i32>().collect::<Vec<_>>();
        let model = load_model(&dir, &device).unwrap();
        let mut learner = Learner::new(model, &device, &OptimizerSection::default(), Precision::F32, 0);
        for (targets, loss) in [("targets", "loss"), ("targets_masked", "loss_masked")] {
            let batch = Batch { inputs: ints("ids"), targets: ints(targets), sample_starts: None, batch: b, time: t };
            let gradients = learner.gradients(0, &[batch]).unwrap();
            assert!((gradients.loss - floats(&golden[loss])[0]).abs() < 1e-5);
            if targets == "targets" {
                let expected = f64::from(floats(&golden["grad_norm"])[0]);
                assert!((gradients.norm - expected).abs() < 1e-4 * expected, "{} vs {expected}", gradients.norm);
            }
        }
    }
}

/// Masked targets are spread unevenly, so a mean of the micro-batches' means would be another loss.
#[test]
fn accumulated_micro_batches_are_one_big_batch() {
    let device = Device::flex().autodiff();
    let dir = &Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/gpt2");
    let golden = load_tensors(&dir.join("golden.safetensors")).unwrap();
    let [b, t] = golden["ids"].shape().dims::<2>();
    let inputs: Vec<i32> = golden["ids"].iter::<i32>().collect();
    let mut targets: Vec<i32> = golden["targets"].iter::<i32>().collect();
    targets[t + 3..].fill(llm_model::IGNORED);
    let whole = [Batch { inputs: inputs.clone(), targets: targets.clone(), sample_starts: None, batch: b, time: t }];
    let rows = |row: usize| Batch {
        inputs: inputs[row * t..(row + 1) * t].to_vec(),
        targets: targets[row * t..(row + 1) * t].to_vec(),
        sample_starts: None,
        batch: 1,
        time: t,
    };
    let parts: Vec<Batch> = (0..b).map(rows).collect();
    let run = |batches: &[Batch]| {
        let model = load_model(dir, &device).unwrap();
        let mut learner = Learner::new(model, &device, &section(OptimizerKind::AdamW), Precision::F32, 0);
        let mut seen = Vec::new();
        for step in 0..5 {
            let gradients = learner.gradients(step, batches).unwrap();
            seen.extend([gradients.loss, gradients.norm as f32]);
            learner = learner.apply(gradients, 1.0);
        }
        seen
    };
    let worst = largest_difference(&run(&whole), &run(&parts));
    assert!(worst < 1e-4, "{worst:e}");
}

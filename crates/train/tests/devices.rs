//! The other devices compute what the Flex CPU computes: logits, every gradient, ten training steps.
//!
//! wgpu runs on any adapter, software ones included. Where there is none, its tests are skipped with a message, or fail
//! if one of the environment variables `LLM_REQUIRE_WGPU` and `LLM_REQUIRE_ALL` is set.
#![cfg(all(feature = "cpu", any(feature = "ndarray", feature = "wgpu")))]

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_checkpoint::{load_model, load_tensors};
use llm_data::Batch;
use llm_model::{CausalLm, LoraConfig, ParamInfo, Precision, named_params, replace_params};
use llm_train::{Learner, OptimizerKind, OptimizerSection};

/// One model of each family, and one with a sliding window and a separate head.
const MODELS: [&str; 4] = ["gpt2", "llama", "qwen3", "qwen3_window"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden").join(name)
}

fn batch(dir: &Path) -> Batch {
    let tensors = load_tensors(&dir.join("golden.safetensors")).unwrap();
    let [batch, time] = tensors["ids"].shape().dims();
    let ints = |name: &str| tensors[name].iter::<i32>().collect();
    Batch { inputs: ints("ids"), targets: ints("targets"), sample_starts: None, batch, time }
}

fn logits(model: &CausalLm, batch: &Batch, device: &Device) -> Vec<f32> {
    let ids = TensorData::new(batch.inputs.clone(), [batch.batch, batch.time]);
    model.valid().forward(Tensor::<2, Int>::from_data(ids, device), None).into_data().iter().collect()
}

/// Every parameter's name and values.
fn weights(model: &CausalLm) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    named_params(model, &mut |info, data| all.push((info.name.clone(), data.iter().collect())));
    all
}

/// The gradients, as what one step of plain SGD with learning rate 1 takes away from the weights.
fn gradients(model: CausalLm, batch: &Batch, device: &Device) -> Vec<(String, Vec<f32>)> {
    let section = OptimizerSection {
        kind: OptimizerKind::Sgd,
        lr: 1.0,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
        grad_clip: 0.0,
        ..OptimizerSection::default()
    };
    let before = weights(&model);
    let mut learner = Learner::new(model, device, &section, Precision::F32, 0);
    let step = learner.gradients(0, std::slice::from_ref(batch)).unwrap();
    let after = weights(&learner.apply(step, 1.0).model);
    let difference = |((name, before), (_, after)): ((String, Vec<f32>), (String, Vec<f32>))| {
        (name, before.iter().zip(after).map(|(before, after)| before - after).collect())
    };
    before.into_iter().zip(after).map(difference).collect()
}

fn ten_losses(model: CausalLm, batch: &Batch, device: &Device) -> Vec<f32> {
    let section = OptimizerSection { kind: OptimizerKind::AdamW, lr: 1e-2, ..OptimizerSection::default() };
    let mut learner = Learner::new(model, device, &section, Precision::F32, 0);
    let mut losses = Vec::new();
    for step in 0..10 {
        let gradients = learner.gradients(step, std::slice::from_ref(batch)).unwrap();
        losses.push(gradients.loss);
        learner = learner.apply(gradients, 1.0);
    }
    losses
}

fn assert_close(ours: &[f32], theirs: &[f32], tolerance: f32, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, |w: f32, d| if d <= w { w } else { d });
    assert!(worst < tolerance, "{what}: differs by {worst:e}");
}

/// The model in `dir` with an adapter that changes what it computes.
fn adapted(dir: &Path, dora: bool, device: &Device) -> CausalLm {
    let config = LoraConfig { rank: 4, dora, ..LoraConfig::default() };
    let model = load_model(dir, device).unwrap().with_lora(&config, 3).unwrap();
    let second = |info: &ParamInfo| info.name.ends_with("lora_b");
    let wave = |info: &ParamInfo| (0..info.len()).map(|i| 0.1 * (0.7 * i as f32).sin()).collect::<Vec<_>>();
    let value = &mut |info: &ParamInfo| {
        Ok::<_, Infallible>(second(info).then(|| TensorData::new(wave(info), info.shape.clone()).into()))
    };
    let Ok(model) = replace_params(model, value);
    model
}

fn assert_agrees_with_flex(device: &Device) {
    let (device, flex) = (device.clone().autodiff(), Device::flex().autodiff());
    for name in MODELS {
        let dir = golden(name);
        agree(name, &batch(&dir), [&device, &flex], |device| load_model(&dir, device).unwrap());
    }
    // Samples that share rows, and only adapters that are trained.
    for (name, dora) in [("gpt2", false), ("llama", false), ("llama", true), ("qwen3_window", false)] {
        let dir = golden(name);
        let mut batch = batch(&dir);
        let begins = |i: usize| (i % batch.time / 5 * 5) as u32;
        batch.sample_starts = Some((0..batch.inputs.len()).map(begins).collect());
        let what = format!("{name} with an adapter{}", if dora { " of DoRA" } else { "" });
        agree(&what, &batch, [&device, &flex], |device| adapted(&dir, dora, device));
    }
}

/// Holds what one device computes of a model to what another does.
fn agree(name: &str, batch: &Batch, [device, flex]: [&Device; 2], on: impl Fn(&Device) -> CausalLm) {
    let [ours, theirs] = [device, flex].map(|d| logits(&on(d), batch, &d.clone().inner()));
    assert_close(&ours, &theirs, 1e-4, &format!("{name}: logits"));

    let [ours, theirs] = [device, flex].map(|d| gradients(on(d), batch, d));
    for ((parameter, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert_close(ours, theirs, 5e-5, &format!("{name}: gradient of {parameter}"));
    }

    let [ours, theirs] = [device, flex].map(|d| ten_losses(on(d), batch, d));
    assert_close(&ours, &theirs, 2e-4, &format!("{name}: losses of ten steps"));
}

#[cfg(feature = "ndarray")]
#[test]
#[allow(deprecated)] // Burn advises Flex; NdArray stays selectable
fn ndarray_agrees_with_flex() {
    assert_agrees_with_flex(&Device::ndarray());
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_agrees_with_flex() {
    use burn::tensor::DeviceType;

    let adapters = std::panic::catch_unwind(|| Device::enumerate(DeviceType::Wgpu).into_vec()).unwrap_or_default();
    match adapters.first() {
        Some(adapter) => assert_agrees_with_flex(adapter),
        None if ["LLM_REQUIRE_WGPU", "LLM_REQUIRE_ALL"].iter().any(|name| std::env::var_os(name).is_some()) => {
            panic!("wgpu finds no adapter")
        }
        None => eprintln!("skipped: wgpu finds no adapter; hint: apt-get install mesa-vulkan-drivers"),
    }
}

//! Weights as they are stored: other number types, shards, mapped files, and what PyTorch wrote.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{GOLDEN, assert_close, golden_dir, golden_model, golden_values, ints, values};
use llm_checkpoint::{load_for_inference, load_model, load_tensors, save_tensors};
use llm_model::{CausalLm, KvCache, named_params};
use tempfile::TempDir;

fn pickled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pickled").join(name)
}

/// A directory with the config of a golden model and nothing else.
fn config_of(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden_dir(name).join("config.json"), dir.path().join("config.json")).unwrap();
    dir
}

/// A golden model with its weights rounded to `dtype`.
fn rounded(name: &str, dtype: DType) -> TempDir {
    let dir = config_of(name);
    let tensors = load_tensors(&golden_dir(name).join("model.safetensors")).unwrap();
    let tensors: Vec<_> = tensors.into_iter().map(|(name, data)| (name, data.convert_dtype(dtype))).collect();
    save_tensors(&dir.path().join("model.safetensors"), &tensors).unwrap();
    dir
}

/// Every parameter with its values.
fn weights(model: &CausalLm) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    named_params(model, &mut |info, data| all.push((info.name.clone(), data.try_to_vec().unwrap())));
    all
}

/// The same weights, rounded to `dtype`.
fn rounded_weights(name: &str, dtype: DType) -> Vec<(String, Vec<f32>)> {
    let round = |values: Vec<f32>| {
        let shape = [values.len()];
        let data = TensorData::new(values, shape).convert_dtype(dtype).convert_dtype(DType::F32);
        data.try_to_vec().unwrap()
    };
    weights(&golden_model(name)).into_iter().map(|(name, values)| (name, round(values))).collect()
}

fn logits(model: &CausalLm, name: &str) -> Vec<f32> {
    values(model.forward(ints(&golden_values(name)["ids"], &Device::flex()), None))
}

#[test]
fn a_model_for_inference_keeps_its_number_type_and_computes_the_same() {
    let device = Device::flex();
    for name in GOLDEN {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let dir = rounded(name, dtype);
            let [as_stored, in_float32] =
                [load_for_inference, load_model].map(|load| load(dir.path(), &device).unwrap());
            assert_eq!(as_stored.model.embed_tokens.weight.param().unwrap().val().dtype(), dtype, "{name}");
            assert_eq!(as_stored.model.layers[0].mlp.down_proj.weight.param().unwrap().val().dtype(), dtype, "{name}");
            assert_eq!(as_stored.model.norm.weight.val().dtype(), DType::F32, "{name}");
            assert_eq!(in_float32.model.embed_tokens.weight.param().unwrap().val().dtype(), DType::F32, "{name}");
            assert_eq!(weights(&as_stored), weights(&in_float32), "{name}: {dtype:?}");

            let expected = logits(&in_float32, name);
            assert_close(&format!("{name}: {dtype:?}"), &logits(&as_stored, name), &expected, 2e-5);
            // One token after the other, which is another product.
            let ids: Vec<i32> = golden_values(name)["ids"].try_to_vec().unwrap();
            let ids = &ids[..24];
            let mut cache = KvCache::new(as_stored.config(), ids.len(), &device);
            cache.expect(ids.len());
            let step = |&id: &i32| values(as_stored.forward(Tensor::from_data([[id]], &device), Some(&mut cache)));
            let stepwise: Vec<f32> = ids.iter().flat_map(step).collect();
            assert_close(&format!("{name}: {dtype:?}"), &stepwise, &expected[..stepwise.len()], 1e-4);
        }
    }
}

#[test]
fn a_loss_of_a_model_for_inference_is_that_of_its_rounded_weights() {
    let device = Device::flex();
    let dir = rounded("qwen3", DType::BF16);
    let golden = golden_values("qwen3");
    let [ours, expected] = [load_for_inference, load_model].map(|load| {
        let model = load(dir.path(), &device).unwrap();
        values(model.loss(ints(&golden["ids"], &device), ints(&golden["targets"], &device), None))[0]
    });
    assert!((ours - expected).abs() < 1e-3, "{ours}, not {expected}");
}

#[test]
fn a_mapped_file_may_be_replaced_while_its_model_is_used() {
    let dir = rounded("llama", DType::BF16);
    let model = load_for_inference(dir.path(), &Device::flex()).unwrap();
    let before = logits(&model, "llama");
    let other: Vec<_> = load_tensors(&golden_dir("llama").join("model.safetensors")).unwrap().into_iter().collect();
    save_tensors(&dir.path().join("model.safetensors"), &other).unwrap();
    assert_eq!(logits(&model, "llama"), before);
}

#[test]
fn values_that_lie_at_odd_places_are_copied() {
    // A header of odd length, as no writer makes but any may.
    let dir = rounded("llama", DType::BF16);
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let (header, rest) = bytes[8..].split_at(length as usize);
    let odd = [&(length + 1).to_le_bytes()[..], header, b" ", rest].concat();
    fs::write(&path, odd).unwrap();
    let model = load_for_inference(dir.path(), &Device::flex()).unwrap();
    assert_eq!(weights(&model), rounded_weights("llama", DType::BF16));
    logits(&model, "llama");
}

#[test]
fn checkpoints_of_pytorch_load_in_every_way_they_were_written() {
    for (name, files, dtype) in [
        ("phi3_longrope", &[("phi3_longrope.bin", "pytorch_model.bin")][..], DType::F32),
        ("smollm3", &[("smollm3.bin", "pytorch_model.bin")][..], DType::F16),
        // Its first layer is in float64.
        ("qwen2", &[("qwen2.bin", "pytorch_model.bin")][..], DType::F32),
        (
            "mistral",
            &[
                ("mistral.bin.index.json", "pytorch_model.bin.index.json"),
                ("mistral-00001-of-00002.bin", "mistral-00001-of-00002.bin"),
                ("mistral-00002-of-00002.bin", "mistral-00002-of-00002.bin"),
            ][..],
            DType::BF16,
        ),
    ] {
        let dir = config_of(name);
        for (from, to) in files {
            fs::copy(pickled(from), dir.path().join(to)).unwrap();
        }
        let expected = rounded_weights(name, dtype);
        assert_eq!(weights(&load_model(dir.path(), &Device::flex()).unwrap()), expected, "{name}");
        let model = load_for_inference(dir.path(), &Device::flex()).unwrap();
        assert_eq!(weights(&model), expected, "{name}");
        assert_eq!(model.model.embed_tokens.weight.param().unwrap().val().dtype(), dtype, "{name}");
    }
}

#[test]
fn float64_is_read_as_the_nearest_float32() {
    let dir = rounded("llama", DType::F64);
    assert_eq!(weights(&load_model(dir.path(), &Device::flex()).unwrap()), weights(&golden_model("llama")));
    let path = dir.path().join("model.safetensors");
    let mut tensors = load_tensors(&path).unwrap();
    let third = TensorData::new(vec![1.0f64 / 3.0; 32], [32]);
    tensors.insert("model.norm.weight".into(), third);
    save_tensors(&path, &tensors.clone().into_iter().collect::<Vec<_>>()).unwrap();
    let model = load_for_inference(dir.path(), &Device::flex()).unwrap();
    let (_, norm) = weights(&model).into_iter().find(|(name, _)| name == "model.norm.weight").unwrap();
    assert_eq!(norm, vec![1.0f32 / 3.0; 32]);
    tensors.insert("model.norm.weight".into(), TensorData::new(vec![1e300f64; 32], [32]));
    save_tensors(&path, &tensors.into_iter().collect::<Vec<_>>()).unwrap();
    let error = load_model(dir.path(), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight holds inf"), "{error}");
}

/// The text of the error that loading these bytes as the weights of a golden model gives.
fn error_of(name: &str, bytes: &[u8]) -> Option<String> {
    let dir = config_of(name);
    fs::write(dir.path().join("pytorch_model.bin"), bytes).unwrap();
    load_model(dir.path(), &Device::flex()).err().map(|e| e.to_string())
}

#[test]
fn a_pickle_is_never_executed() {
    for file in ["command.bin", "command_zip.bin"] {
        let error = error_of("llama", &fs::read(pickled(file)).unwrap()).expect(file);
        assert!(error.contains("pytorch_model.bin"), "{error}");
        assert!(!Path::new("executed").exists());
    }
}

#[test]
fn no_damage_to_a_checkpoint_of_pytorch_panics_or_takes_memory() {
    for (name, file) in [("phi3_longrope", "phi3_longrope.bin"), ("smollm3", "smollm3.bin")] {
        let whole = fs::read(pickled(file)).unwrap();
        assert_eq!(error_of(name, &whole), None);
        for length in [0, 1, 7, 64, 1000, whole.len() / 2, whole.len() - 1] {
            let error = error_of(name, &whole[..length]).unwrap_or_else(|| panic!("{file} loads cut to {length}"));
            assert!(error.contains("pytorch_model.bin"), "{length}: {error}");
        }
        // The pickle and the headers lie in the first kilobytes of one kind and at both ends of the other.
        let damaged =
            (0..whole.len().min(6000)).step_by(11).chain((whole.len().saturating_sub(4000)..whole.len()).step_by(13));
        for at in damaged {
            for flip in [0x01, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                error_of(name, &bytes);
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_checkpoint_of_pytorch_is_named() {
    // Of another model: a shape, and before that a name.
    let other = fs::read(pickled("smollm3.bin")).unwrap();
    let error = error_of("olmo2", &other).unwrap();
    assert!(error.contains("pytorch_model.bin: tensor ") && error.contains("is missing\nhint: "), "{error}");
    let error = error_of("llama", b"not a pickle at all, but text").unwrap();
    assert!(error.contains("not a usable PyTorch checkpoint") && error.contains("hint: "), "{error}");

    let dir = config_of("mistral");
    for file in ["mistral.bin.index.json", "mistral-00001-of-00002.bin"] {
        let to = file.replace("mistral.bin.index", "pytorch_model.bin.index");
        fs::copy(pickled(file), dir.path().join(to)).unwrap();
    }
    let error = load_model(dir.path(), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("mistral-00002-of-00002.bin: no such file") && error.contains("index.json"), "{error}");
}

//! Damaged and foreign files: each gives an error that names the file and the tensor, never a panic, and nothing is
//! allocated beyond the size of a file.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use common::golden_dir;
use llm_checkpoint::{CheckpointError, load_for_inference, load_model, load_tensors, save_tensors};
use tempfile::TempDir;

/// A copy of a golden model that may be damaged.
fn copy_of(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(golden_dir(name).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn weights(dir: &Path) -> PathBuf {
    dir.join("model.safetensors")
}

/// Both ways of loading say the same.
fn load(dir: &Path) -> Result<(), CheckpointError> {
    let [copied, mapped] = [load_model, load_for_inference].map(|load| load(dir, &Device::flex()).map(drop));
    let text = |result: &Result<(), CheckpointError>| result.as_ref().err().map(ToString::to_string);
    assert_eq!(text(&copied), text(&mapped));
    copied
}

/// The text of the error that loading gives.
#[track_caller]
fn error(dir: &Path) -> String {
    load(dir).expect_err("loads").to_string()
}

/// Rewrites the weights in `dir`.
fn edit(dir: &Path, change: impl FnOnce(&mut Vec<(String, TensorData)>)) {
    let mut tensors = load_tensors(&weights(dir)).unwrap().into_iter().collect();
    change(&mut tensors);
    save_tensors(&weights(dir), &tensors).unwrap();
}

fn named<'a>(tensors: &'a mut [(String, TensorData)], name: &str) -> &'a mut TensorData {
    &mut tensors.iter_mut().find(|(tensor, _)| tensor == name).unwrap().1
}

/// A file of this header and `size` bytes of values.
fn write_raw(path: &Path, header: &str, size: usize) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + size, 0);
    fs::write(path, bytes).unwrap();
}

const NORM: &str = "model.norm.weight";

#[test]
fn a_file_that_is_not_there_says_what_is_read() {
    let dir = copy_of("llama");
    fs::remove_file(weights(dir.path())).unwrap();
    let error = error(dir.path());
    assert!(error.contains("model.safetensors: no such file\nhint: weights are read from"), "{error}");
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let dir = copy_of("llama");
    let whole = fs::read(weights(dir.path())).unwrap();
    for length in [0, 1, 7, 8, 9, 100, 1000, 2000, whole.len() / 2, whole.len() - 1] {
        fs::write(weights(dir.path()), &whole[..length]).unwrap();
        let error = error(dir.path());
        assert!(error.contains("not a usable safetensors file") && error.contains("hint:"), "{length}: {error}");
    }
    fs::write(weights(dir.path()), [&whole[..], b"more"].concat()).unwrap();
    let error = error(dir.path());
    assert!(
        error.contains(&format!("it has {} bytes", whole.len() + 4)) && error.contains(&whole.len().to_string()),
        "{error}"
    );
}

#[test]
fn a_header_that_lies_about_sizes_is_an_error_and_allocates_nothing() {
    let dir = copy_of("llama");
    for length in [65, 1 << 20, 100_000_001, 1 << 40, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.resize(64, b' ');
        fs::write(weights(dir.path()), bytes).unwrap();
        let error = error(dir.path());
        assert!(error.contains(&format!("its header claims {length} bytes, but the whole file has 64")), "{error}");
    }
    let huge = u64::MAX;
    let f32 =
        |shape: &str, offsets: &str| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    for header in [
        f32("[1099511627776]", "[0,4398046511104]"),
        f32(&format!("[{huge},{huge}]"), "[0,16]"),
        f32("[4]", &format!("[0,{huge}]")),
        f32("[4]", "[16,0]"),
        f32("[4]", "[4,20]"),
        f32("[5]", "[0,16]"),
        f32("[-4]", "[0,16]"),
        r#"{"a":{"dtype":"Q9","shape":[4],"data_offsets":[0,16]}}"#.to_owned(),
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}}"#
            .to_owned(),
        "[]".to_owned(),
        "{".repeat(5000),
        "\u{0}".repeat(32),
    ] {
        write_raw(&weights(dir.path()), &header, 16);
        let error = error(dir.path());
        assert!(error.contains("not a usable safetensors file"), "{header:.80}: {error}");
    }
}

#[test]
fn a_missing_tensor_is_named() {
    let dir = copy_of("llama");
    edit(dir.path(), |tensors| tensors.retain(|(name, _)| name != NORM));
    let error = error(dir.path());
    assert!(error.contains("model.safetensors: tensor model.norm.weight is missing\nhint: "), "{error}");

    let dir = copy_of("llama_linear");
    edit(dir.path(), |tensors| tensors.retain(|(name, _)| name != "lm_head.weight"));
    let error = self::error(dir.path());
    assert!(error.contains("lm_head.weight is missing\nhint: ") && error.contains("tie_word_embeddings"), "{error}");
}

#[test]
fn a_superfluous_tensor_is_named() {
    let dir = copy_of("llama");
    let bias = "model.layers.0.self_attn.q_proj.bias";
    edit(dir.path(), |tensors| tensors.push((bias.into(), TensorData::new(vec![0.0f32; 32], [32]))));
    let error = error(dir.path());
    assert!(error.contains(&format!("1 tensors have no place in the model of config.json, {bias}")), "{error}");
}

#[test]
fn another_shape_is_named_with_both() {
    let dir = copy_of("llama");
    edit(dir.path(), |tensors| *named(tensors, NORM) = TensorData::new(vec![1.0f32; 31], [31]));
    let error = error(dir.path());
    assert!(error.contains("tensor model.norm.weight has the shape [31], but config.json makes it [32]"), "{error}");

    let dir = copy_of("gpt2");
    let fused = "transformer.h.0.attn.c_attn.weight";
    edit(dir.path(), |tensors| *named(tensors, fused) = TensorData::new(vec![1.0f32; 32 * 96], [96, 32]));
    let error = self::error(dir.path());
    assert!(
        error.contains(&format!("tensor {fused} has the shape [96, 32], but config.json makes it [32, 96]")),
        "{error}"
    );
}

#[test]
fn numbers_that_are_no_floats_are_named() {
    let dir = copy_of("llama");
    edit(dir.path(), |tensors| *named(tensors, NORM) = TensorData::new(vec![1i64; 32], [32]));
    let error = error(dir.path());
    assert!(
        error.contains(
            "model.norm.weight is stored as I64, which is not supported; F64, F32, F16, BF16, F8_E4M3 and F8_E5M2 are"
        ),
        "{error}"
    );
}

#[test]
fn a_weight_that_is_no_number_is_named_with_its_place() {
    for (value, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let dir = copy_of("qwen3");
        edit(dir.path(), |tensors| {
            let mut values = vec![1.0; 32];
            values[17] = value;
            *named(tensors, NORM) = TensorData::new(values, [32]);
        });
        let error = error(dir.path());
        assert!(error.contains(&format!("tensor model.norm.weight holds {text} at position 17")), "{error}");
    }
}

#[test]
fn a_config_of_another_model_is_an_error_before_anything_is_allocated() {
    let dir = copy_of("llama");
    let path = dir.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    for (key, from, to) in [
        ("vocab_size", "97", "268435456"),
        ("intermediate_size", "64", "268435456"),
        ("num_hidden_layers", "2", "3"),
        ("num_hidden_layers", "2", "1"),
        ("num_key_value_heads", "2", "4"),
        ("head_dim", "8", "100000000"),
    ] {
        let changed = text.replace(&format!("\"{key}\": {from}"), &format!("\"{key}\": {to}"));
        assert_ne!(changed, text);
        fs::write(&path, changed).unwrap();
        let error = load(dir.path()).expect_err(key);
        let told = matches!(
            error,
            CheckpointError::Shape { .. }
                | CheckpointError::MissingTensor { .. }
                | CheckpointError::ExtraTensors { .. }
        );
        assert!(told, "{key}: {error}");
    }
}

#[test]
fn half_precision_is_read_as_float32() {
    for name in ["gpt2", "qwen3_window"] {
        for dtype in [burn::tensor::DType::F16, burn::tensor::DType::BF16] {
            let dir = copy_of(name);
            edit(dir.path(), |tensors| {
                for (_, data) in tensors {
                    *data = data.clone().convert_dtype(dtype);
                }
            });
            let rounded = load_model(dir.path(), &Device::flex()).unwrap();
            let exact = load_model(&golden_dir(name), &Device::flex()).unwrap();
            let largest = if dtype == burn::tensor::DType::F16 { 1.0 / 1024.0 } else { 1.0 / 128.0 };
            let mut exact_values = Vec::new();
            llm_model::named_params(&exact, &mut |_, data| exact_values.push(data.try_to_vec::<f32>().unwrap()));
            let mut exact_values = exact_values.into_iter();
            llm_model::named_params(&rounded, &mut |info, data| {
                for (ours, exact) in data.try_to_vec::<f32>().unwrap().iter().zip(exact_values.next().unwrap()) {
                    assert!((ours - exact).abs() <= largest * exact.abs() + 1e-7, "{}: {ours}, {exact}", info.name);
                }
            });
        }
    }
}

#[test]
fn what_older_programs_wrote_beside_the_weights_is_passed_over() {
    let dir = copy_of("gpt2");
    edit(dir.path(), |tensors| {
        // Without the name of the module around all others, and with the buffers of old versions.
        for (name, _) in tensors.iter_mut() {
            *name = name.trim_start_matches("transformer.").to_owned();
        }
        tensors.push(("h.0.attn.bias".into(), TensorData::new(vec![1u8; 64 * 64], [1, 1, 64, 64])));
        tensors.push(("h.0.attn.masked_bias".into(), TensorData::new(vec![-1e4f32], [1])));
        let embedding = named(tensors, "wte.weight").clone();
        tensors.push(("lm_head.weight".into(), embedding));
    });
    load(dir.path()).unwrap();

    // A head that is stored beside the embedding that it shares must be the same.
    edit(dir.path(), |tensors| *named(tensors, "lm_head.weight") = TensorData::new(vec![0.5f32; 97 * 32], [97, 32]));
    let error = error(dir.path());
    assert!(error.contains("lm_head.weight differs from") && error.contains("tie_word_embeddings"), "{error}");
}

/// Splits the weights in `dir` into two shards with an index.
fn shard(dir: &Path) {
    let tensors: Vec<_> = load_tensors(&weights(dir)).unwrap().into_iter().collect();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("model-00001-of-00002.safetensors", first), ("model-00002-of-00002.safetensors", second)] {
        save_tensors(&dir.join(file), tensors).unwrap();
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), file.into())));
    }
    fs::remove_file(weights(dir)).unwrap();
    write_index(dir, &map);
}

fn write_index(dir: &Path, map: &serde_json::Map<String, serde_json::Value>) {
    let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map});
    fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn shards_load_as_one_file_does() {
    for name in ["gpt2", "llama_llama3"] {
        let dir = copy_of(name);
        shard(dir.path());
        let mut all = Vec::new();
        for dir in [dir.path(), &golden_dir(name)] {
            let mut values = Vec::new();
            llm_model::named_params(&load_model(dir, &Device::flex()).unwrap(), &mut |_, data| values.push(data));
            all.push(values);
        }
        assert_eq!(all[0], all[1], "{name}");
    }
}

#[test]
fn a_missing_shard_and_an_index_that_leads_astray_are_errors() {
    let dir = copy_of("llama");
    shard(dir.path());
    let second = dir.path().join("model-00002-of-00002.safetensors");
    let held = fs::read(&second).unwrap();
    fs::remove_file(&second).unwrap();
    let error = error(dir.path());
    assert!(
        error.contains("model-00002-of-00002.safetensors: no such file") && error.contains("index.json"),
        "{error}"
    );

    // The index names a tensor that its shard lacks.
    fs::copy(dir.path().join("model-00001-of-00002.safetensors"), &second).unwrap();
    let error = self::error(dir.path());
    assert!(error.contains("is missing\nhint: model.safetensors.index.json says"), "{error}");

    fs::write(&second, held).unwrap();
    load(dir.path()).unwrap();
    for name in ["../model.safetensors", "/etc/passwd", "..", "", "a/b"] {
        let map = [("model.norm.weight".to_owned(), name.into())].into_iter().collect();
        write_index(dir.path(), &map);
        let error = self::error(dir.path());
        assert!(error.contains("not the name of a file in the same directory"), "{name}: {error}");
    }
    fs::write(dir.path().join("model.safetensors.index.json"), "{\"weight_map\": 3}").unwrap();
    assert!(matches!(load(dir.path()), Err(CheckpointError::Json { .. })));
}

#[test]
fn no_damaged_byte_in_the_header_panics() {
    let dir = copy_of("qwen3");
    let whole = fs::read(weights(dir.path())).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    // A few thousand loads; most stop at the header.
    for at in (0..header + 8).step_by(7) {
        for flip in [0x01, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            fs::write(weights(dir.path()), damaged).unwrap();
            let _ = load(dir.path());
        }
    }
}

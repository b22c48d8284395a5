//! Weights in FP8 against PyTorch, with the files that `scripts/golden_floats.py` made.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use common::{golden_dir, with};
use llm_checkpoint::{load_config, load_for_inference, load_model, load_tensors};
use llm_model::{CausalLm, named_params};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/float8").join(name)
}

fn parameters(model: &CausalLm) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    named_params(model, &mut |info, data| drop(all.insert(info.name.clone(), data.iter::<f32>().collect())));
    all
}

/// A tensor to be written: name, type, shape and bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// A directory with this configuration and these tensors.
fn directory(config: &Value, tensors: &[Stored]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let view = |(name, dtype, shape, bytes): &'_ Stored| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), Box::leak(bytes.clone().into_boxed_slice())).unwrap())
    };
    let bytes = safetensors::serialize(tensors.iter().map(view), None).unwrap();
    fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

/// The tensors of a file.
fn tensors(path: &Path) -> Vec<Stored> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, t)| (name, t.dtype(), t.shape().to_vec(), t.data().to_vec())).collect()
}

fn config(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
}

#[test]
fn all_codes_have_the_values_of_pytorch() {
    let values = load_tensors(&golden("values.safetensors")).unwrap();
    let base = tensors(&golden_dir("llama_linear").join("model.safetensors"));
    // 97 rows of 32 hold all 256 codes, but for those that are no numbers.
    for (name, dtype) in [("e4m3", Dtype::F8_E4M3), ("e5m2", Dtype::F8_E5M2)] {
        let expected: Vec<f32> = values[name].try_to_vec().unwrap();
        let finite: Vec<u8> = (0..=255).filter(|&code| expected[usize::from(code)].is_finite()).collect();
        assert_eq!(finite.len(), if name == "e4m3" { 254 } else { 248 });
        let codes: Vec<u8> = finite.iter().copied().cycle().take(97 * 32).collect();
        let with_codes = |codes: &[u8]| {
            let mut tensors = base.clone();
            let head = tensors.iter_mut().find(|(name, ..)| name == "lm_head.weight").unwrap();
            (head.1, head.3) = (dtype, codes.to_vec());
            directory(&config(&golden_dir("llama_linear")), &tensors)
        };
        let dir = with_codes(&codes);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let theirs: Vec<f32> = codes.iter().map(|code| expected[usize::from(*code)]).collect();
        for model in [load_model, load_for_inference].map(|load| load(dir.path(), &Device::flex()).unwrap()) {
            assert_eq!(bits(&parameters(&model)["lm_head.weight"]), bits(&theirs), "{name}");
        }
        let model = load_for_inference(dir.path(), &Device::flex()).unwrap();
        assert_eq!(model.lm_head.unwrap().weight.param().unwrap().val().dtype(), DType::F16);
        // The others are refused, as in any type.
        for code in (0..=255u8).filter(|&code| !expected[usize::from(code)].is_finite()) {
            let mut codes = codes.clone();
            codes[77] = code;
            let error = load_model(with_codes(&codes).path(), &Device::flex()).unwrap_err().to_string();
            let value = expected[usize::from(code)];
            assert!(error.contains(&format!("lm_head.weight holds {value} at position 77")), "{name} {code}: {error}");
        }
    }
}

#[test]
fn blocks_are_multiplied_by_their_scales() {
    let dir = golden("block");
    let expected = load_tensors(&dir.join("dequantized.safetensors")).unwrap();
    let exact = parameters(&load_model(&dir, &Device::flex()).unwrap());
    let rounded = parameters(&load_for_inference(&dir, &Device::flex()).unwrap());
    for (name, data) in &expected {
        assert_eq!(exact[name], data.try_to_vec::<f32>().unwrap(), "{name}");
        let near: Vec<f32> = data.clone().convert_dtype(DType::BF16).iter::<f32>().collect();
        assert_eq!(rounded[name], near, "{name}");
    }
    // Saved, it is a model as any other.
    let saved = tempfile::tempdir().unwrap();
    let model = load_model(&dir, &Device::flex()).unwrap();
    llm_checkpoint::save_config(saved.path(), model.config(), None, &[]).unwrap();
    llm_checkpoint::save_weights(saved.path(), &model).unwrap();
    assert_eq!(parameters(&load_model(saved.path(), &Device::flex()).unwrap()), exact);
}

#[test]
fn other_ways_to_scale_are_read_and_what_does_not_fit_is_refused() {
    let config = config(&golden("block"));
    let blocks = tensors(&golden("block").join("model.safetensors"));
    let weight = "model.layers.0.mlp.up_proj.weight";
    let codes = blocks.iter().find(|(name, ..)| name == weight).unwrap().clone();
    let table = load_tensors(&golden("values.safetensors")).unwrap()["e4m3"].try_to_vec::<f32>().unwrap();
    let rows = codes.2[0];
    // Scales of one weight in another form; those of the others are left as they are.
    let scaled = |end: &str, shape: &[usize], scales: &[f32]| {
        let mut tensors = blocks.clone();
        tensors.retain(|(name, ..)| *name != format!("{weight}_scale_inv"));
        let bytes = scales.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((format!("{weight}{end}"), Dtype::F32, shape.to_vec(), bytes));
        let input = weight.replace(".weight", ".input_scale");
        tensors.push((input, Dtype::F32, vec![1], 1.0f32.to_le_bytes().to_vec()));
        tensors
    };
    let by_row: Vec<f32> = (0..rows).map(|row| 0.5 + row as f32).collect();
    for (end, shape, scales) in [
        ("_scale", vec![], vec![0.25]),
        ("_scale_inv", vec![1], vec![0.25]),
        ("_scale", vec![rows, 1], by_row.clone()),
        ("_scale", vec![rows], by_row.clone()),
    ] {
        let dir = directory(&config, &scaled(end, &shape, &scales));
        let found = parameters(&load_model(dir.path(), &Device::flex()).unwrap()).remove(weight).unwrap();
        let scale = |i: usize| scales[(i / codes.2[1]).min(scales.len() - 1)];
        let expected: Vec<f32> = codes.3.iter().enumerate().map(|(i, &c)| table[usize::from(c)] * scale(i)).collect();
        assert_eq!(found, expected, "{end} {shape:?}");
    }
    let error = |config: &Value, tensors: &[Stored]| {
        load_model(directory(config, tensors).path(), &Device::flex()).unwrap_err().to_string()
    };
    let found = error(&config, &scaled("_scale", &[rows + 1], &vec![1.0; rows + 1]));
    assert!(found.contains("which does not fit a weight of the shape"), "{found}");
    let found = error(&config, &scaled("_other", &[1], &[1.0]));
    assert!(found.contains("up_proj.weight_other"), "{found}");
    let mut without = blocks.clone();
    without.retain(|(name, ..)| *name != format!("{weight}_scale_inv"));
    let found = error(&config, &without);
    assert!(found.contains("up_proj.weight_scale_inv is missing"), "{found}");
    // Without the configuration, nobody says what the scales are.
    let found = error(&with(&config, &json!({"quantization_config": null})), &blocks);
    assert!(found.contains("have no place in the model"), "{found}");
}

#[test]
fn quantized_weights_of_other_kinds_are_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let group = |weights: Value| json!({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {"weights": weights}}});
    let resolve = |quantization: &Value| {
        let config = with(&config(&golden_dir("llama")), &json!({"quantization_config": quantization}));
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        load_config(dir.path())
    };
    for good in [
        json!({"quant_method": "fp8"}),
        json!({"quant_method": "fp8", "weight_block_size": null}),
        json!({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}),
        group(json!({"num_bits": 8, "type": "float", "strategy": "channel"})),
    ] {
        resolve(&good).unwrap();
    }
    for (bad, expected) in [
        (json!({"bits": 4}), "quantization_config.quant_method\" is missing"),
        (json!({"quant_method": "gptq"}), "quant_method is \"gptq\", which is not supported"),
        (json!({"quant_method": "awq"}), "or a GGUF file of it"),
        (json!({"quant_method": "fp8", "weight_block_size": [128]}), "weight_block_size is [128]"),
        (json!({"quant_method": "fp8", "weight_block_size": [0, 128]}), "weight_block_size is [0,128]"),
        (json!({"quant_method": "compressed-tensors", "format": "pack-quantized"}), "format is \"pack-quantized\""),
        (group(json!({"num_bits": 4, "type": "float"})), "weights.num_bits is 4"),
        (group(json!({"num_bits": 8, "type": "int"})), "weights.type is \"int\""),
    ] {
        let error = resolve(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

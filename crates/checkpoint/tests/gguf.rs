//! Models as GGUF files: what is written is read again, and what llama.cpp would not compute is not written.

mod common;

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{GOLDEN, golden_dir, golden_model, golden_values, ints, values};
use llm_checkpoint::{
    CheckpointError, TensorType, load_config, load_model, load_tensors, save_config, save_gguf, save_weights,
};
use llm_model::{
    CausalLm, Dropout, ModelConfig, ModelSection, Position, PositionKind, RopeScaling, Rotary, named_params,
    replace_params,
};

fn device() -> Device {
    Device::flex()
}

/// Every parameter by name.
fn weights(model: &CausalLm) -> Vec<(String, Vec<f32>)> {
    let mut all = Vec::new();
    named_params(model, &mut |info, data| all.push((info.name.clone(), data.try_to_vec().unwrap())));
    all
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// A golden model, changed where llama.cpp computes one thing only.
fn exportable(name: &str) -> CausalLm {
    let golden = golden_model(name);
    let mut config = golden.config().clone();
    match name {
        "gemma3" => config.query_pre_attn_scalar = None,
        "gemma3_parameters" => {
            config.query_pre_attn_scalar = None;
            let other = golden_model("gemma3").config().clone();
            (config.position, config.local_rotary) = (other.position, other.local_rotary);
        }
        "qwen2" | "qwen3_window" => (config.sliding_window, config.windowed_layers) = (None, vec![]),
        "smollm3" => {
            (config.sliding_window, config.windowed_layers) = (None, vec![]);
            // Every fourth layer of three.
            config.unrotated_layers = vec![];
        }
        "llama_yarn" => {
            let scaling = RopeScaling::Yarn {
                factor: 4.0,
                original_context_length: 16,
                beta_fast: 3.0,
                beta_slow: 0.5,
                truncate: true,
                attention_factor: Some(1.0625),
            };
            config.position = Position::Rotary(Rotary { scaling, ..Rotary::new(1e4) });
        }
        "llama_dynamic" => config.position = Position::Rotary(Rotary::new(1e4)),
        _ => {}
    }
    if config == *golden.config() {
        return golden;
    }
    let mut all = weights(&golden).into_iter();
    let replaced = replace_params(CausalLm::new(&config, &device()), &mut |info| {
        let (name, values) = all.next().unwrap();
        assert_eq!(name, info.name);
        Ok::<_, CheckpointError>(Some(TensorData::new(values, info.shape.clone()).into()))
    });
    replaced.unwrap()
}

/// What a GGUF file keeps of a config: dropout is for training only.
fn kept(config: &ModelConfig) -> ModelConfig {
    ModelConfig { dropout: Dropout::default(), ..config.clone() }
}

#[test]
fn every_family_goes_through_gguf_and_back() {
    let folder = tempfile::tempdir().unwrap();
    // One that shares its head is refused below.
    for name in GOLDEN.into_iter().filter(|name| *name != "olmo3_parameters") {
        let model = exportable(name);
        let file = folder.path().join(format!("{name}.gguf"));
        save_gguf(&file, &model, None, TensorType::F32).unwrap_or_else(|e| panic!("{name}: {e}"));
        let config = load_config(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(kept(&config), kept(model.config()), "{name}");
        let loaded = load_model(&file, &device()).unwrap();
        for ((tensor, ours), (_, theirs)) in weights(&loaded).iter().zip(&weights(&model)) {
            // Gemma's norms are stored with 1 added, which rounds.
            if name.starts_with("gemma3") && tensor.contains("norm") {
                let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1.5e-7, "{name}: {tensor} is off by {off}");
            } else {
                assert_eq!(bits(ours), bits(theirs), "{name}: {tensor}");
            }
        }
        let ids: Tensor<2, Int> = ints(&golden_values(name)["ids"], &device());
        let [ours, theirs] = [&loaded, &model].map(|model| values(model.forward(ids.clone(), None)));
        let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < if name.starts_with("gemma3") { 1e-5 } else { f32::MIN_POSITIVE }, "{name}: logits off by {off}");
    }
}

#[test]
fn a_directory_comes_back_bit_for_bit() {
    for name in ["gpt2", "llama", "llama_llama3", "mistral", "qwen3", "olmo2", "phi3_longrope", "olmo3", "granite"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.gguf");
        save_gguf(&file, &golden_model(name), None, TensorType::F32).unwrap();
        let back = load_model(&file, &device()).unwrap();
        save_config(folder.path(), back.config(), None, &[]).unwrap();
        save_weights(folder.path(), &back).unwrap();
        assert_eq!(kept(&load_config(folder.path()).unwrap()), kept(&load_config(&golden_dir(name)).unwrap()));
        let [ours, mut theirs] =
            [folder.path(), &golden_dir(name)].map(|dir| load_tensors(&dir.join("model.safetensors")).unwrap());
        // `transformers` stores a shared head twice in some files.
        if back.config().tied {
            theirs.remove("lm_head.weight");
        }
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
        for (tensor, data) in &ours {
            assert_eq!(data.shape(), theirs[tensor].shape());
            assert_eq!(data.as_bytes(), theirs[tensor].as_bytes(), "{name}: {tensor}");
        }
    }
}

#[test]
fn what_llama_cpp_computes_differently_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (name, reason) in [
        ("qwen2", "sliding_window is 9, but GGUF has none for qwen2"),
        ("qwen3_window", "sliding_window is 8, but GGUF has none for qwen3"),
        ("smollm3", "no_rope_layers is [1,0,1]"),
        ("llama_dynamic", "no dynamic scaling"),
        ("llama_yarn", "rope_scaling.truncate is false"),
        ("gemma3", "query_pre_attn_scalar is 14"),
        ("olmo3_parameters", "it shares its head with the embedding"),
        ("gemma3_parameters", "its configuration has no rope_local_base_freq"),
    ] {
        let file = folder.path().join(format!("{name}.gguf"));
        let error = save_gguf(&file, &golden_model(name), None, TensorType::F32).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("hint: "), "{name}: {error}");
        assert!(!file.exists());
    }
    let own = ModelSection { qk_norm: Some(true), position: Some(PositionKind::Rotary), ..ModelSection::default() };
    let model = CausalLm::new(&own.resolve(9).unwrap(), &device());
    let error = save_gguf(&folder.path().join("own.gguf"), &model, None, TensorType::F32).unwrap_err().to_string();
    let reason = "no published architecture has layernorm with rotary positions, normalized queries and keys";
    assert!(error.contains(reason) && error.contains("hint: the model runs only in this program"), "{error}");
    let notes =
        save_gguf(&folder.path().join("mistral.gguf"), &golden_model("mistral"), None, TensorType::F32).unwrap();
    assert!(notes[0].contains("beyond 7 tokens"), "{notes:?}");
}

#[test]
fn quantized_files_are_small_and_near() {
    let folder = tempfile::tempdir().unwrap();
    // A model wide enough for blocks of 256.
    let section = ModelSection {
        family: llm_model::Family::Llama,
        hidden_size: 256,
        num_layers: 1,
        num_heads: 4,
        intermediate_size: Some(512),
        ..ModelSection::default()
    };
    let mut model = CausalLm::new(&section.resolve(300).unwrap(), &device());
    let mut seed = 1u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(seed) / f64::from(u32::MAX) - 0.5) as f32 * 0.1
    };
    model = replace_params(model, &mut |info| {
        let values: Vec<f32> = (0..info.len()).map(|_| random()).collect();
        Ok::<_, CheckpointError>(Some(TensorData::new(values, info.shape.clone()).into()))
    })
    .unwrap();
    let written = |kind: TensorType| {
        let file = folder.path().join(format!("{kind}.gguf"));
        let notes = save_gguf(&file, &model, None, kind).unwrap();
        assert_eq!(notes, Vec::<String>::new());
        let loaded = weights(&load_model(&file, &device()).unwrap());
        let source = weights(&model);
        let off = loaded.iter().zip(&source).map(|((name, a), (_, b))| {
            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Norms stay in float32.
            assert!(!name.contains("norm") || off == 0.0, "{name}");
            off
        });
        (std::fs::metadata(&file).unwrap().len(), off.fold(0.0, f32::max))
    };
    let [f32, f16, bf16, q8, q4, q4k] =
        [TensorType::F32, TensorType::F16, TensorType::Bf16, TensorType::Q8_0, TensorType::Q4_0, TensorType::Q4K]
            .map(written);
    let values = model.config().parameters();
    let head = f64::from(300 * 256); // in 8 bits where all else has four
    for ((size, off), bytes, most) in [
        (f32, 4.0, 0.0),
        (f16, 2.0, 3e-5),
        (bf16, 2.0, 2e-4),
        (q8, 1.0625, 3e-4),
        (q4, 0.5625, 8e-3),
        (q4k, 0.5625, 6e-3),
    ] {
        let expected = bytes * (values - head) + bytes.max(1.0625) * head;
        assert!((size as f64 - expected).abs() < 0.02 * values, "{size} bytes for {values} values, {bytes} each");
        assert!(off <= most, "{bytes} bytes a value: off by {off}");
    }
    // Rows of 32 do not fill blocks of 256.
    let notes = save_gguf(&folder.path().join("narrow.gguf"), &golden_model("llama"), None, TensorType::Q4K).unwrap();
    assert!(notes[0].contains("stored as Q8_0: their rows of 32 values do not fill blocks of 256"), "{notes:?}");
    let refused = save_gguf(&folder.path().join("q6.gguf"), &model, None, TensorType::Q6K).unwrap_err();
    assert!(refused.to_string().contains("Q6_K is read, but not written"), "{refused}");
}

#[test]
fn a_missing_file_and_another_kind_of_file_say_so() {
    let error = load_config(Path::new("no/such.gguf")).unwrap_err().to_string();
    assert!(error.starts_with("no/such.gguf: no such file\nhint: "), "{error}");
    let safetensors = golden_dir("llama").join("model.safetensors");
    let error = load_config(&safetensors).unwrap_err().to_string();
    assert!(error.contains("not a usable GGUF file: it begins with the bytes"), "{error}");
}

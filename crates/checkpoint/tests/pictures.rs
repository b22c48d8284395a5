//! Gemma 3 with pictures: its text part is a model of text.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use common::{assert_close, golden_dir, golden_values, ints, resolve, values, with};
use llm_checkpoint::{
    ModelSource, load_config, load_for_inference, load_model, load_tensors, save_config, save_tensors, save_weights,
};
use llm_model::{CausalLm, RopeScaling, Rotary};
use serde_json::{Value, json};

/// The golden model of text as the text part of one with pictures, with its tensors under other names.
fn with_pictures(dir: &Path, rename: impl Fn(&str) -> String) {
    let text: Value = serde_json::from_slice(&fs::read(golden_dir("gemma3").join("config.json")).unwrap()).unwrap();
    let config = json!({
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": text,
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 8},
        "mm_tokens_per_image": 4,
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let tensors = load_tensors(&golden_dir("gemma3").join("model.safetensors")).unwrap();
    let mut tensors: BTreeMap<String, TensorData> =
        tensors.into_iter().map(|(name, data)| (rename(&name), data)).collect();
    for (name, size) in [("vision_tower.vision_model.head.weight", 24), ("multi_modal_projector.norm.weight", 8)] {
        tensors.insert(rename(name), TensorData::new(vec![0.5f32; size], [size]));
    }
    save_tensors(&dir.join("model.safetensors"), &tensors.into_iter().collect::<Vec<_>>()).unwrap();
}

fn logits(model: &CausalLm) -> Vec<f32> {
    values(model.forward(ints(&golden_values("gemma3")["ids"], &Device::flex()), None))
}

#[test]
fn the_text_part_is_loaded_whatever_its_tensors_are_called() {
    let device = Device::flex();
    let expected: Vec<f32> = golden_values("gemma3")["logits"].try_to_vec().unwrap();
    let published =
        |name: &str| if name.starts_with("model.") { format!("language_model.{name}") } else { name.into() };
    let since_5 = |name: &str| match name.strip_prefix("model.") {
        Some(inner) => format!("model.language_model.{inner}"),
        None => format!("model.{name}"),
    };
    for rename in [&published as &dyn Fn(&str) -> String, &since_5] {
        let dir = tempfile::tempdir().unwrap();
        with_pictures(dir.path(), rename);
        assert_eq!(load_config(dir.path()).unwrap(), load_config(&golden_dir("gemma3")).unwrap());
        for model in [load_model, load_for_inference].map(|load| load(dir.path(), &device).unwrap()) {
            assert_close("text part", &logits(&model), &expected, 1e-4);
        }
        let left_out = ModelSource::open(dir.path()).unwrap().other_parts().unwrap();
        assert_eq!((left_out.tensors, left_out.parameters), (2, 32));
        // Written, it is a model of text.
        let out = tempfile::tempdir().unwrap();
        let model = load_model(dir.path(), &device).unwrap();
        save_config(out.path(), model.config(), Some(2), &[1]).unwrap();
        save_weights(out.path(), &model).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(out.path().join("config.json")).unwrap()).unwrap();
        assert_eq!(written["model_type"], "gemma3_text");
        assert_close("written", &logits(&load_model(out.path(), &device).unwrap()), &expected, 1e-4);
        assert_eq!(ModelSource::open(out.path()).unwrap().other_parts().unwrap().tensors, 0);
    }
}

#[test]
fn tensors_that_are_missing_or_too_many_are_told_by_their_names_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let odd = |name: &str| match name {
        "model.norm.weight" => "language_model.model.nrom.weight".to_owned(),
        _ => format!("language_model.{name}"),
    };
    with_pictures(dir.path(), odd);
    let error = load_model(dir.path(), &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("model.norm.weight is missing"), "{error}");
}

#[test]
fn what_published_configurations_leave_out_is_as_transformers_has_it() {
    // Those of Gemma 3 4B.
    let text = json!({
        "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    });
    let whole = json!({"model_type": "gemma3", "text_config": text, "vision_config": {}});
    let config = resolve(&whole).unwrap();
    assert_eq!((config.vocab_size, config.context_length), (262_208, 131_072));
    assert_eq!((config.num_heads, config.num_kv_heads, config.head_dim), (8, 4, 256));
    assert_eq!((config.hidden_size, config.intermediate_size, config.num_layers), (2560, 10240, 34));
    assert_eq!((config.sliding_window, config.windowed_layers.len(), config.tied), (Some(1024), 29, true));
    let scaled = Rotary { scaling: RopeScaling::Linear { factor: 8.0 }, ..Rotary::new(1e6) };
    assert_eq!(config.position, llm_model::Position::Rotary(scaled));
    assert_eq!(config.local_rotary, Some(Rotary::new(1e4)));
    assert!(!resolve(&with(&whole, &json!({"tie_word_embeddings": false}))).unwrap().tied);
    let error = resolve(&with(&whole, &json!({"text_config": null}))).unwrap_err().to_string();
    assert!(error.contains("\"text_config\" is missing"), "{error}");
}

#[test]
fn other_models_with_pictures_are_refused_by_name() {
    for kind in ["mistral3", "llava", "qwen2_vl", "qwen2_5_vl"] {
        let config = json!({"model_type": kind, "vision_config": {}, "rope_scaling": {"type": "mrope"}});
        let error = resolve(&config).unwrap_err().to_string();
        assert!(error.contains(&format!("model_type is \"{kind}\", which is not supported")), "{error}");
        assert!(error.contains("\nhint: use a text-only model of the same series"), "{error}");
    }
}

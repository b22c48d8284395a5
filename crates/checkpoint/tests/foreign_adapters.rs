//! Adapters that others wrote: under other names, by mlx-lm, with settings of their own.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use common::{assert_close, golden_dir, golden_values, ints, values, with};
use llm_checkpoint::{describe_adapter, load_adapter, load_adapters, load_model, load_tensors, save_tensors};
use llm_model::CausalLm;
use serde_json::{Value, json};
use tempfile::TempDir;

type Tensors = BTreeMap<String, TensorData>;

fn adapter_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adapters").join(name)
}

fn tensors(name: &str) -> Tensors {
    load_tensors(&adapter_dir(name).join("adapter_model.safetensors")).unwrap()
}

fn config(name: &str) -> Value {
    serde_json::from_slice(&fs::read(adapter_dir(name).join("adapter_config.json")).unwrap()).unwrap()
}

fn write(config: &Value, file: &str, tensors: Tensors) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
    save_tensors(&dir.path().join(file), &tensors.into_iter().collect::<Vec<_>>()).unwrap();
    dir
}

const PEFT: &str = "adapter_model.safetensors";
const MLX: &str = "adapters.safetensors";

fn base(name: &str) -> CausalLm {
    load_model(&golden_dir(name), &Device::flex()).unwrap()
}

fn logits(model: &CausalLm, base: &str) -> Vec<f32> {
    values(model.forward(ints(&golden_values(base)["ids"], &Device::flex()), None))
}

fn expected(name: &str) -> Vec<f32> {
    load_tensors(&adapter_dir(name).join("golden.safetensors")).unwrap()["logits"].try_to_vec().unwrap()
}

fn error(dir: &TempDir, base_name: &str) -> String {
    load_adapter(dir.path(), base(base_name)).unwrap_err().to_string()
}

/// The logits of an adapter of PEFT whose tensors have other names.
fn renamed(name: &str, base_name: &str, rename: impl Fn(&str) -> String) -> Vec<f32> {
    let tensors = tensors(name).into_iter().map(|(name, data)| (rename(&name), data)).collect();
    let dir = write(&config(name), PEFT, tensors);
    logits(&load_adapter(dir.path(), base(base_name)).unwrap(), base_name)
}

#[test]
fn the_names_of_tensors_may_have_more_or_less_around_them() {
    let adapter = |name: &str| {
        let name = name.replace("lora_A.weight", "lora_A.default.weight");
        let name = name.replace("lora_B.weight", "lora_B.default.weight");
        if name.contains("magnitude") || name.contains("embedding_") { format!("{name}.default") } else { name }
    };
    let inner = |name: &str| name.replace("base_model.model.", "");
    let published = |name: &str| name.replace("base_model.model.", "base_model.model.language_model.");
    let since_5 = |name: &str| name.replace("base_model.model.model.", "base_model.model.model.language_model.");
    let bare = |name: &str| name.replace("base_model.model.model.", "");
    for (name, base_name) in [("llama", "llama"), ("llama_dora", "llama"), ("embedding", "gemma3"), ("qwen3", "qwen3")]
    {
        for rename in [&adapter as &dyn Fn(&str) -> String, &inner, &published, &since_5, &bare] {
            assert_close(name, &renamed(name, base_name, rename), &expected(name), 1e-4);
        }
    }
    let saved = |name: &str| name.replace("norm.weight", "norm.modules_to_save.default.weight");
    assert_close("saved", &renamed("saved_modules", "llama_linear", saved), &expected("saved_modules"), 1e-4);
}

#[test]
fn one_file_holds_one_adapter_and_no_tensor_twice() {
    let mut both = tensors("llama");
    for (name, data) in tensors("llama") {
        both.insert(name.replace(".weight", ".other.weight"), data.clone());
        both.remove(&name);
        both.insert(name.replace("lora_A.weight", "lora_A.one.weight"), data);
    }
    let found = error(&write(&config("llama"), PEFT, both), "llama");
    assert!(found.contains("several adapters, ") || found.contains("are the same tensor"), "{found}");
    let mut twice = tensors("llama");
    let (name, data) = twice.first_key_value().map(|(name, data)| (name.clone(), data.clone())).unwrap();
    twice.insert(name.replace("base_model.model.", ""), data);
    let found = error(&write(&config("llama"), PEFT, twice), "llama");
    assert!(found.contains("are the same tensor"), "{found}");
}

#[test]
fn tensors_of_pictures_are_left_out_and_counted() {
    let mut all = tensors("llama");
    let vision = "base_model.model.vision_tower.encoder.layers.0.q_proj.lora_A.weight";
    all.insert(vision.into(), TensorData::new(vec![1.0f32; 8], [2, 4]));
    let dir = write(&config("llama"), PEFT, all);
    assert_eq!(describe_adapter(dir.path()).unwrap().other_parts, 1);
    let model = load_adapter(dir.path(), base("llama")).unwrap();
    assert_close("text", &logits(&model, "llama"), &expected("llama"), 1e-4);
}

#[test]
fn settings_that_nobody_knows_are_told_and_others_have_a_way_out() {
    let mut unknown = with(&config("llama"), &json!({"lorap_emb_lr": 1e-6, "lorap_lr_ratio": null, "new": "yes"}));
    let dir = write(&unknown, PEFT, tensors("llama"));
    assert_eq!(describe_adapter(dir.path()).unwrap().unknown_settings, ["lorap_emb_lr", "new"]);
    let model = load_adapter(dir.path(), base("llama")).unwrap();
    assert_close("unknown", &logits(&model, "llama"), &expected("llama"), 1e-4);
    for (key, value, hint) in [
        ("init_lora_weights", json!("pissa"), "path_initial_model_for_weight_conversion"),
        ("lora_bias", json!(true), "merge_and_unload"),
        ("peft_type", json!("LOHA"), "merge_and_unload"),
        ("layer_replication", json!([[0, 1]]), "merge_and_unload"),
        ("task_type", json!("SEQ_CLS"), "a head of their own"),
    ] {
        unknown = with(&config("llama"), &json!({key: value}));
        let found = error(&write(&unknown, PEFT, tensors("llama")), "llama");
        assert!(found.contains(key) && found.contains("\nhint: ") && found.contains(hint), "{found}");
    }
}

/// Rows to columns.
fn transposed(data: &TensorData) -> TensorData {
    let [rows, columns] = [data.shape()[0], data.shape()[1]];
    let values: Vec<f32> = data.try_to_vec().unwrap();
    let turned = (0..rows * columns).map(|i| values[i % rows * columns + i / rows]).collect::<Vec<_>>();
    TensorData::new(turned, [columns, rows])
}

/// An adapter of PEFT as mlx-lm would have written it.
fn as_mlx(name: &str, kind: &str, scale: f64, rank: usize) -> TempDir {
    let rename = |(name, data): (String, TensorData)| {
        let name = name.replace("base_model.model.", "");
        if name.contains("base_layer") {
            return None;
        }
        Some(match name.replace("lora_embedding_", "lora_").replace("lora_magnitude_vector", "m") {
            name if name.contains("lora_A") => {
                (name.replace("lora_A", "lora_a").replace(".weight", ""), transposed(&data))
            }
            name if name.contains("lora_B") => {
                (name.replace("lora_B", "lora_b").replace(".weight", ""), transposed(&data))
            }
            name => (name, data),
        })
    };
    let config = json!({
        "fine_tune_type": kind, "num_layers": 2, "model": "org/base", "learning_rate": 1e-5,
        "lora_parameters": {"rank": rank, "scale": scale, "dropout": 0.0, "keys": ["self_attn.q_proj"]},
    });
    write(&config, MLX, tensors(name).into_iter().filter_map(rename).collect())
}

#[test]
fn adapters_of_mlx_lm_multiply_by_their_scale() {
    // alpha / rank of the adapters of PEFT
    for (name, base_name, kind, scale, rank) in [
        ("llama", "llama", "lora", 1.5, 4),
        ("llama_dora", "llama", "dora", 2.0, 3),
        ("qwen3", "qwen3", "lora", 1.0, 2),
        ("embedding", "gemma3", "lora", 2.0, 2),
    ] {
        let dir = as_mlx(name, kind, scale, rank);
        let model = load_adapter(dir.path(), base(base_name)).unwrap();
        assert_close(name, &logits(&model, base_name), &expected(name), 1e-4);
        assert_close(name, &logits(&model.merge_lora(), base_name), &expected(name), 1e-4);
        let found = describe_adapter(dir.path()).unwrap();
        assert_eq!((found.format, found.rank, found.alpha), ("mlx-lm", rank, scale * rank as f64));
        assert_eq!((found.base.as_deref(), found.dora), (Some("org/base"), kind == "dora"));
        assert!(found.targets.contains(&if name == "qwen3" { "k_proj" } else { "q_proj" }.to_owned()));
    }
    let full = json!({"fine_tune_type": "full", "num_layers": 1});
    let norm = TensorData::new(vec![2.0f32; 32], [32]);
    let dir = write(&full, MLX, Tensors::from([("model.norm.weight".to_owned(), norm)]));
    assert_eq!(describe_adapter(dir.path()).unwrap().replaced, ["model.norm.weight"]);
    let model = load_adapter(dir.path(), base("llama")).unwrap();
    assert_eq!(values(model.model.norm.weight.val()), [2.0; 32]);
    // Whether `alpha` counts depends on the version; 4 is the rank, with which it does not matter.
    let with_alpha = |alpha: u32| {
        let dir = as_mlx("llama", "lora", 1.5, 4);
        let parameters = json!({"rank": 4, "scale": 1.5, "alpha": alpha});
        let config = json!({"fine_tune_type": "lora", "lora_parameters": parameters});
        fs::write(dir.path().join("adapter_config.json"), config.to_string()).unwrap();
        load_adapter(dir.path(), base("llama")).map_err(|error| error.to_string())
    };
    assert!(with_alpha(4).is_ok());
    let found = with_alpha(16).unwrap_err();
    assert!(
        found.contains("lora_parameters.alpha is 16") && found.contains("\nhint: remove it; if a version of mlx-lm"),
        "{found}"
    );
}

#[test]
fn what_is_replaced_moves_by_the_weight_and_the_rest_stays_as_it_was() {
    let name = "saved_modules";
    let adapter = load_adapter(&adapter_dir(name), base("llama_linear")).unwrap();
    let plain = base("llama_linear");
    let norm = |model: &CausalLm| values(model.model.norm.weight.val());
    for weights in [vec![0.25], vec![0.5, -0.25], vec![0.0]] {
        let dir = adapter_dir(name);
        let all: Vec<(&Path, f64)> = weights.iter().map(|weight| (dir.as_path(), *weight)).collect();
        let moved = load_adapters(&all, base("llama_linear")).unwrap();
        let sum: f32 = weights.iter().sum::<f64>() as f32;
        let between: Vec<f32> = norm(&plain).iter().zip(norm(&adapter)).map(|(a, b)| a + sum * (b - a)).collect();
        assert_close("norm", &norm(&moved), &between, 1e-6);
    }
    // The embedding that an adapter of the head leaves alone is the base's, and only the head is another.
    let model = load_adapter(&adapter_dir("head_of_tied"), base("llama")).unwrap();
    assert!(base("llama").config().tied && !model.config().tied);
    let merged = model.merge_lora();
    let embedding = |model: &CausalLm| values(model.model.embed_tokens.weight.param().unwrap().val());
    assert_eq!(embedding(&merged), embedding(&base("llama")));
    assert_ne!(values(merged.lm_head.as_ref().unwrap().weight.param().unwrap().val()), embedding(&merged));
    // An adapter that carries the base's own tensors leaves even their number type.
    let kept = load_adapter(&adapter_dir("with_embeddings"), base("llama_linear")).unwrap();
    assert_eq!(embedding(&kept), embedding(&plain));
}

#[test]
fn another_vocabulary_and_rows_beyond_it_are_told() {
    let resized = |name: &str, tensor: &str, shape: [usize; 2]| {
        let mut all = tensors(name);
        let data = TensorData::new(vec![0.1f32; shape[0] * shape[1]], shape);
        assert!(all.insert(format!("base_model.model.{tensor}"), data).is_some(), "{tensor}");
        write(&config(name), PEFT, all)
    };
    for (dir, base_name) in [
        (resized("with_embeddings", "model.embed_tokens.weight", [99, 32]), "llama_linear"),
        (resized("embedding", "model.embed_tokens.lora_embedding_A", [2, 99]), "gemma3"),
        (resized("head_of_tied", "lm_head.base_layer.weight", [99, 32]), "llama"),
    ] {
        let found = error(&dir, base_name);
        assert!(found.contains("a vocabulary of 99 tokens, but the model has 97"), "{found}");
        assert!(found.contains("model.resize_token_embeddings(99)"), "{found}");
    }
    let rows = with(&config("tokens"), &json!({"trainable_token_indices": [1, 2, 97]}));
    let found = error(&write(&rows, PEFT, tensors("tokens")), "llama_linear");
    assert!(found.contains("replaces row 97, but the model has 97"), "{found}");
    let rows = with(&config("tokens"), &json!({"trainable_token_indices": [1, 2]}));
    let found = error(&write(&rows, PEFT, tensors("tokens")), "llama_linear");
    assert!(found.contains("[3, 32]") && found.contains("[2, 32]"), "{found}");
}

#[test]
fn a_description_names_what_is_replaced() {
    let found = describe_adapter(&adapter_dir("tokens")).unwrap();
    assert_eq!(found.replaced, ["model.embed_tokens (rows)"]);
    let found = describe_adapter(&adapter_dir("saved_modules")).unwrap();
    assert_eq!(found.replaced, ["lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"]);
    assert_eq!((found.targets, found.layers), (vec!["q_proj".to_owned()], 2));
    let found = describe_adapter(&adapter_dir("embedding_gpt2")).unwrap();
    assert_eq!((found.targets.join(" "), found.layers), ("c_fc wpe wte".to_owned(), 4));
}

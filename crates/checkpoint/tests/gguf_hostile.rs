//! GGUF files that describe no model, or another one than their tensors: each an error that names what is wrong.

mod common;

use std::path::PathBuf;

use burn::tensor::Device;
use common::{Metadata, Tensors, golden_model, read_gguf, write_gguf};
use llm_checkpoint::{TensorType, load_model, open_tokenizer, save_gguf};
use llm_gguf::{Array, TensorPlan, Value};
use tempfile::TempDir;

/// The file of a golden model after `change`.
fn changed(name: &str, change: impl FnOnce(&mut Metadata, &mut Tensors)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    save_gguf(&file, &golden_model(name), None, TensorType::F32).unwrap();
    let (mut metadata, mut tensors) = read_gguf(&file);
    change(&mut metadata, &mut tensors);
    write_gguf(&file, &metadata, &tensors);
    (folder, file)
}

fn set(metadata: &mut Metadata, key: &str, value: Value) {
    metadata.retain(|(known, _)| known != key);
    metadata.push((key.to_owned(), value));
}

#[track_caller]
fn fails(name: &str, reason: &str, change: impl FnOnce(&mut Metadata, &mut Tensors)) {
    let (_folder, file) = changed(name, change);
    let error = load_model(&file, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}\nlacks {reason}");
}

#[test]
fn unchanged_it_loads() {
    let (_folder, file) = changed("llama", |_, _| ());
    load_model(&file, &Device::flex()).unwrap();
}

#[test]
fn metadata_that_is_not_understood_is_named() {
    fails("llama", "general.architecture is \"mamba\", but it must be \"gpt2\", \"llama\"", |m, _| {
        set(m, "general.architecture", Value::String("mamba".into()));
    });
    fails("llama", "the key \"llama.block_count\" is missing", |m, _| m.retain(|(key, _)| key != "llama.block_count"));
    fails("llama", "llama.attention.scale is 2, but it must be absent", |m, _| {
        set(m, "llama.attention.scale", Value::F32(2.0));
    });
    fails("llama", "llama.expert_count is 8, but it must be 0", |m, _| set(m, "llama.expert_count", Value::U32(8)));
    fails(
        "llama",
        "llama.rope.scaling.type is \"longrope\", but it must be \"none\", \"linear\" or \"yarn\"",
        |m, _| {
            set(m, "llama.rope.scaling.type", Value::String("longrope".into()));
        },
    );
    fails("llama", "llama.rope.dimension_count is 4", |m, _| set(m, "llama.rope.dimension_count", Value::U32(4)));
    fails("llama", "llama.block_count is \"two\"", |m, _| set(m, "llama.block_count", Value::String("two".into())));
    fails("llama", "gemma3.block_count is 200000000, but it must be at most 10000", |m, _| {
        m.iter_mut().for_each(|(key, _)| *key = key.replace("llama.", "gemma3."));
        set(m, "general.architecture", Value::String("gemma3".into()));
        set(m, "gemma3.block_count", Value::U32(200_000_000));
    });
    fails("llama", "llama.attention.layer_norm_rms_epsilon is NaN", |m, _| {
        set(m, "llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN));
    });
    fails("llama", "llama.attention.head_count_kv is a list of 2", |m, _| {
        set(m, "llama.attention.head_count_kv", Value::Array(Array::U32(vec![1, 2])));
    });
    // Not by the keys of a config.json, which is not there.
    let multiple = "llama.attention.head_count is 4, but it must be a multiple of llama.attention.head_count_kv = 3";
    fails("llama", multiple, |m, _| set(m, "llama.attention.head_count_kv", Value::U32(3)));
    fails("granite", "granite.rope.scaling.finetuned is false, but it must be true", |m, _| {
        set(m, "granite.rope.scaling.finetuned", Value::Bool(false));
    });
    fails("granite", "granite.logit_scale is 0, but it must be a positive number", |m, _| {
        set(m, "granite.logit_scale", Value::F32(0.0));
    });
    fails("llama", "llama.embedding_length is 999999999999", |m, _| {
        set(m, "llama.embedding_length", Value::U64(999_999_999_999));
    });
}

#[test]
fn keys_that_change_nothing_are_no_reason_to_refuse_a_file() {
    let text = |text: &str| Value::String(text.to_owned());
    let one = Value::F32(1.0);
    let (_folder, file) = changed("llama", |m, _| {
        for (key, value) in [
            ("llama.tensor_data_layout", text("Meta AI original pth")),
            ("llama.attention.causal", Value::Bool(true)),
            ("llama.rope.scaling.attn_factor", one.clone()),
            ("llama.rope.scale_linear", one.clone()),
            ("llama.logit_scale", one.clone()),
            ("llama.residual_scale", Value::F64(1.0)),
            ("llama.embedding_scale", Value::U8(1)),
            ("llama.attention.clamp_kqv", Value::F32(0.0)),
            ("llama.attention.max_alibi_bias", Value::F32(0.0)),
            ("llama.pooling_type", Value::U32(0)),
            ("llama.expert_count", Value::U32(0)),
            ("llama.use_parallel_residual", Value::Bool(false)),
            ("general.lists", Value::Array(Array::Lists(vec![Array::U8(vec![1]), Array::Lists(vec![])]))),
        ] {
            set(m, key, value);
        }
    });
    load_model(&file, &Device::flex()).unwrap();
    for (key, value, reason) in [
        (
            "tensor_data_layout",
            text("upside down"),
            "\"upside down\", but it must be \"reference\" or \"Meta AI original pth\"",
        ),
        ("attention.causal", Value::Bool(false), "false, but it must be true; this program computes nothing else"),
        ("attention.causal", Value::U8(1), "1, but it must be true"),
        ("rope.scaling.attn_factor", Value::F32(1.5), "1.5, but it must be 1; this program computes nothing else"),
        ("logit_scale", Value::F32(f32::NAN), "NaN, but it must be 1"),
        ("logit_scale", Value::Array(Array::Lists(vec![])), "a list of 0, but it must be 1"),
        ("final_logit_softcapping", Value::F32(30.0), "30, but it must be 0"),
        ("lists", Value::Array(Array::Lists(vec![])), "a list of 0, but it must be absent"),
    ] {
        let key = format!("llama.{key}");
        fails("llama", &format!("{key} is {reason}"), |m, _| set(m, &key, value));
    }
}

#[test]
fn tensors_that_are_not_the_model_s_are_named() {
    fails("llama", "tensor token_embd.weight is missing", |_, t| {
        t.retain(|(plan, _)| plan.name != "token_embd.weight");
    });
    fails("llama", "tensor model.layers.1.mlp.up_proj.weight is missing", |_, t| {
        t.retain(|(plan, _)| plan.name != "blk.1.ffn_up.weight");
    });
    fails(
        "llama",
        "1 tensors have no place in the model of its metadata, blk.0.ffn_gate_inp.weight among them",
        |_, t| {
            let plan = TensorPlan { name: "blk.0.ffn_gate_inp.weight".into(), shape: vec![2], kind: TensorType::F32 };
            t.push((plan, vec![0.0; 2]));
        },
    );
    fails("llama", "tensor model.norm.weight has the shape [16], but", |_, t| {
        let at = t.iter().position(|(plan, _)| plan.name == "output_norm.weight").unwrap();
        (t[at].0.shape, t[at].1) = (vec![16], vec![1.0; 16]);
    });
    fails("llama", "tensor blk.0.attn_q.weight holds inf at position 3", |_, t| {
        let at = t.iter().position(|(plan, _)| plan.name == "blk.0.attn_q.weight").unwrap();
        t[at].1[3] = f32::INFINITY;
    });
    fails("llama_llama3", "tensor rope_freqs.weight does not divide frequencies as Llama 3 does", |_, t| {
        let at = t.iter().position(|(plan, _)| plan.name == "rope_freqs.weight").unwrap();
        t[at].1[0] = 3.0;
    });
}

/// A vocabulary that loads, before `change`.
fn tokenizer(change: impl FnOnce(&mut Metadata)) -> Result<llm_data::Tokenizer, String> {
    let texts = |list: &[&str]| Value::Array(Array::String(list.iter().map(|&text| text.to_owned()).collect()));
    let mut metadata = vec![
        ("tokenizer.ggml.model".to_owned(), Value::String("gpt2".into())),
        ("tokenizer.ggml.pre".to_owned(), Value::String("gpt-2".into())),
        ("tokenizer.ggml.tokens".to_owned(), texts(&["a", "b", "ab", "<e>"])),
        ("tokenizer.ggml.token_type".to_owned(), Value::Array(Array::I32(vec![1, 1, 1, 3]))),
        ("tokenizer.ggml.merges".to_owned(), texts(&["a b"])),
        ("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(3)),
    ];
    change(&mut metadata);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vocabulary.gguf");
    write_gguf(&file, &metadata, &Vec::new());
    open_tokenizer(&file).map_err(|error| error.to_string())
}

#[test]
fn vocabularies_that_cannot_be_are_named() {
    let whole = tokenizer(|_| ()).unwrap();
    assert_eq!(whole.encode("abba").unwrap(), [2, 1, 0]);
    assert_eq!((whole.encode_prompt("<e>a").unwrap(), whole.eos_ids()), (vec![3, 0], [3].as_slice()));
    let texts = |list: &[&str]| Value::Array(Array::String(list.iter().map(|&text| text.to_owned()).collect()));
    for (key, value, reason) in [
        (
            "model",
            Value::String("bert".into()),
            "tokenizer.ggml.model is \"bert\", but it must be \"gpt2\" or \"llama\"",
        ),
        ("pre", Value::String("new".into()), "tokenizer.ggml.pre is \"new\", which is not one of the"),
        ("tokens", texts(&["a", "b", "a", "<e>"]), "token 2, \"a\", occurs twice"),
        ("tokens", Value::U32(1), "tokenizer.ggml.tokens is 1, but it must be a list of strings"),
        ("token_type", Value::Array(Array::I32(vec![1])), "tokenizer.ggml.token_type is a list of 1, but it must be"),
        ("token_type", Value::Array(Array::I32(vec![1, 1, 1, 9])), "a list of 4 numbers from 1 to 6"),
        ("merges", texts(&["ab"]), "tokenizer.ggml.merges is a list of 1, but it must be a list of two tokens each"),
        (
            "merges",
            texts(&["a \t\t"]),
            "vocabulary.gguf: the merge of \"a\" and \"\\t\\t\" names a token that the vocabulary lacks\nhint: ",
        ),
        ("eos_token_id", Value::U32(4), "tokenizer.ggml.eos_token_id is 4, but it must be an id below 4"),
        ("add_bos_token", Value::U32(1), "tokenizer.ggml.add_bos_token is 1, but it must be true or false"),
    ] {
        let error = tokenizer(|m| set(m, &format!("tokenizer.ggml.{key}"), value)).unwrap_err();
        assert!(error.contains(reason), "{error}\nlacks {reason}");
    }
    let error = tokenizer(|m| m.retain(|(key, _)| key != "tokenizer.ggml.tokens")).unwrap_err();
    assert!(error.contains("the key \"tokenizer.ggml.tokens\" is missing"), "{error}");
}

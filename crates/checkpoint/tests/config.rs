//! `config.json`: both published forms, the way back, and what is refused.

mod common;

use std::fs;
use std::path::Path;

use common::{GOLDEN, golden_dir};
use llm_checkpoint::{CheckpointError, load_config, published_type, save_config};
use llm_model::{Dropout, Family, FeedForwardKind, ModelConfig, ModelSection, NormKind, Position, RopeScaling};
use proptest::prelude::*;
use serde_json::{Value, json};

fn resolve(config: &Value) -> Result<ModelConfig, CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    load_config(dir.path())
}

/// `base` with some keys set; a `null` removes a key.
fn with(base: &Value, changes: &Value) -> Value {
    let mut config = base.clone();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn llama() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 32000, "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 512,
    })
}

fn qwen3() -> Value {
    with(&llama(), &json!({"model_type": "qwen3", "head_dim": 8}))
}

fn gpt2() -> Value {
    json!({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 128, "n_embd": 48, "n_layer": 2, "n_head": 4})
}

#[test]
fn what_is_not_written_has_the_value_that_transformers_gives_it() {
    let config = resolve(&gpt2()).unwrap();
    assert_eq!(config.intermediate_size, 192);
    assert_eq!((config.norm_eps, config.feed_forward, config.tied), (1e-5, FeedForwardKind::GeluTanh, true));
    assert_eq!(config.dropout, Dropout { embedding: 0.1, attention: 0.1, residual: 0.1 });

    let config = resolve(&llama()).unwrap();
    assert_eq!((config.head_dim, config.norm_eps, config.tied), (8, 1e-6, false));
    assert_eq!(config.position, Position::Rotary { theta: 10_000.0, scaling: RopeScaling::None });
    assert!(!config.qkv_bias && !config.attention_output_bias && !config.mlp_bias && !config.qk_norm);
    assert_eq!(config.dropout, Dropout::default());

    let mistral = with(&llama(), &json!({"model_type": "mistral"}));
    assert_eq!(resolve(&mistral).unwrap().sliding_window, Some(4096));
    let mistral = with(&mistral, &json!({"sliding_window": null}));
    assert_eq!(resolve(&mistral).unwrap().sliding_window, None);

    let config = resolve(&with(&llama(), &json!({"model_type": "qwen2"}))).unwrap();
    assert!(config.qkv_bias && !config.attention_output_bias && !config.qk_norm);
    assert_eq!(config.sliding_window, None);
    assert_eq!(resolve(&with(&qwen3(), &json!({"head_dim": null}))).unwrap().head_dim, 128);
}

#[test]
fn rotary_settings_are_read_in_both_forms() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    });
    let scaling =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context_length: 8192 };
    let linear = RopeScaling::Linear { factor: 4.0 };
    for (changes, theta, scaling) in [
        (json!({"rope_theta": 5e5, "rope_scaling": llama3}), 5e5, scaling),
        (json!({"rope_parameters": with(&llama3, &json!({"rope_theta": 5e5}))}), 5e5, scaling),
        (json!({"rope_theta": 2e4, "rope_scaling": null}), 2e4, RopeScaling::None),
        (json!({"rope_theta": 2e4, "rope_scaling": {"type": "linear", "factor": 4}}), 2e4, linear),
        (json!({"rope_parameters": {"rope_theta": 2e4, "rope_type": "linear", "factor": 4.0}}), 2e4, linear),
        (json!({"rope_parameters": {"rope_theta": 2e4, "rope_type": "default"}}), 2e4, RopeScaling::None),
        (json!({"rope_parameters": {"rope_theta": 2e4}}), 2e4, RopeScaling::None),
        (json!({"rope_theta": 3e4, "rope_parameters": {"rope_type": "default"}}), 3e4, RopeScaling::None),
    ] {
        let config = resolve(&with(&llama(), &changes)).unwrap();
        assert_eq!(config.position, Position::Rotary { theta, scaling }, "{changes}");
    }
}

#[test]
fn windows_are_read_from_either_key() {
    let window = json!({"use_sliding_window": true, "sliding_window": 16, "max_window_layers": 1});
    let [full, windowed] = ["full_attention", "sliding_attention"];
    for (changes, expected) in [
        (window.clone(), (Some(16), 1)),
        (with(&window, &json!({"use_sliding_window": false})), (None, 0)),
        (with(&window, &json!({"sliding_window": null})), (None, 0)),
        (with(&window, &json!({"layer_types": [full, full, windowed]})), (Some(16), 2)),
        (with(&window, &json!({"layer_types": [windowed, windowed, windowed]})), (Some(16), 0)),
        (json!({"layer_types": [full, full, full], "sliding_window": null}), (None, 0)),
    ] {
        let config = resolve(&with(&qwen3(), &changes)).unwrap();
        assert_eq!((config.sliding_window, config.first_windowed_layer), expected, "{changes}");
    }
}

/// Every change to a good config that makes it one to refuse, with what the error must name.
#[test]
fn what_changes_the_result_and_is_not_computed_is_refused_by_name_and_value() {
    let refused = [
        (gpt2(), json!({"model_type": "mamba"}), ["model_type", "\"mamba\""]),
        (gpt2(), json!({"model_type": null}), ["model_type", "missing"]),
        (gpt2(), json!({"scale_attn_by_inverse_layer_idx": true}), ["scale_attn_by_inverse_layer_idx", "true"]),
        (gpt2(), json!({"scale_attn_weights": false}), ["scale_attn_weights", "false"]),
        (gpt2(), json!({"add_cross_attention": true}), ["add_cross_attention", "true"]),
        (gpt2(), json!({"activation_function": "mish"}), ["activation_function", "\"mish\""]),
        (gpt2(), json!({"n_embd": null}), ["n_embd", "missing"]),
        (gpt2(), json!({"n_embd": 50}), ["n_embd", "50"]),
        (gpt2(), json!({"n_head": 0}), ["n_head", "0"]),
        (gpt2(), json!({"n_layer": 1_000_000_000_000_000_000_u64}), ["n_layer", "1000000000000000000"]),
        (gpt2(), json!({"n_layer": 200_000_000}), ["num_layers", "200000000"]),
        (gpt2(), json!({"n_positions": -1}), ["n_positions", "-1"]),
        (gpt2(), json!({"n_inner": 1e300}), ["n_inner", "1e+300"]),
        (gpt2(), json!({"vocab_size": "many"}), ["vocab_size", "\"many\""]),
        (gpt2(), json!({"resid_pdrop": 1.0}), ["resid_pdrop", "1.0"]),
        (gpt2(), json!({"layer_norm_epsilon": 0}), ["layer_norm_epsilon", "0"]),
        (llama(), json!({"hidden_act": "relu2"}), ["hidden_act", "\"relu2\""]),
        (llama(), json!({"hidden_size": null}), ["hidden_size", "missing"]),
        (llama(), json!({"num_key_value_heads": 3}), ["num_attention_heads", "num_key_value_heads = 3"]),
        (llama(), json!({"head_dim": 7}), ["head_dim", "7"]),
        (llama(), json!({"attention_bias": "yes"}), ["attention_bias", "\"yes\""]),
        (llama(), json!({"rope_theta": -1.0}), ["rope_theta", "-1.0"]),
        (llama(), json!({"rope_scaling": {"type": "yarn", "factor": 2.0}}), ["rope_scaling.type", "\"yarn\""]),
        (llama(), json!({"rope_scaling": {"factor": 2.0}}), ["rope_scaling.rope_type", "missing"]),
        (llama(), json!({"rope_scaling": {"type": "linear"}}), ["rope_scaling.factor", "missing"]),
        (llama(), json!({"rope_scaling": 4}), ["rope_scaling", "4"]),
        (llama(), json!({"rope_parameters": {"rope_type": "dynamic"}}), ["rope_parameters.rope_type", "\"dynamic\""]),
        (llama(), json!({"rope_parameters": {"full_attention": {}}}), ["rope_parameters.full_attention", "{}"]),
        (llama(), json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), ["partial_rotary_factor", "0.5"]),
        (llama(), json!({"partial_rotary_factor": 0.5}), ["partial_rotary_factor", "0.5"]),
        (llama(), json!({"quantization_config": {"bits": 4}}), ["quantization_config", "{\"bits\":4}"]),
        (qwen3(), json!({"num_key_value_heads": null}), ["num_key_value_heads", "missing"]),
        (qwen3(), json!({"layer_types": ["sliding_attention"]}), ["use_sliding_window", "layer_types"]),
        (
            qwen3(),
            json!({"use_sliding_window": true, "layer_types": ["sliding_attention", "full_attention", "full_attention"]}),
            ["layer_types", "sliding_attention"],
        ),
        (qwen3(), json!({"use_sliding_window": true, "layer_types": ["full_attention"]}), ["layer_types", "3 layers"]),
        (json!({"model_type": "llm"}), json!({}), ["llm", "missing"]),
        (json!({"model_type": "llm"}), json!({"llm": {"family": "gpt2"}}), ["config.json", "vocab_size"]),
    ];
    for (base, changes, [key, value]) in refused {
        let error = resolve(&with(&base, &changes)).expect_err(&changes.to_string()).to_string();
        assert!(error.contains(key) && error.contains(value) && error.contains("config.json"), "{changes}: {error}");
        assert!(error.len() < 400, "{error}");
    }
}

#[test]
fn a_file_that_is_no_config_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = load_config(dir.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
    for text in ["", "{", "[]", "null", "\u{feff}{}", "{\"model_type\": \"gpt2\", \"n_embd\": Infinity}"] {
        fs::write(dir.path().join("config.json"), text).unwrap();
        let error = load_config(dir.path()).unwrap_err();
        assert!(matches!(error, CheckpointError::Json { .. }), "{text:?}: {error}");
    }
    fs::write(dir.path().join("config.json"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(load_config(dir.path()).unwrap_err(), CheckpointError::Json { .. }));
    fs::write(dir.path().join("config.json"), "[".repeat(100_000)).unwrap();
    assert!(matches!(load_config(dir.path()).unwrap_err(), CheckpointError::Json { .. }));
}

fn round_trip(dir: &Path, config: &ModelConfig) -> ModelConfig {
    save_config(dir, config, Some(1), &[2]).unwrap();
    load_config(dir).unwrap()
}

#[test]
fn golden_configs_keep_their_type_and_their_meaning() {
    let dir = tempfile::tempdir().unwrap();
    for name in GOLDEN {
        let config = load_config(&golden_dir(name)).unwrap();
        assert_eq!(round_trip(dir.path(), &config), config, "{name}");
        let family = name.split('_').next();
        assert_eq!(published_type(&config), family, "{name}");
    }
}

#[test]
fn a_model_is_published_under_the_architecture_that_computes_it() {
    let section = |family| ModelSection { family, ..ModelSection::default() };
    let [gpt2, llama, qwen3] = [Family::Gpt2, Family::Llama, Family::Qwen3].map(section);
    let window = Some(8);
    for (section, expected) in [
        (gpt2.clone(), Some("gpt2")),
        (ModelSection { feed_forward: Some(FeedForwardKind::Relu2), ..gpt2.clone() }, Some("gpt2")),
        (ModelSection { qkv_bias: Some(false), ..gpt2.clone() }, None),
        (ModelSection { norm: Some(NormKind::RmsNorm), ..gpt2 }, None),
        (llama.clone(), Some("llama")),
        (ModelSection { tied: Some(true), mlp_bias: Some(true), ..llama.clone() }, Some("llama")),
        (ModelSection { feed_forward: Some(FeedForwardKind::Relu2), ..llama.clone() }, None),
        (ModelSection { feed_forward: Some(FeedForwardKind::GeGlu), ..llama.clone() }, Some("llama")),
        (ModelSection { sliding_window: window, ..llama.clone() }, Some("mistral")),
        (ModelSection { sliding_window: window, mlp_bias: Some(true), ..llama.clone() }, None),
        (ModelSection { qkv_bias: Some(true), ..llama.clone() }, Some("qwen2")),
        (ModelSection { qkv_bias: Some(true), sliding_window: window, ..llama.clone() }, Some("qwen2")),
        (ModelSection { qkv_bias: Some(true), attention_output_bias: Some(true), ..llama.clone() }, Some("llama")),
        (ModelSection { qk_norm: Some(true), ..llama }, Some("qwen3")),
        (qwen3.clone(), Some("qwen3")),
        (ModelSection { sliding_window: window, ..qwen3 }, Some("qwen3")),
    ] {
        assert_eq!(published_type(&section.resolve(97).unwrap()), expected, "{section:?}");
    }
}

/// Any model that can be computed. Floats are those that people write: a few digits.
fn any_config() -> impl Strategy<Value = ModelConfig> {
    let short = |digits: std::ops::Range<u32>, scale: f64| digits.prop_map(move |digits| f64::from(digits) / scale);
    let scaling = prop_oneof![
        Just(RopeScaling::None),
        short(1..100, 4.0).prop_map(|factor| RopeScaling::Linear { factor }),
        (short(1..100, 4.0), short(1..10, 4.0), short(1..10, 4.0), 1..10_000_usize).prop_map(
            |(factor, low_freq_factor, more, original_context_length)| RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor: low_freq_factor + more,
                original_context_length,
            }
        ),
    ];
    let rotary = (short(1..2_000_000, 1.0), scaling).prop_map(|(theta, scaling)| Position::Rotary { theta, scaling });
    let feed_forward = prop_oneof![
        Just(FeedForwardKind::Gelu),
        Just(FeedForwardKind::GeluTanh),
        Just(FeedForwardKind::Relu2),
        Just(FeedForwardKind::SwiGlu),
        Just(FeedForwardKind::GeGlu),
    ];
    let sizes = (1..9_usize, 1..5_usize, 1..5_usize, 1..9_usize, 1..300_usize, 1..5000_usize, 1..9_usize);
    let norm = prop_oneof![Just(NormKind::LayerNorm), Just(NormKind::RmsNorm)];
    let kinds = (norm, prop_oneof![Just(Position::Learned), rotary], feed_forward, short(1..1000, 1e7));
    let window = proptest::option::of((1..100_usize, 0..6_usize));
    let dropout = (short(0..100, 100.0), short(0..100, 100.0), short(0..100, 100.0));
    (sizes, kinds, any::<[bool; 6]>(), window, dropout).prop_map(|(sizes, kinds, flags, window, dropout)| {
        let (num_layers, num_kv_heads, groups, half, width, vocab_size, multiple) = sizes;
        let (norm, position, feed_forward, norm_eps) = kinds;
        let [qkv_bias, attention_output_bias, mlp_bias, qk_norm, tied, natural] = flags;
        let num_heads = num_kv_heads * groups;
        let hidden_size = if natural { num_heads * 2 * half } else { width };
        ModelConfig {
            family: Family::Gpt2,
            vocab_size,
            context_length: 64,
            hidden_size,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim: 2 * half,
            intermediate_size: width * multiple,
            norm,
            norm_eps,
            position,
            qkv_bias,
            attention_output_bias,
            mlp_bias,
            qk_norm,
            sliding_window: window.map(|(window, _)| window),
            first_windowed_layer: window.map_or(0, |(_, first)| first),
            feed_forward,
            tied,
            dropout: Dropout { embedding: dropout.0, attention: dropout.1, residual: dropout.2 },
        }
    })
}

proptest! {
    #[test]
    fn every_config_comes_back_as_it_was(config in any_config()) {
        let dir = tempfile::tempdir().unwrap();
        let back = round_trip(dir.path(), &config);
        // The family is where the defaults came from; it says nothing about what is computed.
        prop_assert_eq!(ModelConfig { family: config.family, ..back }, config);
    }

    #[test]
    fn no_value_of_any_key_panics(key in 0..14_usize, value in any_json()) {
        let keys = [
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
            "max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters", "layer_types",
            "sliding_window", "max_window_layers", "model_type",
        ];
        let base = with(&qwen3(), &json!({"use_sliding_window": true}));
        let mut config = base.clone();
        config[keys[key]] = value;
        if let Err(error) = resolve(&config) {
            prop_assert!(error.to_string().contains(keys[key]) || error.to_string().contains("model."), "{}", error);
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("(rope_type|factor|rope_theta|type)", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

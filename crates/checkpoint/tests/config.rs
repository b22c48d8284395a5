//! `config.json`: both published forms, the way back, and what is refused.

mod common;

use std::fs;

use common::{GOLDEN, golden_dir, llama, qwen3, resolve, round_trip, with};
use llm_checkpoint::{CheckpointError, load_config, published_type};
use llm_model::{
    Dropout, Family, FeedForwardKind, ModelSection, Multipliers, NormKind, NormPlacement, Position, QkNorm,
    RopeScaling, Rotary,
};
use serde_json::{Value, json};

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
    assert_eq!(config.position, Position::Rotary(Rotary::new(10_000.0)));
    assert!(!config.qkv_bias && !config.attention_output_bias && !config.mlp_bias && config.qk_norm.is_none());
    assert_eq!(config.dropout, Dropout::default());

    let mistral = with(&llama(), &json!({"model_type": "mistral"}));
    assert_eq!(resolve(&mistral).unwrap().sliding_window, Some(4096));
    let mistral = with(&mistral, &json!({"sliding_window": null}));
    assert_eq!(resolve(&mistral).unwrap().sliding_window, None);

    let config = resolve(&with(&llama(), &json!({"model_type": "qwen2"}))).unwrap();
    assert!(config.qkv_bias && !config.attention_output_bias && config.qk_norm.is_none());
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
        (json!({"rope_theta": 5e5, "rope_scaling": llama3}), 5e5, scaling.clone()),
        (json!({"rope_parameters": with(&llama3, &json!({"rope_theta": 5e5}))}), 5e5, scaling),
        (json!({"rope_theta": 2e4, "rope_scaling": null}), 2e4, RopeScaling::None),
        (json!({"rope_theta": 2e4, "rope_scaling": {"type": "linear", "factor": 4}}), 2e4, linear.clone()),
        (json!({"rope_parameters": {"rope_theta": 2e4, "rope_type": "linear", "factor": 4.0}}), 2e4, linear),
        (json!({"rope_parameters": {"rope_theta": 2e4, "rope_type": "default"}}), 2e4, RopeScaling::None),
        (json!({"rope_parameters": {"rope_theta": 2e4}}), 2e4, RopeScaling::None),
        (json!({"rope_theta": 3e4, "rope_parameters": {"rope_type": "default"}}), 3e4, RopeScaling::None),
    ] {
        let config = resolve(&with(&llama(), &changes)).unwrap();
        assert_eq!(config.position, Position::Rotary(Rotary { theta, scaling, width: None }), "{changes}");
    }
}

#[test]
fn yarn_and_dynamic_mean_what_transformers_makes_of_them() {
    let read = |keys: Value| {
        let config = resolve(&with(&llama(), &keys)).unwrap();
        let Position::Rotary(rotary) = config.position else { panic!("{keys}") };
        (rotary.scaling, config.context_length)
    };
    let yarn = |factor, original_context_length, attention_factor| RopeScaling::Yarn {
        factor,
        original_context_length,
        beta_fast: 32.0,
        beta_slow: 1.0,
        truncate: true,
        attention_factor,
    };
    // As Qwen says it, whose context is stretched while `max_position_embeddings` stays.
    let qwen = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512});
    assert_eq!(read(json!({"rope_scaling": qwen})), (yarn(4.0, 512, None), 2048));
    // Where nothing is said, and where it is said beside the table.
    assert_eq!(read(json!({"rope_scaling": {"type": "yarn", "factor": 2}})), (yarn(2.0, 512, None), 1024));
    let beside = json!({"original_max_position_embeddings": 128, "rope_scaling": qwen});
    assert_eq!(read(beside), (yarn(4.0, 128, None), 512));
    let ratio = json!({"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 64});
    assert_eq!(read(json!({"rope_parameters": ratio})), (yarn(8.0, 64, None), 512));
    // As DeepSeek says it.
    let deepseek = json!({
        "rope_type": "yarn", "factor": 40, "original_max_position_embeddings": 128, "mscale": 1.0, "mscale_all_dim": 0.5,
        "beta_fast": 16, "beta_slow": 2, "truncate": false,
    });
    let (scaling, context) = read(json!({"rope_scaling": deepseek}));
    let RopeScaling::Yarn { beta_fast, beta_slow, truncate, attention_factor, .. } = scaling else {
        panic!("{scaling:?}")
    };
    assert_eq!((beta_fast, beta_slow, truncate, context), (16.0, 2.0, false, 5120));
    let ln = 40.0f64.ln();
    assert!((attention_factor.unwrap() - (0.1 * ln + 1.0) / (0.05 * ln + 1.0)).abs() < 1e-9);
    let (scaling, _) = read(json!({"rope_scaling": with(&deepseek, &json!({"mscale_all_dim": 0}))}));
    assert!(matches!(scaling, RopeScaling::Yarn { attention_factor: None, .. }));
    let dynamic = |factor| RopeScaling::Dynamic { factor, original_context_length: 512 };
    assert_eq!(read(json!({"rope_scaling": {"type": "dynamic", "factor": 2.5}})), (dynamic(2.5), 1280));
    assert_eq!(read(json!({"rope_parameters": {"rope_type": "dynamic", "factor": 0.5}})), (dynamic(0.5), 512));
    for keys in [
        json!({"rope_scaling": qwen}),
        json!({"rope_scaling": deepseek}),
        json!({"rope_scaling": {"type": "dynamic", "factor": 2.5}}),
    ] {
        let config = resolve(&with(&llama(), &keys)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(round_trip(dir.path(), &config), config);
        let written: Value = serde_json::from_slice(&fs::read(dir.path().join("config.json")).unwrap()).unwrap();
        assert_eq!(written["model_type"], "llama");
    }
}

#[test]
fn windows_are_read_from_either_key() {
    let window = json!({"use_sliding_window": true, "sliding_window": 16, "max_window_layers": 1});
    let [full, windowed] = ["full_attention", "sliding_attention"];
    for (changes, expected) in [
        (window.clone(), (Some(16), vec![1, 2])),
        (with(&window, &json!({"use_sliding_window": false})), (None, vec![])),
        (with(&window, &json!({"sliding_window": null})), (None, vec![])),
        (with(&window, &json!({"max_window_layers": 3})), (None, vec![])),
        (with(&window, &json!({"layer_types": [full, full, windowed]})), (Some(16), vec![2])),
        (with(&window, &json!({"layer_types": [windowed, full, windowed]})), (Some(16), vec![0, 2])),
        (json!({"layer_types": [full, full, full], "sliding_window": null}), (None, vec![])),
    ] {
        let config = resolve(&with(&qwen3(), &changes)).unwrap();
        assert_eq!((config.sliding_window, config.windowed_layers), expected, "{changes}");
    }
}

fn gemma3() -> Value {
    with(&llama(), &json!({"model_type": "gemma3_text", "num_hidden_layers": 7}))
}

fn phi3() -> Value {
    with(&llama(), &json!({"model_type": "phi3", "original_max_position_embeddings": 128}))
}

fn olmo3() -> Value {
    with(&llama(), &json!({"model_type": "olmo3"}))
}

fn longrope() -> Value {
    json!({"type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5], "long_factor": [2, 4, 8, 16]})
}

#[test]
fn younger_families_mean_what_transformers_makes_of_them() {
    let config = resolve(&gemma3()).unwrap();
    assert_eq!((config.head_dim, config.query_pre_attn_scalar, config.tied), (256, None, true));
    assert_eq!((config.norm, config.norm_placement), (NormKind::RmsNorm1p, NormPlacement::Both));
    assert_eq!((config.qk_norm, config.feed_forward), (Some(QkNorm::Head), FeedForwardKind::GeGlu));
    assert_eq!((config.sliding_window, &config.windowed_layers[..]), (Some(4096), &[0, 1, 2, 3, 4, 6][..]));
    assert_eq!(config.position, Position::Rotary(Rotary::new(1e6)));
    assert_eq!(config.local_rotary, Some(Rotary::new(1e4)));
    assert!(config.scaled_embedding);
    let config = resolve(&with(&gemma3(), &json!({"head_dim": 128, "query_pre_attn_scalar": 168}))).unwrap();
    assert_eq!(config.query_pre_attn_scalar, Some(168));

    let smollm3 = with(&llama(), &json!({"model_type": "smollm3", "num_hidden_layers": 9}));
    let config = resolve(&smollm3).unwrap();
    assert_eq!((config.unrotated_layers, config.sliding_window, config.tied), (vec![3, 7], None, true));
    assert_eq!(config.position, Position::Rotary(Rotary::new(2e6)));
    let config = resolve(&with(&smollm3, &json!({"no_rope_layers": [0, 1, 1, 1, 0, 1, 1, 1, 1, 0]}))).unwrap();
    assert_eq!(config.unrotated_layers, [0, 4]);
    // A window that is not used is none.
    let config = resolve(&with(&smollm3, &json!({"sliding_window": 8}))).unwrap();
    assert_eq!(config.sliding_window, None);

    let config = resolve(&with(&llama(), &json!({"model_type": "olmo2"}))).unwrap();
    assert_eq!((config.norm_placement, config.qk_norm), (NormPlacement::After, Some(QkNorm::Width)));
    assert_eq!((config.norm_eps, config.tied), (1e-5, false));

    let olmo3 = with(&olmo3(), &json!({"num_hidden_layers": 5, "rope_theta": 1e4}));
    let config = resolve(&olmo3).unwrap();
    assert_eq!((config.sliding_window, &config.windowed_layers[..]), (Some(4096), &[0, 1, 2, 4][..]));
    assert_eq!((config.norm_placement, config.local_rotary), (NormPlacement::After, None));
    let linear = json!({"rope_scaling": {"rope_type": "linear", "factor": 4.0}});
    assert_eq!(resolve(&with(&olmo3, &linear)).unwrap().local_rotary, Some(Rotary::new(1e4)));

    let granite = with(&llama(), &json!({"model_type": "granite"}));
    let usual = Multipliers { attention: Some(1.0), ..Multipliers::default() };
    assert_eq!(resolve(&granite).unwrap().multipliers, usual);
    let scaled = json!({"attention_multiplier": 0.353_553_390_6, "logits_scaling": 8, "residual_multiplier": 0.22});
    let scaled = resolve(&with(&granite, &scaled)).unwrap().multipliers;
    assert_eq!((scaled.attention, scaled.logits_divisor, scaled.residual, scaled.embedding), (None, 8.0, 0.22, 1.0));

    let rotary = |changes| match resolve(&with(&phi3(), &changes)).unwrap().position {
        Position::Rotary(rotary) => rotary,
        Position::Learned => panic!("{changes}"),
    };
    assert_eq!(rotary(json!({})), Rotary::new(1e4));
    assert_eq!(rotary(json!({"partial_rotary_factor": 0.75})).width, Some(6));
    // Four times the original context: √(1 + ln 4 / ln 128)
    let stretched = (1.0 + 4f64.ln() / 128f64.ln()).sqrt();
    for (changes, expected) in [
        (json!({"rope_scaling": longrope()}), stretched),
        (json!({"rope_scaling": with(&longrope(), &json!({"type": "su"}))}), stretched),
        (json!({"rope_parameters": with(&longrope(), &json!({"attention_factor": 1.5}))}), 1.5),
        (json!({"max_position_embeddings": 128, "rope_scaling": longrope()}), 1.0),
    ] {
        let RopeScaling::LongRope { original_context_length, attention_factor, long_factors, .. } =
            rotary(changes.clone()).scaling
        else {
            panic!("{changes}")
        };
        assert_eq!((original_context_length, long_factors[3]), (128, 16.0));
        assert!((attention_factor - expected).abs() < 1e-12, "{changes}: {attention_factor}");
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
        (llama(), json!({"rope_scaling": {"type": "ntk", "factor": 2.0}}), ["rope_scaling.type", "\"ntk\""]),
        (llama(), json!({"rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]}}), ["mrope", "for text alone"]),
        (llama(), json!({"rope_parameters": {"mrope_section": [2, 1, 1]}}), ["mrope_section", "positions in images"]),
        (llama(), json!({"rope_scaling": {"type": "yarn", "factor": 0}}), ["rope_scaling.factor", "0"]),
        (llama(), json!({"rope_scaling": {"type": "dynamic", "factor": 1e300}}), ["context_length", "more than"]),
        (llama(), json!({"rope_scaling": {"factor": 2.0}}), ["rope_scaling.rope_type", "missing"]),
        (llama(), json!({"rope_scaling": {"type": "linear"}}), ["rope_scaling.factor", "missing"]),
        (llama(), json!({"rope_scaling": 4}), ["rope_scaling", "4"]),
        (llama(), json!({"rope_parameters": {"rope_type": "dynamic"}}), ["rope_parameters.factor", "missing"]),
        (llama(), json!({"rope_parameters": {"full_attention": {}}}), ["rope_parameters.full_attention", "{}"]),
        (llama(), json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), ["partial_rotary_factor", "0.5"]),
        (llama(), json!({"partial_rotary_factor": 0.5}), ["partial_rotary_factor", "0.5"]),
        (llama(), json!({"quantization_config": {"quant_method": "awq"}}), ["quantization_config.quant_method", "awq"]),
        (qwen3(), json!({"num_key_value_heads": null}), ["num_key_value_heads", "missing"]),
        (qwen3(), json!({"layer_types": ["sliding_attention"]}), ["use_sliding_window", "layer_types"]),
        (
            qwen3(),
            json!({"use_sliding_window": true, "layer_types": ["chunked_attention", "full_attention", "full_attention"]}),
            ["layer_types", "chunked_attention"],
        ),
        (qwen3(), json!({"use_sliding_window": true, "layer_types": ["full_attention"]}), ["layer_types", "3 layers"]),
        (gemma3(), json!({"final_logit_softcapping": 30.0}), ["final_logit_softcapping", "30.0"]),
        (gemma3(), json!({"attn_logit_softcapping": 50.0}), ["attn_logit_softcapping", "50.0"]),
        (gemma3(), json!({"use_bidirectional_attention": true}), ["use_bidirectional_attention", "true"]),
        (gemma3(), json!({"hidden_activation": "silly"}), ["hidden_activation", "\"silly\""]),
        (gemma3(), json!({"sliding_window": null}), ["sliding_window", "absent"]),
        (gemma3(), json!({"sliding_window_pattern": 0}), ["sliding_window_pattern", "0"]),
        (gemma3(), json!({"query_pre_attn_scalar": 25.6}), ["query_pre_attn_scalar", "25.6"]),
        (gemma3(), json!({"layer_types": ["full_attention"]}), ["layer_types", "7 layers"]),
        (
            gemma3(),
            json!({"rope_scaling": {"rope_type": "longrope", "factor": 8.0}}),
            ["rope_scaling.rope_type", "\"longrope\""],
        ),
        (gemma3(), json!({"rope_parameters": {"rope_theta": 1e6}}), ["rope_parameters.rope_theta", "full_attention"]),
        (
            gemma3(),
            json!({"rope_parameters": {"sliding_attention": {"rope_type": "dynamic", "factor": 2}}}),
            ["rope_parameters is", "dynamic scaling is not computed"],
        ),
        (gemma3(), json!({"model_type": "gemma3"}), ["text_config", "missing"]),
        (llama(), json!({"model_type": "smollm3", "no_rope_layers": [1, 0]}), ["no_rope_layers", "3 layers"]),
        (llama(), json!({"model_type": "smollm3", "no_rope_layers": [1, 0, 2]}), ["no_rope_layers", "[1,0,2]"]),
        (llama(), json!({"rope_scaling": longrope()}), ["rope_scaling.type", "\"longrope\""]),
        (phi3(), json!({"rope_scaling": {"type": "linear", "factor": 2.0}}), ["rope_scaling.type", "\"linear\""]),
        (phi3(), json!({"rope_scaling": {"type": "longrope"}}), ["rope_scaling.short_factor", "missing"]),
        (
            phi3(),
            json!({"rope_scaling": with(&longrope(), &json!({"long_factor": [1.0, 2.0]}))}),
            ["long_factors has 2", "4 rotary wavelengths"],
        ),
        (
            phi3(),
            json!({"rope_scaling": with(&longrope(), &json!({"short_factor": [1, 2, 3, 0]}))}),
            ["rope_scaling.short_factor", "[1,2,3,0]"],
        ),
        (
            phi3(),
            json!({"rope_scaling": longrope(), "original_max_position_embeddings": null}),
            ["rope_scaling.original_max_position_embeddings", "missing"],
        ),
        (phi3(), json!({"partial_rotary_factor": 0.4}), ["partial_rotary_factor", "0.4"]),
        (phi3(), json!({"partial_rotary_factor": 1.5}), ["partial_rotary_factor", "1.5"]),
        (phi3(), json!({"lm_head_bias": true}), ["lm_head_bias", "true"]),
        (llama(), json!({"model_type": "granite", "logits_scaling": 0}), ["logits_scaling", "0"]),
        (olmo3(), json!({"rope_scaling": {"type": "dynamic", "factor": 2}}), ["rope_scaling", "dynamic scaling"]),
        (json!({"model_type": "llm"}), json!({}), ["llm", "missing"]),
        (json!({"model_type": "llm"}), json!({"llm": {"family": "gpt2"}}), ["config.json", "vocab_size"]),
    ];
    for (base, changes, [key, value]) in refused {
        let error = resolve(&with(&base, &changes)).expect_err(&changes.to_string()).to_string();
        assert!(error.contains(key) && error.contains(value) && error.contains("config.json"), "{changes}: {error}");
        assert!(error.len() < 500, "{error}");
    }
}

#[test]
fn a_file_that_is_no_config_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = load_config(dir.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::NoConfig { is_adapter: false, .. }), "{error}");
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

#[test]
fn golden_configs_keep_their_type_and_their_meaning() {
    let dir = tempfile::tempdir().unwrap();
    for name in GOLDEN {
        let config = load_config(&golden_dir(name)).unwrap();
        assert_eq!(round_trip(dir.path(), &config), config, "{name}");
        let written: Value = serde_json::from_slice(&fs::read(golden_dir(name).join("config.json")).unwrap()).unwrap();
        assert_eq!(published_type(&config), written["model_type"].as_str(), "{name}");
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
        // With biases of zero.
        (ModelSection { qkv_bias: Some(false), ..gpt2.clone() }, Some("gpt2")),
        (ModelSection { attention_output_bias: Some(true), ..llama.clone() }, Some("llama")),
        (ModelSection { norm: Some(NormKind::RmsNorm), ..gpt2 }, None),
        (llama.clone(), Some("llama")),
        (ModelSection { tied: Some(true), mlp_bias: Some(true), ..llama.clone() }, Some("llama")),
        (ModelSection { feed_forward: Some(FeedForwardKind::Relu2), ..llama.clone() }, None),
        (ModelSection { feed_forward: Some(FeedForwardKind::GeGlu), ..llama.clone() }, Some("llama")),
        (ModelSection { sliding_window: window, ..llama.clone() }, Some("mistral")),
        (ModelSection { sliding_window: window, mlp_bias: Some(true), ..llama.clone() }, Some("smollm3")),
        (ModelSection { qk_norm: Some(true), mlp_bias: Some(true), ..llama.clone() }, None),
        (ModelSection { qkv_bias: Some(true), ..llama.clone() }, Some("qwen2")),
        (ModelSection { qkv_bias: Some(true), sliding_window: window, ..llama.clone() }, Some("qwen2")),
        (ModelSection { qkv_bias: Some(true), attention_output_bias: Some(true), ..llama.clone() }, Some("llama")),
        (ModelSection { qk_norm: Some(true), ..llama }, Some("qwen3")),
        (qwen3.clone(), Some("qwen3")),
        (ModelSection { sliding_window: window, ..qwen3 }, Some("qwen3")),
        // What a younger family makes of its defaults is that family; without its mark, the plainest that does it.
        (section(Family::Mistral), Some("mistral")),
        (section(Family::SmolLm3), Some("smollm3")),
        (section(Family::Olmo2), Some("olmo2")),
        (ModelSection { sliding_window: window, ..section(Family::Gemma3) }, Some("gemma3_text")),
        (section(Family::Phi3), Some("phi3")),
        (ModelSection { sliding_window: window, ..section(Family::Olmo3) }, Some("olmo3")),
        (section(Family::Granite), Some("granite")),
        (ModelSection { qkv_bias: Some(true), ..section(Family::Phi3) }, Some("qwen2")),
        (ModelSection { norm: Some(NormKind::RmsNorm), ..section(Family::Gemma3) }, None),
    ] {
        assert_eq!(published_type(&section.resolve(97).unwrap()), expected, "{section:?}");
    }
}

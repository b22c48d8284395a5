//! Any config, published or not, comes back from `config.json` as it was, and no value in one panics.

mod common;

#[path = "common/by_hand.rs"]
mod by_hand;

use common::{GOLDEN, golden_dir, qwen3, resolve, round_trip, with};
use llm_checkpoint::{load_config, published_type};
use llm_model::{
    Dropout, Family, FeedForwardKind, ModelConfig, Multipliers, NormKind, NormPlacement, Position, QkNorm, RopeScaling,
    Rotary,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Numbers as people write them: a few digits.
fn short(digits: std::ops::Range<u32>, scale: f64) -> impl Strategy<Value = f64> + Clone {
    digits.prop_map(move |digits| f64::from(digits) / scale)
}

/// Any rotary scaling.
fn any_scaling() -> impl Strategy<Value = RopeScaling> + Clone {
    prop_oneof![
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
        (
            (short(4..100, 4.0), 1..100_usize, short(1..200, 4.0), short(1..20, 4.0)),
            any::<bool>(),
            proptest::option::of(short(1..100, 4.0)),
        )
            .prop_map(
                |((factor, original_context_length, beta_fast, beta_slow), truncate, attention_factor)| {
                    RopeScaling::Yarn {
                        factor,
                        original_context_length,
                        beta_fast,
                        beta_slow,
                        truncate,
                        attention_factor,
                    }
                }
            ),
        (prop_oneof![Just(4.0), short(1..100, 4.0)], prop_oneof![Just(16), 1..65_usize])
            .prop_map(|(factor, original_context_length)| RopeScaling::Dynamic { factor, original_context_length }),
        // As many factors as there are wavelengths are taken of these.
        (proptest::collection::vec((short(1..100, 4.0), short(1..100, 4.0)), 8), 1..10_000_usize, short(1..100, 4.0))
            .prop_map(|(factors, original_context_length, attention_factor)| {
                let (short_factors, long_factors) = factors.into_iter().unzip();
                RopeScaling::LongRope { short_factors, long_factors, original_context_length, attention_factor }
            }),
    ]
}

/// Any constants that scale a model.
fn any_multipliers() -> impl Strategy<Value = Multipliers> + Clone {
    let factor = || short(1..100, 16.0);
    (factor(), proptest::option::of(factor()), factor(), factor()).prop_map(
        |(embedding, attention, residual, logits_divisor)| Multipliers {
            embedding,
            // What is usual has no need to be said.
            attention: attention
                .filter(|scale| (2..=64).step_by(2).all(|hd| (scale * f64::from(hd).sqrt() - 1.0).abs() > 1e-6)),
            residual,
            logits_divisor,
        },
    )
}

/// Any model that can be computed.
fn any_config() -> impl Strategy<Value = ModelConfig> {
    let rotary = (short(1..2_000_000, 1.0), any_scaling(), proptest::option::of(1..8_usize));
    let rotary =
        rotary.prop_map(|(theta, scaling, width)| Rotary { theta, scaling, width: width.map(|half| 2 * half) });
    let feed_forward = prop_oneof![
        Just(FeedForwardKind::Gelu),
        Just(FeedForwardKind::GeluTanh),
        Just(FeedForwardKind::Relu2),
        Just(FeedForwardKind::SwiGlu),
        Just(FeedForwardKind::GeGlu),
    ];
    let sizes = (1..9_usize, 1..5_usize, 1..5_usize, 1..9_usize, 1..300_usize, 1..5000_usize, 1..9_usize);
    let norm = prop_oneof![Just(NormKind::LayerNorm), Just(NormKind::RmsNorm), Just(NormKind::RmsNorm1p)];
    let placement = prop_oneof![Just(NormPlacement::Before), Just(NormPlacement::After), Just(NormPlacement::Both)];
    let qk_norm = prop_oneof![Just(None), Just(Some(QkNorm::Head)), Just(Some(QkNorm::Width))];
    let position = prop_oneof![Just(Position::Learned), rotary.clone().prop_map(Position::Rotary)];
    let kinds = (norm, placement, qk_norm, position, feed_forward, short(1..1000, 1e7));
    let layers = (
        proptest::option::of(1..100_usize),
        any::<[bool; 16]>(),
        prop_oneof![Just([false; 16]), any::<[bool; 16]>()],
        proptest::option::of(rotary),
        proptest::option::of(1..100_usize),
        prop_oneof![4 => Just(Multipliers::default()), 1 => any_multipliers()],
    );
    let dropout = (short(0..100, 100.0), short(0..100, 100.0), short(0..100, 100.0));
    (sizes, kinds, any::<[bool; 6]>(), layers, dropout).prop_map(|(sizes, kinds, flags, layers, dropout)| {
        let (num_layers, num_kv_heads, groups, half, width, vocab_size, multiple) = sizes;
        let (norm, norm_placement, qk_norm, mut position, feed_forward, norm_eps) = kinds;
        let [qkv_bias, attention_output_bias, mlp_bias, scaled_embedding, tied, natural] = flags;
        let (window, windowed, unrotated, mut local_rotary, scalar, multipliers) = layers;
        let chosen = |flags: [bool; 16]| (0..num_layers).filter(|&layer| flags[layer]).collect::<Vec<_>>();
        let windowed_layers = window.map_or(Vec::new(), |_| chosen(windowed));
        let rotates = position != Position::Learned;
        // What has no effect is not there.
        local_rotary = local_rotary.filter(|_| rotates && !windowed_layers.is_empty());
        if let Position::Rotary(rotary) = &mut position {
            fit(rotary, 2 * half);
            local_rotary.iter_mut().for_each(|rotary| fit(rotary, 2 * half));
            local_rotary = local_rotary.filter(|local| local != rotary);
        }
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
            norm_placement,
            scaled_embedding,
            position,
            local_rotary,
            unrotated_layers: if rotates { chosen(unrotated) } else { Vec::new() },
            qkv_bias,
            attention_output_bias,
            mlp_bias,
            qk_norm,
            query_pre_attn_scalar: scalar.filter(|&scalar| scalar != 2 * half && multipliers.attention.is_none()),
            sliding_window: window.filter(|_| !windowed_layers.is_empty()),
            windowed_layers,
            feed_forward,
            tied,
            multipliers,
            dropout: Dropout { embedding: dropout.0, attention: dropout.1, residual: dropout.2 },
        }
    })
}

/// Makes a rotation one of heads of this width.
fn fit(rotary: &mut Rotary, head_dim: usize) {
    rotary.width = rotary.width.filter(|&width| width < head_dim);
    let wavelengths = rotary.width.unwrap_or(head_dim) / 2;
    if let RopeScaling::LongRope { short_factors, long_factors, .. } = &mut rotary.scaling {
        short_factors.truncate(wavelengths);
        long_factors.truncate(wavelengths);
    }
    if let RopeScaling::Yarn { .. } = rotary.scaling {
        rotary.theta = rotary.theta.max(2.0);
    }
}

/// Any model that a published architecture computes: that of a golden one with other values.
fn any_published() -> impl Strategy<Value = ModelConfig> {
    (0..GOLDEN.len(), any_config()).prop_map(|(golden, any)| {
        let base = load_config(&golden_dir(GOLDEN[golden])).unwrap();
        let rotary = |base: &Rotary| match (&base.scaling, base.width) {
            (RopeScaling::None, None) => Rotary::new(any.norm_eps * 1e9),
            _ => base.clone(),
        };
        let position = match &base.position {
            Position::Learned => Position::Learned,
            Position::Rotary(base) => Position::Rotary(rotary(base)),
        };
        let local_rotary =
            base.local_rotary.as_ref().map(rotary).filter(|local| Position::Rotary(local.clone()) != position);
        let ModelConfig { vocab_size, intermediate_size, norm_eps, tied, .. } = any;
        ModelConfig { position, local_rotary, vocab_size, intermediate_size, norm_eps, tied, ..base }
    })
}

/// A golden model of which some choices are those of another, or of none.
fn any_near() -> impl Strategy<Value = ModelConfig> {
    let golden = |index: usize| load_config(&golden_dir(GOLDEN[index])).unwrap();
    let changes = proptest::collection::vec(0..17_usize, 0..4);
    (0..GOLDEN.len(), any_config(), changes, 0..GOLDEN.len()).prop_map(move |(index, any, changes, other)| {
        let mut config = golden(index);
        let any = ModelConfig { family: golden(other).family, ..any };
        changes.into_iter().for_each(|number| change(&mut config, &any, number));
        config.normalized()
    })
}

/// Makes choice `number` of `config` that of `any`.
fn change(config: &mut ModelConfig, any: &ModelConfig, number: usize) {
    let below = |layers: &[usize]| layers.iter().copied().filter(|&layer| layer < config.num_layers).collect();
    match number {
        0 => config.norm = any.norm,
        1 => config.norm_placement = any.norm_placement,
        2 => config.scaled_embedding = any.scaled_embedding,
        3 => config.qkv_bias ^= true,
        4 => config.attention_output_bias ^= true,
        5 => config.mlp_bias ^= true,
        6 => config.qk_norm = any.qk_norm,
        7 => config.feed_forward = any.feed_forward,
        8 => config.hidden_size = any.hidden_size,
        9 => config.context_length = 16,
        10 => config.family = any.family,
        11 => config.query_pre_attn_scalar = any.query_pre_attn_scalar.filter(|&n| n != config.head_dim),
        12 => (config.sliding_window, config.windowed_layers) = (any.sliding_window, below(&any.windowed_layers)),
        13 => config.unrotated_layers = below(&any.unrotated_layers),
        14 => {
            config.position.clone_from(&any.position);
            if let Position::Rotary(rotary) = &mut config.position {
                fit(rotary, config.head_dim);
            }
        }
        15 => {
            config.local_rotary.clone_from(&any.local_rotary);
            config.local_rotary.iter_mut().for_each(|rotary| fit(rotary, config.head_dim));
        }
        _ => {
            config.multipliers = any.multipliers;
            config.query_pre_attn_scalar = config.query_pre_attn_scalar.filter(|_| any.multipliers.attention.is_none());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What is saved today is found tomorrow: a model has the family that it had under the rules of people. Where these knew
    /// none, a younger family may know it.
    #[test]
    fn a_model_is_saved_as_the_family_that_people_would_choose(config in prop_oneof![any_near(), any_published(), any_config()]) {
        if config.validate().is_ok() {
            let has_rules = |found: Option<&str>| by_hand::FAMILIES.iter().any(|(_, rules)| found == Some(*rules));
            let is_younger = !by_hand::FAMILIES.iter().any(|(family, _)| *family == config.family);
            let expected = by_hand::published_type(&config);
            let found = published_type(&config);
            if (expected.is_some() && !is_younger) || has_rules(found) {
                prop_assert_eq!(found, expected);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_published_config_stays_what_it_is(config in any_published()) {
        let dir = tempfile::tempdir().unwrap();
        prop_assert_eq!(round_trip(dir.path(), &config), config);
    }

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

//! The same model must give the same answer whichever way it is asked: with a cache, after saving, by another layout.

mod common;

use burn::tensor::{Device, FloatDType, Int, Tensor, TensorData};
use common::{GOLDEN, assert_close, golden_dir, golden_model, golden_values, values};
use llm_checkpoint::{load_config, load_model, load_weights, save_config, save_weights};
use llm_model::{CausalLm, KvCache, named_params};

const TIME: usize = 24;

fn tokens(ids: &[i32]) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), &Device::flex())
}

/// Logits of `ids`, given to the model in pieces of these sizes with one cache.
fn cached(model: &CausalLm, ids: &[i32], pieces: &[usize]) -> Vec<f32> {
    let mut cache = KvCache::new(model.config(), ids.len(), &Device::flex());
    cache.expect(ids.len());
    let mut logits = Vec::new();
    let mut start = 0;
    for &piece in pieces {
        logits.extend(values(model.forward(tokens(&ids[start..start + piece]), Some(&mut cache))));
        start += piece;
    }
    assert_eq!((start, cache.len()), (ids.len(), ids.len()));
    logits
}

#[test]
fn cached_logits_equal_uncached_ones_wherever_the_prompt_is_split() {
    for name in GOLDEN {
        let model = golden_model(name);
        let ids: Vec<i32> = golden_values(name)["ids"].try_to_vec().unwrap();
        let ids = &ids[..TIME];
        let whole = values(model.forward(tokens(ids), None));
        for at in 1..TIME {
            assert_close(&format!("{name}, split at {at}"), &cached(&model, ids, &[at, TIME - at]), &whole, 1e-4);
        }
        for size in 1..=TIME {
            let pieces: Vec<usize> = (0..TIME).step_by(size).map(|start| size.min(TIME - start)).collect();
            assert_close(&format!("{name}, pieces of {size}"), &cached(&model, ids, &pieces), &whole, 1e-4);
        }
    }
}

/// A cache in float16 takes half the memory, and rounds keys and values to 11 bits.
#[test]
fn a_cache_may_hold_float16() {
    for name in GOLDEN {
        let model = golden_model(name);
        let ids: Vec<i32> = golden_values(name)["ids"].try_to_vec().unwrap();
        let ids = &ids[..TIME];
        let wide = KvCache::new(model.config(), TIME, &Device::flex());
        let mut half = wide.clone().in_type(FloatDType::F16);
        assert_eq!(2 * half.size(), wide.size());
        half.expect(TIME);
        let mut logits = values(model.forward(tokens(&ids[..TIME - 4]), Some(&mut half)));
        for at in TIME - 4..TIME {
            logits.extend(values(model.forward(tokens(&ids[at..=at]), Some(&mut half))));
        }
        let exact = values(model.forward(tokens(ids), None));
        let worst = logits.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        let size = exact.iter().map(|x| x.abs()).fold(0.0f32, f32::max);
        assert!(worst > 0.0 && worst < 4e-3 * size, "{name}: off by {worst}, where logits reach {size}");
    }
}

#[test]
fn a_truncated_cache_goes_on_as_if_the_rest_had_never_been() {
    for name in GOLDEN {
        let model = golden_model(name);
        let ids: Vec<i32> = golden_values(name)["ids"].try_to_vec().unwrap();
        let ids = &ids[..TIME];
        let mut cache = KvCache::new(model.config(), TIME, &Device::flex());
        cache.expect(TIME);
        model.forward(tokens(ids), Some(&mut cache));
        cache.truncate(10);
        let again = values(model.forward(tokens(&ids[10..]), Some(&mut cache)));
        let whole = values(model.forward(tokens(ids), None));
        assert_close(name, &again, &whole[whole.len() - again.len()..], 1e-4);
    }
}

#[test]
fn keys_that_longrope_makes_void_are_forgotten_and_others_kept() {
    let model = golden_model("phi3_longrope");
    assert_eq!(model.config().rotary_switch(), Some(16));
    let ids: Vec<i32> = golden_values("phi3_longrope")["ids"].try_to_vec().unwrap();
    let mut cache = KvCache::new(model.config(), TIME, &Device::flex());
    let read = |cache: &mut KvCache, to: usize| {
        cache.expect(to);
        let logits = values(model.forward(tokens(&ids[cache.len()..to]), Some(cache)));
        let whole = values(model.forward(tokens(&ids[..to]), None));
        assert_close(&format!("up to {to}"), &logits, &whole[whole.len() - logits.len()..], 1e-4);
        logits.len() / model.config().vocab_size
    };
    // Tokens that are read each time: all of them where the sequence becomes longer than 16, or shorter again.
    let mut counts = [10, 16, 17, 18].map(|to| read(&mut cache, to)).to_vec();
    cache.truncate(12);
    counts.push(read(&mut cache, 14));
    assert_eq!(counts, [10, 6, 17, 1, 14]);
}

#[test]
fn keys_of_dynamic_scaling_keep_their_rotation_while_decoding_and_are_forgotten_by_new_prompts() {
    let model = golden_model("llama_dynamic");
    assert_eq!(model.config().context_length, 64);
    let golden = golden_values("llama_dynamic");
    let [prompt, new]: [Vec<i32>; 2] = ["greedy.prompt", "greedy.ids"].map(|key| golden[key].try_to_vec().unwrap());
    let mut cache = KvCache::new(model.config(), 64, &Device::flex());
    cache.expect(prompt.len());
    let mut ours = Vec::new();
    let mut read = &prompt[..];
    for token in &new {
        let logits = values(model.forward(tokens(read), Some(&mut cache)));
        ours.extend_from_slice(&logits[logits.len() - model.config().vocab_size..]);
        read = std::slice::from_ref(token);
    }
    assert_close("step by step", &ours, &golden["cached.logits"].try_to_vec().unwrap(), 1e-4);
    // A longer text that begins the same is read as if nothing had been held.
    let ids = [&prompt[..], &new[..]].concat();
    cache.truncate(20);
    cache.expect(ids.len());
    assert_eq!(cache.len(), 0);
    let whole = values(model.forward(tokens(&ids), None));
    assert_close("as a new prompt", &values(model.forward(tokens(&ids), Some(&mut cache))), &whole, 1e-4);
    // Within the original context, what is held serves.
    let mut cache = KvCache::new(model.config(), 64, &Device::flex());
    cache.expect(10);
    model.forward(tokens(&ids[..10]), Some(&mut cache));
    cache.expect(16);
    assert_eq!(cache.len(), 10);
}

#[test]
#[should_panic(expected = "KvCache::expect")]
fn a_cache_that_would_mix_both_kinds_of_keys_refuses() {
    let model = golden_model("phi3_longrope");
    let mut cache = KvCache::new(model.config(), TIME, &Device::flex());
    model.forward(tokens(&[1; 10]), Some(&mut cache));
    model.forward(tokens(&[1; 10]), Some(&mut cache));
}

/// Every parameter with its bits.
fn bits(model: &CausalLm) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    named_params(model, &mut |info, data| {
        let values: Vec<f32> = data.try_to_vec().unwrap();
        all.push((info.name.clone(), values.into_iter().map(f32::to_bits).collect()));
    });
    all
}

#[test]
fn a_saved_model_loads_bit_for_bit_and_writes_the_file_that_it_came_from() {
    for name in GOLDEN {
        let dir = tempfile::tempdir().unwrap();
        let model = golden_model(name);
        save_config(dir.path(), model.config(), Some(1), &[2]).unwrap();
        save_weights(dir.path(), &model).unwrap();
        let loaded = load_model(dir.path(), &Device::flex()).unwrap();
        assert_eq!(loaded.config(), model.config(), "{name}");
        assert_eq!(bits(&loaded), bits(&model), "{name}");

        let file = |dir: &std::path::Path| llm_checkpoint::load_tensors(&dir.join("model.safetensors")).unwrap();
        let (ours, theirs) = (file(dir.path()), file(&golden_dir(name)));
        assert!(ours.keys().eq(theirs.keys()), "{name}");
        for (tensor, data) in &ours {
            assert_eq!(data.as_bytes(), theirs[tensor].as_bytes(), "{name}: {tensor}");
            assert_eq!(data.shape(), theirs[tensor].shape(), "{name}: {tensor}");
        }
    }
}

#[test]
fn an_initialized_model_of_every_family_survives_saving() {
    for name in GOLDEN {
        let dir = tempfile::tempdir().unwrap();
        let config = load_config(&golden_dir(name)).unwrap();
        let model = CausalLm::new(&config, &Device::flex()).initialize(7);
        save_weights(dir.path(), &model).unwrap();
        let loaded = load_weights(dir.path(), CausalLm::new(&config, &Device::flex())).unwrap();
        assert_eq!(bits(&loaded), bits(&model), "{name}");
    }
}

//! `generation_config.json`, as publishers write it and as nobody should.

use llm_checkpoint::{CheckpointError, GenerationDefaults, load_generation};

fn read(text: &str) -> Result<GenerationDefaults, CheckpointError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("generation_config.json"), text).unwrap();
    load_generation(dir.path())
}

#[test]
fn what_is_named_is_read_and_the_rest_is_open() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(load_generation(dir.path()).unwrap(), GenerationDefaults::default());
    assert_eq!(read(r#"{"bos_token_id": 1, "eos_token_id": [2, 3]}"#).unwrap(), GenerationDefaults::default());
    // Qwen2.5-0.5B-Instruct.
    let qwen = r#"{"bos_token_id": 151643, "pad_token_id": 151643, "do_sample": true, "eos_token_id": [151645, 151643],
                   "repetition_penalty": 1.1, "temperature": 0.7, "top_p": 0.8, "top_k": 20,
                   "transformers_version": "4.37.0"}"#;
    let expected = GenerationDefaults {
        do_sample: Some(true),
        temperature: Some(0.7),
        top_k: Some(20),
        top_p: Some(0.8),
        repetition_penalty: Some(1.1),
        ..GenerationDefaults::default()
    };
    assert_eq!(read(qwen).unwrap(), expected);
    let greedy = read(r#"{"do_sample": false, "temperature": null, "min_p": 0, "max_new_tokens": 9}"#).unwrap();
    assert_eq!((greedy.do_sample, greedy.temperature), (Some(false), None));
    assert_eq!((greedy.min_p, greedy.max_new_tokens), (Some(0.0), Some(9)));
}

/// What `transformers`, vLLM and mlx-lm take without a word.
#[test]
fn odd_values_are_taken_as_others_take_them() {
    let odd = read(
        r#"{"do_sample": 1, "temperature": 0, "top_k": -1, "top_p": 1, "min_p": null, "repetition_penalty": 1,
            "max_new_tokens": 512.0, "eos_token_id": [2, null], "_from_model_config": true, "cache_implementation": {}}"#,
    );
    let expected = GenerationDefaults {
        do_sample: Some(true),
        temperature: Some(0.0),
        top_k: Some(0),
        top_p: Some(1.0),
        repetition_penalty: Some(1.0),
        max_new_tokens: Some(512),
        ..GenerationDefaults::default()
    };
    assert_eq!(odd.unwrap(), expected);
    // A share of 0 leaves the most probable token; one above 1 leaves all of them.
    let [none, all] = [r#"{"top_p": 0.0}"#, r#"{"top_p": 1.5, "top_k": 50.0, "max_new_tokens": -1}"#].map(read);
    assert!(none.unwrap().top_p.is_some_and(|p| p > 0.0 && p < 1e-5));
    let all = all.unwrap();
    assert_eq!((all.top_p, all.top_k, all.max_new_tokens), (Some(1.0), Some(50), None));
}

#[test]
fn values_outside_their_range_are_named() {
    for (key, value) in [
        ("temperature", "-1"),
        ("temperature", "1e400"),
        ("top_p", "-0.1"),
        ("top_p", "\"high\""),
        ("min_p", "2"),
        ("top_k", "-3"),
        ("repetition_penalty", "0"),
        ("do_sample", "\"no\""),
        ("max_new_tokens", "1.5"),
    ] {
        let error = read(&format!("{{\"{key}\": {value}}}")).unwrap_err().to_string();
        assert!(error.contains("generation_config.json") && (error.contains(key) || value == "1e400"), "{error}");
    }
    assert!(matches!(read("[]").unwrap_err(), CheckpointError::Json { .. }));
}

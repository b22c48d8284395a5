//! Every family, from the table that a person writes, through `config.json` and through GGUF.

mod common;

use burn::tensor::Device;
use common::round_trip;
use llm_checkpoint::{TensorType, load_config, save_gguf};
use llm_model::{CausalLm, Family, ModelConfig, ModelSection};

/// Families that have no window.
const WITHOUT_WINDOW: [Family; 4] = [Family::Gpt2, Family::Llama, Family::Olmo2, Family::Granite];
/// Families whose windows GGUF, or llama.cpp, does not know.
const WITHOUT_WINDOW_IN_GGUF: [Family; 3] = [Family::Qwen2, Family::Qwen3, Family::SmolLm3];

/// The name of a family as a table has it.
fn name(family: Family) -> String {
    serde_json::to_value(family).unwrap().as_str().unwrap().to_owned()
}

/// What a table means, of a model with eight layers.
fn model(family: Family, more: &str) -> ModelConfig {
    let sizes = "context_length = 64\nhidden_size = 16\nnum_layers = 8\nnum_heads = 2\n";
    let section: ModelSection = toml::from_str(&format!("family = \"{}\"\n{sizes}{more}", name(family))).unwrap();
    section.resolve(19).unwrap()
}

#[test]
fn a_family_is_the_same_in_a_table_in_config_json_and_in_gguf() {
    let dir = tempfile::tempdir().unwrap();
    let gguf = dir.path().join("model.gguf");
    for family in Family::ALL {
        let mut tables = vec!["", "tied = false\nnum_kv_heads = 2\nnorm_eps = 2e-5\n"];
        if !WITHOUT_WINDOW.contains(&family) {
            tables.push("sliding_window = 5\n");
        }
        if family != Family::Gpt2 {
            tables.push("rope_theta = 12345.0\nnum_kv_heads = 1\n");
        }
        // Phi-3 knows LongRoPE only.
        if ![Family::Gpt2, Family::Phi3].contains(&family) {
            tables.push("rope_scaling = { kind = \"linear\", factor = 2.0 }\n");
        }
        for table in tables {
            let config = model(family, table);
            assert_eq!(config.family, family);
            assert_eq!(round_trip(dir.path(), &config), config, "{family:?}: {table}");

            let saved = save_gguf(&gguf, &CausalLm::new(&config, &Device::flex()), None, TensorType::F32);
            if config.sliding_window.is_some() && WITHOUT_WINDOW_IN_GGUF.contains(&family) {
                let error = saved.unwrap_err().to_string();
                assert!(error.contains("sliding_window is 5, but GGUF has none"), "{family:?}: {error}");
                continue;
            }
            saved.unwrap_or_else(|error| panic!("{family:?}: {table}: {error}"));
            let back = load_config(&gguf).unwrap();
            // Where two families have one name there, files without a window are the plainer one's.
            let found = match family {
                Family::Mistral if config.sliding_window.is_none() => Family::Llama,
                Family::Olmo3 if config.sliding_window.is_none() => Family::Olmo2,
                _ => family,
            };
            assert_eq!(back, ModelConfig { family: found, ..config }, "{family:?}: {table}");
        }
    }
}

#[test]
fn every_family_is_known_by_its_name() {
    for family in Family::ALL {
        assert_eq!(serde_json::from_value::<Family>(name(family).into()).unwrap(), family);
    }
    let error = serde_json::from_value::<Family>("bert".into()).unwrap_err().to_string();
    // One that is not in the list of all would be named here besides.
    assert_eq!(error.matches('`').count(), 2 * (Family::ALL.len() + 1), "{error}");
}

//! A real, trained Llama of 260,000 parameters, if a folder `shared` beside the repository has it.

mod common;
#[path = "../../data/tests/skip/mod.rs"]
mod skip;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use common::values;
use llm_checkpoint::{load_config, load_model, load_tokenizer};
use skip::skip;

fn stories() -> Option<PathBuf> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = above.map(|up| up.join("shared/models/stories260K")).find(|dir| dir.is_dir());
    if found.is_none() {
        skip("stories260k", "there is no folder `shared` beside the repository");
    }
    found
}

#[test]
fn greedy_decoding_begins_a_story() {
    let Some(dir) = stories() else { return };
    let device = Device::flex();
    let model = load_model(&dir, &device).unwrap();
    let tokenizer = load_tokenizer(&dir, &load_config(&dir).unwrap()).unwrap();
    let mut ids = vec![tokenizer.bos_id().unwrap() as i32];
    for _ in 0..24 {
        let data = TensorData::new(ids.clone(), [1, ids.len()]);
        let logits = values(model.forward(Tensor::from_data(data, &device), None));
        assert!(logits.iter().all(|logit| logit.is_finite()));
        let last = &logits[logits.len() - model.config().vocab_size..];
        let best = (0..last.len()).max_by(|&i, &j| last[i].total_cmp(&last[j])).unwrap();
        ids.push(best as i32);
    }
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    let text = tokenizer.decode(&ids).unwrap();
    let golden = std::fs::read_to_string(dir.join("golden_greedy.txt")).unwrap();
    assert!(golden.trim_start().starts_with(text.trim_start()), "{text:?} does not begin {golden:?}");
    assert!(text.len() > 30, "{text:?}");
}

//! A real model: what greedy decoding of stories260K has to give.

#[path = "../../data/tests/skip/mod.rs"]
mod skip;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use llm_checkpoint::{load_config, load_model, load_tokenizer};
use llm_generate::{FinishReason, Generator, Options, Sampling};
use skip::skip;

/// Tokens in the file: 256 end it at `help you.`; the quotation mark and the line break after it are two more.
const TOKENS: usize = 258;

fn stories() -> Option<PathBuf> {
    let places = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("shared/models/stories260K"));
    let found = { places }.find(|place| place.exists());
    if found.is_none() {
        skip("stories260k", "there is no folder `shared` beside the repository");
    }
    found
}

#[test]
fn greedy_text_of_stories260k() {
    let Some(dir) = stories() else { return };
    let device = Device::flex();
    let tokenizer = load_tokenizer(&dir, &load_config(&dir).unwrap()).unwrap();
    let model = load_model(&dir, &device).unwrap();
    let options = Options { sampling: Sampling::greedy(), max_tokens: TOKENS, ..Options::default() };
    let mut generator = Generator::new(&model, &tokenizer, &device);
    let begin = [tokenizer.bos_id().unwrap()];
    let made = generator.generate(&begin, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(made.text, std::fs::read_to_string(dir.join("golden_greedy.txt")).unwrap());
    assert_eq!((made.ids.len(), made.finish_reason), (TOKENS, FinishReason::Length));
}

//! Any bytes as a model in two GGUF files, opened from either: an error or a model, never a panic.
#![no_main]

use std::cell::RefCell;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use llm_checkpoint::{ModelSource, load_config, open_tokenizer};
use tempfile::TempDir;

thread_local! {
    /// A place for the files, made once.
    static FOLDER: RefCell<TempDir> = RefCell::new(tempfile::tempdir().expect("a temporary folder"));
}

// The first four bytes are the length of the first file.
fuzz_target!(|bytes: &[u8]| {
    let Some((length, rest)) = bytes.split_first_chunk() else { return };
    let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
    FOLDER.with_borrow(|folder| {
        let paths = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"].map(|name| folder.path().join(name));
        for (path, bytes) in paths.iter().zip([&rest[..length], &rest[length..]]) {
            std::fs::write(path, bytes).expect("the temporary folder can be written");
        }
        let device = Device::flex();
        for path in &paths {
            if let Ok(source) = ModelSource::open(path) {
                let loaded = source.load(&device).is_ok();
                assert_eq!(source.load_for_inference(&device).is_ok(), loaded);
            }
        }
        for path in &paths {
            let _ = (load_config(path), open_tokenizer(path));
        }
    });
});

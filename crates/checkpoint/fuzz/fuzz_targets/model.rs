//! Any bytes as a whole model in a GGUF file, loaded in every way that there is: an error or a model, never a panic, never more
//! memory than the file's size explains.
#![no_main]

use std::cell::RefCell;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use llm_checkpoint::{ModelSource, Quantize};
use tempfile::TempDir;

thread_local! {
    /// A place for the file, made once.
    static FOLDER: RefCell<TempDir> = RefCell::new(tempfile::tempdir().expect("a temporary folder"));
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, bytes).expect("the temporary folder can be written");
        let Ok(source) = ModelSource::open(&path) else { return };
        let device = Device::flex();
        let loaded = source.load(&device).is_ok();
        assert_eq!(source.load_for_inference(&device).is_ok(), loaded);
        let _ = source.load_frozen(&device, Some(Quantize::Q8));
    });
});

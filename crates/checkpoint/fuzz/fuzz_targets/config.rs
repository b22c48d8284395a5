//! Any bytes as a `config.json`, as the settings of an adapter, and as the metadata of a GGUF file: an error or a
//! configuration, never a panic.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    /// A place for the files, made once.
    static FOLDER: RefCell<TempDir> = RefCell::new(tempfile::tempdir().expect("a temporary folder"));
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with_borrow(|folder| {
        let is_gguf = bytes.starts_with(b"GGUF");
        let name = if is_gguf { "model.gguf" } else { "config.json" };
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("the temporary folder can be written");
        let path = if is_gguf { file.as_path() } else { folder.path() };
        if let Ok(config) = llm_checkpoint::load_config(path) {
            config.validate().expect("a configuration that was accepted");
        }
        if !is_gguf {
            std::fs::write(folder.path().join("adapter_config.json"), bytes).expect("the temporary folder can be written");
            let _ = llm_checkpoint::adapter_base(folder.path());
        }
        if is_gguf {
            let _ = llm_checkpoint::open_tokenizer(path);
        }
    });
});

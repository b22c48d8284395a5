//! Any bytes as a GGUF file: an error or values, never a panic, never more memory than the file's size explains.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_gguf::Gguf;

fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::parse(bytes) else { return };
    for (name, info) in gguf.tensors() {
        let values = gguf.values(name).expect("a tensor that parse accepted");
        assert_eq!(values.len(), info.len());
    }
});

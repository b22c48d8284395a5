//! Parts of the texts of errors.

use std::path::Path;

use llm_gguf::is_gguf_name;

/// Bytes that this user may still write to the disk of `dir`.
#[cfg(unix)]
pub(super) fn free_bytes(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
pub(super) fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Why an adapter has no place in a model.
pub(super) fn extra(count: usize, names: &[String]) -> String {
    if count == 0 {
        "no adapter of LoRA is in this file".to_owned()
    } else {
        format!("{count} tensors have no place in this model, {} among them", names.join(", "))
    }
}

/// ` (needed 1.5 MB, free 0.2 MB)`, as far as known.
pub(super) fn sizes(needed: Option<u64>, free: Option<u64>) -> String {
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let parts: Vec<String> = [("needed", needed), ("free", free)]
        .into_iter()
        .filter_map(|(name, bytes)| Some(format!("{name} {}", megabytes(bytes?))))
        .collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// What says how the weights at `path` are to be used.
pub(super) fn description(path: &Path) -> &'static str {
    if is_gguf_name(path) { "its metadata" } else { "config.json" }
}

//! The files of a directory by their names.

use std::path::Path;

/// The settings of a model.
pub(crate) const CONFIG: &str = "config.json";
/// The settings of an adapter.
pub(crate) const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Whether `path` is a directory with an adapter.
pub fn is_adapter(path: &Path) -> bool {
    path.join(ADAPTER_CONFIG).is_file()
}

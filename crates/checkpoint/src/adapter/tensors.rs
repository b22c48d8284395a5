//! The tensors of an adapter, by one set of names, whoever wrote them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::config::Format;
use super::{MLX_WEIGHTS, PICKLED, PREFIX, WEIGHTS};
use crate::CheckpointError;
use crate::pictures::text_name;
use crate::weights::{Load, WeightFile};

/// Modules that are tables, not linear layers; mlx-lm names the factors of both alike.
const TABLES: [&str; 4] = ["embed_tokens", "embed_positions", "wte", "wpe"];
/// What PEFT puts between a module and its parameters.
const WRAPPERS: [&str; 3] = ["base_layer", "token_adapter", "original_module"];
/// The same around a module that is trained as a whole; the adapter's name follows.
const SAVED: &str = "modules_to_save";
/// Rows of an embedding that are trained alone.
pub(super) const TOKEN_ROWS: &str = "trainable_tokens_delta";

/// The tensors of the adapter in a directory. Their names here are PEFT's, without what it puts around the model, and
/// without the adapter's own name: `model.layers.0.self_attn.q_proj.lora_A.weight`. What is not of the adapter itself is a
/// tensor of the base, under its name in the base's checkpoint.
pub(super) struct AdapterTensors {
    file: WeightFile,
    format: Format,
    /// Names in the file.
    stored: BTreeMap<String, String>,
    /// Tensors of parts of the model that text does not pass through.
    pub other_parts: usize,
}

impl AdapterTensors {
    /// Opens the file in `dir`.
    pub fn open(dir: &Path, format: Format) -> Result<Self, CheckpointError> {
        let name = match format {
            Format::Mlx => MLX_WEIGHTS,
            Format::Peft if !dir.join(WEIGHTS).exists() && dir.join(PICKLED).exists() => PICKLED,
            Format::Peft => WEIGHTS,
        };
        let hint = "an adapter's tensors are in the same folder as its adapter_config.json";
        let file = WeightFile::open(&dir.join(name), hint, Load::Float32)?;
        let mut tensors = Self { file, format, stored: BTreeMap::new(), other_parts: 0 };
        tensors.name_all()?;
        Ok(tensors)
    }

    fn name_all(&mut self) -> Result<(), CheckpointError> {
        let mut adapters = BTreeSet::new();
        let mut names = self.file.names();
        // What PEFT keeps of a module that it trains as a whole counts only where nothing else does.
        names.sort_by_key(|name| name.contains(".original_module."));
        for name in names {
            let inner = name.strip_prefix(PREFIX).unwrap_or(&name);
            let Some(inner) = text_name(inner) else {
                self.other_parts += 1;
                continue;
            };
            let (ours, adapter) = if self.format == Format::Mlx { (from_mlx(&inner), None) } else { from_peft(&inner) };
            adapters.extend(adapter);
            match self.stored.get(&ours) {
                Some(_) if name.contains(".original_module.") => {}
                Some(other) => return Err(self.damaged(format!("{other} and {name} are the same tensor"))),
                None => drop(self.stored.insert(ours, name)),
            }
        }
        if adapters.len() > 1 {
            let names: Vec<String> = adapters.into_iter().collect();
            return Err(self.damaged(format!("it holds several adapters, {}; save one of them", names.join(", "))));
        }
        Ok(())
    }

    fn damaged(&self, message: String) -> CheckpointError {
        CheckpointError::Format { path: self.path().to_owned(), message }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stored.keys().map(String::as_str)
    }

    /// The name under which `tensor` is here: some files leave out the name of the module around all others.
    pub fn find(&self, tensor: &str) -> Option<&str> {
        let inner = tensor.split_once('.').map_or("", |(_, inner)| inner);
        let found = self.stored.get_key_value(tensor).or_else(|| self.stored.get_key_value(inner))?;
        Some(found.0)
    }

    /// Its name in the file.
    pub fn in_file<'a>(&'a self, tensor: &'a str) -> &'a str {
        self.find(tensor).map_or(tensor, |name| &self.stored[name])
    }

    /// The shape of a tensor, laid out as PEFT does.
    pub fn shape(&self, tensor: &str) -> Option<Vec<usize>> {
        let mut shape = self.file.shape(self.in_file(tensor))?.to_vec();
        if self.is_transposed(tensor) {
            shape.reverse();
        }
        Some(shape)
    }

    /// The values of a tensor that must have this shape, row-major.
    pub fn read(&self, tensor: &str, expected: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        let (path, name) = (self.path().to_owned(), self.in_file(tensor).to_owned());
        match self.shape(tensor) {
            Some(found) if found == expected => {}
            Some(found) => {
                let expected = expected.to_vec();
                return Err(CheckpointError::AdapterShape { path, tensor: name, found, expected });
            }
            None => {
                let hint = "check that the file belongs to its adapter_config.json".to_owned();
                return Err(CheckpointError::MissingTensor { path, tensor: name, hint });
            }
        }
        let values = self.file.floats(&name)?.into_f32();
        match *expected {
            [rows, columns] if self.is_transposed(tensor) => {
                Ok((0..rows * columns).map(|i| values[i % columns * rows + i / columns]).collect())
            }
            _ => Ok(values),
        }
    }

    /// mlx-lm stores both factors the other way round.
    fn is_transposed(&self, tensor: &str) -> bool {
        self.format == Format::Mlx && tensor.contains(".lora_") && !tensor.contains("magnitude")
    }
}

/// The name here of a tensor of PEFT, and the name of its adapter, if it has one.
fn from_peft(name: &str) -> (String, Option<String>) {
    let mut parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
    if let Some(at) = parts.iter().position(|part| *part == SAVED) {
        let adapter = (at + 2 < parts.len()).then(|| parts.remove(at + 1).to_owned());
        parts.remove(at);
        return (parts.join("."), adapter);
    }
    let Some(at) = parts.iter().position(|part| part.starts_with("lora_") || *part == TOKEN_ROWS) else {
        return (parts.join("."), None);
    };
    let is_linear = parts[at] == "lora_A" || parts[at] == "lora_B";
    let rest = parts.split_off(at + 1);
    let last = rest.last().copied().filter(|last| ["weight", "bias"].contains(last));
    let adapter = &rest[..rest.len() - usize::from(last.is_some())];
    parts.extend(last.filter(|_| is_linear));
    (parts.join("."), (!adapter.is_empty()).then(|| adapter.join(".")))
}

/// The name here of a tensor of mlx-lm.
fn from_mlx(name: &str) -> String {
    let Some((module, kind)) = name.rsplit_once('.') else { return name.to_owned() };
    let is_table = TABLES.contains(&module.rsplit('.').next().unwrap_or(module));
    let kind = match (kind, is_table) {
        ("lora_a", false) => "lora_A.weight",
        ("lora_b", false) => "lora_B.weight",
        ("lora_a", true) => "lora_embedding_A",
        ("lora_b", true) => "lora_embedding_B",
        ("m", _) => "lora_magnitude_vector",
        _ => return name.to_owned(),
    };
    format!("{module}.{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_wrote_it_a_tensor_has_one_name() {
        let q = "model.layers.0.self_attn.q_proj";
        for (tail, expected, adapter) in [
            ("lora_A.weight", "lora_A.weight", None),
            ("lora_A.default.weight", "lora_A.weight", Some("default")),
            ("lora_B.my.name.weight", "lora_B.weight", Some("my.name")),
            ("lora_B.bias", "lora_B.bias", None),
            ("lora_magnitude_vector", "lora_magnitude_vector", None),
            ("lora_magnitude_vector.weight", "lora_magnitude_vector", None),
            ("lora_magnitude_vector.default.weight", "lora_magnitude_vector", Some("default")),
            ("lora_embedding_A.default", "lora_embedding_A", Some("default")),
            ("token_adapter.trainable_tokens_delta.default", "trainable_tokens_delta", Some("default")),
            ("base_layer.weight", "weight", None),
            ("modules_to_save.default.weight", "weight", Some("default")),
            ("modules_to_save.weight", "weight", None),
            ("original_module.weight", "weight", None),
        ] {
            let (found, name) = from_peft(&format!("{q}.{tail}"));
            assert_eq!((found, name.as_deref()), (format!("{q}.{expected}"), adapter), "{tail}");
        }
        assert_eq!(from_mlx(&format!("{q}.lora_a")), format!("{q}.lora_A.weight"));
        assert_eq!(from_mlx("model.embed_tokens.lora_b"), "model.embed_tokens.lora_embedding_B");
        assert_eq!(from_mlx(&format!("{q}.m")), format!("{q}.lora_magnitude_vector"));
        assert_eq!(from_mlx(&format!("{q}.weight")), format!("{q}.weight"));
    }
}

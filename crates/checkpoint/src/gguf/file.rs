//! A GGUF file, or the several files of one model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use llm_gguf::{Gguf, GgufError, TensorInfo, Value};
use llm_model::ModelConfig;

use super::parts::{self, Part};
use crate::CheckpointError;
use crate::keys::GgufKeys;

/// A GGUF file, or the several files of one model.
pub(crate) struct GgufFile {
    /// At least one; the first has the metadata.
    parts: Vec<Part>,
    /// For each tensor, the part that has it.
    homes: BTreeMap<String, usize>,
    /// What the metadata says about the model, once somebody has asked.
    config: OnceLock<ModelConfig>,
}

impl GgufFile {
    /// Maps the file, and all others of its model if it is one part, and checks their headers; no weight is read.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let parts = parts::open(path)?;
        let homes = parts::homes(&parts)?;
        Ok(Self { parts, homes, config: OnceLock::new() })
    }

    /// The file with the metadata.
    pub fn path(&self) -> &PathBuf {
        &self.parts[0].path
    }

    /// What it says about the model.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        self.parts[0].gguf.metadata()
    }

    /// What `read` makes of that, the first time; then the same again.
    pub fn config_by(
        &self,
        read: impl FnOnce(&Self) -> Result<ModelConfig, CheckpointError>,
    ) -> Result<&ModelConfig, CheckpointError> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = read(self)?;
        Ok(self.config.get_or_init(|| config))
    }

    /// Its keys, to be read one by one.
    pub fn keys(&self) -> GgufKeys<'_> {
        GgufKeys::new(self.path(), self.metadata())
    }

    /// Names and descriptions of all tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (&String, &TensorInfo)> {
        self.parts.iter().flat_map(|part| part.gguf.tensors())
    }

    /// The description of a tensor.
    pub fn info(&self, tensor: &str) -> Option<&TensorInfo> {
        self.gguf(tensor).tensors().get(tensor)
    }

    /// The file that has a tensor; any other one if none has.
    pub fn gguf(&self, tensor: &str) -> &Gguf<Bytes> {
        &self.parts[self.homes.get(tensor).copied().unwrap_or(0)].gguf
    }

    /// The values of a tensor, which may be NaN or infinite.
    pub fn values(&self, tensor: &str) -> Result<Vec<f32>, CheckpointError> {
        self.gguf(tensor).values(tensor).map_err(|source| self.damaged(source))
    }

    /// The error of a file that is not what it should be.
    pub fn damaged(&self, source: GgufError) -> CheckpointError {
        CheckpointError::Gguf { path: self.path().clone(), source }
    }

    /// The error of a tensor that is not what it should be.
    pub fn bad_tensor(&self, tensor: &str, problem: &str) -> CheckpointError {
        self.damaged(GgufError::Tensor { tensor: tensor.to_owned(), problem: problem.to_owned() })
    }
}

//! Weights that `torch.save` wrote: `pytorch_model.bin`. The pickle in it is parsed, never executed, and no length that
//! it claims is believed before it is held against the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pytorch_reader::{DType, PytorchReader, Tensor};

use crate::CheckpointError;
use crate::floats::{FloatKind, Floats};

/// A PyTorch checkpoint; only the names, types and shapes have been read.
#[derive(Debug)]
pub(crate) struct PickledFile {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl PickledFile {
    /// Opens the file and reads what is in it, but for the values.
    pub fn open(path: &Path, hint: &str) -> Result<Self, CheckpointError> {
        // The reader's own message for a missing file names no file.
        std::fs::File::open(path).map_err(|e| CheckpointError::read(path, e, hint))?;
        let reader = PytorchReader::new(path)
            .map_err(|e| CheckpointError::Pickled { path: path.to_owned(), message: e.to_string() })?;
        Ok(Self { path: path.to_owned(), tensors: reader.into_tensors().into_iter().collect() })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(Tensor::shape)
    }

    /// The values of a tensor in float32, float16 or bfloat16.
    pub fn floats(&self, name: &str) -> Result<Floats, CheckpointError> {
        let tensor = self.tensors.get(name).ok_or_else(|| CheckpointError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            hint: "check that the file belongs to this model".to_owned(),
        })?;
        let read =
            || tensor.read().map_err(|e| CheckpointError::Pickled { path: self.path.clone(), message: e.to_string() });
        let kind = match tensor.dtype() {
            DType::F32 => FloatKind::F32,
            DType::F16 => FloatKind::F16,
            DType::BF16 => FloatKind::Bf16,
            DType::F64 => return Ok(Floats::from_f64(&read()?)),
            other => return Err(CheckpointError::no_float(&self.path, name, format!("{other:?}"))),
        };
        Ok(Floats { kind, bytes: read()?.into() })
    }
}

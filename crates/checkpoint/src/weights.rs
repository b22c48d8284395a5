//! Weights of a model directory: `model.safetensors` or its shards with their index, or the same of PyTorch.

mod read;
mod scales;
mod stored;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use burn::tensor::TensorData;
use half::{bf16, f16};
use llm_model::{CausalLm, ParamInfo, Role, named_params, params};

use crate::families::{Place, places};
use crate::floats::Floats;
use crate::gguf::GgufTensors;
use crate::pickled::PickledFile;
use crate::tensors::{Announced, TensorFile, write_tensors};
use crate::{CheckpointError, ModelSource};

pub(crate) use read::{Load, load};
pub(crate) use scales::Scales;
pub use stored::OtherParts;
pub(crate) use stored::{HEAD, SINGLE, other_parts};

/// Replaces all weights of `model`, but for those of its adapters, by those in `dir` or in a GGUF file, converted to
/// float32. Beside the model, one tensor at a time is in memory.
///
/// # Errors
/// A missing, damaged or truncated file, and a tensor that is missing, superfluous, of another shape or type than the
/// model's, or not finite: each with the file, the tensor and both values.
pub fn load_weights(dir: &Path, model: CausalLm) -> Result<CausalLm, CheckpointError> {
    load(&ModelSource::open(dir)?, model, Load::Float32)
}

/// How the weights of a directory are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// float32, exactly what the model computes with.
    F32,
    /// float16.
    F16,
    /// bfloat16.
    Bf16,
}

impl Dtype {
    /// Its name in `config.json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// Writes the weights of `model`, but for those of its adapters, in float32 to `model.safetensors` in `dir`,
/// atomically, under the names of the published architecture that describes the model. Beside the model, one tensor at
/// a time is in memory.
///
/// # Errors
/// Those of [`write_atomic`](crate::write_atomic).
pub fn save_weights(dir: &Path, model: &CausalLm) -> Result<(), CheckpointError> {
    write_weights(dir, model, Dtype::F32)
}

/// [`save_weights`] in any type.
pub(crate) fn write_weights(dir: &Path, model: &CausalLm, dtype: Dtype) -> Result<(), CheckpointError> {
    let stored_type = match dtype {
        Dtype::F32 => safetensors::Dtype::F32,
        Dtype::F16 => safetensors::Dtype::F16,
        Dtype::Bf16 => safetensors::Dtype::BF16,
    };
    let announce = |(name, shape): (String, Vec<usize>)| -> Announced { (name, stored_type, shape) };
    let announced = stored_tensors(model).into_iter().map(announce).collect();
    write_tensors(&dir.join(SINGLE), announced, |out| {
        visit_stored(model, &mut |_, _, values| match dtype {
            Dtype::F32 => out.write_all(bytemuck::cast_slice(&values)),
            Dtype::F16 => write_halves(out, &values, |x| f16::from_f32(x).to_le_bytes()),
            Dtype::Bf16 => write_halves(out, &values, |x| bf16::from_f32(x).to_le_bytes()),
        })
    })
}

fn write_halves(out: &mut dyn Write, values: &[f32], half: fn(f32) -> [u8; 2]) -> io::Result<()> {
    out.write_all(values.iter().flat_map(|&x| half(x)).collect::<Vec<u8>>().as_slice())
}

/// Names and shapes of the tensors in a checkpoint of `model`, in the order of [`visit_stored`].
pub(crate) fn stored_tensors(model: &CausalLm) -> Vec<(String, Vec<usize>)> {
    let place = places(model.config());
    let stored = |info: &ParamInfo| {
        let place = place(&info.name);
        place.is_last(&info.shape).then(|| (place.tensor.clone(), place.stored_shape(&info.shape)))
    };
    params(model).iter().filter(|info| info.role != Role::Adapter).filter_map(stored).collect()
}

/// Takes the name, shape and values of a stored tensor.
type VisitStored<'a> = dyn FnMut(&str, &[usize], Vec<f32>) -> io::Result<()> + 'a;

/// Shows `visit` the name, shape and values of every tensor in a checkpoint of `model`, one at a time.
pub(crate) fn visit_stored(model: &CausalLm, visit: &mut VisitStored) -> io::Result<()> {
    let place = places(model.config());
    // Parameters that wait until the tensor that they are a part of is complete.
    let mut parts: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
    let mut done = Ok(());
    named_params(model, &mut |info, data| {
        if done.is_ok() && info.role != Role::Adapter {
            done = visit_param(&place(&info.name), info, &data, &mut parts, visit);
        }
    });
    done
}

fn visit_param(
    place: &Place,
    info: &ParamInfo,
    data: &TensorData,
    parts: &mut BTreeMap<String, Vec<Vec<f32>>>,
    visit: &mut VisitStored,
) -> io::Result<()> {
    let values = data.try_to_vec::<f32>().map_err(|e| io::Error::other(format!("{}: {e:?}", info.name)))?;
    if place.is_whole() {
        return visit(&place.tensor, &info.shape, values);
    }
    let held = parts.entry(place.tensor.clone()).or_default();
    held.push(values);
    if place.is_last(&info.shape) {
        let columns = info.shape[1..].iter().product();
        let values = place.assemble(held, columns);
        parts.remove(&place.tensor);
        visit(&place.tensor, &place.stored_shape(&info.shape), values)?;
    }
    Ok(())
}

/// A file of weights, of any kind.
pub(crate) enum WeightFile {
    Gguf(GgufTensors),
    Safetensors(TensorFile),
    Pickled(PickledFile),
}

impl WeightFile {
    pub fn open(path: &Path, hint: &str, how: Load) -> Result<Self, CheckpointError> {
        if path.extension().is_some_and(|extension| extension == "bin") {
            return PickledFile::open(path, hint).map(Self::Pickled);
        }
        let file = TensorFile::open(path, hint)?;
        Ok(Self::Safetensors(if matches!(how, Load::AsStored { .. }) { file.mapped()? } else { file }))
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Gguf(file) => file.path(),
            Self::Safetensors(file) => file.path(),
            Self::Pickled(file) => file.path(),
        }
    }

    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Gguf(file) => file.names(),
            Self::Safetensors(file) => file.names(),
            Self::Pickled(file) => file.names(),
        }
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match self {
            Self::Gguf(file) => file.shape(name),
            Self::Safetensors(file) => file.shape(name),
            Self::Pickled(file) => file.shape(name),
        }
    }

    /// Whether the values of a tensor have 8 bits each.
    pub fn is_float8(&self, name: &str) -> bool {
        matches!(self, Self::Safetensors(file) if file.is_float8(name))
    }

    /// The values of a tensor; all are finite.
    pub fn floats(&self, name: &str) -> Result<Floats, CheckpointError> {
        let floats = match self {
            // It looks at all values itself, under the name in the file.
            Self::Gguf(file) => return file.floats(name),
            Self::Safetensors(file) => file.floats(name),
            Self::Pickled(file) => file.floats(name),
        }?;
        floats.check_finite(self.path(), name).map(|()| floats)
    }
}

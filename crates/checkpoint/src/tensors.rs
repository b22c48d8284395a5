//! Named tensors in the safetensors format (<https://github.com/huggingface/safetensors>), read and written one at a
//! time, so that no more than one is in memory beside the model.
//!
//! A file is the length of its header in 8 bytes, the header in JSON, and the values, all little-endian.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use bytes::Bytes;
use llm_data::MappedFile;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::CheckpointError;
use crate::atomic::write_sized;
use crate::floats::{Float8, FloatKind, Floats};

/// The longest header that is read, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes that hold the header's length.
const LENGTH: u64 = 8;

/// A safetensors file whose header has been read and found consistent with its size.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    values_start: u64,
    /// The whole file, where its values are not copied.
    map: Option<Bytes>,
}

impl TensorFile {
    /// Opens the file and checks its header: nothing later reads or allocates beyond the end of the file.
    pub fn open(path: &Path, hint: &str) -> Result<Self, CheckpointError> {
        let io = |e| CheckpointError::read(path, e, hint);
        let format = |message: String| CheckpointError::Format { path: path.to_owned(), message };
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        if size < LENGTH {
            return Err(format(format!("it has {size} bytes, fewer than the {LENGTH} that any has")));
        }
        let mut length = [0; LENGTH as usize];
        file.read_exact(&mut length).map_err(io)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER.min(size - LENGTH) {
            return Err(format(format!("its header claims {length} bytes, but the whole file has {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| format(e.to_string()))?;
        let values_start = LENGTH + length;
        let expected = values_start.checked_add(metadata.data_len() as u64);
        if expected != Some(size) {
            let expected = expected.map_or("more than can be".to_owned(), |bytes| bytes.to_string());
            return Err(format(format!("it has {size} bytes, but its header accounts for {expected}")));
        }
        Ok(Self { path: path.to_owned(), file, metadata, values_start, map: None })
    }

    /// The same file, whose values are read where the system keeps them.
    pub fn mapped(self) -> Result<Self, CheckpointError> {
        let map = Bytes::from_owner(MappedFile::open(&self.path)?);
        let expected = self.values_start as usize + self.metadata.data_len();
        if map.len() != expected {
            let message = format!("it had {expected} bytes, and has {} now", map.len());
            return Err(CheckpointError::Format { path: self.path, message });
        }
        Ok(Self { map: Some(map), ..self })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, in the order of their values.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Whether the values of a tensor have 8 bits each.
    pub fn is_float8(&self, name: &str) -> bool {
        self.metadata.info(name).is_some_and(|info| float8(info.dtype).is_some())
    }

    /// The values of a tensor in float32, float16 or bfloat16.
    pub fn floats(&self, name: &str) -> Result<Floats, CheckpointError> {
        let info = self.info(name)?;
        if let Some(kind) = float8(info.dtype) {
            return Ok(Floats::from_float8(&self.bytes(info)?, kind));
        }
        let kind = match info.dtype {
            Dtype::F32 => FloatKind::F32,
            Dtype::F16 => FloatKind::F16,
            Dtype::BF16 => FloatKind::Bf16,
            Dtype::F64 => return Ok(Floats::from_f64(&self.bytes(info)?)),
            other => return Err(CheckpointError::no_float(&self.path, name, other.to_string())),
        };
        Ok(Floats { kind, bytes: self.bytes(info)? })
    }

    /// A tensor as it is stored.
    pub fn read(&self, name: &str) -> Result<TensorData, CheckpointError> {
        let info = self.info(name)?;
        let Some(dtype) = DTYPES.iter().find_map(|&(burn, stored)| (stored == info.dtype).then_some(burn)) else {
            return Err(CheckpointError::Dtype {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: info.dtype.to_string(),
                expected: "floats and integers of 8 to 64 bits",
            });
        };
        Ok(TensorData::from_bytes_vec(self.bytes(info)?.into(), info.shape.clone(), dtype))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, CheckpointError> {
        self.metadata.info(name).ok_or_else(|| CheckpointError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            hint: "check that the file belongs to this model".to_owned(),
        })
    }

    fn bytes(&self, info: &TensorInfo) -> Result<Bytes, CheckpointError> {
        let (start, end) = info.data_offsets;
        if let Some(map) = &self.map {
            let from = self.values_start as usize;
            return Ok(map.slice(from + start..from + end));
        }
        let mut bytes = vec![0; end - start];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.values_start + start as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| CheckpointError::Io { path: self.path.clone(), source })?;
        Ok(bytes.into())
    }
}

/// The type of 8 bits that `dtype` is.
fn float8(dtype: Dtype) -> Option<Float8> {
    match dtype {
        Dtype::F8_E4M3 => Some(Float8::E4m3),
        Dtype::F8_E5M2 => Some(Float8::E5m2),
        _ => None,
    }
}

/// The types that Burn and the format share.
const DTYPES: [(DType, Dtype); 12] = [
    (DType::F64, Dtype::F64),
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::I64, Dtype::I64),
    (DType::I32, Dtype::I32),
    (DType::I16, Dtype::I16),
    (DType::I8, Dtype::I8),
    (DType::U64, Dtype::U64),
    (DType::U32, Dtype::U32),
    (DType::U16, Dtype::U16),
    (DType::U8, Dtype::U8),
];

/// Name, type and shape of a tensor to be written.
pub(crate) type Announced = (String, Dtype, Vec<usize>);

/// Writes `tensors` to `path`; `values` then writes their values in the same order.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: Vec<Announced>,
    values: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let unwritable = |message: String| CheckpointError::Unwritable { path: path.to_owned(), message };
    let mut seen = HashSet::new();
    if let Some((name, ..)) = tensors.iter().find(|(name, ..)| !seen.insert(name.as_str())) {
        return Err(unwritable(format!("two tensors are named {name}")));
    }
    let mut end = 0;
    let place = |(name, dtype, shape): Announced| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name, TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    let placed = tensors.into_iter().map(place).collect();
    // `transformers` refuses a file that does not say who laid it out.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let metadata = Metadata::new(Some(format), placed).map_err(|e| unwritable(e.to_string()))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| unwritable(e.to_string()))?;
    header.resize(header.len().next_multiple_of(LENGTH as usize), b' ');

    let needed = LENGTH + (header.len() + end) as u64;
    write_sized(path, Some(needed), |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())
            .and_then(|()| out.write_all(&header))
            .and_then(|()| values(out))
            .map_err(|e| CheckpointError::write(path, e, Some(needed)))
    })
}

/// Writes named tensors to one safetensors file, in the order given, atomically.
///
/// # Errors
/// Two tensors of one name, a quantized or boolean tensor, and those of [`write_atomic`](crate::write_atomic).
pub fn save_tensors(path: &Path, tensors: &[(String, TensorData)]) -> Result<(), CheckpointError> {
    let announce = |(name, data): &(String, TensorData)| {
        let stored = DTYPES.iter().find_map(|&(burn, stored)| (burn == data.dtype()).then_some(stored));
        stored.map(|dtype| (name.clone(), dtype, data.shape().to_vec())).ok_or_else(|| CheckpointError::Unwritable {
            path: path.to_owned(),
            message: format!("tensor {name} has the type {:?}", data.dtype()),
        })
    };
    let announced = tensors.iter().map(announce).collect::<Result<_, _>>()?;
    write_tensors(path, announced, |out| tensors.iter().try_for_each(|(_, data)| out.write_all(data.as_bytes())))
}

/// Reads all tensors of a safetensors file as they are stored.
///
/// # Errors
/// A missing, damaged or truncated file, and numbers that Burn has no type for.
pub fn load_tensors(path: &Path) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    let file = TensorFile::open(path, "check the path")?;
    file.names().into_iter().map(|name| file.read(&name).map(|data| (name, data))).collect()
}

//! Reading: the header, held against the file's size, and values of tensors.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use crate::value::id;
use crate::{
    ALIGNMENT_KEY, Array, DEFAULT_ALIGNMENT, GgufError, MAGIC, MOST_DIMENSIONS, TensorType, Value, dequantize,
};

/// Values that one thread reads at a time: whole blocks of every type.
const PART: usize = 1 << 16;

/// Lists that may lie in one another.
const MOST_NESTED: usize = 8;

/// A file whose header has been read and found consistent.
#[derive(Debug)]
pub struct Gguf<B> {
    bytes: B,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its dimensions, the one along which values lie side by side last: `(out, in)` for a matrix.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub kind: TensorType,
    /// Its bytes in the file.
    range: Range<usize>,
}

impl TensorInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no value; none of a file does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<B: AsRef<[u8]>> Gguf<B> {
    /// Reads the header.
    ///
    /// # Errors
    /// Whatever is wrong with the file: see [`GgufError`].
    pub fn parse(bytes: B) -> Result<Self, GgufError> {
        let mut cursor = Cursor { bytes: bytes.as_ref(), at: 0 };
        let [tensor_count, metadata_count] = cursor.start()?;
        let metadata = cursor.metadata(metadata_count)?;
        let described = cursor.tensors(tensor_count)?;
        let alignment = alignment(&metadata)?;
        let tensors = place(described, cursor.at as u64, alignment, bytes.as_ref().len() as u64)?;
        Ok(Self { bytes, metadata, tensors })
    }

    /// The whole file.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// All metadata.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// All tensors.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The values of a tensor, which may be NaN or infinite.
    ///
    /// # Errors
    /// [`GgufError::MissingTensor`].
    pub fn values(&self, tensor: &str) -> Result<Vec<f32>, GgufError> {
        let info = self.info(tensor)?;
        let mut values = vec![0.0; info.len()];
        let bytes = PART / info.kind.block_len() * info.kind.block_bytes();
        let parts = values.par_chunks_mut(PART).zip(self.stored(tensor)?.par_chunks(bytes));
        parts.for_each(|(values, bytes)| dequantize(info.kind, bytes, values));
        Ok(values)
    }

    /// The bytes of a tensor as they are stored.
    ///
    /// # Errors
    /// [`GgufError::MissingTensor`].
    pub fn stored(&self, tensor: &str) -> Result<&[u8], GgufError> {
        Ok(&self.bytes.as_ref()[self.info(tensor)?.range.clone()])
    }

    fn info(&self, tensor: &str) -> Result<&TensorInfo, GgufError> {
        self.tensors.get(tensor).ok_or_else(|| GgufError::MissingTensor { tensor: tensor.to_owned() })
    }
}

/// A tensor as the header describes it: name, shape, type and offset from the first tensor's bytes.
type Described = (String, Vec<usize>, TensorType, u64);

/// Finds the bytes of all tensors, which begin after byte `header` of a file of `size` bytes.
fn place(
    described: Vec<Described>,
    header: u64,
    alignment: u64,
    size: u64,
) -> Result<BTreeMap<String, TensorInfo>, GgufError> {
    let data = header.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    let mut order = Vec::with_capacity(described.len());
    for (name, shape, kind, offset) in described {
        let problem = |problem: String| GgufError::Tensor { tensor: name.clone(), problem };
        if !offset.is_multiple_of(alignment) {
            return Err(problem(format!(
                "begins at offset {offset}, which is not a multiple of the alignment {alignment}"
            )));
        }
        let len = shape.iter().try_fold(1u64, |len, &n| len.checked_mul(n as u64));
        let Some(bytes) = len.and_then(|len| kind.bytes(len)) else {
            return Err(problem(format!("has the shape {shape:?}, which is too large")));
        };
        let start = data.saturating_add(offset);
        let end = start.checked_add(bytes).filter(|&end| end <= size);
        let Some(end) = end else {
            return Err(GgufError::Truncated { what: format!("tensor {name}"), at: start, needed: bytes, size });
        };
        // Within the size of a slice in memory.
        order.push((name, TensorInfo { shape, kind, range: start as usize..end as usize }));
    }
    order.sort_by_key(|(_, info)| info.range.start);
    if let Some([(first, _), (second, _)]) = order.array_windows().find(|[a, b]| a.1.range.end > b.1.range.start) {
        return Err(GgufError::Overlap { first: first.clone(), second: second.clone() });
    }
    Ok(order.into_iter().collect())
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    value.as_u64().filter(|n| n.is_power_of_two()).ok_or_else(|| GgufError::Value {
        key: ALIGNMENT_KEY.to_owned(),
        problem: format!("{}, but it must be a power of two", value.describe()),
    })
}

/// A position in the header.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The next `len` bytes of what is called `what()`.
    fn take(&mut self, len: u64, what: impl FnOnce() -> String) -> Result<&'a [u8], GgufError> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or_else(|| GgufError::Truncated {
            what: what(),
            at: self.at as u64,
            needed: len,
            size: self.bytes.len() as u64,
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: impl FnOnce() -> String) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: impl FnOnce() -> String) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: impl FnOnce() -> String) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn string(&mut self, what: &dyn Fn() -> String) -> Result<String, GgufError> {
        let len = self.u64(what)?;
        let text = std::str::from_utf8(self.take(len, what)?).map_err(|_| GgufError::Utf8 { what: what() })?;
        Ok(text.to_owned())
    }

    /// Magic and version; gives the number of tensors and of metadata values.
    fn start(&mut self) -> Result<[u64; 2], GgufError> {
        let first = &self.bytes[..self.bytes.len().min(MAGIC.len())];
        if first != MAGIC {
            return Err(GgufError::Magic { found: first.to_vec() });
        }
        self.at = MAGIC.len();
        let version = self.u32(|| "the version".into())?;
        if version != 0 && version.trailing_zeros() >= 16 {
            return Err(GgufError::BigEndian);
        }
        if !matches!(version, 2 | 3) {
            return Err(GgufError::Version { found: version });
        }
        Ok([self.u64(|| "the number of tensors".into())?, self.u64(|| "the number of metadata values".into())?])
    }

    fn metadata(&mut self, count: u64) -> Result<BTreeMap<String, Value>, GgufError> {
        let mut metadata = BTreeMap::new();
        for i in 0..count {
            let key = self.string(&|| format!("the key of metadata value {i} of {count}"))?;
            let value = self.value(&key)?;
            if metadata.contains_key(&key) {
                return Err(GgufError::Duplicate { what: format!("the key {key}") });
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let what = || format!("the value of {key}");
        Ok(match self.u32(what)? {
            id::U8 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            id::I8 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            id::U16 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            id::I16 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            id::U32 => Value::U32(self.u32(what)?),
            id::I32 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            id::F32 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            id::BOOL => Value::Bool(boolean(u8::from_le_bytes(self.array(what)?), key)?),
            id::STRING => Value::String(self.string(&what)?),
            id::ARRAY => Value::Array(self.list(key, MOST_NESTED)?),
            id::U64 => Value::U64(self.u64(what)?),
            id::I64 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            id::F64 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            other => return Err(unknown_type(key, other)),
        })
    }

    /// A list, in which lists may be nested `depth` deep.
    fn list(&mut self, key: &str, depth: usize) -> Result<Array, GgufError> {
        let what = || format!("the value of {key}");
        let kind = self.u32(what)?;
        let count = self.u64(what)?;
        Ok(match kind {
            id::U8 => Array::U8(self.numbers(count, key, u8::from_le_bytes)?),
            id::I8 => Array::I8(self.numbers(count, key, i8::from_le_bytes)?),
            id::U16 => Array::U16(self.numbers(count, key, u16::from_le_bytes)?),
            id::I16 => Array::I16(self.numbers(count, key, i16::from_le_bytes)?),
            id::U32 => Array::U32(self.numbers(count, key, u32::from_le_bytes)?),
            id::I32 => Array::I32(self.numbers(count, key, i32::from_le_bytes)?),
            id::F32 => Array::F32(self.numbers(count, key, f32::from_le_bytes)?),
            id::U64 => Array::U64(self.numbers(count, key, u64::from_le_bytes)?),
            id::I64 => Array::I64(self.numbers(count, key, i64::from_le_bytes)?),
            id::F64 => Array::F64(self.numbers(count, key, f64::from_le_bytes)?),
            id::BOOL => {
                Array::Bool(self.take(count, what)?.iter().map(|&byte| boolean(byte, key)).collect::<Result<_, _>>()?)
            }
            id::STRING => {
                // Grows as texts are found, so that a claim alone takes no memory.
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string(&what)?);
                }
                Array::String(texts)
            }
            id::ARRAY => {
                let problem = || format!("a list in more than {MOST_NESTED} lists, which is not supported");
                let too_deep = || GgufError::Value { key: key.to_owned(), problem: problem() };
                let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
                let mut lists = Vec::new();
                for _ in 0..count {
                    lists.push(self.list(key, depth)?);
                }
                Array::Lists(lists)
            }
            other => return Err(unknown_type(key, other)),
        })
    }

    fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        key: &str,
        number: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, GgufError> {
        let bytes = self.take(count.saturating_mul(N as u64), || format!("the value of {key}"))?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|&chunk| number(chunk)).collect())
    }

    fn tensors(&mut self, count: u64) -> Result<Vec<Described>, GgufError> {
        let mut tensors = Vec::new();
        let mut names = std::collections::BTreeSet::new();
        for i in 0..count {
            let name = self.string(&|| format!("the name of tensor {i} of {count}"))?;
            let what = || format!("the description of tensor {name}");
            let problem = |problem: String| GgufError::Tensor { tensor: name.clone(), problem };
            let dimensions = self.u32(what)? as usize;
            if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
                return Err(problem(format!("has {dimensions} dimensions, but it must have 1 to {MOST_DIMENSIONS}")));
            }
            let mut shape = Vec::with_capacity(dimensions);
            for _ in 0..dimensions {
                let size = self.u64(what)?;
                match usize::try_from(size) {
                    Ok(size) if size > 0 => shape.push(size),
                    _ => return Err(problem(format!("has a dimension of {size}"))),
                }
            }
            let kind = TensorType::from_id(self.u32(what)?)
                .map_err(|found| GgufError::TensorType { tensor: name.clone(), found })?;
            // In the file, the dimension along which values lie side by side is first.
            if !shape[0].is_multiple_of(kind.block_len()) {
                let [row, block] = [shape[0], kind.block_len()];
                return Err(problem(format!("has rows of {row} values, but {kind} needs a multiple of {block}")));
            }
            shape.reverse();
            let offset = self.u64(what)?;
            if !names.insert(name.clone()) {
                return Err(GgufError::Duplicate { what: format!("tensor {name}") });
            }
            tensors.push((name, shape, kind, offset));
        }
        Ok(tensors)
    }
}

fn boolean(byte: u8, key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => {
            Err(GgufError::Value { key: key.to_owned(), problem: format!("a truth value of {byte}, neither 0 nor 1") })
        }
    }
}

fn unknown_type(key: &str, kind: u32) -> GgufError {
    GgufError::Value { key: key.to_owned(), problem: format!("of the unknown type {kind}") }
}

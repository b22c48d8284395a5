//! Writing: a layout of the whole file first, then one tensor after the other.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::value::id;
use crate::{ALIGNMENT_KEY, Array, DEFAULT_ALIGNMENT, GgufError, MAGIC, MOST_DIMENSIONS, TensorType, Value, quantize};

const VERSION: u32 = 3;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlan {
    /// Its name.
    pub name: String,
    /// Its dimensions, the one along which values lie side by side last.
    pub shape: Vec<usize>,
    /// How its values are stored.
    pub kind: TensorType,
}

/// The header of a file, and where its tensors lie.
#[derive(Debug)]
pub struct Layout {
    header: Vec<u8>,
    /// For each tensor: its type, its values, and its bytes without padding.
    tensors: Vec<(TensorType, usize, u64)>,
    size: u64,
}

impl Layout {
    /// Lays out a file of version 3.
    ///
    /// # Errors
    /// Names that occur twice, an alignment in `metadata`, tensors of a type that is not written, of more than four
    /// dimensions, or with rows that do not fill blocks.
    pub fn new(metadata: &[(String, Value)], tensors: &[TensorPlan]) -> Result<Self, GgufError> {
        let mut names = BTreeSet::new();
        if let Some((key, _)) = metadata.iter().find(|(key, _)| !names.insert(key)) {
            return Err(GgufError::Duplicate { what: format!("the key {key}") });
        }
        if names.contains(&ALIGNMENT_KEY.to_owned()) {
            let problem = format!("set, but files are written with {DEFAULT_ALIGNMENT}");
            return Err(GgufError::Value { key: ALIGNMENT_KEY.to_owned(), problem });
        }
        let mut header = Vec::new();
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            put_string(&mut header, key);
            put_value(&mut header, value);
        }
        let mut placed = Vec::with_capacity(tensors.len());
        let mut offset = 0u64;
        let mut names = BTreeSet::new();
        for plan in tensors {
            if !names.insert(&plan.name) {
                return Err(GgufError::Duplicate { what: format!("tensor {}", plan.name) });
            }
            let bytes = plan.bytes()?;
            put_string(&mut header, &plan.name);
            header.extend((plan.shape.len() as u32).to_le_bytes());
            header.extend(plan.shape.iter().rev().flat_map(|&size| (size as u64).to_le_bytes()));
            header.extend(plan.kind.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            placed.push((plan.kind, plan.shape.iter().product(), bytes));
            offset += bytes.next_multiple_of(DEFAULT_ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        let size = header.len() as u64 + offset;
        Ok(Self { header, tensors: placed, size })
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the header; the tensors follow, in order.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn start<'a>(&'a self, out: &'a mut dyn Write) -> io::Result<TensorWriter<'a>> {
        out.write_all(&self.header)?;
        Ok(TensorWriter { layout: self, out, next: 0, buffer: Vec::new() })
    }
}

impl TensorPlan {
    fn bytes(&self) -> Result<u64, GgufError> {
        let problem = |problem: String| GgufError::Tensor { tensor: self.name.clone(), problem };
        let Self { shape, kind, .. } = self;
        if !(1..=MOST_DIMENSIONS).contains(&shape.len()) || shape.contains(&0) {
            return Err(problem(format!("has the shape {shape:?}, which cannot be stored")));
        }
        if !quantize(*kind, &[], &mut Vec::new()) {
            return Err(problem(format!("would be stored as {kind}, which is not written")));
        }
        let [row, block] = [shape[shape.len() - 1], kind.block_len()];
        if !row.is_multiple_of(block) {
            return Err(problem(format!("has rows of {row} values, but {kind} needs a multiple of {block}")));
        }
        let len = shape.iter().try_fold(1u64, |len, &n| len.checked_mul(n as u64));
        len.and_then(|len| kind.bytes(len))
            .ok_or_else(|| problem(format!("has the shape {shape:?}, which is too large")))
    }
}

/// Takes the values of the tensors of a [`Layout`], in its order.
pub struct TensorWriter<'a> {
    layout: &'a Layout,
    out: &'a mut dyn Write,
    next: usize,
    buffer: Vec<u8>,
}

impl TensorWriter<'_> {
    /// Writes the values of the next tensor, row-major; they are finite.
    ///
    /// # Errors
    /// Those of the file.
    ///
    /// # Panics
    /// If there is no further tensor, or if it has another number of values.
    pub fn write(&mut self, values: &[f32]) -> io::Result<()> {
        let (kind, len, bytes) = self.layout.tensors[self.next];
        assert_eq!(values.len(), len, "values of tensor {}", self.next);
        self.next += 1;
        // Some blocks at a time, so that no second copy of the tensor is in memory.
        for part in values.chunks(1 << 16) {
            self.buffer.clear();
            let written = quantize(kind, part, &mut self.buffer);
            debug_assert!(written, "the layout has checked the type");
            self.out.write_all(&self.buffer)?;
        }
        let padding = bytes.next_multiple_of(DEFAULT_ALIGNMENT) - bytes;
        self.out.write_all(&[0; DEFAULT_ALIGNMENT as usize][..padding as usize])
    }
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut put = |id: u32, bytes: &[u8]| {
        out.extend(id.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(x) => put(id::U8, &x.to_le_bytes()),
        Value::I8(x) => put(id::I8, &x.to_le_bytes()),
        Value::U16(x) => put(id::U16, &x.to_le_bytes()),
        Value::I16(x) => put(id::I16, &x.to_le_bytes()),
        Value::U32(x) => put(id::U32, &x.to_le_bytes()),
        Value::I32(x) => put(id::I32, &x.to_le_bytes()),
        Value::F32(x) => put(id::F32, &x.to_le_bytes()),
        Value::Bool(x) => put(id::BOOL, &[u8::from(*x)]),
        Value::U64(x) => put(id::U64, &x.to_le_bytes()),
        Value::I64(x) => put(id::I64, &x.to_le_bytes()),
        Value::F64(x) => put(id::F64, &x.to_le_bytes()),
        Value::String(text) => {
            put(id::STRING, &[]);
            put_string(out, text);
        }
        Value::Array(array) => {
            put(id::ARRAY, &[]);
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let mut put = |id: u32, bytes: &mut dyn Iterator<Item = u8>| {
        out.extend(id.to_le_bytes());
        out.extend((array.len() as u64).to_le_bytes());
        out.extend(bytes);
    };
    match array {
        Array::U8(list) => put(id::U8, &mut list.iter().copied()),
        Array::I8(list) => put(id::I8, &mut list.iter().map(|x| x.cast_unsigned())),
        Array::U16(list) => put(id::U16, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(list) => put(id::I16, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(list) => put(id::U32, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(list) => put(id::I32, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(list) => put(id::F32, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(list) => put(id::BOOL, &mut list.iter().map(|&x| u8::from(x))),
        Array::U64(list) => put(id::U64, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(list) => put(id::I64, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(list) => put(id::F64, &mut list.iter().flat_map(|x| x.to_le_bytes())),
        Array::String(list) => {
            put(id::STRING, &mut std::iter::empty());
            list.iter().for_each(|text| put_string(out, text));
        }
        Array::Lists(lists) => {
            put(id::ARRAY, &mut std::iter::empty());
            lists.iter().for_each(|list| put_array(out, list));
        }
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names say it
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A list of values of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Lists(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Numbers of the types in a file (`gguf_metadata_value_type`).
pub(crate) mod id {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

impl Value {
    /// A whole number of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(x) => Some(x.into()),
            Self::U16(x) => Some(x.into()),
            Self::U32(x) => Some(x.into()),
            Self::U64(x) => Some(x),
            Self::I8(x) => x.try_into().ok(),
            Self::I16(x) => x.try_into().ok(),
            Self::I32(x) => x.try_into().ok(),
            Self::I64(x) => x.try_into().ok(),
            _ => None,
        }
    }

    /// A float of either width, as the shortest decimal that means it: a stored float32 0.1 is 0.1.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => x.to_string().parse().ok(),
            Self::F64(x) => Some(x),
            _ => None,
        }
    }

    /// true or false.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(x) = *self { Some(x) } else { None }
    }

    /// A text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// A list of texts.
    pub fn as_strings(&self) -> Option<&[String]> {
        if let Self::Array(Array::String(texts)) = self { Some(texts) } else { None }
    }

    /// A short text of it for an error message.
    pub fn describe(&self) -> String {
        const LONGEST: usize = 60;
        match self {
            Self::Array(array) => format!("a list of {}", array.len()),
            Self::String(text) if text.chars().count() > LONGEST => {
                format!("{:?}…", text.chars().take(LONGEST).collect::<String>())
            }
            Self::String(text) => format!("{text:?}"),
            Self::U8(x) => x.to_string(),
            Self::I8(x) => x.to_string(),
            Self::U16(x) => x.to_string(),
            Self::I16(x) => x.to_string(),
            Self::U32(x) => x.to_string(),
            Self::I32(x) => x.to_string(),
            Self::F32(x) => x.to_string(),
            Self::Bool(x) => x.to_string(),
            Self::U64(x) => x.to_string(),
            Self::I64(x) => x.to_string(),
            Self::F64(x) => x.to_string(),
        }
    }
}

impl Array {
    /// How many values it has.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(list) => list.len(),
            Self::I8(list) => list.len(),
            Self::U16(list) => list.len(),
            Self::I16(list) => list.len(),
            Self::U32(list) => list.len(),
            Self::I32(list) => list.len(),
            Self::F32(list) => list.len(),
            Self::Bool(list) => list.len(),
            Self::String(list) => list.len(),
            Self::Lists(list) => list.len(),
            Self::U64(list) => list.len(),
            Self::I64(list) => list.len(),
            Self::F64(list) => list.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whole numbers of any width.
    pub fn as_i64s(&self) -> Option<Vec<i64>> {
        match self {
            Self::U8(list) => Some(list.iter().map(|&x| x.into()).collect()),
            Self::I8(list) => Some(list.iter().map(|&x| x.into()).collect()),
            Self::U16(list) => Some(list.iter().map(|&x| x.into()).collect()),
            Self::I16(list) => Some(list.iter().map(|&x| x.into()).collect()),
            Self::U32(list) => Some(list.iter().map(|&x| x.into()).collect()),
            Self::I32(list) => Some(list.iter().map(|&x| x.into()).collect()),
            Self::U64(list) => list.iter().map(|&x| x.try_into().ok()).collect(),
            Self::I64(list) => Some(list.clone()),
            _ => None,
        }
    }
}

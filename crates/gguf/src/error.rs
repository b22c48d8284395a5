use crate::TensorType;

/// What is wrong with a GGUF file, or with what is to become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// Another kind of file.
    #[error("it begins with the bytes {found:02x?}, not with \"GGUF\"\nhint: check that this is the right file")]
    Magic {
        /// Its first bytes, up to four.
        found: Vec<u8>,
    },

    /// A version of the format that is not read.
    #[error(
        "it has version {found} of the format; versions 2 and 3 are supported\nhint: convert the model again with a newer program"
    )]
    Version {
        /// The version.
        found: u32,
    },

    /// A file for machines of the other byte order.
    #[error("it is big-endian, which is not supported\nhint: get the little-endian file")]
    BigEndian,

    /// A file that ends too early, or that claims more than it has.
    #[error(
        "{what} needs {needed} bytes from byte {at}, but the file has {size}\nhint: the file may be truncated; download it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it begins.
        at: u64,
        /// Its length; `u64::MAX` for more than can be counted.
        needed: u64,
        /// Bytes in the file.
        size: u64,
    },

    /// A name or text that is not UTF-8.
    #[error("{what} is not UTF-8\nhint: the file is damaged or was written incorrectly; download it again")]
    Utf8 {
        /// What was being read.
        what: String,
    },

    /// Two keys or two tensors of one name.
    #[error("{what} occurs twice\nhint: the file is damaged or was written incorrectly; download it again")]
    Duplicate {
        /// The key or tensor.
        what: String,
    },

    /// A metadata value that is not read.
    #[error("the value of {key} is {problem}\nhint: the file is damaged or was written incorrectly; download it again")]
    Value {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A tensor that cannot be.
    #[error("tensor {tensor} {problem}\nhint: the file is damaged or was written incorrectly; download it again")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong, with the values.
        problem: String,
    },

    /// A tensor of a type that is not read.
    #[error(
        "tensor {tensor} is stored as {found}, which is not supported; {} are\nhint: get the model in one of these types",
        TensorType::names()
    )]
    TensorType {
        /// Its name.
        tensor: String,
        /// The type's name, or its number.
        found: String,
    },

    /// Two tensors that share bytes.
    #[error(
        "tensors {first} and {second} overlap\nhint: the file is damaged or was written incorrectly; download it again"
    )]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
    },

    /// A tensor that is not there.
    #[error("tensor {tensor} is missing\nhint: the file may be for another kind of model; get one for text generation")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
}

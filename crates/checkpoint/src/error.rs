//! Everything that can go wrong between a model and its directory.

mod text;

use std::io;
use std::path::{Path, PathBuf};

use llm_data::DataError;
use llm_gguf::{GgufError, TensorType};
use llm_model::ConfigError;

use crate::Advice;
use text::{description, extra, free_bytes, sizes};

/// An error of the checkpoint room. The text says what happened, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file that must be there is not.
    #[error("{}: no such file\nhint: {hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What to do.
        hint: String,
    },

    /// A folder without a `config.json`.
    #[error("{}: no such file", path.display())]
    NoConfig {
        /// The file.
        path: PathBuf,
        /// Whether there is an adapter in the folder.
        is_adapter: bool,
    },

    /// The disk is full.
    #[error("{}: no space left on the disk{}; existing files are unchanged", path.display(), sizes(*needed, *free))]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// Bytes that the file takes, if known.
        needed: Option<u64>,
        /// Bytes that are free on the disk, if known.
        free: Option<u64>,
    },

    /// Any other failure of reading or writing.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A file that is not the JSON it should be.
    #[error("{}: {message}\nhint: the file may be damaged; download it again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        message: String,
    },

    /// A configuration without a key that has no default.
    #[error("{}: the key \"{key}\" is missing\nhint: the file may be damaged or from another program; download it again", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
    },

    /// A configuration key with a value that it cannot have, or that this program cannot compute with.
    #[error("{}: {key} is {value}, but it must be {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// Its value, as JSON.
        value: String,
        /// What is possible.
        expected: String,
    },

    /// A configuration key that asks for what this program does not compute.
    #[error("{}: {key} is {value}, which is not supported: {problem}\nhint: {hint}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// Its value, as JSON.
        value: String,
        /// Why.
        problem: String,
        /// The way out.
        hint: String,
    },

    /// A configuration that describes no model.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ConfigError,
    },

    /// A file of tensors that is truncated or not in the safetensors format.
    #[error("{}: not a usable safetensors file: {message}\nhint: the file may be damaged or truncated; download \
             it again", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with both values.
        message: String,
    },

    /// A checkpoint of PyTorch that is damaged, or holds what is not read.
    #[error("{}: not a usable PyTorch checkpoint: {message}\nhint: convert the weights at their source, with \
             model.save_pretrained(…, safe_serialization=True)", path.display())]
    Pickled {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// Tensors that cannot be written.
    #[error("{}: cannot write this as safetensors: {message}\nhint: this is a bug; please report it", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// A tensor that the configuration asks for and the file lacks.
    #[error("{}: tensor {tensor} is missing\nhint: {hint}", path.display())]
    MissingTensor {
        /// The file, or the directory of the shards.
        path: PathBuf,
        /// Its name.
        tensor: String,
        /// What to check.
        hint: String,
    },

    /// Tensors that the model of the configuration has no place for.
    #[error("{}: {count} tensors have no place in the model of {}, {} among them\nhint: check that \
             they belong together (biases, number of layers, tie_word_embeddings)",
            path.display(), description(path), names.join(", "))]
    ExtraTensors {
        /// The file, or the directory of the shards.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// The first few names.
        names: Vec<String>,
    },

    /// A tensor of another shape than the configuration says.
    #[error("{}: tensor {tensor} has the shape {found:?}, but {} makes it {expected:?}\nhint: it \
             and the weights belong to different models", path.display(), description(path))]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the configuration.
        expected: Vec<usize>,
    },

    /// A tensor of numbers that are not read.
    #[error("{}: tensor {tensor} is stored as {found}, which is not supported; {expected} are\nhint: convert the \
             weights, for example with model.to(torch.float32).save_pretrained(…)", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Type in the file.
        found: String,
        /// Types that are read.
        expected: &'static str,
    },

    /// Scales that do not fit the weight that they are for.
    #[error("{}: {tensor} has the shape {found:?}, which does not fit a weight of the shape {weight:?}\nhint: scales of the \
             whole weight, of its rows, and of blocks of weight_block_size in config.json are read", path.display())]
    Scales {
        /// The file.
        path: PathBuf,
        /// The scales' name.
        tensor: String,
        /// Their shape.
        found: Vec<usize>,
        /// The weight's shape.
        weight: Vec<usize>,
    },

    /// A weight that is not a number.
    #[error("{}: tensor {tensor} holds {value} at position {index}\nhint: the training that made it diverged; use an \
             earlier checkpoint", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// NaN or an infinity.
        value: f32,
        /// Where, in row-major order.
        index: usize,
    },

    /// A head of its own in the file of a model that shares it with the embedding.
    #[error("{}: {head} differs from {embedding}, but tie_word_embeddings is true in config.json\nhint: set it to \
             false", path.display())]
    HeadNotTied {
        /// The file.
        path: PathBuf,
        /// The head's name.
        head: String,
        /// The embedding's name.
        embedding: String,
    },

    /// A tokenizer of another model.
    #[error(
        "the tokenizer has {tokenizer} tokens, but the model {model}\nhint: use the tokenizer that the model was trained with"
    )]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        model: usize,
    },

    /// A damaged GGUF file, or one of a kind that is not read.
    #[error("{}: not a usable GGUF file: {source}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: GgufError,
    },

    /// One of the files of a model without the others, or with files of another one.
    #[error("{}: {problem}\nhint: {hint}", path.display())]
    GgufParts {
        /// The file.
        path: PathBuf,
        /// What is missing or does not fit.
        problem: String,
        /// What to do.
        hint: String,
    },

    /// A GGUF file without a tokenizer.
    #[error("{}: {problem}\nhint: use a file made for text generation, or the model's Hugging Face directory", path.display())]
    GgufTokenizer {
        /// The file.
        path: PathBuf,
        /// What is missing or not understood.
        problem: String,
    },

    /// A model or tokenizer that llama.cpp does not compute as this program does.
    #[error(
        "this cannot be written as GGUF: {0}\nhint: programs that read Hugging Face directories can load the model"
    )]
    NotGguf(String),

    /// A matrix that cannot be held in few bits.
    #[error("{}: tensor {tensor} has rows of {row} values, which do not fill blocks of {} as {kind} has them", path.display(), kind.block_len())]
    Quantize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type that it was to be brought to.
        kind: TensorType,
        /// Values in a row.
        row: usize,
    },

    /// A model that this program alone computes.
    #[error(
        "this cannot be written as GGUF: no published architecture has {0}\nhint: the model runs only in this program; to \
         use one elsewhere, train it with the norms, positions and feed-forward networks of its family"
    )]
    Unpublished(String),

    /// An adapter of another model, or of another kind.
    #[error("{}: {}\nhint: the linear layers of this model are {}, …; check that the adapter was trained on it",
            path.display(), extra(*count, names), linears.join(", "))]
    NoPlaceForAdapter {
        /// The file.
        path: PathBuf,
        /// Number of tensors without a place.
        count: usize,
        /// The first few of them.
        names: Vec<String>,
        /// A few layers that may have an adapter, by PEFT's names.
        linears: Vec<String>,
    },

    /// A tensor of an adapter that does not fit the model, or its own settings.
    #[error("{}: tensor {tensor} has the shape {found:?}, but the model and adapter_config.json make it \
             {expected:?}\nhint: check that the adapter was trained on this model", path.display())]
    AdapterShape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the model and the settings.
        expected: Vec<usize>,
    },

    /// An adapter that was trained after the vocabulary had been resized.
    #[error("{}: tensor {tensor} was trained with a vocabulary of {found} tokens, but the model has {model}\nhint: resize \
             the model first: in transformers, model.resize_token_embeddings({found}), then save_pretrained(…)", path.display())]
    AdapterVocabulary {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Rows in the file.
        found: usize,
        /// Rows of the model.
        model: usize,
    },

    /// Rows of a table that the table does not have.
    #[error("{}: {tensor} replaces row {row}, but the model has {rows}\nhint: check that the adapter was trained on this model",
            path.display())]
    AdapterRow {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The row, from 0.
        row: usize,
        /// Rows of the model's table.
        rows: usize,
    },

    /// Adapters that are not a sum.
    #[error("{}: a DoRA adapter cannot be weighted or combined with another", path.display())]
    WeightedDora {
        /// The adapter.
        path: PathBuf,
    },

    /// A model without adapters of its own.
    #[error("{}: the model has no adapter to write\nhint: train one first", path.display())]
    NoAdapter {
        /// Where it was to go.
        path: PathBuf,
    },

    /// A chat template that cannot be read.
    #[error("{}: {source}\nhint: a chat template is a Jinja file in UTF-8", path.display())]
    TemplateFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A tokenizer that cannot be read or written.
    #[error(transparent)]
    Tokenizer(#[from] DataError),
}

impl CheckpointError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::DiskFull { .. } => Advice::FreeSpace,
            Self::NoConfig { is_adapter: true, .. } => Advice::NameBase,
            Self::NoConfig { is_adapter: false, .. } => Advice::NameModel,
            Self::Quantize { .. } => Advice::KeepPrecision,
            Self::WeightedDora { .. } => Advice::MergeAdapter,
            Self::Tokenizer(error) => Advice::Data(error.advice()?),
            _ => return None,
        })
    }

    /// The error of a tensor whose numbers cannot be weights.
    pub(crate) fn no_float(path: &Path, tensor: &str, found: String) -> Self {
        let (path, tensor) = (path.to_owned(), tensor.to_owned());
        Self::Dtype { path, tensor, found, expected: "F64, F32, F16, BF16, F8_E4M3 and F8_E5M2" }
    }

    /// An error while reading `path`; `hint` is what to do if it is not there.
    pub(crate) fn read(path: &Path, source: io::Error, hint: &str) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path: path.to_owned(), hint: hint.to_owned() },
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    /// An error while writing `path`, which takes `needed` bytes.
    pub fn write(path: &Path, source: io::Error, needed: Option<u64>) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path: path.to_owned(), needed, free: path.parent().and_then(free_bytes) }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    /// The same error after what was written in vain is gone: a full disk has so much more space then. `needed` is what
    /// all of it takes.
    pub(crate) fn after_cleanup(mut self, needed: Option<u64>) -> Self {
        if let Self::DiskFull { path, needed: told, free } = &mut self {
            *told = needed.or(*told);
            *free = path.ancestors().skip(1).find_map(free_bytes);
        }
        self
    }
}

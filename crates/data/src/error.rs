//! Everything that can go wrong between a text file and a batch.

mod text;

use std::io;
use std::path::{Path, PathBuf};

use crate::Advice;
use crate::corpus::named;
use crate::files::{FileError, Skipped, typed, with_kind};
use crate::samples::{BadLine, LeftOut, Origin};

/// An error of the data room. The text says what happened, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No path was given at all.
    #[error("no text to read: no files given")]
    NoPaths,

    /// A path that does not exist.
    #[error("{}: no such file or folder\nhint: check the path; it is taken relative to {}", path.display(), base.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
        /// The folder it was looked up in.
        base: PathBuf,
    },

    /// A file without any text in it.
    #[error("{}: the file is empty\nhint: remove it, or check how it was written", path.display())]
    Empty {
        /// The empty file.
        path: PathBuf,
    },

    /// No file in the folders that has any text in it.
    #[error("all files found are empty: {}\nhint: check how they were written", named(files))]
    OnlyEmpty {
        /// The empty files.
        files: Vec<PathBuf>,
    },

    /// A folder without a single readable file.
    #[error("{}: nothing to read in this folder{}\nhint: supported files are .txt, .md and .jsonl, also with .gz or .zst",
            path.display(), text::but_has(skipped))]
    NothingToRead {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        skipped: Skipped,
    },

    /// A file of a kind that is not read.
    #[error("{}: unsupported file type\nhint: supported files are .txt, .md and .jsonl, also with .gz or .zst{}",
            path.display(), text::no_text(path))]
    UnknownExtension {
        /// The file.
        path: PathBuf,
    },

    /// What is wrong with a file before its contents mean anything.
    #[error(transparent)]
    File(#[from] FileError),

    /// Lines of a `.jsonl` file that are not documents.
    #[error("{}", text::bad_texts(lines, *all, hint.as_deref()))]
    BadTexts {
        /// What is wrong with each.
        lines: Vec<BadLine>,
        /// Whether these are all.
        all: bool,
        /// What may help, in words that are the same for all.
        hint: Option<String>,
        /// What may help, where there are none.
        advice: Option<Advice>,
    },

    /// Several files that cannot be used.
    #[error("{}", text::several(errors))]
    Several {
        /// What is wrong with each.
        errors: Vec<DataError>,
    },

    /// A text too short for a single training window.
    #[error("the text has {tokens} tokens, but one context of {context} needs {}", context + 1)]
    TooShort {
        /// Tokens there are.
        tokens: u64,
        /// Context length asked for.
        context: usize,
    },

    /// A validation text without a single token that could be predicted.
    #[error("the validation text has {tokens} tokens, too few to measure a loss on")]
    ValidationTooShort {
        /// Tokens there are.
        tokens: u64,
    },

    /// A text without a single token that could be predicted.
    #[error("the text has {tokens} {}, too few to measure a loss on", if *tokens == 1 { "token" } else { "tokens" })]
    TooShortToMeasure {
        /// Tokens there are.
        tokens: usize,
    },

    /// No text to train on beside the one to validate on.
    #[error("{}: every training file is also a validation file", path.display())]
    OnlyValidation {
        /// The first file.
        path: PathBuf,
    },

    /// A validation share that leaves nothing on one side.
    #[error("the validation share is {fraction}, but it must be at least 0 and less than 1")]
    BadFraction {
        /// The value given.
        fraction: f64,
    },

    /// Too little text to set some aside for validation.
    #[error("the text has {characters} characters, too few to hold out {fraction} of it for validation")]
    NoValidation {
        /// Characters of the whole text.
        characters: u64,
        /// The share asked for.
        fraction: f64,
    },

    /// A vocabulary that cannot hold the 256 bytes and the end-of-text token.
    #[error(
        "vocab_size is {given}, but a {kind} tokenizer needs at least {least} (256 bytes and the end of \
             text)\nhint: set vocab_size to {least} or more"
    )]
    VocabularyTooSmall {
        /// The value given.
        given: usize,
        /// The smallest possible value.
        least: usize,
        /// The kind of tokenizer.
        kind: String,
    },

    /// A vocabulary beyond anything that could be trained.
    #[error("vocab_size is {given}, but the maximum is {most}\nhint: published models have 30,000 to 260,000")]
    VocabularyTooLarge {
        /// The value given.
        given: usize,
        /// The largest possible value.
        most: usize,
    },

    /// A tokenizer and a model (or shards) that do not belong together.
    #[error(
        "vocabulary is {tokenizer} in the tokenizer but {model} in the model\nhint: use the tokenizer.json \
             in the model's directory, or retrain the model with this one"
    )]
    VocabularyMismatch {
        /// Size by the tokenizer.
        tokenizer: usize,
        /// Size by the model.
        model: usize,
    },

    /// A token that stands in a text and has no row in the model's embedding.
    #[error(
        "token {id}, {token:?}, is in the text, but the model has embeddings only for ids below {rows}\nhint: remove \
             {token} from the text; the tokenizer knows it, but the model was never trained with it"
    )]
    NoEmbedding {
        /// The token's id.
        id: u32,
        /// The token as it is written.
        token: String,
        /// Rows of the embedding.
        rows: usize,
    },

    /// Shards that another tokenizer made.
    #[error("{}: the tokens are from another tokenizer (hash {found} in the file, {expected} in use)\nhint: \
             delete the file and prepare again", path.display())]
    OtherTokenizer {
        /// The shard file.
        path: PathBuf,
        /// Hash in the file.
        found: String,
        /// Hash of the tokenizer in use.
        expected: String,
    },

    /// A tokenizer without a token that ends a text.
    #[error(
        "the tokenizer has no end-of-text token to put between documents\nhint: name it as \"eos_token\" in \
             tokenizer_config.json"
    )]
    NoEndOfText,

    /// A `tokenizer.json` that cannot be read or built.
    #[error("{}: not a usable tokenizer: {message}\nhint: give a Hugging Face tokenizer.json or a directory with one", path.display())]
    Tokenizer {
        /// File the tokenizer came from.
        path: PathBuf,
        /// What the `tokenizers` crate said.
        message: String,
    },

    /// A directory without a tokenizer that is read.
    #[error(
        "{}: no tokenizer.json here, and neither tokenizer.model nor vocab.json with merges.txt{}\nhint: to make one, \
             run AutoTokenizer.from_pretrained(\"{}\").save_pretrained(\"{}\") with transformers",
        path.display(), text::similar(there), path.display(), path.display()
    )]
    NoTokenizer {
        /// The directory.
        path: PathBuf,
        /// Names of files that look like a tokenizer's.
        there: Vec<String>,
    },

    /// Lines of a file of samples that cannot be used, all of them.
    #[error("{}", text::bad_samples(lines))]
    BadSamples {
        /// What is wrong with each.
        lines: Vec<BadLine>,
    },

    /// Samples with tools, calls or results that the chat template does not write.
    #[error("{}", text::not_written(samples))]
    NotWritten {
        /// All of them.
        samples: Vec<LeftOut>,
    },

    /// A file that is none of samples.
    #[error("{}: unsupported file type{}", path.display(), text::no_samples(path))]
    UnknownSamples {
        /// The file.
        path: PathBuf,
    },

    /// An object of a `.jsonl` file of samples that spans several lines.
    #[error("{}:{line}: an object spans several lines, but .jsonl has one per line\nhint: rename it to .json, where it may: \
             mv {} {}", path.display(), typed(path), typed(&with_kind(path, "json")))]
    SpansLines {
        /// The file.
        path: PathBuf,
        /// The line that it begins in, from 1.
        line: u64,
    },

    /// A folder without samples to train on.
    #[error("{}: no train.jsonl or train.json in this folder\nhint: name its files, or a folder with train.jsonl and, if \
             there are any, valid.jsonl and test.jsonl", path.display())]
    NoTrainFile {
        /// The folder.
        path: PathBuf,
    },

    /// A share of samples for validation that leaves none to train on.
    #[error("valid_fraction is {fraction}, but it must be at least 0 and less than 1\nhint: 0.05 is usual")]
    BadSampleFraction {
        /// The value given.
        fraction: f64,
    },

    /// No sample that could be trained on.
    #[error("no samples left to train on")]
    NoSamples,

    /// A sample that does not fit into a row.
    #[error(
        "{origin}: the sample has {tokens} tokens, but a row has {max_length}\nhint: increase max_length, or truncate"
    )]
    SampleTooLong {
        /// Where it stands.
        origin: Origin,
        /// Its tokens.
        tokens: usize,
        /// Tokens of a row.
        max_length: usize,
    },

    /// A chat template that is not Jinja, or fails while it is rendered.
    #[error("the chat template{}: {message}\nhint: it comes from chat_template.jinja or tokenizer_config.json in the \
             model's directory", text::in_line(*line))]
    ChatTemplate {
        /// Line of the template, from 1, where known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },

    /// A chat template that does not take these messages, and says why.
    #[error("the model's chat template rejects these messages: {message}")]
    ChatRefused {
        /// What the template says.
        message: String,
    },

    /// A failure inside the tokenizer while it works on text.
    #[error("the tokenizer failed: {0}")]
    Tokenize(String),

    /// A shard file that is damaged or not one of ours.
    #[error("{}: not usable as token shards: {message}\nhint: delete the file and prepare again", path.display())]
    Shards {
        /// The file.
        path: PathBuf,
        /// What is wrong, with both values.
        message: String,
    },

    /// The disk is full.
    #[error("{}: no space left on the disk after {written} bytes; the partial file was removed\nhint: free some \
             space; prepared tokens are in $XDG_CACHE_HOME/llm or ~/.cache/llm", path.display())]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// Bytes written until then.
        written: u64,
    },

    /// Any other failure of reading or writing.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl DataError {
    /// What kind of help there is beyond the error's text.
    pub fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::NoPaths => Advice::NameFiles,
            Self::TooShort { tokens, .. } => Advice::ShorterContext { tokens: tokens.saturating_sub(1) },
            Self::ValidationTooShort { .. } => Advice::MoreValidation,
            Self::TooShortToMeasure { .. } => Advice::LongerText,
            Self::OnlyValidation { .. } => Advice::OtherFiles,
            Self::BadFraction { .. } => Advice::ValidationShare,
            Self::NoValidation { .. } => Advice::MoreTextOrValidation,
            Self::NoSamples => Advice::LongerSamples,
            Self::BadTexts { advice, .. } => return advice.clone(),
            Self::UnknownSamples { path } if text::is_text(path) => Advice::TrainOnText { file: typed(path) },
            Self::File(error) => return error.advice(),
            Self::Several { errors } => Advice::First(Box::new(text::first_with_help(errors)?.advice()?)),
            _ => return None,
        })
    }

    /// An input or output error at `path`; a missing file gets its own text.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            return Self::missing(path);
        }
        Self::Io { path: path.to_owned(), source }
    }

    /// An error while writing at `path` after `written` bytes; a full disk gets its own text.
    pub(crate) fn write(path: &Path, written: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull { path: path.to_owned(), written }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    pub(crate) fn missing(path: &Path) -> Self {
        let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Self::Missing { path: path.to_owned(), base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_has_a_text_of_its_own() {
        let path = Path::new("/dev/full");
        let error = std::fs::write(path, "text").unwrap_err();
        let text = DataError::write(path, 96, error).to_string();
        let expected = "/dev/full: no space left on the disk after 96 bytes; the partial file was removed\nhint: free";
        assert!(text.starts_with(expected), "{text}");
    }
}

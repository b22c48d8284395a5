mod chat;
mod hint;

use std::io;
use std::path::PathBuf;

use llm_checkpoint::CheckpointError;
use llm_data::{DataError, Encoding, Unreadable};
use llm_eval::EvalError;
use llm_generate::{ConversationError, GenerateError};
use llm_model::{ConfigError, LoraError};
use llm_train::RunConfigError;
use llm_train::TrainError;

use crate::device::DeviceError;
use crate::printer::OutputError;
pub use chat::ChatError;

/// Why a command did not do what it was asked. [`report`](Self::report) says what happened and, on lines that begin with
/// `hint: `, what to do next.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Standard output.
    #[error(transparent)]
    Output(#[from] OutputError),

    /// Stdin cannot be read.
    #[error("cannot read standard input: {0}")]
    Input(#[source] io::Error),

    /// Stdin holds something else than text.
    #[error("standard input: {} at byte {position}\nhint: convert it first, for example by: iconv -f WINDOWS-1252 -t UTF-8",
            if *fault == Unreadable::Nul { "a NUL character".to_owned() } else { format!("invalid {encoding}") })]
    InputNotText {
        /// How it is encoded.
        encoding: Encoding,
        /// What is there.
        fault: Unreadable,
        /// Byte position, from 0.
        position: u64,
    },

    /// Stdin holds a text in another encoding than UTF-8 that has no mark to say so.
    #[error(
        "standard input: this seems to be {encoding} without a byte order mark\nhint: convert it first: iconv -f {encoding} -t UTF-8"
    )]
    InputUnmarked {
        /// What it seems to be.
        encoding: Encoding,
    },

    /// A temporary file cannot be written.
    #[error("cannot write a temporary file: {0}\nhint: set TMPDIR to a writable folder")]
    Temporary(#[source] io::Error),

    /// A text to train a tokenizer on that is empty.
    #[error("the text is empty\nhint: give some text, or a tokenizer with --tokenizer")]
    NoText,

    /// Samples without a prompt to answer.
    #[error(
        "{data}: nothing to answer: the samples are plain texts\n\
             hint: measure how well the model predicts them: llm eval perplexity --model {model} --data {data}"
    )]
    NothingToAnswer {
        /// The files and folders, as they were typed.
        data: String,
        /// The model, as it was typed.
        model: String,
    },

    /// A flag that must be given.
    #[error("{flag} is needed\nhint: see the examples of `llm finetune --help`")]
    Needed {
        /// The flag, and what it says.
        flag: &'static str,
    },

    /// A configuration file for a run that has its own.
    #[error(
        "{}: this configuration differs from the run's: its {}\nhint: omit -c; a resumed run uses {}",
        file.display(), first_line(&error.to_string()), out.join("training/config.toml").display()
    )]
    ConfigOnResume {
        /// The file.
        file: PathBuf,
        /// The run directory.
        out: PathBuf,
        /// The first key that differs.
        error: Box<RunConfigError>,
    },

    /// `llm finetune --resume` of what `llm train` began.
    #[error("{0}: this run was started by llm train\nhint: llm train --out {0} --resume", dir.display())]
    Pretraining {
        /// The run directory.
        dir: PathBuf,
    },

    /// An option of a new model where there is one to start from.
    #[error("{flag} is for a new model, but the one of --model has its own\nhint: omit {flag}")]
    NewModelOnly {
        /// The flag.
        flag: &'static str,
    },

    /// An adapter that does not say what it belongs to.
    #[error(
        "{}: this is an adapter that does not name its model\nhint: give the model, and this folder with --adapter-path",
        path.display()
    )]
    NoBase {
        /// The adapter.
        path: PathBuf,
    },

    /// Something that needs a chat template, and a model without one.
    #[error("this model has no chat template\nhint: omit --chat and --chat-template-kwargs, or use a chat model")]
    NoTemplate,

    /// Variables for a template that is not used.
    #[error("--chat-template-kwargs requires --chat\nhint: add --chat to send the prompt through the chat template")]
    NotChat,

    /// No prompt, and a tokenizer that knows no token to begin with.
    #[error("the tokenizer has no token that starts or ends a text\nhint: give a --prompt")]
    NothingToBeginWith,

    /// A model that is neither here nor, by its name, on the hub.
    #[error("{name}: no such file or folder\nhint: {}", if cfg!(feature = "hub") {
        "check the path; a model on the Hugging Face hub is named ORG/NAME"
    } else {
        "check the path; to download ORG/NAME from the Hugging Face hub, build with --features hub"
    })]
    NoModel {
        /// What was typed.
        name: String,
    },

    /// A name that could be a path or a model of the hub, and is neither.
    #[cfg(feature = "hub")]
    #[error("{name}: no such file or folder, and not available from the hub\n{error}")]
    NeitherPathNorHub {
        /// What was typed.
        name: String,
        /// What the hub says.
        error: Box<llm_hub::HubError>,
    },

    /// The hub.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] llm_hub::HubError),

    /// A revision of something that has none.
    #[error("{}: --revision is for models on the hub, but this is a local path\nhint: omit --revision", path.display())]
    LocalRevision {
        /// The model.
        path: PathBuf,
    },

    /// A revision that cannot be a branch, a tag or a commit.
    #[cfg(feature = "hub")]
    #[error(
        "{revision:?} is not the name of a branch, tag or commit\nhint: omit --revision for main, or see the tags on the model's page"
    )]
    BadRevision {
        /// What was typed.
        revision: String,
    },

    /// Text, tokenizers or tokens.
    #[error(transparent)]
    Data(#[from] DataError),

    /// A model directory.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),

    /// Generation.
    #[error(transparent)]
    Generate(#[from] GenerateError),

    /// A measurement.
    #[error(transparent)]
    Eval(#[from] EvalError),

    /// A conversation.
    #[error(transparent)]
    Conversation(#[from] ConversationError),

    /// What was typed in a conversation.
    #[error(transparent)]
    Chat(#[from] ChatError),

    /// A training configuration that cannot be read.
    #[error(transparent)]
    RunConfig(#[from] RunConfigError),

    /// A `[model]` section that describes no model.
    #[error(transparent)]
    Model(#[from] ConfigError),

    /// A model without a size, for lack of a tokenizer.
    #[error(
        "{}: the vocabulary size is unknown until the tokenizer is trained\n\
         hint: give its size, for example --vocab-size 65", path.display()
    )]
    OpenVocabulary {
        /// The training configuration.
        path: PathBuf,
    },

    /// Nothing to merge.
    #[error("nothing to merge\nhint: name an adapter with --adapter-path DIR")]
    NothingToMerge,

    /// An adapter that a model cannot have.
    #[error(transparent)]
    Lora(#[from] LoraError),

    /// A conversion onto what is there already.
    #[error("{}: already exists\nhint: choose another path, or replace it with --overwrite", path.display())]
    Occupied {
        /// Where the result was to go.
        path: PathBuf,
    },

    /// An option that the kind of result does not have.
    #[error("{option} is for {what}, which {} is not\nhint: use {instead}", path.display())]
    OtherKind {
        /// The option.
        option: &'static str,
        /// What has it.
        what: &'static str,
        /// Where the result was to go.
        path: PathBuf,
        /// What to use.
        instead: &'static str,
    },

    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),

    /// The corpus of the default configuration is not where it should be.
    #[error(
        "{}: no such file; it comes with the program's source\n\
         hint: run from the root of the source, or train on your own text with --data my.txt", path.display()
    )]
    NoDefaultCorpus {
        /// The file.
        path: PathBuf,
    },

    /// Samples that training would go wrong on.
    #[error("{data}: not fit to train on: {problems} {} above\nhint: fix the data, or the options of the check",
            if *problems == 1 { "problem" } else { "problems" })]
    BadData {
        /// The files and folders.
        data: String,
        /// Kinds of problems.
        problems: usize,
    },

    /// A page that cannot be written.
    #[error("{}: {source}", path.display())]
    Page {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A measurement in another process failed.
    #[error("the measurement of {preset} failed: {reason}")]
    Bench {
        /// The preset.
        preset: &'static str,
        /// Why.
        reason: String,
    },

    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// Ctrl-C, after everything was left in order.
    #[error("interrupted")]
    Interrupted,
}

/// What an error says, without its hint.
fn first_line(error: &str) -> &str {
    error.lines().next().unwrap_or_default()
}

impl CliError {
    /// What it says, with its hint.
    pub fn report(&self) -> String {
        self.hint().map_or_else(|| self.to_string(), |hint| format!("{self}\nhint: {hint}"))
    }

    /// What helps, where the error's text does not say it.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.advice().map(hint::data),
            Self::Checkpoint(error) => error.advice().map(hint::checkpoint),
            Self::Generate(error) => error.advice().map(hint::generate),
            Self::Conversation(error) => error.advice().map(hint::generate),
            Self::Eval(error) => error.advice().map(hint::eval),
            Self::RunConfig(error) => error.advice().map(hint::train),
            Self::Train(error) => error.advice().map(hint::train),
            _ => None,
        }
    }
}

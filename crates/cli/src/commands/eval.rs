//! `llm eval`: how good a model is, in numbers.

pub mod answers;
pub mod perplexity;

use clap::Subcommand;

use crate::error::CliError;
use crate::printer::Printer;

/// What `llm eval` measures.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Measure how well a model predicts a text or the answers in samples: loss, perplexity, bits per byte.
    Perplexity(perplexity::PerplexityArgs),
    /// Count the samples that a model answers exactly, word by word.
    Answers(answers::AnswersArgs),
}

pub fn run(command: &EvalCommand, printer: Printer) -> Result<(), CliError> {
    match command {
        EvalCommand::Perplexity(args) => perplexity::run(args, printer),
        EvalCommand::Answers(args) => answers::run(args, printer),
    }
}

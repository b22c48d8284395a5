//! One file for each command: its arguments as they are typed, and `run`.

pub mod bench;
pub mod chat;
pub mod compare;
pub mod completions;
pub mod convert;
pub mod data;
pub mod eval;
pub mod finetune;
pub mod generate;
pub mod inspect;
pub mod merge;
pub mod plan;
pub mod tokenize;
pub mod tokenizer;
pub mod train;

use crate::args::Command;
use crate::error::CliError;
use crate::printer::Printer;

/// Runs what was asked for.
pub fn run(command: Command, printer: Printer) -> Result<(), CliError> {
    match command {
        Command::Train(args) => train::run(&args, printer),
        Command::Finetune(args) => finetune::run(&args, printer),
        Command::Generate(args) => generate::run(&args, printer),
        Command::Chat(args) => chat::run(&args, printer),
        Command::Eval(command) => eval::run(&command, printer),
        Command::Compare(args) => compare::run(&args, printer),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Tokenizer(command) => tokenizer::run(command, printer),
        Command::Data(command) => data::run(command, printer),
        Command::Convert(args) => convert::run(&args, printer),
        Command::Merge(args) => merge::run(&args, printer),
        Command::Inspect(command) => inspect::run(&command, printer),
        Command::Plan(args) => plan::run(&args, printer),
        Command::Bench(command) => bench::run(&command, printer),
        Command::Completions(args) => completions::run(&args),
    }
}

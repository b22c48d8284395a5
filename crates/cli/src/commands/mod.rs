//! One file for each command: its arguments as they are typed, and `run`.

pub mod completions;

use crate::args::Command;
use crate::error::CliError;
use crate::printer::Printer;

/// Runs what was asked for.
pub fn run(command: Command, _printer: Printer) -> Result<(), CliError> {
    match command {
        Command::Completions(args) => completions::run(&args),
    }
}

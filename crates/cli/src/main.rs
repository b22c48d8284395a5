//! The `llm` command line.
//!
//! `args` is what may be typed; `commands` has one file for each command, with its arguments and what it does; the
//! other files serve them all. Only this crate prints: results to stdout, everything else to stderr.

mod adapters;
mod args;
mod commands;
mod corpus;
mod device;
mod error;
mod hub;
mod input;
mod interrupt;
mod measure;
mod model;
mod numbers;
mod printer;
mod progress;
mod sampling;
mod training_view;
mod tuning;
mod variables;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use error::CliError;
use printer::Printer;

#[global_allocator]
static ALLOCATOR: llm_kernels::LargeBlocks = llm_kernels::LargeBlocks::new();

fn main() -> ExitCode {
    llm_kernels::join_thread_pool();
    // Wrong usage ends here, with code 2.
    let cli = Cli::try_parse().unwrap_or_else(|error| args::exit(&error));
    let printer = Printer::new(cli.quiet);
    match cli.command.run(printer) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader (`| head`) has seen enough.
        Err(CliError::Output(error)) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(CliError::Interrupted) => ExitCode::from(130),
        Err(error) => {
            printer.error(&error.report());
            ExitCode::FAILURE
        }
    }
}

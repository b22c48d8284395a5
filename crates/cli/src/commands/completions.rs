use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::error::CliError;

/// What `llm completions` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm completions bash > ~/.local/share/bash-completion/completions/llm")]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

pub fn run(args: &CompletionsArgs) -> Result<(), CliError> {
    // Into memory first: the generator panics where the reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "llm", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}

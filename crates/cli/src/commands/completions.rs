use std::io::Write;

use clap::{Args, Command};
use clap_complete::Shell;

use crate::error::CliError;
use crate::printer::plain_stdout;

/// What `llm completions` takes.
#[derive(Debug, Args)]
#[command(after_help = "Example: llm completions bash > ~/.local/share/bash-completion/completions/llm")]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// `command` is the whole program, as it is typed.
pub fn run(args: &CompletionsArgs, command: &mut Command) -> Result<(), CliError> {
    // Into memory first: the generator panics where the reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "llm", &mut script);
    Ok(plain_stdout().with(|out| out.write_all(&script))?)
}

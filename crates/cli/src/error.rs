use std::io;
use std::process::ExitCode;

use crate::device::DeviceError;

/// Why a command did not do what it was asked. Each error's text says what happened and, on lines that begin with
/// `hint: `, what to do next; [`Printer::error`](crate::printer::Printer::error) colours them.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Writing a result to stdout failed. Errors of files never come here; they carry their path.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),

    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),

    /// Arguments that are fine one by one but make no sense together.
    #[error("{0}")]
    Usage(String),

    /// Ctrl-C, after everything was left in order.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// 2 for wrong usage, 130 when interrupted, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Interrupted => ExitCode::from(130),
            _ => ExitCode::FAILURE,
        }
    }
}

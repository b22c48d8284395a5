use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use llm_data::Note;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Where notes, progress and errors go: to stderr, coloured on a terminal only. Results go to [`stdout`].
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    quiet: bool,
}

/// Standard output, for `write!` and `writeln!`. Their failure is an [`OutputError`], which no error of a file can become.
pub struct Output<W>(W);

/// A result could not be written to standard output.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(io::Error);

/// Standard output, without colours unless it is a terminal.
pub fn stdout() -> Output<anstream::AutoStream<io::StdoutLock<'static>>> {
    Output(anstream::AutoStream::auto(io::stdout().lock()))
}

/// Standard output as it is, for text that a model made: its control characters are part of it.
pub fn plain_stdout() -> Output<io::StdoutLock<'static>> {
    Output(io::stdout().lock())
}

impl<W: Write> Output<W> {
    /// What `write!` calls.
    pub fn write_fmt(&mut self, text: fmt::Arguments) -> Result<(), OutputError> {
        self.with(|out| out.write_fmt(text))
    }

    /// Writes all that waits.
    pub fn flush(&mut self) -> Result<(), OutputError> {
        self.with(Write::flush)
    }

    /// Lets `write` write to it.
    pub fn with(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) -> Result<(), OutputError> {
        write(&mut self.0).map_err(OutputError)
    }
}

impl OutputError {
    /// Whether the reader (`| head`) has seen enough.
    pub fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

impl Printer {
    /// `quiet` leaves errors only.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Something worth knowing.
    pub fn note(self, text: impl Display) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Something that is probably not what was meant.
    pub fn warn(self, text: impl Display) {
        self.line(format_args!("{WARNING}warning{WARNING:#}: {text}"));
    }

    /// What is to be known about files of text.
    pub fn data_note(self, note: &Note) {
        if note.is_warning() { self.warn(note) } else { self.note(note) }
    }

    /// An error, with its hints.
    pub fn error(self, text: &str) {
        let text = text.replace("\nhint: ", &format!("\n{HINT}hint{HINT:#}: "));
        self.line(format_args!("{ERROR}error{ERROR:#}: {text}"));
    }

    /// Whether notes are left out.
    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Whether notes are shown, and to a person.
    pub fn interactive(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// A bar over `total` steps; hidden when quiet or not on a terminal.
    pub fn steps_bar(self, total: u64) -> ProgressBar {
        let bar = self.bytes_bar(total);
        if let Ok(style) = ProgressStyle::with_template("{bar:30.cyan} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar
    }

    /// A bar over `total` bytes that says how fast they go by; hidden when quiet or not on a terminal.
    pub fn bytes_bar(self, total: u64) -> ProgressBar {
        const TEMPLATE: &str = "{msg:20} {bar:30.cyan} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        let target = if self.interactive() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    #[allow(clippy::unused_self)] // printing is the printer's
    fn line(self, text: impl Display) {
        // There is nowhere to report that stderr is closed.
        let _ = writeln!(anstream::stderr(), "{text}");
    }
}

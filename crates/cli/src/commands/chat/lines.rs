//! What a person or a script types.

use std::io::{self, BufRead, StdinLock};
use std::path::PathBuf;

use llm_data::{Encoding, Unreadable};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use crate::error::{ChatError, CliError};
use crate::printer::Printer;

const BLOCK: &str = "\"\"\"";
const MOST_HISTORY: usize = 1000;

/// One input.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// A line, or several joined by backslashes.
    Line(String),
    /// What stood between `"""`.
    Block(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of a pipe.
    End,
}

/// Where input comes from.
pub enum Lines {
    /// A person, with a history in the state folder.
    Terminal {
        /// Line editing.
        editor: Box<DefaultEditor>,
        /// Where the history is kept, if there is a place.
        history: Option<PathBuf>,
    },
    /// A script.
    Pipe(StdinLock<'static>),
}

impl Lines {
    /// `interactive`: from the terminal.
    pub fn open(interactive: bool, printer: Printer) -> Result<Self, CliError> {
        if !interactive {
            return Ok(Self::Pipe(io::stdin().lock()));
        }
        let config = Config::builder().max_history_size(MOST_HISTORY).map_err(ChatError::Terminal)?.build();
        let mut editor = Box::new(DefaultEditor::with_config(config).map_err(ChatError::Terminal)?);
        let history = history_file();
        if let Some(path) = &history {
            // The first time there is none.
            let _ = editor.load_history(path);
            if let Some(Err(error)) = path.parent().map(std::fs::create_dir_all) {
                printer.warn(format_args!("{}: {error}; history is not saved", path.display()));
            }
        }
        Ok(Self::Terminal { editor, history })
    }

    /// The next input, which may take several lines.
    pub fn read(&mut self) -> Result<Input, CliError> {
        let mut raw = match self.line(">>> ")? {
            Input::Line(line) => line,
            other => return Ok(other),
        };
        let input = if let Some(rest) = raw.trim_start().strip_prefix(BLOCK) {
            let mut text = rest.to_owned();
            loop {
                if let Some(whole) = text.trim_end().strip_suffix(BLOCK) {
                    text.truncate(whole.len());
                    break;
                }
                match self.line("... ")? {
                    Input::Line(line) => text = format!("{text}\n{line}"),
                    Input::End => break,
                    other => return Ok(other),
                }
            }
            raw = format!("{BLOCK}{text}{BLOCK}");
            Input::Block(text.trim_matches('\n').to_owned())
        } else {
            while raw.ends_with('\\') {
                raw.pop();
                match self.line("... ")? {
                    Input::Line(line) => raw = format!("{raw}\n{line}"),
                    Input::End => break,
                    other => return Ok(other),
                }
            }
            Input::Line(raw.clone())
        };
        self.remember(&raw);
        Ok(input)
    }

    fn line(&mut self, prompt: &str) -> Result<Input, CliError> {
        match self {
            Self::Terminal { editor, .. } => match editor.readline(prompt) {
                Ok(line) => Ok(Input::Line(line)),
                Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
                Err(ReadlineError::Eof) => Ok(Input::End),
                Err(error) => Err(ChatError::Terminal(error).into()),
            },
            Self::Pipe(stdin) => piped_line(stdin),
        }
    }

    fn remember(&mut self, text: &str) {
        let Self::Terminal { editor, history } = self else { return };
        // A history that cannot be kept is not worth ending a conversation for.
        if text.trim().is_empty() || !editor.add_history_entry(text).unwrap_or(false) {
            return;
        }
        if let Some(path) = history {
            let _ = editor.append_history(path);
        }
    }
}

fn piped_line(input: &mut impl BufRead) -> Result<Input, CliError> {
    let mut bytes = Vec::new();
    if input.read_until(b'\n', &mut bytes).map_err(CliError::Input)? == 0 {
        return Ok(Input::End);
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        // The first line may begin with a byte order mark.
        Ok(line) => Ok(Input::Line(line.trim_start_matches('\u{feff}').to_owned())),
        Err(error) => {
            let (encoding, position) = (Encoding::Utf8, error.valid_up_to() as u64);
            Err(CliError::InputNotText { encoding, fault: Unreadable::Invalid, position })
        }
    }
}

/// `$XDG_STATE_HOME/llm/chat_history`, else `~/.local/state/llm/chat_history` (`%LOCALAPPDATA%` on Windows).
fn history_file() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| if cfg!(windows) { set("LOCALAPPDATA") } else { None });
    let state = state.or_else(|| Some(std::env::home_dir()?.join(".local/state")));
    Some(state?.join("llm").join("chat_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_lines_are_text_as_shells_write_it() {
        let mut input = &b"\xef\xbb\xbfhello\r\nagain"[..];
        for expected in [Input::Line("hello".into()), Input::Line("again".into()), Input::End] {
            assert_eq!(piped_line(&mut input).unwrap(), expected);
        }
    }
}

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::error::CliError;

/// What was typed as a text: itself, or all of stdin for `-`, without the line break that ends it.
pub fn text(typed: &str) -> Result<String, CliError> {
    if typed != "-" {
        return Ok(typed.to_owned());
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(CliError::Input)?;
    let mut text = String::from_utf8(bytes)
        .map_err(|error| CliError::InputNotUtf8 { position: error.utf8_error().valid_up_to() })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// The text of a file.
pub fn file(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(|source| CliError::TextFile { path: path.to_owned(), source })
}

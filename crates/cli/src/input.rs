use std::io::Read;

use llm_data::{DataError, FileError, decode_text};

use crate::error::CliError;

/// What was typed as a text: itself, or all of stdin for `-`, without the line break that ends it.
pub fn text(typed: &str) -> Result<String, CliError> {
    if typed != "-" {
        return Ok(typed.to_owned());
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(CliError::Input)?;
    decoded(bytes)
}

fn decoded(bytes: Vec<u8>) -> Result<String, CliError> {
    let mut text = decode_text(bytes).map_err(|error| match error {
        DataError::File(FileError::NotText { encoding, fault, position, .. }) => {
            CliError::InputNotText { encoding, fault, position }
        }
        DataError::File(FileError::Unmarked { encoding, .. }) => CliError::InputUnmarked { encoding },
        other => other.into(),
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

pub fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected section.key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_text_as_shells_write_it() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert_eq!(decoded(b"\xef\xbb\xbfcaf\xc3\xa9\r\n".into()).unwrap(), "café");
        assert_eq!(decoded(utf16("\u{feff}café\r\n")).unwrap(), "café");
        let error = |bytes: &[u8]| decoded(bytes.into()).unwrap_err().to_string();
        assert!(error(b"caf\xe9").starts_with("standard input: invalid UTF-8 at byte 3\nhint: "));
        assert!(error(b"a\0").starts_with("standard input: a NUL character at byte 1\nhint: "));
        assert!(error(&utf16("a text")).starts_with("standard input: this seems to be UTF-16LE"));
    }
}

//! GPT-2's alphabet: one printable character for each byte.
//!
//! Printable Latin-1 characters stand for themselves, the other 68 bytes take the characters from U+0100 on, in order;
//! see `bytes_to_unicode` in <https://github.com/openai/gpt-2/blob/master/src/encoder.py>.

const fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The character of every byte.
pub(super) const CHARACTERS: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut byte = 0;
    let mut next = 0x100_u32;
    while byte < 256 {
        if stands_for_itself(byte as u8) {
            table[byte] = byte as u8 as char;
        } else {
            // The range U+0100..U+0144 has no surrogates.
            table[byte] = match char::from_u32(next) {
                Some(c) => c,
                None => '\0',
            };
            next += 1;
        }
        byte += 1;
    }
    table
};

/// The byte of every character below U+0144, which are all that the alphabet has.
const BYTES: [Option<u8>; 0x144] = {
    let mut table = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        table[CHARACTERS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    table
};

/// The byte of a character of the alphabet.
pub(super) fn byte(c: char) -> Option<u8> {
    BYTES.get(c as usize).copied().flatten()
}

/// A text with every byte written as its character.
pub(super) fn spell(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| CHARACTERS[usize::from(b)]).collect()
}

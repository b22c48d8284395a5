//! The table by which SentencePiece normalizes a text, checked before it is used: the crate that reads it trusts it.

use tokenizers::NormalizerWrapper;
use tokenizers::normalizers::Precompiled;

use crate::DataError;

/// The step that normalizes by `map`: the bytes of a double array (`darts`) of little-endian units, with their number before
/// them, and behind them the texts that it points into, each with a NUL at its end.
pub(super) fn normalizer(map: &[u8]) -> Result<NormalizerWrapper, DataError> {
    let damaged = || DataError::Tokenize("its table of normalized characters is damaged".to_owned());
    check(map).ok_or_else(damaged)?;
    Ok(NormalizerWrapper::Precompiled(Precompiled::from(map).map_err(|_| damaged())?))
}

/// Whether every step through the array stays inside, and every value is the place of a text.
fn check(map: &[u8]) -> Option<()> {
    let (size, rest) = map.split_first_chunk()?;
    let size = u32::from_le_bytes(*size) as usize;
    let (units, texts) = rest.split_at_checked(size)?;
    let texts = std::str::from_utf8(texts).ok()?;
    let (units, []) = units.as_chunks::<4>() else { return None };
    if units.is_empty() {
        return None;
    }
    let fine = |(i, unit): (usize, &[u8; 4])| {
        let unit = u32::from_le_bytes(*unit) as usize;
        if unit >> 31 == 1 {
            // A value, which no step goes on from.
            return texts.is_char_boundary(unit & 0x7FFF_FFFF);
        }
        let offset = (unit >> 10) << ((unit & 0x200) >> 6);
        (i ^ offset) | 0xFF < units.len()
    };
    units.iter().enumerate().all(fine).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_lead_outside_are_refused() {
        let table = |unit: u32| [&1024u32.to_le_bytes()[..], &unit.to_le_bytes(), &[0; 1020], b"a\0"].concat();
        assert!(check(&table(0)).is_some());
        for unit in [0xFFFF_FFFF, 1 << 31 | 9, 0x7FFF_FFFF, 1 << 20] {
            assert!(check(&table(unit)).is_none(), "{unit:x}");
        }
        assert!(check(&[]).is_none() && check(&[255; 4]).is_none() && check(&[0; 4]).is_none());
        assert!(check(&[&4u32.to_le_bytes()[..], &[0; 4]].concat()).is_none());
    }
}

//! What the name of a GGUF file says.

use std::path::Path;

/// Whether `path` ends with `.gguf`, in letters of any case.
pub fn is_gguf_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// A file name of a part of a model, as `llama-gguf-split` gives it (`NAME-00001-of-00003.gguf`): what comes before its
/// number, its number from 1, and the number of parts.
pub fn part_name(name: &str) -> Option<(&str, usize, usize)> {
    let number = |digits: &str| {
        let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    let (rest, extension) = name.rsplit_once('.')?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, at) = rest.rsplit_once('-')?;
    let (at, count) = (number(at)?, number(count)?);
    (extension.eq_ignore_ascii_case("gguf") && (1..=count).contains(&at)).then_some((stem, at, count))
}

/// The name of part `at` of as many as `name` says, if that is the name of a part.
pub fn sibling(name: &str, at: usize) -> Option<String> {
    let (stem, _, count) = part_name(name)?;
    let (_, extension) = name.rsplit_once('.')?;
    Some(format!("{stem}-{at:05}-of-{count:05}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        assert_eq!(part_name("a-b-00002-of-00010.gguf"), Some(("a-b", 2, 10)));
        assert_eq!(part_name("-00001-of-00001.GGUF"), Some(("", 1, 1)));
        for name in [
            "a.gguf",
            "a-00001-of-00002.bin",
            "a-00000-of-00002.gguf",
            "a-00003-of-00002.gguf",
            "a-1-of-2.gguf",
            "a-+0001-of-00002.gguf",
            "",
        ] {
            assert_eq!(part_name(name), None, "{name}");
        }
        assert_eq!(sibling("x-00002-of-00012.gguf", 11).as_deref(), Some("x-00011-of-00012.gguf"));
    }
}

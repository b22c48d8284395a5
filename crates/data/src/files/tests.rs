use std::fs;
use std::io::{BufReader, Cursor, Write};

use proptest::prelude::*;

use super::*;
use crate::Advice;

/// `text` in an encoding, behind its mark.
fn encoded(text: &str, encoding: Encoding) -> Vec<u8> {
    let text = format!("\u{feff}{text}");
    match encoding {
        Encoding::Utf8 => text.into_bytes(),
        Encoding::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Encoding::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        Encoding::Utf32Le => text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect(),
        Encoding::Utf32Be => text.chars().flat_map(|c| (c as u32).to_be_bytes()).collect(),
    }
}

const ALL: [Encoding; 5] = [Encoding::Utf8, Encoding::Utf16Le, Encoding::Utf16Be, Encoding::Utf32Le, Encoding::Utf32Be];

/// The text that `bytes` are, read in blocks of `block` bytes.
fn decode(bytes: &[u8], block: usize, lossy: bool) -> Result<(String, Encoding), DataError> {
    let bytes = Box::new(BufReader::with_capacity(block, Cursor::new(bytes.to_vec())));
    let mut decoder = Decoder::new(Path::new("a.txt"), bytes, lossy)?;
    let mut text = String::new();
    while decoder.read_into(&mut text)? {}
    Ok((text, decoder.encoding()))
}

fn error(bytes: &[u8], lossy: bool) -> String {
    decode(bytes, 64, lossy).unwrap_err().to_string()
}

#[test]
fn what_is_no_text_is_found_where_it_is() {
    // An unpaired half, what no character has as its number, and half a unit at the end.
    let utf16 = |units: &[u16]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<u8>>();
    let half = utf16(&[0xfeff, 'a' as u16, '\n' as u16, 0xd83d, 'b' as u16]);
    assert_eq!(error(&half, false), "a.txt: invalid UTF-16LE at byte 6, line 2");
    assert_eq!(decode(&half, 3, true).unwrap().0, "a\n\u{fffd}b");
    let mut cut = encoded("ab", Encoding::Utf16Be);
    cut.pop();
    assert!(error(&cut, false).contains("invalid UTF-16BE at byte 4, line 1"));
    assert_eq!(decode(&cut, 3, true).unwrap().0, "a\u{fffd}");
    let mut beyond = encoded("a", Encoding::Utf32Le);
    beyond.extend(0x0011_0000_u32.to_le_bytes());
    assert!(error(&beyond, false).contains("invalid UTF-32LE at byte 8, line 1"));
    assert_eq!(decode(&beyond, 3, true).unwrap().0, "a\u{fffd}");
}

#[test]
fn nul_characters_are_no_text_in_any_encoding() {
    for encoding in ALL {
        let bytes = encoded("one\ntwo\0three", encoding);
        let message = error(&bytes, false);
        assert!(message.contains(" a NUL character at byte ") && message.contains(", line 2"), "{message}");
        let advice = decode(&bytes, 5, false).unwrap_err().advice();
        assert_eq!(advice, (encoding != Encoding::Utf8).then_some(Advice::ReplaceNul));
        assert_eq!(decode(&bytes, 5, true).unwrap().0, "one\ntwo\u{fffd}three");
    }
    assert!(error(b"a\0b", false).ends_with("tr -d '\\000' < a.txt > a-clean.txt"), "{}", error(b"a\0b", false));
}

#[test]
fn an_encoding_without_a_mark_is_named_and_never_taken_for_utf8() {
    let english = "Once upon a time there was a little dog.\n".repeat(3);
    let russian = "Жила-была собака, и она жила у моря.\n".repeat(3);
    for text in [english, russian] {
        for (encoding, mark) in ALL.into_iter().zip([3, 2, 2, 4, 4]).skip(1) {
            let bytes = &encoded(&text, encoding)[mark..];
            for lossy in [false, true] {
                let expected = format!(
                    "a.txt: this seems to be {encoding} without a byte order mark\nhint: convert it: iconv -f {encoding} \
                     -t UTF-8 a.txt > a-utf8.txt"
                );
                assert_eq!(error(bytes, lossy), expected);
            }
        }
    }
    // Some NUL characters do not make another encoding.
    assert!(error(b"one\0two\0three\0four\0five\0six\0", false).contains("a NUL character at byte 3"));
}

#[test]
fn the_hint_fits_what_was_read_before() {
    assert!(error(b"caf\xe9", false).ends_with("iconv -f WINDOWS-1252 -t UTF-8 a.txt > a-utf8.txt"));
    let mixed = decode(b"caf\xc3\xa9 \xff", 64, false).unwrap_err();
    assert_eq!(mixed.to_string(), "a.txt: invalid UTF-8 at byte 6, line 1");
    let dropped_by = "iconv -c -f UTF-8 -t UTF-8 a.txt > a-utf8.txt".to_owned();
    assert_eq!(mixed.advice(), Some(Advice::ReplaceInvalid { encoding: Encoding::Utf8, dropped_by }));
}

#[test]
fn commands_take_odd_names_and_compressed_files() {
    let command = |path: &str| converted(Path::new(path), "iconv -f X -t UTF-8", "utf8", None);
    assert_eq!(command("d/a b's.txt"), "iconv -f X -t UTF-8 'd/a b'\\''s.txt' > 'd/a b'\\''s-utf8.txt'");
    assert_eq!(command("a.txt.gz"), "gzip -dc a.txt.gz | iconv -f X -t UTF-8 > a-utf8.txt");
    assert_eq!(with_kind(Path::new("d/a.jsonl.gz"), "json"), Path::new("d/a.json.gz"));
    assert_eq!(command("a.md.zst"), "zstd -dc a.md.zst | iconv -f X -t UTF-8 > a-utf8.md");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_files_that_are_cut_damaged_or_misnamed_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..50_000_u32).map(|i| b'a' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 26).collect();
    let (gz, zst) = (gzip(&noise), zstd::encode_all(&noise[..], 1).unwrap());
    let mut damaged = gz.clone();
    let end = damaged.len() - 6;
    damaged[end] ^= 1; // of the checksum
    for (name, bytes, expected) in [
        ("a.txt.gz", &gz[..gz.len() / 2], "the file is truncated"),
        ("b.txt.gz", &gz[..gz.len() - 3], "the file is truncated"),
        ("c.txt.gz", &gz[..5], "the file is truncated"),
        ("d.txt.zst", &zst[..zst.len() / 2], "the file is truncated"),
        ("e.txt.gz", &damaged[..], "its compressed data is damaged (corrupt gzip stream"),
        ("f.txt.gz", b"plain", "the name says gzip, but the contents do not\nhint: "),
        ("g.txt.zst", &gz[..], "the name says zstd, but the contents do not\nhint: "),
        ("h.txt", &zst[..], "the contents are compressed by zstd\nhint: rename it: mv "),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = read_to_string(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("\nhint: "), "{name}: {error}");
    }
    // Several members, as `cat a.gz b.gz` makes.
    let path = folder.path().join("two.txt.gz");
    fs::write(&path, [gzip(b"one "), gzip("zwei ü".as_bytes())].concat()).unwrap();
    assert_eq!(read_to_string(&path).unwrap(), "one zwei ü");
    fs::write(folder.path().join("two.txt.zst"), [zst.clone(), zst].concat()).unwrap();
    assert_eq!(read_to_string(&folder.path().join("two.txt.zst")).unwrap().len(), 100_000);
}

#[test]
#[cfg(unix)]
fn folders_are_searched_through_links_once() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in [
        "in/sub/a.txt",
        "in/b.txt",
        "out/c.txt",
        "in/.hidden.txt",
        "in/.git/d.txt",
        "in/e.json",
        "in/f.tar.gz",
        "in/README",
    ] {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), "x").unwrap();
    }
    symlink("..", at("in/sub/loop")).unwrap();
    symlink("sub", at("in/again")).unwrap();
    symlink("../out", at("in/z")).unwrap();
    symlink("../out", at("in/y")).unwrap();
    symlink("nowhere", at("in/broken.txt")).unwrap();
    symlink("b.txt", at("in/linked.txt")).unwrap();
    let (files, skipped) = find(&at("in"), |path| kind(path).is_some_and(|kind| kind == "txt")).unwrap();
    let names: Vec<_> = files.iter().map(|path| path.strip_prefix(at("in")).unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["b.txt", "linked.txt", "sub/a.txt", "y/c.txt"]);
    let expected =
        "3 link to a folder already read, 1 .json, 1 .tar.gz, 1 broken link, 1 hidden, 1 without an extension";
    assert_eq!((skipped.to_string().as_str(), skipped.count()), (expected, 8));
}

#[test]
fn lines_come_out_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let long = "é".repeat(300_000);
    for (text, expected) in [
        ("", vec![]),
        ("\n", vec![""]),
        ("a\n\nb", vec!["a", "", "b"]),
        (&format!("{long}\n{long}\n"), vec![&*long, &*long]),
    ] {
        fs::write(&path, text).unwrap();
        let mut lines = Lines::new(Decoder::open(&path, false, Arc::default()).unwrap());
        let mut found = Vec::new();
        while let Some((number, line)) = lines.next_line().unwrap() {
            found.push(line.to_owned());
            assert_eq!(number as usize, found.len());
        }
        assert!(found == expected, "{} lines", found.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the encoding, and wherever its blocks end.
    #[test]
    fn every_text_comes_back(seed in "[a-zé日👩\r\n]{1,30}", times in 1usize..600, block in 1usize..40, which in 0usize..5) {
        let text = seed.repeat(times);
        let read = decode(&encoded(&text, ALL[which]), block, false).unwrap();
        prop_assert_eq!(read, (text, ALL[which]));
    }
}

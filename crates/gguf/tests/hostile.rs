//! Files that are damaged or made to harm: each gives an error, never a panic or an allocation beyond the file's size.

use llm_gguf::{Gguf, GgufError, Layout, TensorPlan, TensorType, Value};
use proptest::prelude::*;

/// The parts of a header, for files that no writer makes.
#[derive(Default)]
struct Raw(Vec<u8>);

impl Raw {
    fn start(version: u32, tensors: u64, values: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(version).u64(tensors).u64(values)
    }

    fn u32(mut self, x: u32) -> Self {
        self.0.extend(x.to_le_bytes());
        self
    }

    fn u64(mut self, x: u64) -> Self {
        self.0.extend(x.to_le_bytes());
        self
    }

    fn string(self, text: &str) -> Self {
        let mut raw = self.u64(text.len() as u64);
        raw.0.extend(text.as_bytes());
        raw
    }

    /// A tensor with its dimensions as the file has them, the innermost first.
    fn tensor(self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        let raw = self.string(name).u32(dimensions.len() as u32);
        dimensions.iter().fold(raw, |raw, &size| raw.u64(size)).u32(kind).u64(offset)
    }

    /// Fills up to the alignment, then with `bytes` zeros.
    fn data(mut self, bytes: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + bytes, 0);
        self
    }

    fn parse(&self) -> Result<Gguf<&[u8]>, GgufError> {
        Gguf::parse(self.0.as_slice())
    }

    #[track_caller]
    fn fails(&self, reason: &str) {
        let error = self.parse().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}\nlacks {reason}");
    }
}

const F32: u32 = 0;
const Q4_0: u32 = 2;

#[test]
fn other_files_and_versions_are_named() {
    Raw(b"PK\x03\x04....".to_vec()).fails("begins with the bytes [50, 4b, 03, 04]");
    Raw(Vec::new()).fails("begins with the bytes []");
    Raw::start(1, 0, 0).fails("version 1 of the format; versions 2 and 3 are supported");
    Raw::start(4, 0, 0).fails("version 4");
    Raw::start(0, 0, 0).fails("version 0");
    Raw::start(3u32.swap_bytes(), 0, 0).fails("big-endian");
    Raw::start(2, 0, 0).parse().unwrap();
}

#[test]
fn counts_beyond_the_file_are_no_allocations() {
    Raw::start(3, 0, u64::MAX).fails("the key of metadata value 0 of 18446744073709551615 needs 8 bytes");
    Raw::start(3, u64::MAX, 0).fails("the name of tensor 0");
    Raw::start(3, 0, 1).u64(u64::MAX).fails("needs 18446744073709551615 bytes from byte 32, but the file has 32");
    let list = |kind: u32, count: u64| Raw::start(3, 0, 1).string("k").u32(9).u32(kind).u64(count);
    for kind in [0, 4, 6, 7, 8, 10, 12] {
        list(kind, u64::MAX).fails("the value of k needs");
        list(kind, 1 << 40).fails("the value of k needs");
    }
    let huge = [u64::MAX, u64::MAX];
    Raw::start(3, 1, 0).tensor("t", &huge, F32, 0).data(0).fails("is too large");
    Raw::start(3, 1, 0).tensor("t", &[1 << 40], F32, 0).data(0).fails("tensor t needs 4398046511104 bytes");
    Raw::start(3, 1, 0).tensor("t", &[8], F32, u64::MAX - 31).data(64).fails("tensor t needs 32 bytes");
}

#[test]
fn metadata_that_cannot_be_is_named() {
    let value = |kind: u32| Raw::start(3, 0, 1).string("k").u32(kind);
    value(13).fails("the value of k is of the unknown type 13");
    value(9).u32(9).u64(1 << 40).u32(4).u64(1).u32(7).fails("the value of k needs");
    let nested = |depth: usize| (0..depth).fold(value(9), |raw, _| raw.u32(9).u64(1)).u32(4).u64(0);
    nested(8).parse().unwrap();
    nested(9).fails("the value of k is a list in more than 8 lists");
    nested(100_000).fails("in more than 8 lists");
    value(9).u32(99).u64(0).fails("of the unknown type 99");
    let mut truth = value(7);
    truth.0.push(2);
    truth.fails("a truth value of 2");
    Raw::start(3, 0, 2).string("k").u32(4).u32(1).string("k").u32(4).u32(1).fails("the key k occurs twice");
    let mut text = value(8).u64(2);
    text.0.extend([0xff, 0xfe]);
    text.fails("the value of k is not UTF-8");
    for alignment in [0, 3, 48] {
        Raw::start(3, 0, 1).string("general.alignment").u32(4).u32(alignment).fails("must be a power of two");
    }
    Raw::start(3, 0, 1).string("general.alignment").u32(10).u64(1 << 63).parse().unwrap();
}

#[test]
fn tensors_that_cannot_be_are_named() {
    let one = |dimensions: &[u64], kind: u32, offset: u64| {
        Raw::start(3, 1, 0).tensor("t", dimensions, kind, offset).data(256)
    };
    one(&[], F32, 0).fails("has 0 dimensions");
    one(&[1; 5], F32, 0).fails("has 5 dimensions");
    one(&[4, 0], F32, 0).fails("has a dimension of 0");
    one(&[4], F32, 8).fails("begins at offset 8, which is not a multiple of the alignment 32");
    one(&[40], Q4_0, 0).fails("has rows of 40 values, but Q4_0 needs a multiple of 32");
    one(&[256], 21, 0).fails("stored as IQ3_S, which is not supported; F32, F16, BF16, Q8_0, ");
    one(&[256], 40, 0).fails("stored as NVFP4, which is not supported");
    one(&[32], 31, 0).fails("stored as Q4_0_4_4, which is not supported");
    one(&[32], 4242, 0).fails("stored as type 4242");
    one(&[8], F32, 256).fails("tensor t needs 32 bytes from byte 320, but the file has 320");
    assert_eq!(one(&[8, 2], F32, 0).parse().unwrap().tensors()["t"].shape, [2, 8]);
    let two = |second: &str, offset: u64| {
        Raw::start(3, 2, 0).tensor("t", &[16], F32, 0).tensor(second, &[8], F32, offset).data(256)
    };
    two("u", 32).fails("tensors t and u overlap");
    two("u", 0).fails("overlap");
    two("t", 64).fails("tensor t occurs twice");
    two("u", 64).parse().unwrap();
}

fn whole() -> Vec<u8> {
    let metadata = [
        ("general.architecture".to_owned(), Value::String("none".into())),
        ("texts".to_owned(), Value::Array(llm_gguf::Array::String(vec!["a".into(), "bc".into()]))),
        ("numbers".to_owned(), Value::Array(llm_gguf::Array::F32(vec![1.0, f32::NAN]))),
    ];
    let plan = |name: &str, kind| TensorPlan { name: name.into(), shape: vec![2, 32], kind };
    let layout = Layout::new(&metadata, &[plan("a", TensorType::F32), plan("b", TensorType::Q8_0)]).unwrap();
    let mut out = Vec::new();
    let mut writer = layout.start(&mut out).unwrap();
    for _ in 0..2 {
        writer.write(&[0.5; 64]).unwrap();
    }
    out
}

#[test]
fn a_file_cut_short_anywhere_is_an_error() {
    let whole = whole();
    Gguf::parse(whole.as_slice()).unwrap();
    // The last tensor takes 68 bytes, and 28 fill it up.
    for len in 0..whole.len() - 28 {
        assert!(Gguf::parse(&whole[..len]).is_err(), "{len} of {} bytes", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_bytes_never_panic(at in 0usize..400, byte: u8, more in prop::collection::vec((0usize..400, any::<u8>()), 0..4)) {
        let mut bytes = whole();
        for (at, byte) in more.into_iter().chain([(at, byte)]) {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(gguf) = Gguf::parse(bytes.as_slice()) {
            for name in gguf.tensors().keys() {
                gguf.values(name).unwrap();
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Gguf::parse([b"GGUF\x03\0\0\0".as_slice(), &bytes].concat());
    }
}

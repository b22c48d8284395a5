//! What ggml itself makes of the same blocks: `golden.gguf`, made by `scripts/golden_gguf.py`.

use llm_gguf::{Array, Gguf, Layout, TensorType, Value, dequantize, quantize};

const GOLDEN: &[u8] = include_bytes!("golden.gguf");

fn golden() -> Gguf<&'static [u8]> {
    Gguf::parse(GOLDEN).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn metadata_is_what_was_written() {
    let gguf = golden();
    let value = |key: &str| &gguf.metadata()[key];
    assert_eq!(value("general.architecture").as_str(), Some("none"));
    assert_eq!(value("golden.text").as_str(), Some("Ä, ½ and 🦙"));
    assert_eq!(value("golden.texts").as_strings().unwrap(), ["a", "", "🦙"]);
    assert_eq!(value("golden.numbers"), &Value::Array(Array::I32(vec![1, -2, 3])));
    // The shortest decimal, not 9.999999747378752e-6.
    assert_eq!(value("golden.float").as_f64(), Some(1e-5));
    assert_eq!(value("golden.flag").as_bool(), Some(true));
}

#[test]
fn every_type_is_read_bit_for_bit_as_ggml_reads_it() {
    let gguf = golden();
    for kind in TensorType::ALL.into_iter().filter(|&kind| kind != TensorType::F32) {
        let name = kind.to_string().to_lowercase();
        assert_eq!(gguf.tensors()[&name].kind, kind);
        let expected = gguf.values(&format!("{name}.values")).unwrap();
        assert!(expected.iter().any(|&x| x != 0.0));
        assert_eq!(bits(&gguf.values(&name).unwrap()), bits(&expected), "{kind}");
    }
}

#[test]
fn every_type_is_written_bit_for_bit_as_ggml_writes_it() {
    let gguf = golden();
    let weights = gguf.values("weights").unwrap();
    for kind in [TensorType::F16, TensorType::Bf16, TensorType::Q8_0, TensorType::Q4_0, TensorType::Q4K] {
        let mut made = Vec::new();
        assert!(quantize(kind, &weights, &mut made));
        let expected = gguf.stored(&format!("weights.{}", kind.to_string().to_lowercase())).unwrap();
        let wrong = made.chunks(kind.block_bytes()).zip(expected.chunks(kind.block_bytes())).position(|(a, b)| a != b);
        assert_eq!(wrong, None, "block of {kind}");
        assert_eq!(made.len(), expected.len());
    }
}

#[test]
fn quantized_weights_are_near_the_weights() {
    let weights = golden().values("weights").unwrap();
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    for (kind, most) in
        [(TensorType::Bf16, 2e-3), (TensorType::Q8_0, 6e-3), (TensorType::Q4K, 0.07), (TensorType::Q4_0, 0.1)]
    {
        let mut stored = Vec::new();
        assert!(quantize(kind, &weights, &mut stored));
        let mut back = vec![0.0; weights.len()];
        dequantize(kind, &stored, &mut back);
        let off: Vec<f32> = back.iter().zip(&weights).map(|(a, b)| a - b).collect();
        let error = norm(&off) / norm(&weights);
        assert!(error < most && error > most / 10.0, "{kind}: {error}");
    }
}

#[test]
fn metadata_is_written_byte_for_byte_as_the_reference_writes_it() {
    let metadata = [
        ("general.architecture".to_owned(), Value::String("none".into())),
        ("golden.text".to_owned(), Value::String("Ä, ½ and 🦙".into())),
        ("golden.texts".to_owned(), Value::Array(Array::String(vec!["a".into(), String::new(), "🦙".into()]))),
        ("golden.numbers".to_owned(), Value::Array(Array::I32(vec![1, -2, 3]))),
        ("golden.float".to_owned(), Value::F32(1e-5)),
        ("golden.flag".to_owned(), Value::Bool(true)),
    ];
    let mut written = Vec::new();
    Layout::new(&metadata, &[]).unwrap().start(&mut written).unwrap();
    // The last byte is that of `true`; after it, the file is filled up.
    let end = written.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    assert_eq!(written.len(), end.next_multiple_of(32));
    let [tensors, metadata] = [8..16, 16..end];
    assert_eq!(written[..8], GOLDEN[..8]);
    assert_eq!(written[tensors], [0; 8]);
    assert_eq!(written[metadata.clone()], GOLDEN[metadata]);
}

//! What is written is read again, whatever it is.

use llm_gguf::{Array, Gguf, Layout, TensorPlan, TensorType, Value, dequantize, quantize};
use proptest::collection::vec;
use proptest::prelude::*;

fn array() -> impl Strategy<Value = Array> {
    flat().prop_recursive(3, 20, 4, |inner| vec(inner, 0..4).prop_map(Array::Lists))
}

fn flat() -> impl Strategy<Value = Array> {
    prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Array::U8),
        vec(any::<i8>(), 0..9).prop_map(Array::I8),
        vec(any::<u16>(), 0..9).prop_map(Array::U16),
        vec(any::<i16>(), 0..9).prop_map(Array::I16),
        vec(any::<u32>(), 0..9).prop_map(Array::U32),
        vec(any::<i32>(), 0..9).prop_map(Array::I32),
        vec(any::<f32>(), 0..9).prop_map(Array::F32),
        vec(any::<bool>(), 0..9).prop_map(Array::Bool),
        vec(any::<String>(), 0..9).prop_map(Array::String),
        vec(any::<u64>(), 0..9).prop_map(Array::U64),
        vec(any::<i64>(), 0..9).prop_map(Array::I64),
        vec(any::<f64>(), 0..9).prop_map(Array::F64),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i8>().prop_map(Value::I8),
        any::<u16>().prop_map(Value::U16),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i32>().prop_map(Value::I32),
        any::<f32>().prop_map(Value::F32),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(Value::String),
        any::<u64>().prop_map(Value::U64),
        any::<i64>().prop_map(Value::I64),
        any::<f64>().prop_map(Value::F64),
        array().prop_map(Value::Array),
    ]
}

const WRITTEN: [TensorType; 6] =
    [TensorType::F32, TensorType::F16, TensorType::Bf16, TensorType::Q8_0, TensorType::Q4_0, TensorType::Q4K];

fn tensors() -> impl Strategy<Value = Vec<(TensorPlan, Vec<f32>)>> {
    let tensor = (0usize..6, 1usize..4, 1usize..4, vec(-4f32..4.0, 2304)).prop_map(|(kind, rows, blocks, values)| {
        let kind = WRITTEN[kind];
        let shape = vec![rows, blocks * kind.block_len()];
        let len = shape.iter().product();
        (TensorPlan { name: String::new(), shape, kind }, values[..len].to_vec())
    });
    vec(tensor, 0..5).prop_map(|mut tensors| {
        tensors.iter_mut().enumerate().for_each(|(i, (plan, _))| plan.name = format!("t{i}.weight"));
        tensors
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_file_is_read_as_it_was_written(metadata in prop::collection::btree_map("[a-f]{1,8}", value(), 0..8), tensors in tensors()) {
        let metadata: Vec<(String, Value)> = metadata.into_iter().collect();
        let plans: Vec<TensorPlan> = tensors.iter().map(|(plan, _)| plan.clone()).collect();
        let layout = Layout::new(&metadata, &plans).unwrap();
        let mut bytes = Vec::new();
        let mut writer = layout.start(&mut bytes).unwrap();
        for (_, values) in &tensors {
            writer.write(values).unwrap();
        }
        prop_assert_eq!(bytes.len() as u64, layout.size());
        let gguf = Gguf::parse(bytes.as_slice()).unwrap();
        prop_assert_eq!(gguf.metadata().len(), metadata.len());
        for (key, value) in &metadata {
            // NaN is not equal to itself; its text is.
            prop_assert_eq!(format!("{:?}", &gguf.metadata()[key]), format!("{:?}", value));
        }
        prop_assert_eq!(gguf.tensors().len(), tensors.len());
        for (plan, values) in &tensors {
            let info = &gguf.tensors()[&plan.name];
            prop_assert_eq!((&info.shape, info.kind), (&plan.shape, plan.kind));
            let mut stored = Vec::new();
            prop_assert!(quantize(plan.kind, values, &mut stored));
            prop_assert_eq!(gguf.stored(&plan.name).unwrap(), stored.as_slice());
            let mut expected = vec![0.0; values.len()];
            dequantize(plan.kind, &stored, &mut expected);
            prop_assert_eq!(gguf.values(&plan.name).unwrap(), expected);
        }
    }

    #[test]
    fn what_a_quantizer_gives_stays_near(values in vec(-8f32..8.0, 256)) {
        let largest = values.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        for (kind, steps) in [(TensorType::Q8_0, 254.0), (TensorType::Q4_0, 14.0), (TensorType::Q4K, 10.0)] {
            let mut stored = Vec::new();
            prop_assert!(quantize(kind, &values, &mut stored));
            let mut back = vec![0.0; values.len()];
            dequantize(kind, &stored, &mut back);
            for (x, y) in values.iter().zip(&back) {
                prop_assert!((x - y).abs() <= 2.0 * largest / steps, "{}: {} became {}", kind, x, y);
            }
        }
    }
}

#[test]
fn what_cannot_be_stored_is_an_error() {
    let plan = |shape: &[usize], kind| TensorPlan { name: "t".into(), shape: shape.into(), kind };
    let error =
        |metadata: &[(String, Value)], plans: &[TensorPlan]| Layout::new(metadata, plans).unwrap_err().to_string();
    assert!(error(&[], &[plan(&[2, 40], TensorType::Q4_0)]).contains("rows of 40 values"));
    assert!(error(&[], &[plan(&[2, 256], TensorType::Q6K)]).contains("Q6_K, which is not written"));
    assert!(error(&[], &[plan(&[], TensorType::F32)]).contains("which cannot be stored"));
    assert!(error(&[], &[plan(&[4], TensorType::F32), plan(&[4], TensorType::F32)]).contains("tensor t occurs twice"));
    let key = ("general.alignment".to_owned(), Value::U32(64));
    assert!(error(&[key], &[]).contains("files are written with 32"));
    let twice = ("k".to_owned(), Value::Bool(true));
    assert!(error(&[twice.clone(), twice], &[]).contains("the key k occurs twice"));
}

//! Frozen models in 8 and 4 bits: what they compute, what is trained on top, and what a GGUF file keeps.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::{GOLDEN, assert_close, golden_dir, golden_model, golden_values, ints, values};
use llm_checkpoint::{
    Quantize, TensorType, load_for_inference, load_frozen, load_model, load_tensors, save_gguf, save_tensors,
};
use llm_model::{
    CausalLm, KvCache, LoraConfig, ParamInfo, Role, named_params, params, replace_params, trainable_params,
};

const BOTH: [Quantize; 2] = [Quantize::Q8, Quantize::Q4];

#[allow(deprecated)] // Burn advises Flex; NdArray runs the references
fn devices() -> Vec<Device> {
    Vec::from([
        Device::flex(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ])
}

/// The golden models whose rows fill blocks of 32.
fn fitting() -> impl Iterator<Item = &'static str> {
    GOLDEN.into_iter().filter(|name| load_frozen(&golden_dir(name), &Device::flex(), Some(Quantize::Q8)).is_ok())
}

/// Every parameter with its values.
fn weights(model: &CausalLm) -> Vec<(ParamInfo, TensorData)> {
    let mut all = Vec::new();
    named_params(model, &mut |info, data| all.push((info.clone(), data)));
    all
}

/// A plain model on `device` with the values of `model`.
fn plain(model: &CausalLm, device: &Device) -> CausalLm {
    let mut values = weights(model).into_iter();
    replace_params(CausalLm::new(model.config(), device), &mut |_| {
        Ok::<_, ()>(values.next().map(|(_, data)| data.into()))
    })
    .unwrap()
    .freeze_except(&|_| false)
}

fn gradients(model: &CausalLm, name: &str, device: &Device) -> Vec<(String, Vec<f32>)> {
    use burn::module::Param;
    use burn::tensor::{Gradients, Tensor};
    use llm_model::{ParamInfo, ParamVisitor, visit_params};
    struct Visitor(Gradients, Vec<(String, Vec<f32>)>);
    impl ParamVisitor for Visitor {
        fn visit<const D: usize>(&mut self, info: &ParamInfo, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(&self.0) {
                self.1.push((info.name.clone(), values(gradient)));
            }
        }
    }
    let golden = golden_values(name);
    let loss = model.loss(ints(&golden["ids"], device), ints(&golden["targets"], device), None);
    let mut visitor = Visitor(loss.backward(), Vec::new());
    visit_params(model, &mut visitor);
    visitor.1
}

#[test]
fn a_quantized_model_computes_what_its_values_do_and_passes_the_same_gradients_on() {
    assert!(fitting().count() >= 5, "too few models to tell");
    for device in devices().into_iter().map(Device::autodiff) {
        for name in fitting() {
            for quantize in BOTH {
                let what = format!("{name}: {quantize:?} on {device:?}");
                let model = load_frozen(&golden_dir(name), &device, Some(quantize)).unwrap();
                let (layers, _) = model.size_in_blocks();
                assert!(layers >= 4 && trainable_params(&model).is_empty(), "{what}");
                let lora = LoraConfig { alpha: 8.0, ..LoraConfig::default() };
                let [ours, theirs] = [model.clone(), plain(&model, &device)].map(|model| {
                    // A second adapter that is not zero.
                    let model = model.with_lora(&lora, 5).unwrap();
                    replace_params(model, &mut |info| {
                        let wave = (0..info.len()).map(|i| (i as f32 * 0.7).sin() * 0.05);
                        let data = || TensorData::new(wave.collect::<Vec<f32>>(), info.shape.clone());
                        Ok::<_, ()>(
                            (info.role == Role::Adapter && info.name.ends_with("lora_b")).then(|| data().into()),
                        )
                    })
                    .unwrap()
                });
                let [ours, theirs] = [ours, theirs].map(|model| gradients(&model, name, &device));
                assert!(ours.len() >= 2 * layers - 2 && ours.iter().all(|(name, _)| name.contains(".lora.")), "{what}");
                for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
                    let largest = theirs.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
                    assert_close(&format!("{what}: {name}"), ours, theirs, 1e-5 * largest);
                }
            }
        }
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_and_merging_gives_the_same_logits() {
    let device = Device::flex().autodiff();
    for name in fitting() {
        for (quantize, dora) in [(Quantize::Q8, false), (Quantize::Q4, false), (Quantize::Q4, true)] {
            let model = load_frozen(&golden_dir(name), &device, Some(quantize)).unwrap();
            let ids = ints(&golden_values(name)["ids"], &device);
            let expected = values(plain(&model, &device).forward(ids.clone(), None));
            let adapted = model.clone().with_lora(&LoraConfig { dora, ..LoraConfig::default() }, 5).unwrap();
            let what = format!("{name}: {quantize:?}, dora: {dora}");
            assert_close(&what, &values(model.forward(ids.clone(), None)), &expected, 2e-5);
            assert_close(&what, &values(adapted.forward(ids.clone(), None)), &expected, 2e-5);
            let merged = adapted.merge_lora();
            assert_close(&what, &values(merged.forward(ids.clone(), None)), &expected, 2e-5);
        }
    }
}

/// What is not quantized is as it was, and what is, is near: 8 bits within 1 % of a row's largest value, 4 within 13 %.
#[test]
fn linear_layers_of_the_blocks_are_rounded_and_nothing_else() {
    for name in fitting() {
        let exact = weights(&golden_model(name));
        for (quantize, bound) in [(Quantize::Q8, 0.01), (Quantize::Q4, 0.13)] {
            let model = load_frozen(&golden_dir(name), &Device::flex(), Some(quantize)).unwrap();
            let (_, bytes) = model.size_in_blocks();
            let mut matrices = 0;
            for ((info, ours), (_, exact)) in weights(&model).iter().zip(&exact) {
                let [ours, exact] = [ours, exact].map(|data| data.as_slice::<f32>().unwrap());
                if info.role != Role::Matrix {
                    assert_eq!(ours, exact, "{name}: {}", info.name);
                    continue;
                }
                matrices += info.len();
                assert_ne!(ours, exact, "{name}: {}", info.name);
                let columns = info.shape[1];
                for (ours, exact) in ours.chunks(columns).zip(exact.chunks(columns)) {
                    let largest = exact.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
                    assert_close(&info.name, ours, exact, bound * largest);
                }
            }
            assert_eq!(bytes as f64, matrices as f64 * quantize.bits() / 8.0, "{name}");
        }
    }
}

#[test]
fn tables_stay_in_their_number_type() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(golden_dir("llama").join("config.json"), dir.path().join("config.json")).unwrap();
    let tensors = load_tensors(&golden_dir("llama").join("model.safetensors")).unwrap();
    let halves: Vec<_> = tensors.into_iter().map(|(name, data)| (name, data.convert_dtype(DType::BF16))).collect();
    save_tensors(&dir.path().join("model.safetensors"), &halves).unwrap();
    for (device, dtype) in devices().into_iter().zip([DType::BF16, DType::F32]) {
        let model = load_frozen(dir.path(), &device, Some(Quantize::Q4)).unwrap();
        assert_eq!(model.model.embed_tokens.weight.param().unwrap().val().dtype(), dtype);
        assert_eq!(model.model.norm.weight.val().dtype(), DType::F32);
    }
}

/// A GGUF file of a golden model, all of it in `kind`.
fn gguf(dir: &Path, name: &str, kind: TensorType) -> PathBuf {
    let path = dir.join(format!("{name}-{kind}.gguf"));
    save_gguf(&path, &golden_model(name), None, kind).unwrap();
    path
}

/// Bytes of what [`gguf`] stores in blocks of `kind`: all matrices but learned positions; the head, or the embedding in
/// its place, in `Q8_0`.
fn bytes_in(kind: TensorType, model: &CausalLm) -> u64 {
    let in_blocks = |info: &&ParamInfo| info.shape.len() == 2 && !info.name.contains("embed_positions");
    let head = if model.config().tied { Role::Embedding } else { Role::Head };
    let bytes = |info: &ParamInfo| {
        let kind = if info.role == head { TensorType::Q8_0 } else { kind };
        kind.bytes(info.len() as u64).unwrap()
    };
    params(model).iter().filter(in_blocks).map(bytes).sum()
}

/// For inference a file's blocks are the weights, embedding and head among them: in their memory, with the same numbers.
#[test]
fn a_gguf_file_is_held_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    // Some have no form in GGUF.
    let saved =
        |name: &&str| save_gguf(&dir.path().join("any.gguf"), &golden_model(name), None, TensorType::F16).is_ok();
    let names: Vec<&str> = fitting().filter(saved).collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        for kind in [TensorType::Q8_0, TensorType::Q4_0] {
            let path = gguf(dir.path(), name, kind);
            let held = load_for_inference(&path, &Device::flex()).unwrap();
            let widened = load_model(&path, &Device::flex()).unwrap();
            assert_eq!(held.size_in_blocks().1 as u64, bytes_in(kind, &held), "{name}: {kind}");
            assert_eq!(widened.size_in_blocks(), (0, 0));
            // Training beside blocks would widen them for every product.
            let frozen = load_frozen(&path, &Device::flex(), None).unwrap();
            assert_eq!(frozen.size_in_blocks(), (0, 0));
            let golden = golden_values(name);
            let ids = || ints(&golden["ids"], &Device::flex());
            let what = format!("{name}: {kind}");
            let [ours, expected] = [&held, &widened].map(|model| values(model.forward(ids(), None)));
            assert_close(&what, &ours, &expected, 1e-5);
            // One token after the other, which takes other products.
            let mut cache = KvCache::new(held.config(), 1, &Device::flex());
            let row = ids().narrow(0, 0, 1);
            let [_, t] = row.dims();
            let steps = (0..t).map(|i| held.forward(row.clone().narrow(1, i, 1), Some(&mut cache)));
            let steps = values(Tensor::cat(steps.collect(), 1));
            assert_close(&what, &steps, &expected[..steps.len()], 1e-5);
            let targets = || ints(&golden["targets"], &Device::flex());
            let [ours, expected] = [&held, &widened].map(|model| values(model.loss(ids(), targets(), None)));
            assert_close(&what, &ours, &expected, 1e-4);
        }
    }
}

/// Blocks are kept where they are small enough, also those of files that order rows in another way; nothing is rounded
/// twice.
#[test]
fn a_gguf_file_keeps_its_own_blocks() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["gpt2", "llama", "llama_linear", "qwen3"] {
        for (kind, quantize) in
            [(TensorType::Q8_0, Quantize::Q8), (TensorType::Q4_0, Quantize::Q4), (TensorType::Q4_0, Quantize::Q8)]
        {
            let path = gguf(dir.path(), name, kind);
            let model = load_frozen(&path, &Device::flex(), Some(quantize)).unwrap();
            let exact = load_model(&path, &Device::flex()).unwrap();
            for ((info, ours), (_, exact)) in weights(&model).iter().zip(&weights(&exact)) {
                assert_eq!(ours, exact, "{name}: {kind} as {quantize:?}: {}", info.name);
            }
            assert_eq!(model.size_in_blocks().1 as u64, bytes_in(kind, &exact), "{name}: {kind} as {quantize:?}");
        }
        // Larger ones are brought to what was asked for.
        let path = gguf(dir.path(), name, TensorType::Q8_0);
        let [eight, four] =
            BOTH.map(|quantize| load_frozen(&path, &Device::flex(), Some(quantize)).unwrap().size_in_blocks().1);
        assert!(four < eight, "{name}: {four} bytes in 4 bits, {eight} in 8");
    }
}

/// Changes every tensor of a file in `Q4_0` into one of `IQ4_NL` with the same bytes, whose blocks are as long.
fn as_iq4_nl(path: &Path) {
    const Q4_0: u32 = 2;
    const IQ4_NL: u32 = 20;
    let mut bytes = fs::read(path).unwrap();
    let gguf = llm_gguf::Gguf::parse(bytes.clone()).unwrap();
    for (name, info) in gguf.tensors().iter().filter(|(_, info)| info.kind == TensorType::Q4_0) {
        let name = [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
        let kind = at + name.len() + 4 + 8 * info.shape.len();
        assert_eq!(bytes[kind..kind + 4], Q4_0.to_le_bytes());
        bytes[kind..kind + 4].copy_from_slice(&IQ4_NL.to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn blocks_that_are_only_read_are_kept_too() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["gpt2", "llama"] {
        let path = gguf(dir.path(), name, TensorType::Q4_0);
        let before = load_model(&path, &Device::flex()).unwrap();
        as_iq4_nl(&path);
        let exact = load_model(&path, &Device::flex()).unwrap();
        for quantize in BOTH {
            let model = load_frozen(&path, &Device::flex(), Some(quantize)).unwrap();
            for (((info, ours), (_, exact)), (_, before)) in
                weights(&model).iter().zip(&weights(&exact)).zip(&weights(&before))
            {
                assert_eq!(ours, exact, "{name}: {}", info.name);
                if info.role == Role::Matrix {
                    assert_ne!(exact, before, "{name}: {}", info.name);
                }
            }
            let expected = bytes_in(TensorType::Iq4Nl, &exact);
            assert_eq!(model.size_in_blocks().1 as u64, expected, "{name} as {quantize:?}");
        }
    }
}

#[test]
fn rows_that_do_not_fill_blocks_are_refused() {
    let unfit: Vec<_> = GOLDEN.into_iter().filter(|name| !fitting().any(|other| other == *name)).collect();
    assert!(!unfit.is_empty());
    for name in unfit {
        let error = load_frozen(&golden_dir(name), &Device::flex(), Some(Quantize::Q4)).unwrap_err();
        assert!(error.to_string().ends_with("do not fill blocks of 32 as Q4_0 has them"), "{error}");
        assert_eq!(error.advice(), Some(llm_checkpoint::Advice::KeepPrecision));
    }
}

//! Adapters against PEFT, on those that `scripts/golden_lora.py` made, and as properties.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{assert_close, golden_dir, golden_values, ints, values};
use llm_checkpoint::{
    describe_adapter, is_adapter, load_adapter, load_adapters, load_model, load_tensors, own_targets, save_adapter,
};
use llm_model::{CausalLm, LoraConfig, TargetModules, params, trainable_params};
use serde_json::Value;

/// The adapters, and the golden models that they are for.
const ADAPTERS: [(&str, &str); 8] = [
    ("llama", "llama"),
    ("llama_rslora", "llama"),
    ("llama_dora", "llama"),
    ("llama_patterns", "llama_llama3"),
    ("gpt2", "gpt2"),
    ("gpt2_dora", "gpt2"),
    ("phi3", "phi3"),
    ("qwen3", "qwen3"),
];

/// Those that are more than LoRA on linear layers.
const MORE: [(&str, &str); 13] = [
    ("with_embeddings", "llama_linear"),
    ("head_of_tied", "llama"),
    ("saved_modules", "llama_linear"),
    ("saved_embedding_of_tied", "llama"),
    ("saved_head_of_tied", "qwen3"),
    ("saved_tied", "llama"),
    ("saved_mlp", "gpt2"),
    ("embedding", "gemma3"),
    ("embedding_gpt2", "gpt2"),
    ("tokens", "llama_linear"),
    ("tokens_of_tied", "llama"),
    ("bias_all", "gpt2"),
    ("bias_lora", "qwen2"),
];

fn adapter_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adapters").join(name)
}

/// The fused operations, and those that they stand for.
#[allow(deprecated)] // Burn advises Flex; NdArray runs the references
fn devices() -> Vec<Device> {
    Vec::from([
        Device::flex(),
        #[cfg(feature = "ndarray")]
        Device::ndarray(),
    ])
}

fn base(name: &str, device: &Device) -> CausalLm {
    load_model(&golden_dir(name), device).unwrap()
}

fn logits(model: &CausalLm, ids: &TensorData, device: &Device) -> Vec<f32> {
    values(model.forward(ints(ids, device), None))
}

/// A model whose adapters' factors are all of some size.
fn adapted(base_name: &str, config: &LoraConfig, device: &Device) -> CausalLm {
    struct Stir(f32);
    impl ModuleMapper for Stir {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1.0;
            if !param.is_require_grad() {
                return param;
            }
            let n = param.shape().num_elements() as i64;
            let wave = (Tensor::<1, Int>::arange(0..n, &param.device()).float() * 0.7 + self.0).sin() * 0.1;
            param.map(|x| (x.clone().detach() + wave.reshape(x.shape())).detach().require_grad())
        }
    }
    let autodiff = device.clone().autodiff();
    let model = base(base_name, &autodiff).with_lora(config, 3).unwrap();
    model.map(&mut Stir(0.0)).valid()
}

#[test]
fn adapters_of_peft_give_its_logits_alone_and_merged() {
    for device in devices() {
        for (name, base_name) in ADAPTERS.into_iter().chain(MORE) {
            let golden = load_tensors(&adapter_dir(name).join("golden.safetensors")).unwrap();
            let ids = &golden_values(base_name)["ids"];
            let model = load_adapter(&adapter_dir(name), base(base_name, &device)).unwrap();
            let theirs: Vec<f32> = golden["logits"].try_to_vec().unwrap();
            assert_close(name, &logits(&model, ids, &device), &theirs, 1e-4);
            assert_close(name, &logits(&model.merge_lora(), ids, &device), &theirs, 1e-4);
            let summed = load_adapters(&[(&adapter_dir(name), 1.0)], base(base_name, &device)).unwrap();
            assert_close(name, &logits(&summed, ids, &device), &theirs, 1e-4);
        }
    }
}

#[test]
fn gradients_of_adapters_equal_those_of_peft() {
    let dir = tempfile::tempdir().unwrap();
    for device in devices().into_iter().map(Device::autodiff) {
        for (name, base_name) in ADAPTERS {
            let golden = load_tensors(&adapter_dir(name).join("golden.safetensors")).unwrap();
            let tokens = golden_values(base_name);
            let model = load_adapter(&adapter_dir(name), base(base_name, &device)).unwrap();
            let [ids, targets] = ["ids", "targets"].map(|key| ints::<2>(&tokens[key], &device));
            let count = targets.shape().num_elements() as f64;
            let loss = model.loss(ids, targets, None) / count;
            assert_close(name, &values(loss.clone()), &golden["loss"].try_to_vec::<f32>().unwrap(), 1e-5);
            let gradients = Gradients { grads: loss.backward(), found: 0 };
            let mut gradients = gradients;
            let as_adapter = model.map(&mut gradients);
            assert!(gradients.found > 0);
            // Saved as if they were an adapter, gradients get PEFT's names and layout.
            save_adapter(dir.path(), &as_adapter, None).unwrap();
            let ours = load_tensors(&dir.path().join("adapter_model.safetensors")).unwrap();
            let theirs: BTreeMap<_, _> =
                golden.iter().filter_map(|(key, data)| Some((key.strip_prefix("grad.")?, data))).collect();
            for (tensor, theirs) in theirs {
                let of = |data: &TensorData| data.try_to_vec::<f32>().unwrap();
                let ours = whole(&ours[tensor], theirs, tensor);
                assert_close(&format!("{name}: {tensor}"), &ours, &of(theirs), 5e-5);
            }
        }
    }
}

/// Puts the gradient of every trained parameter in its place, and counts them.
struct Gradients {
    grads: burn::tensor::Gradients,
    found: usize,
}

impl ModuleMapper for Gradients {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = param.val().grad(&self.grads);
        assert_eq!(gradient.is_some(), param.is_require_grad(), "frozen parameters have no gradient, others have");
        match gradient {
            Some(gradient) => {
                self.found += 1;
                param.map(|_| Tensor::from_inner(gradient).require_grad())
            }
            None => param,
        }
    }
}

/// The gradient of a factor of PEFT out of that of ours, which is `blocks` of them where three layers of ours are one of
/// PEFT's: they share `lora_A`, whose gradient is the sum of theirs; of `lora_B` each has its rows in its own columns.
fn whole(ours: &TensorData, theirs: &TensorData, tensor: &str) -> Vec<f32> {
    let values: Vec<f32> = ours.try_to_vec().unwrap();
    if ours.shape() == theirs.shape() {
        return values;
    }
    let [rows, columns] = [theirs.shape()[0], theirs.shape()[1]];
    let mut sum = vec![0.0; rows * columns];
    let ours_columns = ours.shape()[1];
    for (at, x) in values.iter().enumerate() {
        let (row, column) = (at / ours_columns, at % ours_columns);
        let (row, column) = if tensor.contains("lora_A") { (row % rows, column) } else { (row, column % columns) };
        sum[row * columns + column] += x;
    }
    sum
}

#[test]
fn a_new_adapter_changes_nothing_and_alone_is_trained() {
    let device = Device::flex().autodiff();
    for name in ["llama_llama3", "gpt2", "qwen3", "gemma3", "phi3"] {
        for dora in [false, true] {
            let ids = &golden_values(name)["ids"];
            let config = LoraConfig { dora, ..LoraConfig::default() };
            let plain = base(name, &device);
            let expected = logits(&plain, ids, &device);
            let all = params(&plain).len();
            let model = plain.with_lora(&config, 1).unwrap();
            let tolerance = if dora { 1e-5 } else { 0.0 };
            assert_close(name, &logits(&model, ids, &device), &expected, tolerance);
            assert_close(name, &logits(&model.without_adapter(), ids, &device), &expected, 0.0);
            let trained = trainable_params(&model);
            assert!(trained.iter().all(|info| info.name.contains(".lora.")), "{name}");
            assert_eq!(params(&model).len(), all + trained.len(), "{name}");
            let linears = model.linears().len() - usize::from(model.lm_head.is_some());
            assert_eq!(trained.len(), linears * if dora { 3 } else { 2 }, "{name}");
            assert!(matches!(model.with_lora(&config, 1), Err(llm_model::LoraError::Adapted)));
        }
    }
}

#[test]
fn what_is_saved_is_loaded_and_merged_is_unmerged() {
    let device = Device::flex();
    let dir = tempfile::tempdir().unwrap();
    let some = TargetModules::Names(["q_proj", "v_proj", "up_proj"].map(ToOwned::to_owned).to_vec());
    for name in ["llama_llama3", "gpt2", "phi3", "phi3_longrope", "gemma3", "olmo2", "qwen2"] {
        for (rslora, dora, target_modules) in
            [(false, false, TargetModules::default()), (true, false, some.clone()), (false, true, some.clone())]
        {
            let config = LoraConfig { rank: 3, alpha: 5.0, rslora, dora, target_modules, ..LoraConfig::default() };
            let model = adapted(name, &config, &device);
            let ids = &golden_values(name)["ids"];
            let expected = logits(&model, ids, &device);
            assert!(logits(&model.without_adapter(), ids, &device) != expected, "{name}: the adapter does nothing");
            save_adapter(dir.path(), &model, Some("org/name")).unwrap();
            assert!(is_adapter(dir.path()));
            assert_eq!(llm_checkpoint::adapter_base(dir.path()).unwrap().as_deref(), Some("org/name"));
            let loaded = load_adapter(dir.path(), base(name, &device)).unwrap();
            assert_close(name, &logits(&loaded, ids, &device), &expected, 0.0);
            // It grows no ranks from save to save.
            let files = ["adapter_config.json", "adapter_model.safetensors"].map(|file| dir.path().join(file));
            let before = files.clone().map(|file| fs::read(file).unwrap());
            save_adapter(dir.path(), &loaded, Some("org/name")).unwrap();
            assert!(before == files.map(|file| fs::read(file).unwrap()), "{name}: saved again, it differs");
            let merged = loaded.merge_lora();
            assert!(!merged.has_adapter() && params(&merged).len() == params(&base(name, &device)).len());
            assert_close(name, &logits(&merged, ids, &device), &expected, 1e-4);
        }
    }
}

#[test]
fn targets_may_have_the_names_of_the_checkpoint() {
    let model = |name| load_model(&golden_dir(name), &Device::flex().autodiff()).unwrap();
    let names = |names: &[&str]| TargetModules::Names(names.iter().map(ToString::to_string).collect());
    let pattern = |pattern: &str| TargetModules::Pattern(pattern.into());
    for (name, targets, same) in [
        ("gpt2", names(&["c_attn"]), names(&["q_proj", "k_proj", "v_proj"])),
        ("gpt2", names(&["c_proj", "k_proj"]), names(&["o_proj", "down_proj", "k_proj"])),
        ("gpt2", names(&["mlp.c_fc"]), names(&["up_proj"])),
        ("gpt2", pattern(r".*\.1\.attn\..*"), pattern(r".*\.1\.self_attn\..*")),
        ("phi3", names(&["qkv_proj", "gate_up_proj"]), names(&["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"])),
        ("llama", names(&["q_proj"]), names(&["q_proj"])),
        ("llama", TargetModules::default(), TargetModules::default()),
    ] {
        let adapted = |targets: &TargetModules| {
            let model = model(name);
            let target_modules = own_targets(targets, &model);
            let config = LoraConfig { target_modules, ..LoraConfig::default() };
            let adapted = model.with_lora(&config, 1).unwrap();
            trainable_params(&adapted).into_iter().map(|info| info.name).collect::<Vec<_>>()
        };
        assert_eq!(adapted(&targets), adapted(&same), "{name}: {targets:?}");
    }
    // Of what is no name at all, the error lists ours.
    let model = model("gpt2");
    let target_modules = own_targets(&names(&["c_attn", "qkv"]), &model);
    let error = model.with_lora(&LoraConfig { target_modules, ..LoraConfig::default() }, 1).unwrap_err().to_string();
    assert!(error.contains("named qkv\nhint: the model has q_proj, k_proj"), "{error}");
}

#[test]
fn an_adapter_says_what_it_is() {
    let found = describe_adapter(&adapter_dir("gpt2_dora")).unwrap();
    let model = load_adapter(&adapter_dir("gpt2_dora"), base("gpt2", &Device::flex().autodiff())).unwrap();
    assert!(found.dora && !found.rslora);
    assert_eq!((found.rank, found.alpha), (model.lora_config().unwrap().rank, model.lora_config().unwrap().alpha));
    let stored = load_tensors(&adapter_dir("gpt2_dora").join("adapter_model.safetensors")).unwrap();
    let lora = || stored.iter().filter(|(name, _)| name.contains(".lora_"));
    assert_eq!(found.parameters, lora().map(|(_, data)| data.shape().num_elements()).sum::<usize>());
    assert_eq!(found.layers, lora().filter(|(name, _)| name.ends_with("lora_A.weight")).count());
    assert!(found.targets.contains(&"c_attn".to_owned()), "{:?}", found.targets);
    let error = llm_checkpoint::load_config(&adapter_dir("gpt2")).unwrap_err();
    assert_eq!(error.advice(), Some(llm_checkpoint::Advice::NameBase), "{error}");
}

#[test]
fn several_adapters_add_up_by_their_weights() {
    let device = Device::flex();
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for name in ["llama", "gpt2"] {
        let only = TargetModules::Names(vec!["v_proj".into(), "down_proj".into()]);
        let configs = [
            LoraConfig { rank: 3, ..LoraConfig::default() },
            LoraConfig { rank: 2, alpha: 3.0, rslora: true, target_modules: only, ..LoraConfig::default() },
        ];
        let models = configs.each_ref().map(|config| adapted(name, config, &device));
        save_adapter(first.path(), &models[0], None).unwrap();
        save_adapter(second.path(), &models[1], None).unwrap();
        let both = [(first.path(), 0.7), (second.path(), -0.3)];
        let sum = load_adapters(&both, base(name, &device)).unwrap();
        let merged = both.iter().zip(&models).map(|((_, weight), model)| (model.clone().merge_lora(), *weight));
        // The weights of the sum are W + 0.7·ΔW₁ − 0.3·ΔW₂.
        let plain = base(name, &device);
        let mut expected: BTreeMap<String, Tensor<2>> =
            plain.linears().into_iter().map(|(name, linear)| (name, linear.weight.param().unwrap().val())).collect();
        for (merged, weight) in merged {
            for ((name, merged), (_, plain)) in merged.linears().into_iter().zip(plain.linears()) {
                let changed = (merged.weight.param().unwrap().val() - plain.weight.param().unwrap().val()) * weight;
                let before = expected.remove(&name).unwrap();
                expected.insert(name, before + changed);
            }
        }
        for (linear_name, linear) in sum.clone().merge_lora().linears() {
            let [ours, expected] =
                [linear.weight.param().unwrap().val(), expected.remove(&linear_name).unwrap()].map(values);
            assert_close(&linear_name, &ours, &expected, 1e-5);
        }
        let ids = &golden_values(name)["ids"];
        assert_close(name, &logits(&sum, ids, &device), &logits(&sum.merge_lora(), ids, &device), 1e-4);
    }
    let dora = LoraConfig { dora: true, ..LoraConfig::default() };
    save_adapter(first.path(), &adapted("llama", &dora, &device), None).unwrap();
    let weighted = load_adapters(&[(first.path(), 0.5)], base("llama", &device)).unwrap_err();
    assert!(weighted.to_string().contains("DoRA"), "{weighted}");
}

/// A copy of a golden adapter with a changed configuration or other tensors.
fn changed(name: &str, config: &Value, tensors: impl FnOnce(&mut BTreeMap<String, TensorData>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut keys: Value =
        serde_json::from_slice(&fs::read(adapter_dir(name).join("adapter_config.json")).unwrap()).unwrap();
    for (key, value) in config.as_object().unwrap() {
        keys[key] = value.clone();
    }
    fs::write(dir.path().join("adapter_config.json"), keys.to_string()).unwrap();
    let mut stored = load_tensors(&adapter_dir(name).join("adapter_model.safetensors")).unwrap();
    tensors(&mut stored);
    let stored: Vec<_> = stored.into_iter().collect();
    llm_checkpoint::save_tensors(&dir.path().join("adapter_model.safetensors"), &stored).unwrap();
    let base_name = ADAPTERS.iter().find(|(adapter, _)| *adapter == name).unwrap().1;
    match load_adapter(dir.path(), base(base_name, &Device::flex())) {
        Ok(_) => panic!("{name} with {config} was loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn settings_that_change_the_result_are_refused_by_name() {
    let settings = [
        ("peft_type", serde_json::json!("IA3")),
        ("task_type", serde_json::json!("SEQ_CLS")),
        ("bias", serde_json::json!("some")),
        ("init_lora_weights", serde_json::json!("pissa")),
        ("modules_to_save", serde_json::json!("lm_head")),
        ("lora_bias", serde_json::json!(true)),
        ("trainable_token_indices", serde_json::json!([-1])),
        ("layer_replication", serde_json::json!([[0, 1]])),
        ("r", serde_json::json!(0)),
        ("r", serde_json::json!(1_000_000)),
        ("lora_alpha", serde_json::json!("many")),
        ("rank_pattern", serde_json::json!({"q_proj": -1})),
        ("alpha_pattern", serde_json::json!({"(": 1})),
    ];
    for (key, value) in settings {
        let error = changed("llama", &serde_json::json!({key: value}), |_| ());
        assert!(error.contains(key) || error.contains("lora_A"), "{key}: {error}");
        assert!(error.contains("adapter_config.json"), "{key}: {error}");
    }
}

/// Changes the tensors of an adapter.
type Change<'a> = Box<dyn FnOnce(&mut BTreeMap<String, TensorData>) + 'a>;

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let none = serde_json::json!({});
    let module = "base_model.model.model.layers.0.self_attn.q_proj";
    let (a, b) = (format!("{module}.lora_A.weight"), format!("{module}.lora_B.weight"));
    let zeros = |shape: [usize; 2]| TensorData::zeros::<f32, _>(shape);
    let cases: Vec<(&str, Change)> = vec![
        ("lora_B.weight is missing", Box::new(|t| drop(t.remove(&b)))),
        ("[4, 31]", Box::new(|t| drop(t.insert(a.clone(), zeros([4, 31]))))),
        ("[5, 32]", Box::new(|t| drop(t.insert(a.clone(), zeros([5, 32]))))),
        ("[31, 4]", Box::new(|t| drop(t.insert(b.clone(), zeros([31, 4]))))),
        ("layers.9", Box::new(|t| drop(t.insert(a.replace("layers.0", "layers.9"), zeros([4, 32]))))),
        ("lora_embedding_A", Box::new(|t| drop(t.insert("base_model.model.lora_embedding_A".into(), zeros([4, 9]))))),
        ("no adapter", Box::new(BTreeMap::clear)),
        ("NaN", Box::new(|t| drop(t.insert(a.clone(), TensorData::new(vec![f32::NAN; 128], [4, 32]))))),
        ("stored as I32", Box::new(|t| drop(t.insert(a.clone(), TensorData::new(vec![0i32; 128], [4, 32]))))),
    ];
    for (expected, change) in cases {
        let error = changed("llama", &none, change);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = load_adapter(&adapter_dir("llama"), base("gpt2", &Device::flex())).unwrap_err().to_string();
    assert!(error.contains("have no place in this model"), "{error}");
    let error = load_adapter(&golden_dir("llama"), base("llama", &Device::flex())).unwrap_err().to_string();
    assert!(error.contains("adapter_config.json: no such file"), "{error}");
}

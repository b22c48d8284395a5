//! Our decoder against `PyTorch` and `transformers`, on the models that `scripts/golden.py` made.

mod common;

use std::collections::BTreeMap;

use burn::module::Param;
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use common::{GOLDEN, assert_close, golden_dir, golden_model, golden_values, ints, values};
use llm_checkpoint::{load_model, load_tensors, save_weights};
use llm_model::{CausalLm, IGNORED, ParamInfo, ParamVisitor, replace_params, token_losses, visit_params};

/// Mean loss over the targets that are not ignored.
fn mean_loss(model: &CausalLm, ids: Tensor<2, Int>, targets: Tensor<2, Int>) -> Tensor<1> {
    let [b, t] = ids.dims();
    let logits = model.forward(ids, None);
    let [_, _, v] = logits.dims();
    let targets = targets.reshape([b * t]);
    let counted = targets.clone().not_equal_elem(IGNORED).float().sum();
    token_losses(logits.reshape([b * t, v]), targets).sum() / counted
}

#[test]
fn logits_equal_those_of_pytorch() {
    let device = Device::flex();
    for name in GOLDEN {
        let golden = golden_values(name);
        let logits = golden_model(name).forward(ints(&golden["ids"], &device), None);
        assert_close(name, &values(logits), &golden["logits"].try_to_vec().unwrap(), 1e-4);
    }
}

#[test]
fn loss_equals_that_of_pytorch_with_and_without_masked_targets() {
    let device = Device::flex();
    for name in GOLDEN {
        let golden = golden_values(name);
        let model = golden_model(name);
        for (targets, loss) in [("targets", "loss"), ("targets_masked", "loss_masked")] {
            let ours = mean_loss(&model, ints(&golden["ids"], &device), ints(&golden[targets], &device));
            let theirs: Vec<f32> = golden[loss].try_to_vec().unwrap();
            assert_close(&format!("{name}: {loss}"), &values(ours), &theirs, 1e-5);
        }
    }
}

/// Gradients by our names.
fn gradients(model: &CausalLm, grads: &Gradients) -> BTreeMap<String, TensorData> {
    struct Visitor<'a>(&'a Gradients, BTreeMap<String, TensorData>);
    impl ParamVisitor for Visitor<'_> {
        fn visit<const D: usize>(&mut self, info: &ParamInfo, param: &Param<Tensor<D>>) {
            let grad = param.val().grad(self.0).unwrap_or_else(|| panic!("{} has no gradient", info.name));
            self.1.insert(info.name.clone(), grad.into_data());
        }
    }
    let mut visitor = Visitor(grads, BTreeMap::new());
    visit_params(model, &mut visitor);
    visitor.1
}

#[test]
fn every_gradient_equals_that_of_pytorch() {
    let device = Device::flex().autodiff();
    let dir = tempfile::tempdir().unwrap();
    for name in GOLDEN {
        let golden = golden_values(name);
        let model = load_model(&golden_dir(name), &device).unwrap();
        let loss = mean_loss(&model, ints(&golden["ids"], &device), ints(&golden["targets"], &device));
        let grads = gradients(&model, &loss.backward());

        // Saved as if they were weights, gradients get the names and the layout of the checkpoint.
        let as_weights = CausalLm::new(model.config(), &Device::flex());
        let as_weights =
            replace_params(as_weights, &mut |info| Ok::<_, ()>(grads.get(&info.name).cloned().map(Into::into)))
                .unwrap();
        save_weights(dir.path(), &as_weights).unwrap();
        let ours = load_tensors(&dir.path().join("model.safetensors")).unwrap();

        let theirs: BTreeMap<_, _> =
            golden.iter().filter_map(|(key, data)| Some((key.strip_prefix("grad.")?, data))).collect();
        assert!(ours.keys().eq(theirs.keys()), "{name}: {:?} against {:?}", ours.keys(), theirs.keys());
        for (tensor, ours) in &ours {
            assert_eq!(ours.shape(), theirs[tensor.as_str()].shape(), "{name}: {tensor}");
            let ours: Vec<f32> = ours.try_to_vec().unwrap();
            let theirs: Vec<f32> = theirs[tensor.as_str()].try_to_vec().unwrap();
            assert_close(&format!("{name}: {tensor}"), &ours, &theirs, 5e-5);
        }
    }
}

#[test]
fn greedy_decoding_gives_the_tokens_of_transformers() {
    let device = Device::flex();
    for name in GOLDEN {
        let golden = golden_values(name);
        let model = golden_model(name);
        let mut ids: Vec<i32> = golden["greedy.prompt"].try_to_vec().unwrap();
        let expected: Vec<i32> = golden["greedy.ids"].try_to_vec().unwrap();
        let prompt = ids.len();
        for _ in 0..expected.len() {
            let data = TensorData::new(ids.clone(), [1, ids.len()]);
            let logits = model.forward(Tensor::from_data(data, &device), None);
            let last = values(logits.narrow(1, ids.len() - 1, 1));
            let best = (0..last.len()).max_by(|&i, &j| last[i].total_cmp(&last[j])).unwrap();
            ids.push(best as i32);
        }
        assert_eq!(ids[prompt..], expected, "{name}");
    }
}

//! The preference losses and their gradients, against TRL's formulas in PyTorch (`scripts/golden_dpo.py`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use llm_checkpoint::{load_adapter, load_model, load_tensors};
use llm_data::{Batch, PreferenceBatch};
use llm_model::{ParamInfo, ParamVisitor, visit_params};
use llm_train::{Objective, PreferenceLoss, PreferenceSection, Preferences};

/// Gradients by the name that PEFT gives a parameter.
struct Named<'a> {
    grads: &'a Gradients,
    found: BTreeMap<String, Vec<f32>>,
}

impl ParamVisitor for Named<'_> {
    fn visit<const D: usize>(&mut self, info: &ParamInfo, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            let name = info.name.replace("lora.lora_a", "lora_A.weight").replace("lora.lora_b", "lora_B.weight");
            self.found.insert(format!("base_model.model.{name}"), grad.into_data().iter::<f32>().collect());
        }
    }
}

fn side(golden: &BTreeMap<String, TensorData>, name: &str) -> Batch {
    let [batch, time] = golden[&format!("{name}.ids")].shape().dims();
    let ints = |part: &str| golden[&format!("{name}.{part}")].iter::<i32>().collect::<Vec<_>>();
    Batch { inputs: ints("ids"), targets: ints("targets"), sample_starts: None, batch, time }
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = load_tensors(&root.join("tests/golden_dpo.safetensors")).unwrap();
    let device = Device::flex().autodiff();
    let base = load_model(&root.join("../model/tests/golden/llama"), &device).unwrap();
    let model = load_adapter(&root.join("../checkpoint/tests/adapters/llama_rslora"), base).unwrap();
    let reference = Arc::new(model.without_adapter().valid());
    let section = PreferenceSection { beta: 0.3, margin: 0.5, ..PreferenceSection::default() };
    let with = |loss| PreferenceSection { loss, ..section.clone() };
    let cases = [
        ("sigmoid", section.clone()),
        ("smoothed", PreferenceSection { label_smoothing: 0.1, ..section.clone() }),
        ("normalized", PreferenceSection { length_normalized: true, ..section.clone() }),
        ("hinge", with(PreferenceLoss::Hinge)),
        ("ipo", with(PreferenceLoss::Ipo)),
        ("simpo", with(PreferenceLoss::Simpo)),
    ];
    for (name, section) in cases {
        let pairs = PreferenceBatch { chosen: side(&golden, "chosen"), rejected: side(&golden, "rejected") };
        let preferences = Preferences { pairs, section: Arc::new(section), reference: reference.clone() };
        assert_eq!(preferences.count(), 2);
        let loss = preferences.loss(&model, &device) / 2.0;
        let expected = golden[&format!("{name}.loss")].iter::<f32>().next().unwrap();
        let found = loss.clone().into_scalar::<f32>();
        assert!((found - expected).abs() < 1e-5, "{name}: {found}, not {expected}");
        let measure = preferences.measure(&model.valid(), &Device::flex());
        assert!((measure.loss / 2.0 - f64::from(expected)).abs() < 1e-5 && measure.right.is_some());

        let mut named = Named { grads: &loss.backward(), found: BTreeMap::new() };
        visit_params(&model, &mut named);
        let prefix = format!("{name}.grad.");
        let wanted: Vec<&str> = golden.keys().filter_map(|key| key.strip_prefix(&prefix)).collect();
        assert_eq!(named.found.keys().collect::<Vec<_>>(), wanted, "{name}");
        for wanted in wanted {
            let expected = golden[&format!("{prefix}{wanted}")].iter::<f32>();
            let furthest = named.found[wanted].iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(furthest < 2e-5, "{name}: gradient by {wanted} differs by {furthest}");
        }
    }
}

//! Where a loss that is not finite begins, in rows that hold several samples: there, and not where it would begin if each
//! row were one text.

use std::convert::Infallible;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_checkpoint::load_config;
use llm_data::Batch;
use llm_model::{CausalLm, ParamInfo, Precision, replace_params};
use llm_train::{Defect, Learner, OptimizerSection, Quantity, StepError};

/// Finite, but twice as much is not.
const HALF: f32 = 2e38;
/// A token that occurs only in the fifth place of the only row.
const TOKEN: usize = 7;
const WIDTH: usize = 32;

/// A GPT-2 of two layers whose weights are zero, but for values by the name of their tensor and their place there.
fn model(weights: &[(&str, usize, f32)]) -> CausalLm {
    let config = load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden/gpt2")).unwrap();
    assert_eq!([config.hidden_size, config.num_layers], [WIDTH, 2]);
    let mut set = 0;
    let value = &mut |info: &ParamInfo| {
        let mut values = vec![0.0; info.len()];
        for (_, place, value) in weights.iter().filter(|(name, ..)| *name == info.name) {
            values[*place] = *value;
            set += 1;
        }
        Ok::<_, Infallible>(Some(TensorData::new(values, info.shape.clone()).into()))
    };
    let Ok(model) = replace_params(CausalLm::new(&config, &Device::flex().autodiff()), value);
    assert_eq!(set, weights.len(), "names of weights");
    model
}

/// One row of eight tokens: one text, or two samples of four.
fn batch(packed: bool) -> Batch {
    let inputs = vec![3, 3, 3, 3, TOKEN as i32, 3, 3, 3];
    let sample_starts = packed.then(|| [0, 0, 0, 0, 4, 4, 4, 4].into());
    Batch { targets: inputs.clone(), inputs, sample_starts, batch: 1, time: 8 }
}

fn loss(model: &CausalLm, batch: &Batch) -> f32 {
    let ids =
        |ids: &[i32]| -> Tensor<2, Int> { Tensor::from_data(TensorData::new(ids.to_vec(), [1, 8]), &model.device()) };
    model.loss(ids(&batch.inputs), ids(&batch.targets), batch.sample_starts.as_ref()).into_scalar()
}

/// What a training step on `batch` ends with.
fn defect(model: CausalLm, batch: Batch) -> Defect {
    let device = model.device();
    let mut learner = Learner::new(model, &device, &OptimizerSection::default(), Precision::F32, 0);
    match learner.gradients(0, &[batch]) {
        Err(StepError::Defect(defect)) => defect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_position_is_blamed_that_only_a_packed_row_has() {
    // The token is too much in the first place of a text, and is there in the packed row only.
    let weights = [("model.embed_tokens.weight", TOKEN * WIDTH, HALF), ("model.embed_positions.weight", 0, HALF)];
    let whole = loss(&model(&weights), &batch(false));
    assert!(whole.is_finite(), "{whole}");
    let place = "the output of model.layers.0.self_attn".to_owned();
    assert_eq!(defect(model(&weights), batch(true)), Defect { quantity: Quantity::Loss, place });
}

#[test]
fn a_position_is_not_blamed_that_a_packed_row_has_not() {
    let weights = [
        // What the layers add up to is too much, in every row.
        ("model.layers.0.mlp.down_proj.bias", 0, HALF),
        ("model.layers.1.self_attn.o_proj.bias", 0, HALF),
        // The token is too much in the fifth place of a text, which no sample has.
        ("model.embed_tokens.weight", TOKEN * WIDTH + 1, -HALF),
        ("model.embed_positions.weight", 4 * WIDTH + 1, -HALF),
    ];
    for (packed, place) in [(true, "model.layers.1.mlp"), (false, "model.layers.0.self_attn")] {
        let place = format!("the output of {place}");
        assert_eq!(defect(model(&weights), batch(packed)), Defect { quantity: Quantity::Loss, place });
    }
}

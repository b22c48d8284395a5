//! Backpropagation in little memory: activations are computed twice (Chen et al., 2016, arXiv:1604.06174).

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use llm_data::Batch;
use llm_model::{CausalLm, Role, Run, trainable_params};

use crate::objective::ids;

/// The loss `(1)` of a batch, summed over its targets and divided by `targets`, and the gradients of `scale` times that.
///
/// The forward pass keeps only what enters each block, `(b, t, d)`. The backward pass computes one block after the other
/// anew, from the last to the first, and forgets each one's activations before the next. The numbers are those of the
/// usual way, bit for bit, but for dropout: `seed` is called with the number of the block, from 1, before each time it
/// is computed, so that both times draw the same masks; and with 0 before the embedding.
pub(crate) fn loss_and_gradients(
    model: &CausalLm,
    batch: &Batch,
    device: &Device,
    targets: usize,
    scale: f64,
    seed: impl Fn(u64),
) -> (Tensor<1>, GradientsParams) {
    let leaf = |x: &Tensor<3>| Tensor::from_inner(x.clone()).require_grad();
    let last = model.config().num_layers - 1;

    seed(0);
    let (embedded, mut pass) =
        model.embed(Run::packed(ids(&batch.inputs, batch, device), batch.sample_starts.as_ref()));
    let mut block = |model: &CausalLm, layer: usize, x: Tensor<3>| {
        seed(layer as u64 + 1);
        model.block(layer, x, &mut pass)
    };
    // Burn keeps the graph of a result that is dropped until the next backward pass: here, there must not be one.
    let untracked = model.clone().no_grad();
    let mut inputs = vec![embedded.clone().inner()];
    for layer in 0..last {
        let y = block(&untracked, layer, Tensor::from_inner(inputs[layer].clone()));
        inputs.push(y.inner());
    }
    drop(untracked);
    let x = leaf(&inputs[last]);
    let hidden = model.model.norm.forward(block(model, last, x.clone()));
    let loss = model.loss_of_hidden(hidden, ids(&batch.targets, batch, device)) / targets.max(1) as f64;

    let mut accumulator = GradientsAccumulator::new();
    let mut backward = |loss: Tensor<1>, x: &Tensor<3>| {
        let mut grads = loss.backward();
        let by_input = x.grad_remove(&mut grads);
        accumulator.accumulate(model, GradientsParams::from_grads(grads, model));
        by_input.unwrap_or_else(|| x.clone().inner().zeros_like())
    };
    // A loss whose gradient by `y` is `gradient`.
    let share = |y: Tensor<3>, gradient: Tensor<3>| (y * Tensor::from_inner(gradient)).sum();
    let mut gradient = backward(loss.clone() * scale, &x);
    inputs.truncate(last);
    for (layer, x) in inputs.into_iter().enumerate().rev() {
        let x = leaf(&x);
        gradient = backward(share(block(model, layer, x.clone()), gradient), &x);
    }
    if trainable_params(model).iter().any(|info| info.role == Role::Embedding) {
        backward(share(embedded, gradient), &x);
    }
    (loss.inner(), accumulator.grads())
}

#[cfg(test)]
mod tests {
    use llm_model::{Dropout, LoraConfig, ModelSection};

    use super::*;

    #[test]
    fn both_passes_draw_the_same_dropout() {
        let device = Device::flex().autodiff();
        let dropout = Dropout { embedding: 0.2, attention: 0.2, residual: 0.2 };
        let section = ModelSection {
            context_length: 8,
            hidden_size: 16,
            num_heads: 2,
            num_layers: 3,
            dropout,
            ..ModelSection::default()
        };
        let model = CausalLm::new(&section.resolve(11).unwrap(), &device).initialize(1);
        let lora = LoraConfig { dropout: 0.2, ..LoraConfig::default() };
        for model in [model.clone(), model.with_lora(&lora, 1).unwrap()] {
            same_gradients(&model, &device);
        }
    }

    fn same_gradients(model: &CausalLm, device: &Device) {
        let tokens = |shift: i32| (0..16).map(|i| (i * 7 + shift) % 11).collect::<Vec<i32>>();
        let batch = Batch { inputs: tokens(0), targets: tokens(7), sample_starts: None, batch: 2, time: 8 };
        let seed = |part: u64| device.seed(part + 5);
        let (loss, recomputed) = loss_and_gradients(model, &batch, device, 16, 1.0, seed);

        seed(0);
        let (mut x, mut pass) = model.embed(Run::rows(ids(&batch.inputs, &batch, device)));
        for layer in 0..3 {
            seed(layer as u64 + 1);
            x = model.block(layer, x, &mut pass);
        }
        let hidden = model.finish(x, pass);
        let kept_loss = model.loss_of_hidden(hidden, ids(&batch.targets, &batch, device)) / 16.0;
        let kept = GradientsParams::from_grads(kept_loss.backward(), model);
        assert_eq!(loss.into_data(), kept_loss.inner().into_data());
        assert_eq!((recomputed.len(), kept.len()), (trainable_params(model).len(), trainable_params(model).len()));
        let squares = |grads| crate::optim::squared_norms(model, grads).unwrap().into_data();
        assert_eq!(squares(&recomputed), squares(&kept));
    }
}

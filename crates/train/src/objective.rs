//! What a micro-batch asks of a model.

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_data::Batch;
use llm_model::{CausalLm, IGNORED};

/// A micro-batch with its loss.
pub trait Objective: Sync {
    /// Sum of the losses of what counts, `(1)`. `device` is the model's.
    fn loss(&self, model: &CausalLm, device: &Device) -> Tensor<1>;

    /// How much counts: the mean loss is over this number.
    fn count(&self) -> usize;

    /// Its rows of tokens.
    fn batches(&self) -> Vec<&Batch>;

    /// The batch whose [`CausalLm::loss`] the loss is, if it is one: it can be computed block by block.
    fn language_modelling(&self) -> Option<&Batch> {
        None
    }

    /// How many of what counts the model gets right, where there is right and wrong, without a gradient; and the losses.
    fn measure(&self, model: &CausalLm, device: &Device) -> Measure {
        let loss = f64::from(self.loss(model, device).into_scalar::<f32>());
        Measure { loss, count: self.count(), right: None }
    }
}

/// What a model makes of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measure {
    /// Sum of the losses.
    pub loss: f64,
    /// How much counted.
    pub count: usize,
    /// How many of these it got right.
    pub right: Option<usize>,
}

/// Next tokens; those that are not masked count.
impl Objective for Batch {
    fn loss(&self, model: &CausalLm, device: &Device) -> Tensor<1> {
        model.loss(ids(&self.inputs, self, device), ids(&self.targets, self, device), self.sample_starts.as_ref())
    }

    fn count(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORED).count()
    }

    fn batches(&self) -> Vec<&Batch> {
        vec![self]
    }

    fn language_modelling(&self) -> Option<&Batch> {
        Some(self)
    }
}

/// Ids of a batch, `(b, t)`.
pub(crate) fn ids(ids: &[i32], batch: &Batch, device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [batch.batch, batch.time]), device)
}

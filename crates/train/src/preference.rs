//! Learning from preferences (Rafailov et al., 2023, arXiv:2305.18290).

use std::sync::Arc;

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use llm_data::{Batch, PreferenceBatch};
use llm_model::{CausalLm, IGNORED};

use crate::objective::{Measure, Objective, ids};
use crate::{PreferenceLoss, PreferenceSection};

/// Pairs of answers, the first of which is to become likelier; pairs count.
#[derive(Debug)]
pub struct Preferences {
    /// The pairs.
    pub pairs: PreferenceBatch,
    /// The loss.
    pub section: Arc<PreferenceSection>,
    /// The model before training, for inference; [`PreferenceLoss::Simpo`] does without.
    pub reference: Arc<CausalLm>,
}

impl Preferences {
    /// What `model` prefers the chosen answers by, in nats, `(b)`: the difference of the answers' log-likelihoods, or of
    /// those a token.
    fn margins(&self, model: &CausalLm, device: &Device) -> Tensor<1> {
        let log_likelihoods = |batch: &Batch| {
            let losses = model.row_losses(ids(&batch.inputs, batch, device), &ids(&batch.targets, batch, device));
            if self.by_token() { losses / lengths(batch, device) } else { losses }.neg()
        };
        log_likelihoods(&self.pairs.chosen) - log_likelihoods(&self.pairs.rejected)
    }

    fn by_token(&self) -> bool {
        self.section.length_normalized || matches!(self.section.loss, PreferenceLoss::Ipo | PreferenceLoss::Simpo)
    }

    /// `Δ`: [`Self::margins`] less those of the reference, `(b)`.
    fn advantages(&self, model: &CausalLm, device: &Device) -> Tensor<1> {
        let margins = self.margins(model, device);
        if self.section.loss == PreferenceLoss::Simpo {
            return margins;
        }
        let reference = self.margins(&self.reference, &device.clone().inner());
        margins - if device.is_autodiff() { Tensor::from_inner(reference) } else { reference }
    }

    /// Losses `(b)` of `Δ` `(b)`.
    fn losses(&self, advantages: Tensor<1>) -> Tensor<1> {
        let PreferenceSection { beta, label_smoothing, margin, .. } = *self.section;
        match self.section.loss {
            PreferenceLoss::Sigmoid => {
                let scaled = advantages * beta;
                let right = log_sigmoid(scaled.clone()) * (label_smoothing - 1.0);
                if label_smoothing > 0.0 { right - log_sigmoid(scaled.neg()) * label_smoothing } else { right }
            }
            PreferenceLoss::Hinge => (advantages * -beta + 1.0).clamp_min(0.0),
            PreferenceLoss::Ipo => (advantages - 1.0 / (2.0 * beta)).square(),
            PreferenceLoss::Simpo => log_sigmoid(advantages * beta - margin).neg(),
        }
    }
}

impl Objective for Preferences {
    fn loss(&self, model: &CausalLm, device: &Device) -> Tensor<1> {
        self.losses(self.advantages(model, device)).sum()
    }

    fn count(&self) -> usize {
        self.pairs.chosen.batch
    }

    fn batches(&self) -> Vec<&Batch> {
        vec![&self.pairs.chosen, &self.pairs.rejected]
    }

    /// A pair is right if the chosen answer has gained on the rejected one, as TRL counts its accuracy of rewards.
    fn measure(&self, model: &CausalLm, device: &Device) -> Measure {
        let advantages = self.advantages(model, device);
        let right = advantages.clone().into_data().iter::<f32>().filter(|advantage| *advantage > 0.0).count();
        let loss = f64::from(self.losses(advantages).sum().into_scalar::<f32>());
        Measure { loss, count: self.count(), right: Some(right) }
    }
}

/// Targets that count in each row, `(b)`.
fn lengths(batch: &Batch, device: &Device) -> Tensor<1> {
    let counted = |row: &[i32]| row.iter().filter(|&&target| target != IGNORED).count().max(1) as f32;
    let lengths: Vec<f32> = batch.targets.chunks(batch.time).map(counted).collect();
    Tensor::from_data(TensorData::new(lengths, [batch.batch]), device)
}

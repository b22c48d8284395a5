//! Where NaN and infinity begin.

use std::fmt;
use std::path::PathBuf;

use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use llm_model::{CausalLm, ParamInfo, ParamVisitor, Part, Run, Tap, named_params, visit_params};

use crate::objective::{Objective, ids};

/// What is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// The training loss.
    Loss,
    /// The validation loss.
    ValidationLoss,
    /// The gradients of a finite loss.
    Gradient,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "the loss is",
            Self::ValidationLoss => "the validation loss is",
            Self::Gradient => "the gradients are",
        })
    }
}

/// A run that stopped because a number was NaN or infinite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {quantity} not finite; it begins in {place}\n{}hint: lower optimizer.lr (now {lr}), \
         lengthen schedule.warmup_steps (now {warmup_steps}) or set optimizer.grad_clip (now {grad_clip}); a run cannot change these when it is resumed, so start another run in another folder",
         last_good(checkpoint.as_ref()))]
pub struct NotFinite {
    /// The step, from 1.
    pub step: u64,
    /// What is not finite.
    pub quantity: Quantity,
    /// The first parameter or layer that is not finite.
    pub place: String,
    /// The newest checkpoint, from before this step.
    pub checkpoint: Option<PathBuf>,
    /// The learning rate.
    pub lr: String,
    /// Steps of warmup.
    pub warmup_steps: u64,
    /// Clipping.
    pub grad_clip: String,
}

fn last_good(checkpoint: Option<&PathBuf>) -> String {
    checkpoint.map_or("no checkpoint was saved before this step\n".into(), |path| {
        format!("the last good checkpoint is {}\n", path.display())
    })
}

/// The first parameter, else the first part of the forward pass, that is not finite.
pub(crate) fn forward<O: Objective>(model: &CausalLm, batches: &[O], device: &Device) -> String {
    let mut place = None;
    named_params(model, &mut |info, data| {
        if place.is_none() && !finite(&data) {
            place = Some(format!("the weights {}", info.name));
        }
    });
    for batch in batches.iter().flat_map(Objective::batches) {
        if place.is_some() {
            break;
        }
        let mut first = FirstDefect(None);
        let run = Run::packed(ids(&batch.inputs, batch, device), batch.sample_starts.as_ref()).with_tap(&mut first);
        let hidden = model.hidden(run);
        place = first.0.map(|part| format!("the output of {part}"));
        if place.is_none() && !finite(&model.logits(hidden).into_data()) {
            place = Some("the logits (lm_head)".into());
        }
    }
    place.unwrap_or_else(|| "the cross-entropy: the logits are finite".into())
}

/// The first part of a forward pass that gives what is not finite.
struct FirstDefect(Option<Part>);

impl Tap for FirstDefect {
    fn part(&mut self, part: Part, x: &Tensor<3>) {
        if self.0.is_none() && !finite(&x.clone().into_data()) {
            self.0 = Some(part);
        }
    }
}

/// The last parameter in the order of the forward pass whose gradient is not finite: backpropagation meets it first.
pub(crate) fn gradients(model: &CausalLm, grads: &GradientsParams) -> String {
    struct Gradients<'a> {
        grads: &'a GradientsParams,
        found: Option<String>,
    }
    impl ParamVisitor for Gradients<'_> {
        fn visit<const D: usize>(&mut self, info: &ParamInfo, param: &Param<Tensor<D>>) {
            if self.grads.get::<D>(param.id).is_some_and(|grad| !finite(&grad.into_data())) {
                self.found = Some(info.name.clone());
            }
        }
    }
    let mut gradients = Gradients { grads, found: None };
    visit_params(model, &mut gradients);
    match gradients.found {
        Some(name) => format!("the gradient of {name}"),
        None => "the sum of their squares: each gradient is finite".into(),
    }
}

fn finite(data: &TensorData) -> bool {
    data.iter::<f32>().all(f32::is_finite)
}

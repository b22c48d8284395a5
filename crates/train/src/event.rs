//! What a run reports while it works.

use std::path::Path;

use llm_data::{Progress, Tokenizer};
use llm_model::CausalLm;
use serde::{Deserialize, Serialize};

use crate::{RunPlan, SampleSection};

/// Something that happened. The trainer prints nothing; whoever calls it does.
#[derive(Debug)]
pub enum Event<'a> {
    /// Text is being prepared.
    Preparing(Progress),
    /// What will happen, before the first step.
    Plan(&'a RunPlan),
    /// A step is done.
    Step(&'a StepRecord),
    /// The validation text is being measured: batches done, of all.
    Evaluating(usize, usize),
    /// The validation text was measured.
    Evaluation(&'a EvalRecord),
    /// The model in the run directory is now that of this step, the best so far.
    BestSaved {
        /// The step.
        step: u64,
    },
    /// A checkpoint to resume from was saved.
    CheckpointSaved {
        /// The step.
        step: u64,
        /// Its folder.
        path: &'a Path,
    },
    /// Time for a sample; whether it succeeds does not matter to the run.
    Sample(Box<SampleRequest<'a>>),
    /// No new best for `eval.patience` evaluations.
    EarlyStop {
        /// Evaluations without a new best.
        evaluations: u64,
    },
    /// A resumed run that has done more steps than it now is to have. It stays as it is.
    NothingLeft {
        /// Steps done.
        done: u64,
        /// Steps that it is to have.
        steps: u64,
    },
    /// Gradients overflowed in float16: the same step is computed with a smaller loss scale.
    LossScale {
        /// The step, from 1.
        step: u64,
        /// The new scale.
        scale: f64,
    },
}

/// What a sample is made with.
#[derive(Debug)]
pub struct SampleRequest<'a> {
    /// Steps done.
    pub step: u64,
    /// The model, for inference.
    pub model: CausalLm,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Prompt, length and temperature.
    pub section: &'a SampleSection,
    /// Whether it is the last one, of the best model.
    pub last: bool,
}

/// One training step, as a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean loss over the unmasked targets of the step, in nats.
    pub loss: f32,
    /// Learning rate.
    pub lr: f64,
    /// Global norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Tokens a second in this step.
    pub tokens_per_s: f64,
    /// Arithmetic done a second, as a share of the measured matrix-multiply peak of the device in float32.
    pub flops_utilization: f64,
    /// Peak memory of the process so far, if the system reports it.
    pub peak_rss_mib: Option<u64>,
    /// Seconds of training so far, those before a resumption included.
    pub seconds: f64,
}

/// One evaluation, as a line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Steps done.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean loss over the windows of the validation text, in nats per token.
    pub val_loss: f32,
    /// Share of the preferences that the model gets right, where it learns from such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f32>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Whether it is the lowest so far.
    #[serde(skip)]
    pub best: bool,
}

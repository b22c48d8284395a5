use serde::{Deserialize, Serialize};

use crate::loss_scale::LossScale;

/// `state.json` of a checkpoint: what a run has to remember beside weights and optimizer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Mean validation loss before the first step.
    #[serde(default)]
    pub first_val_loss: Option<f32>,
    /// Steps done at the last evaluation.
    pub evaluated: Option<u64>,
    /// Evaluations since the best one.
    pub evaluations_since_best: u64,
    /// Loss scale of float16.
    pub loss_scale: Option<LossScale>,
    /// Seconds of training.
    pub seconds: f64,
    /// Hash of the tokenizer.
    pub tokenizer: String,
    /// Hash of everything that the tokens depend on.
    pub text: String,
    /// Tokens of the training and the validation text.
    pub text_tokens: [u64; 2],
    /// Sum of the weights that are not trained, where they are not saved.
    #[serde(default)]
    pub frozen: Option<f32>,
}

/// The best evaluation of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Steps done at it.
    pub step: u64,
    /// Mean loss over the validation windows, in nats a token.
    pub val_loss: f32,
}

use serde::{Deserialize, Serialize};

/// Which optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay (Loshchilov & Hutter, 2019, arXiv:1711.05101).
    #[default]
    AdamW,
    /// Adam (Kingma & Ba, 2015, arXiv:1412.6980), without weight decay.
    Adam,
    /// Stochastic gradient descent, with momentum as in PyTorch; weight decay is added to the gradient.
    Sgd,
    /// Muon (Jordan et al., 2024, <https://kellerjordan.github.io/posts/muon>) for the matrices within the blocks,
    /// AdamW for everything else.
    Muon,
}

/// The section `[optimizer]` of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSection {
    /// Which optimizer.
    pub kind: OptimizerKind,
    /// Height of the learning rate.
    pub lr: f64,
    /// Height of the learning rate of the matrices that `muon` updates.
    pub muon_lr: f64,
    /// Decay of Adam's means of gradients and of their squares.
    pub betas: [f64; 2],
    /// Added to Adam's denominator.
    pub eps: f64,
    /// Decay of the mean gradient of `sgd` and `muon`.
    pub momentum: f64,
    /// Nesterov's look ahead, for `sgd`; `muon` always has it.
    pub nesterov: bool,
    /// Share of a matrix that a step at learning rate 1 takes away; norms and biases keep theirs.
    pub weight_decay: f64,
    /// Greatest global norm of the gradients, over all parameters; 0 for no limit.
    pub grad_clip: f64,
}

impl Default for OptimizerSection {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            lr: 1e-3,
            muon_lr: 0.02,
            betas: [0.9, 0.95],
            eps: 1e-8,
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.1,
            grad_clip: 1.0,
        }
    }
}

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use llm_kernels::{Activation, Precision};

use crate::{FeedForwardKind, Linear, ModelConfig};

/// The feed-forward network of a block: two matrices with an activation between, or three with a gate.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// `d` → `f`, gated kinds only.
    pub gate_proj: Option<Linear>,
    /// `d` → `f`.
    pub up_proj: Linear,
    /// `f` → `d`.
    pub down_proj: Linear,
    #[module(skip)]
    kind: FeedForwardKind,
}

impl FeedForward {
    /// The feed-forward network of `config`.
    pub fn new(config: &ModelConfig, device: &Device) -> Self {
        let [d, f] = [config.hidden_size, config.intermediate_size];
        let up = || Linear::new(d, f, config.mlp_bias, device);
        Self {
            gate_proj: config.feed_forward.gated().then(up),
            up_proj: up(),
            down_proj: Linear::new(f, d, config.mlp_bias, device),
            kind: config.feed_forward,
        }
    }

    /// `(b, t, d)` → `(b, t, d)`.
    pub fn forward(&self, x: Tensor<3>, precision: Precision) -> Tensor<3> {
        let up = self.up_proj.forward(x.clone(), precision);
        let gate = self.gate_proj.as_ref().map(|gate| gate.forward(x, precision));
        let activation = match self.kind {
            FeedForwardKind::Gelu => Activation::Gelu,
            FeedForwardKind::GeluTanh | FeedForwardKind::GeGlu => Activation::GeluTanh,
            FeedForwardKind::Relu2 => Activation::Relu2,
            FeedForwardKind::SwiGlu => Activation::Silu,
        };
        let (x, factor) = match gate {
            Some(gate) => (gate, Some(up)),
            None => (up, None),
        };
        self.down_proj.forward_activated(activation, x, factor, precision)
    }
}

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use llm_kernels::{Causal, Precision, attention};

use crate::cache::LayerCache;
use crate::{Linear, ModelConfig, Norm, NormKind, RotaryTables};

/// Causal self-attention with several query heads for each key/value head (Vaswani et al., 2017, arXiv:1706.03762;
/// Ainslie et al., 2023, arXiv:2305.13245).
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries: `d` → `h·hd`.
    pub q_proj: Linear,
    /// Keys: `d` → `kv·hd`.
    pub k_proj: Linear,
    /// Values: `d` → `kv·hd`.
    pub v_proj: Linear,
    /// Output: `h·hd` → `d`.
    pub o_proj: Linear,
    /// RMSNorm of each query, over `hd`.
    pub q_norm: Option<Norm>,
    /// RMSNorm of each key, over `hd`.
    pub k_norm: Option<Norm>,
    dropout: f64,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
}

/// What the layers of one forward pass share.
pub(crate) struct Pass {
    pub rotary: Option<RotaryTables>,
    pub precision: Precision,
}

impl Attention {
    /// The attention of layer `layer` of `config`.
    pub fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let [d, hd] = [config.hidden_size, config.head_dim];
        let [queries, keys] = [config.num_heads * hd, config.num_kv_heads * hd];
        let norm = || config.qk_norm.then(|| Norm::new(NormKind::RmsNorm, hd, config.norm_eps, device));
        Self {
            q_proj: Linear::new(d, queries, config.qkv_bias, device),
            k_proj: Linear::new(d, keys, config.qkv_bias, device),
            v_proj: Linear::new(d, keys, config.qkv_bias, device),
            o_proj: Linear::new(queries, d, config.attention_output_bias, device),
            q_norm: norm(),
            k_norm: norm(),
            dropout: config.dropout.attention,
            num_heads: config.num_heads,
            num_kv_heads: config.num_kv_heads,
            head_dim: hd,
            window: config.window(layer),
        }
    }

    /// `(b, t, d)` → `(b, t, d)`; with a cache, the tokens follow those that it holds.
    pub(crate) fn forward(&self, x: Tensor<3>, pass: &Pass, cache: Option<(&mut LayerCache, usize)>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let [h, kv, hd] = [self.num_heads, self.num_kv_heads, self.head_dim];
        let heads = |x: Tensor<3>, n: usize| x.reshape([b, t, n, hd]);

        let mut q = heads(self.q_proj.forward(x.clone(), pass.precision), h);
        let mut k = heads(self.k_proj.forward(x.clone(), pass.precision), kv);
        let mut v = heads(self.v_proj.forward(x, pass.precision), kv);
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            (q, k) = (q_norm.forward(q), k_norm.forward(k));
        }
        if let Some(rotary) = &pass.rotary {
            (q, k) = (rotary.rotate(q), rotary.rotate(k));
        }
        let mut causal = Causal { start: 0, window: self.window };
        if let Some((cache, start)) = cache {
            causal.start = start;
            (k, v) = cache.append(start, k, v);
        }
        let dropout = if q.device().is_autodiff() { self.dropout } else { 0.0 };
        let y = attention(q, k, v, causal, dropout);
        self.o_proj.forward(y.reshape([b, t, h * hd]), pass.precision)
    }
}

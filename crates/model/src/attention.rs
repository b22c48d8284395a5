use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax};

use crate::cache::LayerCache;
use crate::{Linear, ModelConfig, Norm, NormKind, Precision, RotaryTables};

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
    dropout: Dropout,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
}

/// What the layers of one forward pass share.
pub(crate) struct Pass {
    pub rotary: Option<RotaryTables>,
    pub precision: Precision,
    /// `(1, 1, t, s)`, true where a token must not look.
    pub mask: Option<Tensor<4, Bool>>,
}

impl Attention {
    /// The attention of `config`.
    pub fn new(config: &ModelConfig, device: &Device) -> Self {
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
            dropout: DropoutConfig::new(config.dropout.attention).init(),
            num_heads: config.num_heads,
            num_kv_heads: config.num_kv_heads,
            head_dim: hd,
        }
    }

    /// `(b, t, d)` → `(b, t, d)`; with a cache, the tokens follow those that it holds.
    pub(crate) fn forward(&self, x: Tensor<3>, pass: &Pass, cache: Option<(&mut LayerCache, usize)>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let [h, kv, hd] = [self.num_heads, self.num_kv_heads, self.head_dim];
        let heads = |x: Tensor<3>, n: usize| x.reshape([b, t, n, hd]).swap_dims(1, 2); // (b, n, t, hd)

        let mut q = heads(self.q_proj.forward(x.clone(), pass.precision), h);
        let mut k = heads(self.k_proj.forward(x.clone(), pass.precision), kv);
        let mut v = heads(self.v_proj.forward(x, pass.precision), kv);
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            (q, k) = (q_norm.forward(q), k_norm.forward(k));
        }
        if let Some(rotary) = &pass.rotary {
            (q, k) = (rotary.rotate(q), rotary.rotate(k));
        }
        if let Some((cache, start)) = cache {
            (k, v) = cache.append(start, k, v);
        }

        // The query heads of one key/value head become rows of one product, so that keys are never repeated.
        let [s, rows] = [k.dims()[2], h / kv * t];
        let q = (q * (1.0 / (hd as f64).sqrt())).reshape([b, kv, rows, hd]);
        let scores = pass.precision.lower(q).matmul(pass.precision.lower(k).swap_dims(2, 3));
        let mut scores = pass.precision.raise(scores).reshape([b, h, t, s]);
        if let Some(mask) = &pass.mask {
            scores = scores.mask_fill(mask.clone(), -1e30);
        }
        let weights = self.dropout.forward(softmax(scores, 3)).reshape([b, kv, rows, s]);
        let y = pass.precision.raise(pass.precision.lower(weights).matmul(pass.precision.lower(v)));
        let y = y.reshape([b, h, t, hd]).swap_dims(1, 2).reshape([b, t, h * hd]);
        self.o_proj.forward(y, pass.precision)
    }
}

/// The mask for `t` tokens that follow `start` others: a token looks at itself and at most `window − 1` before it.
/// `None` where nothing is hidden. Shape `(1, 1, t, start + t)`.
pub(crate) fn causal_mask(start: usize, t: usize, window: Option<usize>, device: &Device) -> Option<Tensor<4, Bool>> {
    let s = start + t;
    let window = window.unwrap_or(s);
    if t == 1 && s <= window {
        return None;
    }
    let row = |i: usize| (0..s).map(move |j| j > start + i || j + window <= start + i);
    let hidden: Vec<bool> = (0..t).flat_map(row).collect();
    Some(Tensor::from_data(TensorData::new(hidden, [1, 1, t, s]), device))
}

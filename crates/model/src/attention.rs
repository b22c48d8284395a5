use burn::module::Module;
use burn::tensor::{Device, Tensor};
use llm_kernels::{Visible, attention, attention_weights, segment_attention};

use crate::run::{Context, Pass, Segment, Tap};
use crate::{Linear, ModelConfig, Norm, NormKind, QkNorm};

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
    /// RMSNorm of queries, over `hd` or over `h·hd`.
    pub q_norm: Option<Norm>,
    /// RMSNorm of keys, over `hd` or over `kv·hd`.
    pub k_norm: Option<Norm>,
    dropout: f64,
    num_heads: usize,
    num_kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    norms_width: bool,
    rotates: bool,
    /// What queries are multiplied by, where scores are not to be divided by √`hd`.
    query_factor: Option<f64>,
}

impl Attention {
    /// The attention of layer `layer` of `config`.
    pub fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let [d, hd] = [config.hidden_size, config.head_dim];
        let [queries, keys] = [config.num_heads * hd, config.num_kv_heads * hd];
        let kind = if config.norm == NormKind::LayerNorm { NormKind::RmsNorm } else { config.norm };
        let norm = |width: usize| {
            let covered = |scope| if scope == QkNorm::Head { hd } else { width };
            config.qk_norm.map(|scope| Norm::new(kind, covered(scope), config.norm_eps, device))
        };
        Self {
            q_proj: Linear::new(d, queries, config.qkv_bias, device),
            k_proj: Linear::new(d, keys, config.qkv_bias, device),
            v_proj: Linear::new(d, keys, config.qkv_bias, device),
            o_proj: Linear::new(queries, d, config.attention_output_bias, device),
            q_norm: norm(queries),
            k_norm: norm(keys),
            dropout: config.dropout.attention,
            num_heads: config.num_heads,
            num_kv_heads: config.num_kv_heads,
            head_dim: hd,
            window: config.window(layer),
            norms_width: config.qk_norm == Some(QkNorm::Width),
            rotates: config.unrotated_layers.binary_search(&layer).is_err(),
            query_factor: config.query_pre_attn_scalar.map(|scalar| (hd as f64 / scalar as f64).sqrt()),
        }
    }

    /// `(b, t, d)` → `(b, t, d)`, as layer `layer` of the pass.
    pub(crate) fn forward(&self, x: Tensor<3>, layer: usize, pass: &mut Pass) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let [h, kv, hd] = [self.num_heads, self.num_kv_heads, self.head_dim];
        let heads = |x: Tensor<3>, n: usize| x.reshape([b, t, n, hd]);

        let q = self.q_proj.forward(x.clone(), pass.precision);
        let k = self.k_proj.forward(x.clone(), pass.precision);
        let v = heads(self.v_proj.forward(x, pass.precision), kv);
        let (mut q, mut k) = match (&self.q_norm, &self.k_norm) {
            (Some(q_norm), Some(k_norm)) if self.norms_width => {
                (heads(q_norm.forward(q), h), heads(k_norm.forward(k), kv))
            }
            (Some(q_norm), Some(k_norm)) => (q_norm.forward(heads(q, h)), k_norm.forward(heads(k, kv))),
            _ => (heads(q, h), heads(k, kv)),
        };
        let rotary = pass.local_rotary.as_ref().filter(|_| self.window.is_some()).or(pass.rotary.as_ref());
        if let Some(rotary) = rotary.filter(|_| self.rotates) {
            (q, k) = (rotary.rotate(q), rotary.rotate(k));
        }
        if let Some(factor) = self.query_factor {
            q = q * factor;
        }
        let y = match &mut pass.context {
            Context::Segments(segments) => {
                segment_attention(q.clone(), self.segments(layer, [q, k, v], segments, &mut pass.tap))
            }
            context => {
                let samples = if let Context::Packed(starts) = context { Some(starts.clone()) } else { None };
                let visible = Visible::Causal { start: 0, window: self.window, samples };
                show(&mut pass.tap, [layer, 0], &q, &k, &visible);
                let dropout = if q.device().is_autodiff() { self.dropout } else { 0.0 };
                attention(q, k, v, &visible, dropout)
            }
        };
        self.o_proj.forward(y.reshape([b, t, h * hd]), pass.precision)
    }

    /// Adds keys and values `(1, n, kv, hd)` to the caches of their sequences, and gives what the queries of each look at.
    fn segments(
        &self,
        layer: usize,
        [q, k, v]: [Tensor<4>; 3],
        segments: &mut [Segment],
        tap: &mut Option<&mut dyn Tap>,
    ) -> Vec<llm_kernels::Segment> {
        let mut from = 0;
        let mut of = |(i, Segment { tokens, cache }): (usize, &mut Segment)| {
            let part = |x: &Tensor<4>| x.clone().narrow(1, from, *tokens);
            let (keys, values, start) = cache.append(layer, part(&k), part(&v));
            let visible = Visible::causal(start, self.window);
            show(tap, [layer, i], &part(&q), &keys, &visible);
            from += *tokens;
            llm_kernels::Segment { tokens: *tokens, keys, values, visible }
        };
        segments.iter_mut().enumerate().map(&mut of).collect()
    }
}

/// Shows the attention of a layer and a segment to a tap that wants to see it.
fn show(tap: &mut Option<&mut dyn Tap>, [layer, segment]: [usize; 2], q: &Tensor<4>, k: &Tensor<4>, visible: &Visible) {
    if let Some(tap) = tap.as_deref_mut().filter(|tap| tap.wants_attention(layer)) {
        tap.attention(layer, segment, attention_weights(q.clone(), k.clone(), visible));
    }
}

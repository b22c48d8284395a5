use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax};

use crate::dropout_reference;

/// Which keys a query may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Causal {
    /// Position of the first query among the keys.
    pub start: usize,
    /// Keys a query looks at, its own position included; `None` for all up to its own.
    pub window: Option<usize>,
}

/// Causal attention, `softmax(q·kᵀ / √hd) · v`, with several query heads for each key/value head.
///
/// `q` is `(b, t, h, hd)`; `k` and `v` are `(b, s, kv, hd)`, where `kv` divides `h` and `s = start + t`.
/// Gives `(b, t, h, hd)`. The weights are dropped with the probability `dropout`, as by [`dropout`](crate::dropout()).
/// The fused version never holds the `t × s` matrix: it works in blocks of queries and, in the
/// backward pass, computes them anew from the row sums it kept (Dao et al., 2022, arXiv:2205.14135).
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: Causal, dropout: f64) -> Tensor<4> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&q.device(), q.dtype()) {
        return crate::flex::attention(q, k, v, causal, dropout);
    }
    attention_reference(q, k, v, causal, dropout)
}

/// [`attention`], composed of Burn operations.
pub fn attention_reference(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: Causal, dropout: f64) -> Tensor<4> {
    let [b, t, h, hd] = q.dims();
    let [_, s, kv, _] = k.dims();
    // The query heads of one key/value head become rows of one product, so that keys are never repeated.
    let rows = h / kv * t;
    let q = (q * (1.0 / (hd as f64).sqrt())).swap_dims(1, 2).reshape([b, kv, rows, hd]);
    let [k, v] = [k, v].map(|x| x.swap_dims(1, 2)); // (b, kv, s, hd)
    let mut scores = q.matmul(k.swap_dims(2, 3)).reshape([b, h, t, s]);
    if let Some(mask) = mask(t, s, causal, &scores.device()) {
        scores = scores.mask_fill(mask, -1e30);
    }
    let mut weights = softmax(scores, 3);
    if dropout > 0.0 {
        weights = dropout_reference(weights, dropout);
    }
    let weights = weights.reshape([b, kv, rows, s]);
    weights.matmul(v).reshape([b, h, t, hd]).swap_dims(1, 2)
}

/// `(1, 1, t, s)`, true where a query must not look; `None` where nothing is hidden.
fn mask(t: usize, s: usize, causal: Causal, device: &Device) -> Option<Tensor<4, Bool>> {
    let window = causal.window.unwrap_or(usize::MAX);
    if t == 1 && s <= window {
        return None;
    }
    let row = |i: usize| (0..s).map(move |j| j > i || i - j >= window);
    let hidden: Vec<bool> = (causal.start..causal.start + t).flat_map(row).collect();
    Some(Tensor::from_data(TensorData::new(hidden, [1, 1, t, s]), device))
}

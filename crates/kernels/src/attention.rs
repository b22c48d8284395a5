use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax};

use crate::dropout_reference;

/// For every token of `(b, t)`, row-major, where in its row the sample begins that it belongs to. Starts never fall
/// along a row.
pub type SampleStarts = Arc<[u32]>;

/// Which keys a query may look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Causal {
    /// Position of the first query among the keys.
    pub start: usize,
    /// Keys a query looks at, its own position included; `None` for all up to its own.
    pub window: Option<usize>,
    /// Where samples lie one behind the other in a row: no query looks at keys before its own sample.
    pub samples: Option<SampleStarts>,
}

impl Causal {
    /// Attention of a whole text to itself.
    pub fn whole(window: Option<usize>) -> Self {
        Self { window, ..Self::default() }
    }

    /// The first key that query `i` of row `b` of `t` queries looks at.
    pub(crate) fn first_key(&self, b: usize, i: usize, t: usize) -> usize {
        let by_window = self.window.map_or(0, |window| (self.start + i + 1).saturating_sub(window));
        self.samples.as_ref().map_or(by_window, |starts| by_window.max(starts[b * t + i] as usize))
    }

    /// # Panics
    /// If the samples are not those of `(b, t)` queries, or begin behind them.
    fn check(&self, b: usize, t: usize) {
        if let Some(starts) = &self.samples {
            assert_eq!(starts.len(), b * t, "starts of samples for another number of tokens");
            let begun = |(i, start): (usize, &u32)| *start as usize <= self.start + i % t;
            assert!(starts.iter().enumerate().all(begun), "a sample that begins behind its token");
        }
    }
}

/// Causal attention, `softmax(q·kᵀ / √hd) · v`, with several query heads for each key/value head.
///
/// `q` is `(b, t, h, hd)`; `k` and `v` are `(b, s, kv, hd)`, where `kv` divides `h` and `s = start + t`.
/// Gives `(b, t, h, hd)`. The weights are dropped with the probability `dropout`, as by [`dropout`](crate::dropout()).
/// The fused version never holds the `t × s` matrix: it works in blocks of queries and, in the
/// backward pass, computes them anew from the row sums it kept (Dao et al., 2022, arXiv:2205.14135).
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: &Causal, dropout: f64) -> Tensor<4> {
    causal.check(q.dims()[0], q.dims()[1]);
    #[cfg(feature = "cpu")]
    if crate::is_fused(&q.device(), q.dtype()) {
        return crate::flex::attention(q, k, v, causal, dropout);
    }
    attention_reference(q, k, v, causal, dropout)
}

/// [`attention`], composed of Burn operations.
pub fn attention_reference(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: &Causal, dropout: f64) -> Tensor<4> {
    let [b, t, h, hd] = q.dims();
    let [_, s, kv, _] = k.dims();
    // The query heads of one key/value head become rows of one product, so that keys are never repeated.
    let rows = h / kv * t;
    let q = (q * (1.0 / (hd as f64).sqrt())).swap_dims(1, 2).reshape([b, kv, rows, hd]);
    let [k, v] = [k, v].map(|x| x.swap_dims(1, 2)); // (b, kv, s, hd)
    let mut scores = q.matmul(k.swap_dims(2, 3)).reshape([b, h, t, s]);
    if let Some(mask) = mask(b, t, s, causal, &scores.device()) {
        scores = scores.mask_fill(mask, -1e30);
    }
    let mut weights = softmax(scores, 3);
    if dropout > 0.0 {
        weights = dropout_reference(weights, dropout);
    }
    let weights = weights.reshape([b, kv, rows, s]);
    weights.matmul(v).reshape([b, h, t, hd]).swap_dims(1, 2)
}

/// `(1, 1, t, s)`, or `(b, 1, t, s)` where rows differ, true where a query must not look; `None` where nothing is hidden.
fn mask(b: usize, t: usize, s: usize, causal: &Causal, device: &Device) -> Option<Tensor<4, Bool>> {
    let rows = if causal.samples.is_some() { b } else { 1 };
    if t == 1 && (0..rows).all(|b| causal.first_key(b, 0, t) == 0) {
        return None;
    }
    let row = |b: usize, i: usize| (0..s).map(move |j| j > causal.start + i || j < causal.first_key(b, i, t));
    let hidden: Vec<bool> = (0..rows * t).flat_map(|query| row(query / t, query % t)).collect();
    Some(Tensor::from_data(TensorData::new(hidden, [rows, 1, t, s]), device))
}

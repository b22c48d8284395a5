use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Bool, Device, Tensor, TensorData, activation::softmax};

use crate::dropout_reference;
use crate::weight::in_float32;

/// For every token of `(b, t)`, row-major, where in its row the sample begins that it belongs to. Starts never fall
/// along a row.
pub type SampleStarts = Arc<[u32]>;

/// Which keys a query looks at: a range of those of its row, neither end of which falls from one query to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// The keys up to the query's own position: a decoder's attention to itself.
    Causal {
        /// Position of the first query among the keys.
        start: usize,
        /// Keys a query looks at, its own position included; `None` for all up to its own.
        window: Option<usize>,
        /// Where samples are packed into rows: no query looks at keys before its own sample.
        samples: Option<SampleStarts>,
    },
    /// The first keys of a row, whatever the query: an encoder's attention to itself, or a decoder's to an encoder.
    Whole {
        /// How many keys of each row there are, `(b)`; those behind them fill up the row.
        lengths: Arc<[usize]>,
    },
}

impl Visible {
    /// Causal attention of queries that begin at position `start` of the keys.
    pub fn causal(start: usize, window: Option<usize>) -> Self {
        Self::Causal { start, window, samples: None }
    }

    /// The keys that query `i` of row `b` of `t` queries looks at.
    pub(crate) fn keys(&self, b: usize, i: usize, t: usize) -> Range<usize> {
        match self {
            Self::Whole { lengths } => 0..lengths[b],
            Self::Causal { start, window, samples } => {
                let end = start + i + 1;
                let by_window = window.map_or(0, |window| end.saturating_sub(window));
                samples.as_ref().map_or(by_window, |starts| by_window.max(starts[b * t + i] as usize))..end
            }
        }
    }

    /// Whether rows differ in what their queries look at.
    fn by_row(&self) -> bool {
        matches!(self, Self::Whole { .. } | Self::Causal { samples: Some(_), .. })
    }

    /// # Panics
    /// If this is not about `(b, t)` queries and `s` keys, or leaves a query without any.
    fn check(&self, [b, t, s]: [usize; 3]) {
        match self {
            Self::Causal { start, samples, .. } => {
                assert!(start + t <= s, "{t} queries from position {start} of {s} keys");
                let Some(starts) = samples else { return };
                assert_eq!(starts.len(), b * t, "starts of samples for another number of tokens");
                let begun = |(i, sample): (usize, &u32)| *sample as usize <= start + i % t;
                assert!(starts.iter().enumerate().all(begun), "a sample that begins behind its token");
            }
            Self::Whole { lengths } => {
                assert_eq!(lengths.len(), b, "lengths of another number of rows");
                assert!(lengths.iter().all(|length| (1..=s).contains(length)), "lengths {lengths:?} of {s} keys");
            }
        }
    }
}

/// Attention, `softmax(q·kᵀ / √hd) · v` over the keys that are visible, with several query heads for each key/value head.
///
/// `q` is `(b, t, h, hd)`; `k` and `v` are `(b, s, kv, hd)`, where `kv` divides `h`. Gives `(b, t, h, hd)`. The weights
/// are dropped with the probability `dropout`, as by [`dropout`](crate::dropout()).
/// The fused version never holds the `t × s` matrix: it works in blocks of queries and, in the
/// backward pass, computes them anew from the row sums it kept (Dao et al., 2022, arXiv:2205.14135).
///
/// # Panics
/// If `visible` does not fit the shapes, or leaves a query without a key.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, visible: &Visible, dropout: f64) -> Tensor<4> {
    visible.check([q.dims()[0], q.dims()[1], k.dims()[1]]);
    #[cfg(feature = "cpu")]
    if crate::is_fused(&q.device(), q.dtype()) {
        return crate::flex::attention(q, k, v, visible, dropout);
    }
    attention_reference(q, k, v, visible, dropout)
}

/// [`attention`], composed of Burn operations.
pub fn attention_reference(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, visible: &Visible, dropout: f64) -> Tensor<4> {
    let [b, t, h, hd] = q.dims();
    let [_, s, kv, _] = k.dims();
    let mut weights = attention_weights(q, k, visible);
    if dropout > 0.0 {
        weights = dropout_reference(weights, dropout);
    }
    let weights = weights.reshape([b, kv, h / kv * t, s]);
    weights.matmul(in_float32(v).swap_dims(1, 2)).reshape([b, h, t, hd]).swap_dims(1, 2)
}

/// The weights of [`attention`] by themselves, `(b, h, t, s)`, for who wants to see them; each row sums to one, and what
/// a query does not look at is zero. `q` is `(b, t, h, hd)`, `k` `(b, s, kv, hd)`.
pub fn attention_weights(q: Tensor<4>, k: Tensor<4>, visible: &Visible) -> Tensor<4> {
    let [b, t, h, hd] = q.dims();
    let [_, s, kv, _] = k.dims();
    // The query heads of one key/value head become rows of one product, so that keys are never repeated.
    let q = (q * (1.0 / (hd as f64).sqrt())).swap_dims(1, 2).reshape([b, kv, h / kv * t, hd]);
    let k = in_float32(k).swap_dims(1, 2); // (b, kv, s, hd)
    let mut scores = q.matmul(k.swap_dims(2, 3)).reshape([b, h, t, s]);
    if let Some(mask) = mask([b, t, s], visible, &scores.device()) {
        scores = scores.mask_fill(mask, -1e30);
    }
    softmax(scores, 3)
}

/// `(1, 1, t, s)`, or `(b, 1, t, s)` where rows differ, true where a query must not look; `None` where nothing is hidden.
fn mask([b, t, s]: [usize; 3], visible: &Visible, device: &Device) -> Option<Tensor<4, Bool>> {
    let rows = if visible.by_row() { b } else { 1 };
    let seen = |query: usize| visible.keys(query / t, query % t, t);
    if (0..rows * t).all(|query| seen(query) == (0..s)) {
        return None;
    }
    let row = |query: usize| {
        let seen = seen(query);
        (0..s).map(move |key| !seen.contains(&key))
    };
    let hidden: Vec<bool> = (0..rows * t).flat_map(row).collect();
    Some(Tensor::from_data(TensorData::new(hidden, [rows, 1, t, s]), device))
}

/// The tokens of one sequence among those of several, and what they look at.
#[derive(Debug, Clone)]
pub struct Segment {
    /// How many queries are its own; they lie behind those of the segments before it.
    pub tokens: usize,
    /// Keys, `(1, s, kv, hd)`, in float32 or float16.
    pub keys: Tensor<4>,
    /// Values, likewise.
    pub values: Tensor<4>,
    /// Which keys the queries look at.
    pub visible: Visible,
}

/// [`attention`] of several sequences, each to keys and values of its own, as many as they may be. `q` is
/// `(1, n, h, hd)`, with the queries of all `segments` one behind the other; so is the result. For inference: there is
/// no gradient on the CPU.
///
/// # Panics
/// If the segments have not `n` tokens together.
pub fn segment_attention(q: Tensor<4>, segments: Vec<Segment>) -> Tensor<4> {
    let tokens: usize = segments.iter().map(|segment| segment.tokens).sum();
    assert_eq!(q.dims()[1], tokens, "queries of all segments");
    for Segment { tokens, keys, visible, .. } in &segments {
        visible.check([1, *tokens, keys.dims()[1]]);
    }
    #[cfg(feature = "cpu")]
    if crate::is_fused(&q.device(), q.dtype()) && !q.device().is_autodiff() {
        return crate::flex::segment_attention(q, segments);
    }
    segment_attention_reference(&q, segments)
}

/// [`segment_attention`], composed of Burn operations.
pub fn segment_attention_reference(q: &Tensor<4>, segments: Vec<Segment>) -> Tensor<4> {
    let mut from = 0;
    let of = segments.into_iter().map(|Segment { tokens, keys, values, visible }| {
        from += tokens;
        attention_reference(q.clone().narrow(1, from - tokens, tokens), keys, values, &visible, 0.0)
    });
    Tensor::cat(of.collect(), 1)
}

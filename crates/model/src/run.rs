//! What a forward pass computes, and who looks at it.

use std::fmt;
use std::ops::Range;

use burn::tensor::{Int, Tensor};
use llm_kernels::{Precision, SampleStarts};

use crate::{KvCache, RotaryTables};

/// One forward pass: tokens, what they follow, and who looks at it. See [`CausalLm::hidden`](crate::CausalLm::hidden).
pub struct Run<'a> {
    pub(crate) ids: Tensor<2, Int>,
    pub(crate) context: Context<'a>,
    pub(crate) tap: Option<&'a mut dyn Tap>,
}

/// What the tokens of a pass follow.
pub(crate) enum Context<'a> {
    /// Nothing: each row is a sequence from its beginning.
    Rows,
    /// Nothing, and each row holds several samples.
    Packed(SampleStarts),
    /// What caches hold: the only row has tokens of several sequences.
    Segments(Vec<Segment<'a>>),
}

/// Tokens that one sequence adds in a pass, behind those that its cache holds.
#[derive(Debug)]
pub struct Segment<'a> {
    /// How many.
    pub tokens: usize,
    /// The sequence so far. The tokens are added to it.
    pub cache: &'a mut KvCache,
}

impl<'a> Run<'a> {
    /// Every row of `ids` `(b, t)` is a sequence from its beginning.
    pub fn rows(ids: Tensor<2, Int>) -> Self {
        Self { ids, context: Context::Rows, tap: None }
    }

    /// [`Self::rows`], or with `samples` rows that hold several samples, which do not attend to each other: attention and
    /// learned positions restart where a sample begins.
    pub fn packed(ids: Tensor<2, Int>, samples: Option<&SampleStarts>) -> Self {
        let context = samples.map_or(Context::Rows, |samples| Context::Packed(samples.clone()));
        Self { context, ..Self::rows(ids) }
    }

    /// `ids` `(1, n)` are the tokens of several sequences, one behind the other, each after what its cache holds. Sequences
    /// do not see each other: each is computed as if it were alone, up to rounding.
    ///
    /// # Panics
    /// If the segments have not `n` tokens together.
    pub fn segments(ids: Tensor<2, Int>, segments: Vec<Segment<'a>>) -> Self {
        let tokens: usize = segments.iter().map(|segment| segment.tokens).sum();
        assert_eq!(ids.dims(), [1, tokens], "tokens of all segments in one row");
        Self { context: Context::Segments(segments), ..Self::rows(ids) }
    }

    /// `ids` `(1, t)` follow what `cache` holds.
    pub fn cached(ids: Tensor<2, Int>, cache: &'a mut KvCache) -> Self {
        let [_, tokens] = ids.dims();
        Self::segments(ids, vec![Segment { tokens, cache }])
    }

    /// The same pass with `tap` looking at it.
    #[must_use]
    pub fn with_tap(self, tap: &'a mut dyn Tap) -> Self {
        Self { tap: Some(tap), ..self }
    }
}

/// Looks at a forward pass while it is computed.
pub trait Tap {
    /// What a part of the model gives, `(b, t, d)`, before dropout; of positions that all rows share, `(1, t, d)`.
    fn part(&mut self, part: Part, x: &Tensor<3>);

    /// Whether it wants to see the attention of `layer`, which costs computing it once more.
    fn wants_attention(&self, layer: usize) -> bool {
        let _ = layer;
        false
    }

    /// The attention weights of `layer`, `(b, h, t, s)`: how much each query attends to each key. A pass over segments
    /// shows those of each, by its number, where `s` counts the keys that the cache of the layer holds, the last one being
    /// that of the newest token.
    fn attention(&mut self, layer: usize, segment: usize, weights: Tensor<4>) {
        let _ = (layer, segment, weights);
    }
}

/// A part of the model. Displayed, it is the name that the part has in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The embeddings of the tokens.
    TokenEmbedding,
    /// Those of their positions, where they are learned.
    PositionEmbedding,
    /// What the attention of a layer adds to the residual stream.
    Attention(usize),
    /// What the feed-forward network of a layer adds to it.
    FeedForward(usize),
    /// The residual stream behind a layer.
    Block(usize),
    /// The last normalization: what the head sees.
    Norm,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenEmbedding => f.write_str("model.embed_tokens"),
            Self::PositionEmbedding => f.write_str("model.embed_positions"),
            Self::Attention(layer) => write!(f, "model.layers.{layer}.self_attn"),
            Self::FeedForward(layer) => write!(f, "model.layers.{layer}.mlp"),
            Self::Block(layer) => write!(f, "model.layers.{layer}"),
            Self::Norm => f.write_str("model.norm"),
        }
    }
}

/// What the layers of one forward pass share.
pub struct Pass<'a> {
    pub(crate) rotary: Option<RotaryTables>,
    /// For layers with a window, where they have their own.
    pub(crate) local_rotary: Option<RotaryTables>,
    pub(crate) precision: Precision,
    pub(crate) context: Context<'a>,
    pub(crate) tap: Option<&'a mut dyn Tap>,
}

impl Pass<'_> {
    /// Shows the tap, if there is one, what `part` gives.
    pub(crate) fn show(&mut self, part: Part, x: &Tensor<3>) {
        if let Some(tap) = &mut self.tap {
            tap.part(part, x);
        }
    }
}

impl Context<'_> {
    /// The positions of the tokens of a row of `t`, in the sequences that they belong to, each with the tokens that its
    /// sequence has or will have. Rotary positions need not restart with a sample, as attention sees their differences only.
    pub(crate) fn places(&self, t: usize) -> Vec<(Range<usize>, usize)> {
        match self {
            Self::Rows => vec![(0..t, t)],
            Self::Packed(starts) => vec![(0..t, longest_sample(starts, t))],
            Self::Segments(segments) => {
                let place =
                    |Segment { tokens, cache }: &Segment| (cache.len()..cache.len() + tokens, cache.total(*tokens));
                segments.iter().map(place).collect()
            }
        }
    }
}

impl Context<'_> {
    /// The position of every token of rows of `t` in its sequence or sample; of one row, where all are the same.
    pub(crate) fn positions(&self, t: usize) -> Vec<i32> {
        match self {
            Self::Packed(starts) => {
                starts.iter().enumerate().map(|(i, start)| (i % t) as i32 - *start as i32).collect()
            }
            _ => self.places(t).into_iter().flat_map(|(positions, _)| positions.map(|p| p as i32)).collect(),
        }
    }
}

/// Tokens of the longest sample in rows of `t` tokens.
fn longest_sample(starts: &SampleStarts, t: usize) -> usize {
    starts.iter().enumerate().map(|(i, start)| i % t + 1 - *start as usize).max().unwrap_or(t)
}

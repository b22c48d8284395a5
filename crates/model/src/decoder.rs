use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use llm_kernels::{Precision, SampleStarts, cross_entropy, dropout, embedding, linear_cross_entropy};

use crate::attention::Pass;
use crate::cache::LayerCache;
use crate::linear::zeros;
use crate::{
    Attention, FeedForward, KvCache, Linear, LoraConfig, ModelConfig, Norm, NormPlacement, Position, Rotary,
    RotaryTables,
};

/// A table of one vector a token or position.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `(rows, d)`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    fn new(rows: usize, d: usize, device: &Device) -> Self {
        Self { weight: zeros([rows, d], device) }
    }

    /// `(b, t)` → `(b, t, d)` in float32, whatever the table is stored in.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        in_float32(embedding(self.weight.val(), ids))
    }
}

/// Attention and feed-forward network, each normalized before, after or both, and added to the residual stream. The
/// names are those of the published files, where the same name stands for different places.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention, unless norms come after only.
    pub input_layernorm: Option<Norm>,
    /// Attention.
    pub self_attn: Attention,
    /// Before the feed-forward network, where norms come before only; otherwise of what leaves attention.
    pub post_attention_layernorm: Norm,
    /// Before the feed-forward network, where norms come before and after.
    pub pre_feedforward_layernorm: Option<Norm>,
    /// Feed-forward network.
    pub mlp: FeedForward,
    /// Of what leaves the feed-forward network, unless norms come before only.
    pub post_feedforward_layernorm: Option<Norm>,
    dropout: f64,
    residual_multiplier: f64,
}

impl Block {
    fn new(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let placement = config.norm_placement;
        let norm_if = |wanted: bool| wanted.then(|| new_norm(config, device));
        Self {
            input_layernorm: norm_if(placement != NormPlacement::After),
            self_attn: Attention::new(config, layer, device),
            post_attention_layernorm: new_norm(config, device),
            pre_feedforward_layernorm: norm_if(placement == NormPlacement::Both),
            mlp: FeedForward::new(config, device),
            post_feedforward_layernorm: norm_if(placement != NormPlacement::Before),
            dropout: config.dropout.residual,
            residual_multiplier: config.multipliers.residual,
        }
    }

    fn forward(
        &self,
        x: Tensor<3>, // (b, t, d)
        pass: &Pass,
        cache: Option<(&mut LayerCache, usize)>,
        observe: &mut dyn FnMut(&str, &Tensor<3>),
    ) -> Tensor<3> {
        let after_mlp = self.post_feedforward_layernorm.as_ref();
        let post_attention = Some(&self.post_attention_layernorm);
        let (after_attention, before_mlp) = match after_mlp {
            None => (None, post_attention),
            Some(_) => (post_attention, self.pre_feedforward_layernorm.as_ref()),
        };
        let attended = self.self_attn.forward(normalized(self.input_layernorm.as_ref(), x.clone()), pass, cache);
        let attended = scaled(normalized(after_attention, attended), self.residual_multiplier);
        observe("self_attn", &attended);
        let x = x + in_training(attended, self.dropout);
        let fed = self.mlp.forward(normalized(before_mlp, x.clone()), pass.precision);
        let fed = scaled(normalized(after_mlp, fed), self.residual_multiplier);
        observe("mlp", &fed);
        x + in_training(fed, self.dropout)
    }
}

/// `x` `(b, t, d)`, normalized if there is a norm.
fn normalized(norm: Option<&Norm>, x: Tensor<3>) -> Tensor<3> {
    match norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// `x` times `factor`; `x` itself where that is 1.
fn scaled(x: Tensor<3>, factor: f64) -> Tensor<3> {
    if factor == 1.0 { x } else { x * factor }
}

/// `x` with values dropped, on an autodiff device; `x` itself in inference.
fn in_training(x: Tensor<3>, probability: f64) -> Tensor<3> {
    if x.device().is_autodiff() { dropout(x, probability) } else { x }
}

/// `x` in float32.
pub(crate) fn in_float32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() == DType::F32 { x } else { x.cast(FloatDType::F32) }
}

fn new_norm(config: &ModelConfig, device: &Device) -> Norm {
    Norm::new(config.norm, config.hidden_size, config.norm_eps, device)
}

/// Embeddings, blocks and the last normalization.
#[derive(Module, Debug)]
pub struct Decoder {
    /// Token embedding, `(v, d)`.
    pub embed_tokens: Embedding,
    /// Position embedding, `(context_length, d)`; learned positions only.
    pub embed_positions: Option<Embedding>,
    /// The blocks.
    pub layers: Vec<Block>,
    /// After the last block.
    pub norm: Norm,
    dropout: f64,
}

/// A language model: the decoder and its head.
#[derive(Module, Debug)]
pub struct CausalLm {
    /// The decoder.
    pub model: Decoder,
    /// `d` → `v`; `None` where the token embedding serves.
    pub lm_head: Option<Linear>,
    #[module(skip)]
    config: ModelConfig,
    #[module(skip)]
    precision: Precision,
    #[module(skip)]
    pub(crate) lora: Option<LoraConfig>,
}

impl CausalLm {
    /// The model of `config` with all weights zero; they take no memory until loaded, or see [`Self::initialize`].
    pub fn new(config: &ModelConfig, device: &Device) -> Self {
        let [v, d] = [config.vocab_size, config.hidden_size];
        let learned = config.position == Position::Learned;
        let model = Decoder {
            embed_tokens: Embedding::new(v, d, device),
            embed_positions: learned.then(|| Embedding::new(config.context_length, d, device)),
            layers: (0..config.num_layers).map(|layer| Block::new(config, layer, device)).collect(),
            norm: new_norm(config, device),
            dropout: config.dropout.embedding,
        };
        let lm_head = (!config.tied).then(|| Linear::new(d, v, false, device));
        Self { model, lm_head, config: config.clone(), precision: Precision::F32, lora: None }
    }

    /// The same model with its matrix products in `precision`.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same model with a bias in every linear layer of its blocks, zero where it had none. Shares its weights.
    #[must_use]
    pub fn with_zero_biases(mut self) -> Self {
        self.config = self.config.with_biases();
        for block in &mut self.model.layers {
            let Attention { q_proj, k_proj, v_proj, o_proj, .. } = &mut block.self_attn;
            let FeedForward { gate_proj, up_proj, down_proj, .. } = &mut block.mlp;
            for linear in [q_proj, k_proj, v_proj, o_proj, up_proj, down_proj].into_iter().chain(gate_proj) {
                linear.add_bias();
            }
        }
        self
    }

    /// The same model with a head of its own, which has the values of the embedding where it was the embedding until now. Shares
    /// its weights.
    #[must_use]
    pub fn untied(mut self) -> Self {
        let embedding = &self.model.embed_tokens.weight;
        self.lm_head.get_or_insert_with(|| Linear::of(embedding));
        self.config.tied = false;
        self
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Logits `(b, t, v)` of the tokens `ids` `(b, t)`.
    ///
    /// With a cache, `ids` follow the tokens that it holds, and are added to it.
    ///
    /// # Panics
    /// If an id is not below `vocab_size`, or the tokens exceed the cache's capacity or the learned positions, or go
    /// where [`KvCache::expect`] should have been called.
    pub fn forward(&self, ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3> {
        self.logits(self.hidden_states(ids, cache, &mut |_, _| ()))
    }

    /// The last hidden states `(b, t, d)`, normalized, of `ids` `(b, t)`. `observe` is shown what every part adds
    /// to the residual stream, with the part's name (`model.layers.0.mlp`).
    pub fn hidden_states(
        &self,
        ids: Tensor<2, Int>,
        mut cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(&str, &Tensor<3>),
    ) -> Tensor<3> {
        let [_, t] = ids.dims();
        let start = cache.as_ref().map_or(0, |cache| cache.len());
        let mut x = self.embed_from(ids, start, None, observe);
        let total = cache.as_ref().map_or(t, |cache| cache.total(t));
        let pass = self.pass(start..start + t, total, None, &x.device());
        for (i, layer) in self.model.layers.iter().enumerate() {
            let layer_cache = cache.as_mut().map(|cache| cache.layer(i));
            x = layer.forward(x, &pass, layer_cache, &mut |part, y| observe(&format!("model.layers.{i}.{part}"), y));
        }
        if let Some(cache) = cache {
            cache.advance(t);
        }
        let x = self.model.norm.forward(x);
        observe("model.norm", &x);
        x
    }

    /// The embeddings `(b, t, d)` of `ids` `(b, t)`: what enters the first block.
    ///
    /// [`Self::embed`], [`Self::block`] for every layer and [`Self::head_loss`] together are [`Self::loss`].
    pub fn embed(&self, ids: Tensor<2, Int>, samples: Option<&SampleStarts>) -> Tensor<3> {
        self.embed_from(ids, 0, samples, &mut |_, _| ())
    }

    fn embed_from(
        &self,
        ids: Tensor<2, Int>,
        start: usize,
        samples: Option<&SampleStarts>,
        observe: &mut dyn FnMut(&str, &Tensor<3>),
    ) -> Tensor<3> {
        let [b, t] = ids.dims();
        let mut x = self.model.embed_tokens.forward(ids); // (b, t, d)
        if self.config.scaled_embedding {
            x = x * (self.config.hidden_size as f32).sqrt();
        }
        x = scaled(x, self.config.multipliers.embedding);
        observe("model.embed_tokens", &x);
        if let Some(positions) = &self.model.embed_positions {
            let rows = match samples {
                None => in_float32(positions.weight.val().narrow(0, start, t)).unsqueeze(),
                Some(starts) => {
                    let places = starts.iter().enumerate().map(|(i, start)| (i % t) as i32 - *start as i32);
                    positions.forward(Tensor::from_data(TensorData::new(places.collect(), [b, t]), &x.device()))
                }
            };
            observe("model.embed_positions", &rows);
            x = x + rows;
        }
        in_training(x, self.model.dropout)
    }

    /// Block number `layer`, from 0, without a cache: `(b, t, d)` → `(b, t, d)`.
    pub fn block(&self, layer: usize, x: Tensor<3>, samples: Option<&SampleStarts>) -> Tensor<3> {
        let [_, t, _] = x.dims();
        let pass = self.pass(0..t, t, samples, &x.device());
        self.model.layers[layer].forward(x, &pass, None, &mut |_, _| ())
    }

    /// Logits `(b, t, v)` of hidden states `(b, t, d)`.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let hidden = self.before_head(hidden);
        if let Some(head) = &self.lm_head {
            return head.forward(hidden, self.precision);
        }
        let weight = self.model.embed_tokens.weight.clone();
        let tied = Linear { weight, bias: None, lora: None, quantized: None };
        tied.forward(hidden, self.precision)
    }

    /// Hidden states as the head takes them: the head has no bias, so that what divides its logits may divide these.
    fn before_head(&self, hidden: Tensor<3>) -> Tensor<3> {
        scaled(hidden, 1.0 / self.config.multipliers.logits_divisor)
    }

    /// Sum of the cross-entropies of predicting `targets` `(b, t)` from `ids` `(b, t)`, in nats; targets that are
    /// [`IGNORED`](crate::IGNORED) do not count. Shape `(1)`.
    ///
    /// With `samples`, each row holds several samples that know nothing of one another: attention and learned positions
    /// begin anew where a sample does.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn loss(&self, ids: Tensor<2, Int>, targets: Tensor<2, Int>, samples: Option<&SampleStarts>) -> Tensor<1> {
        self.head_loss(self.blocks(ids, samples), targets)
    }

    /// [`Self::loss`] of every row by itself, `(b)`.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn row_losses(&self, ids: Tensor<2, Int>, targets: &Tensor<2, Int>) -> Tensor<1> {
        let [b, _] = ids.dims();
        let x = self.model.norm.forward(self.blocks(ids, None));
        let row = |row| self.loss_of_hidden(x.clone().narrow(0, row, 1), targets.clone().narrow(0, row, 1));
        Tensor::cat((0..b).map(row).collect(), 0)
    }

    /// What leaves the last block, `(b, t, d)`.
    fn blocks(&self, ids: Tensor<2, Int>, samples: Option<&SampleStarts>) -> Tensor<3> {
        let [_, t] = ids.dims();
        let mut x = self.embed(ids, samples);
        let pass = self.pass(0..t, t, samples, &x.device());
        for layer in &self.model.layers {
            x = layer.forward(x, &pass, None, &mut |_, _| ());
        }
        x
    }

    /// [`Self::loss`] of what leaves the last block, `(b, t, d)`.
    pub fn head_loss(&self, x: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<1> {
        self.loss_of_hidden(self.model.norm.forward(x), targets)
    }

    fn loss_of_hidden(&self, hidden: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<1> {
        let [b, t, d] = hidden.dims();
        let targets = targets.reshape([b * t]);
        if self.lm_head.as_ref().is_some_and(|head| head.lora.is_some()) {
            let logits = self.logits(hidden);
            let [_, _, v] = logits.dims();
            return cross_entropy(logits.reshape([b * t, v]), targets).sum();
        }
        let hidden = self.before_head(hidden);
        let weight = in_float32(self.head_weight().val());
        linear_cross_entropy(hidden.reshape([b * t, d]), weight, targets, self.precision)
    }

    /// The weight of the head, `(v, d)`: its own, or the token embedding's.
    fn head_weight(&self) -> &Param<Tensor<2>> {
        self.lm_head.as_ref().map_or(&self.model.embed_tokens.weight, |head| &head.weight)
    }

    /// What a pass over `positions` of a sequence of `total` tokens, or of samples, needs. Rotary positions need not begin
    /// anew with a sample, as attention sees their differences only.
    fn pass(&self, positions: Range<usize>, total: usize, samples: Option<&SampleStarts>, device: &Device) -> Pass {
        let config = &self.config;
        let total = samples.map_or(total, |starts| longest_sample(starts, total));
        let tables = |rotary: &Rotary| RotaryTables::new(positions.clone(), total, config.head_dim, rotary, device);
        let rotary = match &config.position {
            Position::Learned => None,
            Position::Rotary(rotary) => Some(tables(rotary)),
        };
        Pass {
            rotary,
            local_rotary: config.local_rotary.as_ref().map(tables),
            precision: self.precision,
            samples: samples.cloned(),
        }
    }
}

/// Tokens of the longest sample in rows of `t` tokens.
fn longest_sample(starts: &SampleStarts, t: usize) -> usize {
    starts.iter().enumerate().map(|(i, start)| i % t + 1 - *start as usize).max().unwrap_or(t)
}

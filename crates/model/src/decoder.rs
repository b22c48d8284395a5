use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_kernels::{Precision, SampleStarts, cross_entropy, dropout, embedding, linear_cross_entropy};

use crate::linears::HEAD;
use crate::run::{Context, Pass};
use crate::{
    Attention, FeedForward, KvCache, Linear, LoraConfig, Matrix, ModelConfig, Norm, NormPlacement, Part, Position,
    Rotary, RotaryTables, Run, Segment,
};

/// A table of one vector a token or position.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `(rows, d)`.
    pub weight: Matrix,
}

impl Embedding {
    fn new(rows: usize, d: usize, device: &Device) -> Self {
        Self { weight: Matrix::zeros([rows, d], device) }
    }

    /// `(b, t)` → `(b, t, d)` in float32, whatever the table is stored in.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        embedding(self.weight.stored(), ids)
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

    /// `(b, t, d)` → `(b, t, d)`, as layer `layer` of the pass.
    fn forward(&self, x: Tensor<3>, layer: usize, pass: &mut Pass) -> Tensor<3> {
        let after_mlp = self.post_feedforward_layernorm.as_ref();
        let post_attention = Some(&self.post_attention_layernorm);
        let (after_attention, before_mlp) = match after_mlp {
            None => (None, post_attention),
            Some(_) => (post_attention, self.pre_feedforward_layernorm.as_ref()),
        };
        let attended = self.self_attn.forward(normalized(self.input_layernorm.as_ref(), x.clone()), layer, pass);
        let attended = scaled(normalized(after_attention, attended), self.residual_multiplier);
        pass.show(Part::Attention(layer), &attended);
        let x = x + in_training(attended, self.dropout);
        let fed = self.mlp.forward(normalized(before_mlp, x.clone()), pass.precision);
        let fed = scaled(normalized(after_mlp, fed), self.residual_multiplier);
        pass.show(Part::FeedForward(layer), &fed);
        let x = x + in_training(fed, self.dropout);
        pass.show(Part::Block(layer), &x);
        x
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
        let device = self.device();
        self.each_linear(&mut |name, linear| {
            if name != HEAD {
                linear.add_bias(&device);
            }
        });
        self
    }

    /// The same model with a head of its own, which has the values of the embedding where it was the embedding until now. Shares
    /// its weights.
    #[must_use]
    pub fn untied(mut self) -> Self {
        let embedding = &self.model.embed_tokens.weight;
        self.lm_head.get_or_insert_with(|| Linear::of(embedding.copied()));
        self.config.tied = false;
        self
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.model.norm.weight.lazy_device()
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Logits `(b, t, v)` of the tokens `ids` `(b, t)`. With a cache, the only row of `ids` follows the tokens that it
    /// holds, and is added to it.
    ///
    /// # Panics
    /// As [`Self::hidden`].
    pub fn forward(&self, ids: Tensor<2, Int>, cache: Option<&mut KvCache>) -> Tensor<3> {
        let run = match cache {
            None => Run::rows(ids),
            Some(cache) => Run::cached(ids, cache),
        };
        self.logits(self.hidden(run))
    }

    /// The last hidden states `(b, t, d)`, normalized, of the tokens of `run`, `(b, t)`: what the head sees.
    ///
    /// It is [`Self::embed`], [`Self::block`] for every layer, and [`Self::finish`].
    ///
    /// # Panics
    /// If an id is not below `vocab_size`, tokens exceed the learned positions, or go where [`KvCache::expect`] should have
    /// been called.
    pub fn hidden(&self, run: Run) -> Tensor<3> {
        let (mut x, mut pass) = self.embed(run);
        for layer in 0..self.model.layers.len() {
            x = self.block(layer, x, &mut pass);
        }
        self.finish(x, pass)
    }

    /// What enters the first block, `(b, t, d)`, and what the blocks share.
    pub fn embed<'a>(&self, Run { ids, context, tap }: Run<'a>) -> (Tensor<3>, Pass<'a>) {
        let [_, t] = ids.dims();
        let (places, device) = (context.places(t), ids.device());
        let tables = |rotary: &Rotary| RotaryTables::new(&places, self.config.head_dim, rotary, &device);
        let rotary = match &self.config.position {
            Position::Learned => None,
            Position::Rotary(rotary) => Some(tables(rotary)),
        };
        let local_rotary = self.config.local_rotary.as_ref().map(tables);
        let mut pass = Pass { rotary, local_rotary, precision: self.precision, context, tap };

        let mut x = self.model.embed_tokens.forward(ids); // (b, t, d)
        if self.config.scaled_embedding {
            x = x * (self.config.hidden_size as f32).sqrt();
        }
        x = scaled(x, self.config.multipliers.embedding);
        pass.show(Part::TokenEmbedding, &x);
        if let Some(table) = &self.model.embed_positions {
            let rows = match &pass.context {
                Context::Rows => table.weight.stored().rows(0..t, &device).unsqueeze(),
                context => {
                    let positions = context.positions(t);
                    let rows = positions.len() / t;
                    table.forward(Tensor::from_data(TensorData::new(positions, [rows, t]), &device))
                }
            };
            pass.show(Part::PositionEmbedding, &rows);
            x = x + rows;
        }
        (in_training(x, self.model.dropout), pass)
    }

    /// Block number `layer`, from 0: `(b, t, d)` → `(b, t, d)`.
    pub fn block(&self, layer: usize, x: Tensor<3>, pass: &mut Pass) -> Tensor<3> {
        self.model.layers[layer].forward(x, layer, pass)
    }

    /// What leaves the last block, `(b, t, d)`, normalized. Caches hold the tokens from now on.
    pub fn finish(&self, x: Tensor<3>, mut pass: Pass) -> Tensor<3> {
        if let Context::Segments(segments) = &mut pass.context {
            segments.iter_mut().for_each(|Segment { tokens, cache }| cache.advance(*tokens));
        }
        let x = self.model.norm.forward(x);
        pass.show(Part::Norm, &x);
        x
    }

    /// Logits `(b, t, v)` of hidden states `(b, t, d)`.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let hidden = self.before_head(hidden);
        match &self.lm_head {
            Some(head) => head.forward(hidden, self.precision),
            None => Linear::of(self.model.embed_tokens.weight.clone()).forward(hidden, self.precision),
        }
    }

    /// Hidden states as the head takes them: the head has no bias, so that what divides its logits may divide these.
    fn before_head(&self, hidden: Tensor<3>) -> Tensor<3> {
        scaled(hidden, 1.0 / self.config.multipliers.logits_divisor)
    }

    /// Sum of the cross-entropies of predicting `targets` `(b, t)` from `ids` `(b, t)`, in nats; targets that are
    /// [`IGNORED`](crate::IGNORED) do not count. Shape `(1)`. With `samples`, rows are as in [`Run::packed`].
    ///
    /// # Panics
    /// As [`Self::hidden`].
    pub fn loss(&self, ids: Tensor<2, Int>, targets: Tensor<2, Int>, samples: Option<&SampleStarts>) -> Tensor<1> {
        self.loss_of_hidden(self.hidden(Run::packed(ids, samples)), targets)
    }

    /// [`Self::loss`] of every row by itself, `(b)`.
    ///
    /// # Panics
    /// As [`Self::hidden`].
    pub fn row_losses(&self, ids: Tensor<2, Int>, targets: &Tensor<2, Int>) -> Tensor<1> {
        let [b, _] = ids.dims();
        let x = self.hidden(Run::rows(ids));
        let row = |row| self.loss_of_hidden(x.clone().narrow(0, row, 1), targets.clone().narrow(0, row, 1));
        Tensor::cat((0..b).map(row).collect(), 0)
    }

    /// [`Self::loss`] of the last hidden states, `(b, t, d)`.
    pub fn loss_of_hidden(&self, hidden: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<1> {
        let [b, t, d] = hidden.dims();
        let targets = targets.reshape([b * t]);
        if self.lm_head.as_ref().is_some_and(|head| head.lora.is_some()) {
            let logits = self.logits(hidden);
            let [_, _, v] = logits.dims();
            return cross_entropy(logits.reshape([b * t, v]), targets).sum();
        }
        let hidden = self.before_head(hidden);
        let head = self.lm_head.as_ref().map_or(&self.model.embed_tokens.weight, |head| &head.weight);
        linear_cross_entropy(hidden.reshape([b * t, d]), head.stored(), targets, self.precision)
    }
}

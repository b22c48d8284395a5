//! The linear layers of a model, and all its matrices, by name.

use llm_kernels::QuantizedWeight;

use crate::decoder::Block;
use crate::{CausalLm, Linear, Matrix};

/// The name of a head of its own.
pub(crate) const HEAD: &str = "lm_head";

/// The linear layers of a block, in the order of the module tree: borrowed, or with `mut`, mutably.
macro_rules! linears_of {
    ($block:expr $(, $mut:tt)?) => {
        [
            ("self_attn.q_proj", Option::from(&$($mut)? $block.self_attn.q_proj)),
            ("self_attn.k_proj", Option::from(&$($mut)? $block.self_attn.k_proj)),
            ("self_attn.v_proj", Option::from(&$($mut)? $block.self_attn.v_proj)),
            ("self_attn.o_proj", Option::from(&$($mut)? $block.self_attn.o_proj)),
            ("mlp.gate_proj", Option::from(&$($mut)? $block.mlp.gate_proj)),
            ("mlp.up_proj", Option::from(&$($mut)? $block.mlp.up_proj)),
            ("mlp.down_proj", Option::from(&$($mut)? $block.mlp.down_proj)),
        ]
    };
}

impl Block {
    fn linears(&self) -> [(&'static str, Option<&Linear>); 7] {
        linears_of!(self)
    }

    fn linears_mut(&mut self) -> [(&'static str, Option<&mut Linear>); 7] {
        linears_of!(self, mut)
    }
}

impl CausalLm {
    /// Every linear layer with its name, `model.layers.0.self_attn.q_proj`, in the order of the module tree; last the
    /// head, where it is one of its own.
    pub fn linears(&self) -> Vec<(String, &Linear)> {
        let mut linears = Vec::new();
        for (i, block) in self.model.layers.iter().enumerate() {
            let named = |(name, linear): (&str, Option<_>)| Some((format!("model.layers.{i}.{name}"), linear?));
            linears.extend(block.linears().into_iter().filter_map(named));
        }
        linears.extend(self.lm_head.as_ref().map(|head| (HEAD.to_owned(), head)));
        linears
    }

    /// Shows `change` what [`Self::linears`] lists.
    pub(crate) fn each_linear(&mut self, change: &mut dyn FnMut(&str, &mut Linear)) {
        for (i, block) in self.model.layers.iter_mut().enumerate() {
            for (name, linear) in block.linears_mut() {
                if let Some(linear) = linear {
                    change(&format!("model.layers.{i}.{name}"), linear);
                }
            }
        }
        if let Some(head) = &mut self.lm_head {
            change(HEAD, head);
        }
    }

    /// The weights of embeddings and linear layers by their names as parameters.
    pub(crate) fn matrices(&self) -> Vec<(String, &Matrix)> {
        let embeddings = [
            ("model.embed_tokens.weight", Some(&self.model.embed_tokens)),
            ("model.embed_positions.weight", self.model.embed_positions.as_ref()),
        ];
        let tables = embeddings.into_iter().filter_map(|(name, table)| Some((name.to_owned(), &table?.weight)));
        let linears = self.linears().into_iter().map(|(name, linear)| (name + ".weight", &linear.weight));
        tables.chain(linears).collect()
    }

    /// Shows `change` what [`Self::matrices`] lists.
    pub(crate) fn each_matrix(&mut self, change: &mut dyn FnMut(&str, &mut Matrix)) {
        change("model.embed_tokens.weight", &mut self.model.embed_tokens.weight);
        if let Some(positions) = &mut self.model.embed_positions {
            change("model.embed_positions.weight", &mut positions.weight);
        }
        self.each_linear(&mut |name, linear| change(&format!("{name}.weight"), &mut linear.weight));
    }

    /// How many matrices are held in blocks, and the bytes that these take.
    pub fn size_in_blocks(&self) -> (usize, usize) {
        let sizes = self.matrices().into_iter().filter_map(|(_, matrix)| matrix.blocks().map(QuantizedWeight::size));
        sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }
}

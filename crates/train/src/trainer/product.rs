use std::collections::HashSet;
use std::path::Path;

use llm_checkpoint::{CheckpointError, SavedWeights, save_adapter, save_model};
use llm_data::Tokenizer;
use llm_model::{CausalLm, named_params, trainable_params};

/// What a run makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Product {
    /// A model, trained from the beginning.
    Model,
    /// A model made of another, of which some weights may be as they were.
    Finetuned,
    /// An adapter of the model of this name.
    Adapter { base: String },
}

impl Product {
    /// Writes it into a run directory.
    pub fn save(&self, out: &Path, model: &CausalLm, tokenizer: &Tokenizer) -> Result<(), CheckpointError> {
        match self {
            Self::Model | Self::Finetuned => save_model(out, model, tokenizer),
            Self::Adapter { base } => save_adapter(out, model, Some(base)),
        }
    }

    /// Sum of the weights that no checkpoint holds: a run goes on with the same ones only.
    pub fn frozen_sum(&self, model: &CausalLm) -> Option<f32> {
        if self.weights() == SavedWeights::All {
            return None;
        }
        let trained: HashSet<String> = trainable_params(model).into_iter().map(|info| info.name).collect();
        let mut sum = 0.0f64;
        named_params(model, &mut |info, data| {
            if !trained.contains(&info.name) {
                sum += data.iter::<f32>().map(f64::from).sum::<f64>();
            }
        });
        Some(sum as f32)
    }

    /// The weights that a checkpoint must hold to go on from it.
    pub fn weights(&self) -> SavedWeights {
        if *self == Self::Model { SavedWeights::All } else { SavedWeights::Trained }
    }
}

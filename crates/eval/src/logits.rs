//! The logits of a model, and how far those of two models are apart.

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_generate::GenerateError;
use llm_model::{CausalLm, ModelConfig, Position};

use crate::EvalError;

/// Logits `(t, v)` of `t` ids, row-major.
///
/// # Errors
/// No id, one that the model has no embedding for, more ids than the model has positions for, and a device that fails.
pub fn logits(model: &CausalLm, ids: &[u32], device: &Device) -> Result<Vec<f32>, EvalError> {
    check(ids, model.config())?;
    let signed: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let input: Tensor<2, Int> = Tensor::from_data(TensorData::new(signed, [1, ids.len()]), device);
    let data = model.forward(input, None).into_data();
    data.try_into_vec().map_err(|e| GenerateError::Device(e.to_string()).into())
}

/// Rejects what the model cannot be given.
fn check(ids: &[u32], config: &ModelConfig) -> Result<(), EvalError> {
    let ModelConfig { vocab_size, context_length, .. } = *config;
    if ids.is_empty() {
        return Err(GenerateError::EmptyPrompt.into());
    }
    if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
        return Err(GenerateError::UnknownId { id, vocab_size }.into());
    }
    if config.position == Position::Learned && ids.len() > context_length {
        return Err(EvalError::TooManyTokens { tokens: ids.len(), context: context_length });
    }
    Ok(())
}

/// How far the logits of two models are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// The largest difference of two logits of the same token.
    pub difference: f32,
    /// The largest logit of the first model, by its absolute value.
    pub largest: f32,
    /// Positions where both models have the same most probable token.
    pub agreeing: usize,
    /// Positions compared.
    pub positions: usize,
}

impl Agreement {
    /// Gives both models the same ids, up to the positions of the first.
    ///
    /// # Errors
    /// Those of [`logits`].
    pub fn of(models: [&CausalLm; 2], ids: &[u32], device: &Device) -> Result<Self, EvalError> {
        let ModelConfig { vocab_size, context_length, position, .. } = models[0].config();
        let most = if *position == Position::Learned { *context_length } else { ids.len() };
        let ids = &ids[..ids.len().min(most)];
        let [ours, theirs] = [logits(models[0], ids, device)?, logits(models[1], ids, device)?];
        Ok(Self::between(&ours, &theirs, *vocab_size))
    }

    /// Compares rows of `vocab_size` logits.
    fn between(ours: &[f32], theirs: &[f32], vocab_size: usize) -> Self {
        let top = |row: &[f32]| (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j]));
        let rows = || ours.chunks(vocab_size).zip(theirs.chunks(vocab_size));
        Self {
            difference: ours.iter().zip(theirs).fold(0.0, |largest, (a, b)| largest.max((a - b).abs())),
            largest: ours.iter().fold(0.0, |largest, x| largest.max(x.abs())),
            agreeing: rows().filter(|(a, b)| top(a) == top(b)).count(),
            positions: rows().count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_agree_where_the_same_token_is_the_most_probable() {
        let agreement = Agreement::between(&[1.0, 2.0, -4.0, 0.5], &[1.5, 1.75, 0.0, 0.5], 2);
        assert_eq!(agreement, Agreement { difference: 4.0, largest: 4.0, agreeing: 2, positions: 2 });
        assert_eq!(Agreement::between(&[1.0, 2.0], &[2.0, 1.0], 2).agreeing, 0);
    }
}

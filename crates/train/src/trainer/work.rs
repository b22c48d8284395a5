use llm_data::Batch;
use llm_model::{CausalLm, IGNORED, ParamInfo, Role, params, trainable_params};

/// Floating-point operations of training, by what they are done for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Work {
    /// For each token, the head left out.
    token: f64,
    /// The head, which is computed for the tokens that are learned.
    target: f64,
}

impl Work {
    /// Of a model in rows of `time` tokens. A product of a trained weight is computed once forwards and twice backwards;
    /// a frozen weight has no gradient, and below the lowest trained weight nothing goes backwards.
    pub(super) fn of(model: &CausalLm, time: usize) -> Self {
        let config = model.config();
        let (all, trained) = (params(model), trainable_params(model));
        let is_trained = |info: &ParamInfo| trained.iter().any(|one| one.name == info.name);
        let head = (config.vocab_size * config.hidden_size) as f64;
        // A tied head is the embedding.
        let head_role = if all.iter().any(|info| info.role == Role::Head) { Role::Head } else { Role::Embedding };
        let head_is_frozen = !trained.iter().any(|info| info.role == head_role);
        let bottom = if trained.iter().any(|info| info.role == Role::Embedding) {
            0
        } else {
            trained.iter().filter_map(|info| layer(&info.name)).min().unwrap_or(config.num_layers)
        };
        let attention = 12.0 * (config.num_heads * config.head_dim * time) as f64;
        let mut token = config.training_flops_per_token(time) - 6.0 * head - 8.0 / 12.0 * bottom as f64 * attention;
        for info in all.iter().filter(|info| info.role == Role::Matrix && !is_trained(info)) {
            let below = layer(&info.name).is_some_and(|layer| layer < bottom);
            token -= if below { 4.0 } else { 2.0 } * info.len() as f64;
        }
        Self { token, target: if head_is_frozen { 4.0 } else { 6.0 } * head }
    }

    /// Of the batches of a step.
    pub(super) fn of_batches<'a>(self, batches: impl Iterator<Item = &'a Batch>) -> f64 {
        let targets = |batch: &Batch| batch.targets.iter().filter(|target| **target != IGNORED).count();
        batches.map(|batch| self.token * batch.inputs.len() as f64 + self.target * targets(batch) as f64).sum()
    }
}

/// The block that a parameter belongs to.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use llm_model::{LoraConfig, ModelSection};

    use super::*;

    const TIME: usize = 8;

    fn model() -> CausalLm {
        let section = ModelSection {
            context_length: TIME,
            hidden_size: 8,
            num_heads: 2,
            num_layers: 4,
            ..ModelSection::default()
        };
        CausalLm::new(&section.resolve(100).unwrap(), &Device::flex().autodiff()).initialize(1)
    }

    fn batch(learned: usize) -> Batch {
        let targets = (0..TIME as i32).map(|i| if i < learned as i32 { i } else { IGNORED }).collect();
        Batch { inputs: vec![1; TIME], targets, batch: 1, time: TIME, ..Batch::default() }
    }

    #[test]
    fn the_head_counts_where_something_is_learned() {
        let model = model();
        let work = Work::of(&model, TIME);
        let all = work.of_batches([batch(TIME)].iter());
        assert!((all / TIME as f64 - model.config().training_flops_per_token(TIME)).abs() < 1e-6);
        let one = work.of_batches([batch(1)].iter());
        assert!((all - one - 7.0 * 6.0 * (100.0 * 8.0)).abs() < 1e-6);
    }

    #[test]
    fn what_is_frozen_costs_less() {
        let whole = Work::of(&model(), TIME);
        let lora = Work::of(&model().with_lora(&LoraConfig::default(), 1).unwrap(), TIME);
        // A frozen product is computed forwards and once backwards.
        assert!((lora.target - whole.target * 4.0 / 6.0).abs() < 1e-6);
        let weights = |work: Work| work.token - 12.0 * (4 * 8 * TIME) as f64;
        assert!((weights(lora) - weights(whole) * 4.0 / 6.0).abs() < 1e-6);
        // Of four blocks two go backwards.
        let head = Work::of(&model().freeze_below(2), TIME);
        assert!((head.token - whole.token * (2.0 + 2.0 / 3.0) / 4.0).abs() < 1e-6, "{head:?} {whole:?}");
    }
}

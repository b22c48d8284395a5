//! A model with adapters.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

use super::{Lora, LoraConfig, LoraError};
use crate::initialize::uniform;
use crate::{CausalLm, Linear, Matrix, ParamInfo, ParamMapper, Role, map_params};

impl CausalLm {
    /// The same model, frozen, with a new adapter in every linear layer that `config` names: `lora_a` drawn as PEFT does,
    /// uniform within ±1/√in, from `seed`, `lora_b` zero, a magnitude that changes nothing. So the model computes
    /// what it did, and only its adapters will be trained.
    ///
    /// # Errors
    /// Settings outside their range, targets that the model lacks, or an adapter that is there already.
    pub fn with_lora(self, config: &LoraConfig, seed: u64) -> Result<Self, LoraError> {
        config.check()?;
        if self.has_adapter() {
            return Err(LoraError::Adapted);
        }
        let linears = self.linears();
        let names: Vec<&str> = linears.iter().map(|(name, _)| name.as_str()).collect();
        let chosen: Vec<String> = config.target_modules.choose(&names)?.into_iter().map(ToOwned::to_owned).collect();
        let mut model = self.freeze_except(&|_| false);
        let (mut stream, device) = (0, model.device());
        model.each_linear(&mut |name, linear| {
            if chosen.iter().any(|chosen| chosen == name) {
                stream += 1;
                linear.lora = Some(fresh(linear, config, [seed, stream], &device));
            }
        });
        model.lora = Some(config.clone());
        Ok(model)
    }

    /// The settings of its adapter: those it was made with, or loaded. `None` without one, and with several.
    pub fn lora_config(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// Whether any linear layer has an adapter.
    pub fn has_adapter(&self) -> bool {
        self.linears().iter().any(|(_, linear)| linear.lora.is_some())
    }

    /// The same model, whose weights are shared, without its adapters.
    #[must_use]
    pub fn without_adapter(&self) -> Self {
        let mut model = self.clone();
        model.each_linear(&mut |_, linear| linear.lora = None);
        model.lora = None;
        model
    }

    /// A plain model that computes what this one does with its adapters. Layers that are held in blocks become float32 where
    /// they have an adapter.
    #[must_use]
    pub fn merge_lora(mut self) -> Self {
        self.each_linear(&mut |_, linear| {
            if let Some(lora) = linear.lora.take() {
                let trained = linear.weight.param().is_some_and(|weight| weight.val().is_require_grad());
                linear.weight = Matrix::of(lora.merged(&linear.weight.stored()).detach(), trained);
            }
        });
        self.lora = None;
        self
    }

    /// Replaces the adapters: `adapter` gives one, or none, for every linear layer and its name. The rest of the model is
    /// frozen. `config` is what [`Self::lora_config`] tells from then on.
    ///
    /// # Errors
    /// The first of `adapter`.
    pub fn replace_adapters<E>(
        self,
        config: Option<LoraConfig>,
        mut adapter: impl FnMut(&str, &Linear) -> Result<Option<Lora>, E>,
    ) -> Result<Self, E> {
        let mut model = self.freeze_except(&|_| false);
        let mut done = Ok(());
        model.each_linear(&mut |name, linear| {
            if done.is_ok() {
                match adapter(name, linear) {
                    Ok(lora) => linear.lora = lora,
                    Err(error) => done = Err(error),
                }
            }
        });
        model.lora = config;
        done.map(|()| model)
    }

    /// The same model, of which exactly the parameters that `trained` picks get gradients. The others take no memory for
    /// gradients, nor do optimizers remember anything of them.
    #[must_use]
    pub fn freeze_except(self, trained: &dyn Fn(&ParamInfo) -> bool) -> Self {
        struct Freezer<'a>(&'a dyn Fn(&ParamInfo) -> bool);
        impl ParamMapper for Freezer<'_> {
            fn map<const D: usize>(&mut self, info: &ParamInfo, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.set_require_grad((self.0)(info))
            }
        }
        map_params(self, &mut Freezer(trained))
    }

    /// The same model, of which the last `layers` blocks, the normalization after them and the head are trained. A head
    /// that is the token embedding stays as it is, for it is where the frozen blocks begin.
    #[must_use]
    pub fn freeze_below(self, layers: usize) -> Self {
        let first = self.config().num_layers.saturating_sub(layers);
        let block = |name: &str| name.strip_prefix("model.layers.")?.split('.').next()?.parse::<usize>().ok();
        self.freeze_except(&|info| match block(&info.name) {
            Some(layer) => layer >= first,
            None => info.role == Role::Head || info.name.starts_with("model.norm."),
        })
    }
}

/// An adapter that changes nothing yet.
fn fresh(linear: &Linear, config: &LoraConfig, [seed, stream]: [u64; 2], device: &Device) -> Lora {
    let ([d_out, d_in], rank) = (linear.weight.shape(), config.rank);
    let a = uniform(rank * d_in, 1.0 / (d_in as f32).sqrt(), seed, stream);
    let factors = [TensorData::new(a, [rank, d_in]), TensorData::new(vec![0.0f32; d_out * rank], [d_out, rank])];
    let mut lora = Lora::new(factors, None, config.scale(rank, config.alpha), config.dropout, device);
    if config.dora {
        lora.magnitude = Some(super::trained(lora.row_norms(&linear.weight.stored())));
    }
    lora
}

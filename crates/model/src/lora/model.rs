//! A model with adapters.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Tensor, TensorData};

use super::{Lora, LoraConfig, LoraError};
use crate::initialize::uniform;
use crate::params::info_of;
use crate::{CausalLm, Linear, ParamInfo, Role};

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
        let mut stream = 0;
        model.each_linear(&mut |name, linear| {
            if chosen.iter().any(|chosen| chosen == name) {
                stream += 1;
                linear.lora = Some(fresh(linear, config, seed, stream));
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
                let trained = linear.weight.val().is_require_grad();
                let merged = lora.merged(&linear.stored()).detach();
                linear.weight = Param::initialized(ParamId::new(), merged).set_require_grad(trained);
                linear.quantized = None;
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
        struct Freezer<'a> {
            path: Vec<String>,
            trained: &'a dyn Fn(&ParamInfo) -> bool,
        }
        impl ModuleMapper for Freezer<'_> {
            fn enter_module(&mut self, name: &str, _: &str) {
                self.path.push(name.to_string());
            }
            fn exit_module(&mut self, _: &str, _: &str) {
                self.path.pop();
            }
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let trained = (self.trained)(&info_of(&self.path, &param));
                param.set_require_grad(trained)
            }
        }
        self.map(&mut Freezer { path: Vec::new(), trained })
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

    /// Every linear layer with its name, `model.layers.0.self_attn.q_proj`, in the order of the module tree; last the
    /// head, where it is one of its own.
    pub fn linears(&self) -> Vec<(String, &Linear)> {
        let mut linears = Vec::new();
        for (i, block) in self.model.layers.iter().enumerate() {
            let (attention, mlp) = (&block.self_attn, &block.mlp);
            let projections = [
                ("self_attn.q_proj", Some(&attention.q_proj)),
                ("self_attn.k_proj", Some(&attention.k_proj)),
                ("self_attn.v_proj", Some(&attention.v_proj)),
                ("self_attn.o_proj", Some(&attention.o_proj)),
                ("mlp.gate_proj", mlp.gate_proj.as_ref()),
                ("mlp.up_proj", Some(&mlp.up_proj)),
                ("mlp.down_proj", Some(&mlp.down_proj)),
            ];
            let named = |(name, linear): (&str, Option<_>)| Some((format!("model.layers.{i}.{name}"), linear?));
            linears.extend(projections.into_iter().filter_map(named));
        }
        linears.extend(self.lm_head.as_ref().map(|head| ("lm_head".to_owned(), head)));
        linears
    }

    /// Shows `change` what [`Self::linears`] lists.
    pub(crate) fn each_linear(&mut self, change: &mut dyn FnMut(&str, &mut Linear)) {
        for (i, block) in self.model.layers.iter_mut().enumerate() {
            let (attention, mlp) = (&mut block.self_attn, &mut block.mlp);
            let projections = [
                ("self_attn.q_proj", Some(&mut attention.q_proj)),
                ("self_attn.k_proj", Some(&mut attention.k_proj)),
                ("self_attn.v_proj", Some(&mut attention.v_proj)),
                ("self_attn.o_proj", Some(&mut attention.o_proj)),
                ("mlp.gate_proj", mlp.gate_proj.as_mut()),
                ("mlp.up_proj", Some(&mut mlp.up_proj)),
                ("mlp.down_proj", Some(&mut mlp.down_proj)),
            ];
            for (name, linear) in projections {
                if let Some(linear) = linear {
                    change(&format!("model.layers.{i}.{name}"), linear);
                }
            }
        }
        if let Some(head) = &mut self.lm_head {
            change("lm_head", head);
        }
    }
}

/// An adapter that changes nothing yet.
fn fresh(linear: &Linear, config: &LoraConfig, seed: u64, stream: u64) -> Lora {
    let [d_out, d_in] = linear.weight.lazy_shape().dims::<2>();
    let (rank, device) = (config.rank, linear.weight.lazy_device());
    let a = uniform(rank * d_in, 1.0 / (d_in as f32).sqrt(), seed, stream);
    let factors = [TensorData::new(a, [rank, d_in]), TensorData::new(vec![0.0f32; d_out * rank], [d_out, rank])];
    let mut lora = Lora::new(factors, None, config.scale(rank, config.alpha), config.dropout, &device);
    if config.dora {
        lora.magnitude = Some(super::trained(lora.row_norms(&linear.stored())));
    }
    lora
}

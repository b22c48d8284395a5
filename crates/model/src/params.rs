//! Parameters by name: the names are the paths of the module tree, `model.layers.0.self_attn.q_proj.weight`.

use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use crate::{CausalLm, Linear};

/// What a parameter is for; optimizers treat them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token or position embedding.
    Embedding,
    /// Output matrix of its own.
    Head,
    /// Matrix within a block.
    Matrix,
    /// Weight of a normalization.
    Norm,
    /// Bias.
    Bias,
    /// Factor or magnitude of a LoRA adapter.
    Adapter,
}

/// A parameter's name, shape and role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamInfo {
    /// Path in the module tree.
    pub name: String,
    /// Shape; matrices are `(out, in)`.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

impl ParamInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The role of a parameter, by its name and rank.
fn role(name: &str, rank: usize) -> Role {
    match rank {
        _ if name.contains(".lora.") => Role::Adapter,
        1 if name.ends_with("bias") => Role::Bias,
        1 => Role::Norm,
        _ if name.contains("embed_") => Role::Embedding,
        _ if name.starts_with("lm_head") => Role::Head,
        _ => Role::Matrix,
    }
}

/// A parameter of the module tree at `path`.
pub(crate) fn info_of<const D: usize>(path: &[String], param: &Param<Tensor<D>>) -> ParamInfo {
    let name = path.join(".");
    ParamInfo { role: role(&name, D), name, shape: param.lazy_shape().to_vec() }
}

/// Every parameter of `model`, in the order of the module tree. Allocates no weights.
pub fn params(model: &CausalLm) -> Vec<ParamInfo> {
    found(model, |_| true)
}

/// The parameters of `model` that get gradients, in the order of the module tree: all, unless it is on an autodiff device
/// and some are frozen. Allocates no weights.
pub fn trainable_params(model: &CausalLm) -> Vec<ParamInfo> {
    found(model, |frozen| !frozen)
}

/// The parameters that `picks` picks by whether they are frozen.
fn found(model: &CausalLm, picks: fn(bool) -> bool) -> Vec<ParamInfo> {
    struct Visitor {
        path: Vec<String>,
        found: Vec<ParamInfo>,
        picks: fn(bool) -> bool,
    }
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // What is not there yet has never been frozen: freezing makes it.
            let frozen = param.is_initialized() && param.val().is_autodiff() && !param.val().is_require_grad();
            if (self.picks)(frozen) {
                self.found.push(info_of(&self.path, param));
            }
        }
    }
    let mut visitor = Visitor { path: Vec::new(), found: Vec::new(), picks };
    model.visit(&mut visitor);
    visitor.found
}

/// Shows `visit` every parameter's name and values (float32, row-major), one at a time; of weights that are held in
/// blocks, the values that these have.
pub fn named_params(model: &CausalLm, visit: &mut dyn FnMut(&ParamInfo, TensorData)) {
    chosen_params(model, &|_| true, visit);
}

/// [`named_params`] of those whose names `picks` picks; the others are not touched.
pub fn chosen_params(model: &CausalLm, picks: &dyn Fn(&str) -> bool, visit: &mut dyn FnMut(&ParamInfo, TensorData)) {
    struct Visitor<'a> {
        path: Vec<String>,
        in_blocks: HashMap<String, &'a Linear>,
        picks: &'a dyn Fn(&str) -> bool,
        visit: &'a mut dyn FnMut(&ParamInfo, TensorData),
    }
    impl ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.path.join(".");
            if !(self.picks)(&name) {
                return;
            }
            let data = match self.in_blocks.get(&name) {
                Some(linear) => linear.values().into_data(),
                None => param.val().into_data().convert_dtype(DType::F32),
            };
            let info = ParamInfo { role: role(&name, D), name, shape: data.shape().to_vec() };
            (self.visit)(&info, data);
        }
    }
    let in_blocks = model.linears().into_iter().filter(|(_, linear)| linear.quantized.is_some());
    let in_blocks = in_blocks.map(|(name, linear)| (format!("{name}.weight"), linear)).collect();
    model.visit(&mut Visitor { path: Vec::new(), in_blocks, picks, visit });
}

/// `model` with every parameter replaced by what `value` gives for it, in the number type of that; `None` leaves it as
/// it is. Tables and matrices may be float16 or bfloat16 on the CPU (Flex), for inference.
///
/// # Errors
/// The first error of `value`.
///
/// # Panics
/// If `value` gives a shape other than the parameter's.
pub fn replace_params<E>(
    model: CausalLm,
    value: &mut dyn FnMut(&ParamInfo) -> Result<Option<TensorData>, E>,
) -> Result<CausalLm, E> {
    struct Mapper<'a, E> {
        path: Vec<String>,
        value: &'a mut dyn FnMut(&ParamInfo) -> Result<Option<TensorData>, E>,
        replaced: HashSet<String>,
        error: Option<E>,
    }
    impl<E> ModuleMapper for Mapper<'_, E> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_string());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if self.error.is_some() {
                return param;
            }
            let info = info_of(&self.path, &param);
            match (self.value)(&info) {
                Ok(None) => param,
                Ok(Some(data)) => {
                    assert_eq!(data.shape().to_vec(), info.shape, "shape of {}", info.name);
                    let id = param.id;
                    let dtype = data.dtype();
                    let tensor = Tensor::from_data(data, (&param.lazy_device(), dtype));
                    self.replaced.insert(info.name);
                    param.transform_for_load(tensor, id)
                }
                Err(error) => {
                    self.error = Some(error);
                    param
                }
            }
        }
    }
    let mut mapper = Mapper { path: Vec::new(), value, replaced: HashSet::new(), error: None };
    let mut model = model.map(&mut mapper);
    model.each_linear(&mut |name, linear| {
        if mapper.replaced.contains(&format!("{name}.weight")) {
            linear.quantized = None;
        }
    });
    mapper.error.map_or(Ok(model), Err)
}

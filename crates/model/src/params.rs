//! Parameters by name: the names are the paths of the module tree, `model.layers.0.self_attn.q_proj.weight`.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};
use llm_kernels::QuantizedWeight;

use crate::{CausalLm, Matrix};

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

/// Sees the parameters of a model; see [`visit_params`].
pub trait ParamVisitor {
    /// A parameter that is a tensor.
    fn visit<const D: usize>(&mut self, info: &ParamInfo, param: &Param<Tensor<D>>);

    /// A matrix that is held in blocks.
    fn visit_blocks(&mut self, _info: &ParamInfo, _weight: &QuantizedWeight) {}
}

/// Shows `visitor` every parameter of `model`, in the order of the module tree. Allocates no weights.
pub fn visit_params(model: &CausalLm, visitor: &mut impl ParamVisitor) {
    struct Walk<'a, V> {
        path: Path,
        blocks: HashMap<String, &'a QuantizedWeight>,
        visitor: &'a mut V,
    }
    impl<V: ParamVisitor> ModuleVisitor for Walk<'_, V> {
        fn enter_module(&mut self, name: &str, container: &str) {
            if self.path.enter(name, container) {
                let name = self.path.name();
                if let Some(weight) = self.blocks.get(&name) {
                    let info = ParamInfo { role: self.path.role(2), shape: weight.shape().to_vec(), name };
                    self.visitor.visit_blocks(&info, weight);
                }
            }
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.visitor.visit(&self.path.info(param), param);
        }
    }
    let matrices = model.matrices();
    let blocks = matrices.iter().filter_map(|(name, matrix)| Some((name.clone(), matrix.blocks()?))).collect();
    model.visit(&mut Walk { path: Path::default(), blocks, visitor });
}

/// Changes the parameters of a model; see [`map_params`].
pub trait ParamMapper {
    /// What `param` becomes.
    fn map<const D: usize>(&mut self, info: &ParamInfo, param: Param<Tensor<D>>) -> Param<Tensor<D>>;
}

/// `model` with every parameter that is a tensor as `mapper` makes it, in the order of the module tree.
#[must_use]
pub fn map_params(model: CausalLm, mapper: &mut impl ParamMapper) -> CausalLm {
    struct Walk<'a, M> {
        path: Path,
        mapper: &'a mut M,
    }
    impl<M: ParamMapper> ModuleMapper for Walk<'_, M> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let info = self.path.info(&param);
            self.mapper.map(&info, param)
        }
    }
    model.map(&mut Walk { path: Path::default(), mapper })
}

/// Where a walk through the module tree is: the fields from the root, each with the type that has it.
#[derive(Default)]
struct Path(Vec<(String, String)>);

impl Path {
    /// What holds a matrix is no part of its name.
    const OF_MATRIX: &str = "Enum:Matrix";

    /// Goes to the field `name` of a `container`, and tells whether this is the inside of a matrix.
    fn enter(&mut self, name: &str, container: &str) -> bool {
        let of_matrix = container == Self::OF_MATRIX;
        if !of_matrix {
            self.0.push((name.to_owned(), container.to_owned()));
        }
        of_matrix
    }

    fn exit(&mut self, container: &str) {
        if container != Self::OF_MATRIX {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    /// The role of a parameter of this rank, by the module that has it.
    fn role(&self, rank: usize) -> Role {
        let Some((field, module)) = self.0.last() else { return Role::Matrix };
        match module.as_str() {
            "Struct:Lora" => Role::Adapter,
            "Struct:Embedding" => Role::Embedding,
            "Struct:Norm" if field != "bias" => Role::Norm,
            _ if rank == 1 => Role::Bias,
            // A linear layer of the model itself, not of one of its blocks.
            _ if self.0.len() == 2 => Role::Head,
            _ => Role::Matrix,
        }
    }

    fn info<const D: usize>(&self, param: &Param<Tensor<D>>) -> ParamInfo {
        ParamInfo { role: self.role(D), name: self.name(), shape: param.lazy_shape().to_vec() }
    }
}

/// Every parameter of `model`, in the order of the module tree. Allocates no weights.
pub fn params(model: &CausalLm) -> Vec<ParamInfo> {
    struct Infos(Vec<ParamInfo>);
    impl ParamVisitor for Infos {
        fn visit<const D: usize>(&mut self, info: &ParamInfo, _: &Param<Tensor<D>>) {
            self.0.push(info.clone());
        }
        fn visit_blocks(&mut self, info: &ParamInfo, _: &QuantizedWeight) {
            self.0.push(info.clone());
        }
    }
    let mut infos = Infos(Vec::new());
    visit_params(model, &mut infos);
    infos.0
}

/// The parameters of `model` that get gradients, in the order of the module tree: all tensors, unless it is on an
/// autodiff device and some are frozen. Allocates no weights.
pub fn trainable_params(model: &CausalLm) -> Vec<ParamInfo> {
    struct Trainable(Vec<ParamInfo>);
    impl ParamVisitor for Trainable {
        fn visit<const D: usize>(&mut self, info: &ParamInfo, param: &Param<Tensor<D>>) {
            // What is not there yet has never been frozen: freezing makes it.
            let frozen = param.is_initialized() && param.val().is_autodiff() && !param.val().is_require_grad();
            if !frozen {
                self.0.push(info.clone());
            }
        }
    }
    let mut trainable = Trainable(Vec::new());
    visit_params(model, &mut trainable);
    trainable.0
}

/// Shows `visit` every parameter's name and values (float32, row-major), one at a time; of weights that are held in
/// blocks, the values that these have.
pub fn named_params(model: &CausalLm, visit: &mut dyn FnMut(&ParamInfo, TensorData)) {
    chosen_params(model, &|_| true, visit);
}

/// [`named_params`] of those whose names `picks` picks; the others are not touched.
pub fn chosen_params(model: &CausalLm, picks: &dyn Fn(&str) -> bool, visit: &mut dyn FnMut(&ParamInfo, TensorData)) {
    struct Chosen<'a> {
        picks: &'a dyn Fn(&str) -> bool,
        visit: &'a mut dyn FnMut(&ParamInfo, TensorData),
    }
    impl ParamVisitor for Chosen<'_> {
        fn visit<const D: usize>(&mut self, info: &ParamInfo, param: &Param<Tensor<D>>) {
            if (self.picks)(&info.name) {
                (self.visit)(info, param.val().into_data().convert_dtype(DType::F32));
            }
        }
        fn visit_blocks(&mut self, info: &ParamInfo, weight: &QuantizedWeight) {
            if (self.picks)(&info.name) {
                (self.visit)(info, TensorData::new(weight.values(), weight.shape()));
            }
        }
    }
    visit_params(model, &mut Chosen { picks, visit });
}

/// New values for a parameter.
#[derive(Debug)]
pub enum Values {
    /// In the number type of the data. Tables and matrices may be float16 or bfloat16 on the CPU (Flex), for inference.
    Data(TensorData),
    /// For a matrix that is frozen: those that blocks have.
    Blocks(QuantizedWeight),
}

impl From<TensorData> for Values {
    fn from(data: TensorData) -> Self {
        Self::Data(data)
    }
}

/// `model` with every parameter replaced by what `value` gives for it; `None` leaves it as it is. A weight that has not been
/// used until then is never allocated.
///
/// # Errors
/// The first error of `value`.
///
/// # Panics
/// If `value` gives a shape other than the parameter's, or blocks for what is no matrix.
pub fn replace_params<E>(
    model: CausalLm,
    value: &mut dyn FnMut(&ParamInfo) -> Result<Option<Values>, E>,
) -> Result<CausalLm, E> {
    struct Replace<'a, E> {
        path: Path,
        value: &'a mut dyn FnMut(&ParamInfo) -> Result<Option<Values>, E>,
        /// Shapes of the matrices that are held in blocks.
        in_blocks: HashMap<String, [usize; 2]>,
        /// What matrices get that cannot be replaced in the walk: those that go into blocks, or come from there.
        later: HashMap<String, Values>,
        error: Option<E>,
    }
    impl<E> Replace<'_, E> {
        fn value_for(&mut self, info: &ParamInfo) -> Option<Values> {
            if self.error.is_some() {
                return None;
            }
            let value = (self.value)(info).unwrap_or_else(|error| {
                self.error = Some(error);
                None
            });
            if let Some(value) = &value {
                let shape = match value {
                    Values::Data(data) => data.shape().to_vec(),
                    Values::Blocks(weight) => weight.shape().to_vec(),
                };
                assert_eq!(shape, info.shape, "shape of {}", info.name);
            }
            value
        }
    }
    impl<E> ModuleMapper for Replace<'_, E> {
        fn enter_module(&mut self, name: &str, container: &str) {
            if !self.path.enter(name, container) {
                return;
            }
            let name = self.path.name();
            if let Some(shape) = self.in_blocks.get(&name) {
                let info = ParamInfo { role: self.path.role(2), shape: shape.to_vec(), name };
                if let Some(value) = self.value_for(&info) {
                    self.later.insert(info.name, value);
                }
            }
        }
        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let info = self.path.info(&param);
            match self.value_for(&info) {
                None => param,
                Some(Values::Data(data)) => {
                    let (id, dtype) = (param.id, data.dtype());
                    let tensor = Tensor::from_data(data, (&param.lazy_device(), dtype));
                    param.transform_for_load(tensor, id)
                }
                Some(blocks @ Values::Blocks(_)) => {
                    self.later.insert(info.name, blocks);
                    param
                }
            }
        }
    }
    let in_blocks = model.matrices().into_iter().filter(|(_, matrix)| matrix.blocks().is_some());
    let in_blocks = in_blocks.map(|(name, matrix)| (name, matrix.shape())).collect();
    let mut replace = Replace { path: Path::default(), value, in_blocks, later: HashMap::new(), error: None };
    let mut model = model.map(&mut replace);
    let Replace { mut later, error, .. } = replace;
    if let Some(error) = error {
        return Err(error);
    }
    let device = model.device();
    model.each_matrix(&mut |name, matrix| match later.remove(name) {
        None => {}
        Some(Values::Blocks(weight)) => *matrix = Matrix::of_blocks(weight),
        Some(Values::Data(data)) => {
            let dtype = data.dtype();
            *matrix = Matrix::of(Tensor::from_data(data, (&device, dtype)), false);
        }
    });
    assert!(later.is_empty(), "blocks for what is no matrix: {:?}", later.keys());
    Ok(model)
}

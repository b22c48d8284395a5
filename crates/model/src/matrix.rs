use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use llm_kernels::{QuantizedWeight, Weight};

/// The weight of a linear layer or the table of an embedding, `(rows, columns)`, held as it is stored.
#[derive(Module, Debug)]
pub enum Matrix {
    /// Values in float32, which may be trained; on the CPU (Flex) also in float16 or bfloat16, for inference.
    Values(Param<Tensor<2>>),
    /// Frozen, in blocks of few bits per value.
    Blocks(Blocks),
}

/// A weight in blocks as a part of a module.
#[derive(Module, Debug)]
pub struct Blocks {
    #[module(skip)]
    weight: QuantizedWeight,
}

impl Matrix {
    /// Zeros that take no memory until they are used or replaced.
    pub(crate) fn zeros(shape: [usize; 2], device: &Device) -> Self {
        Self::Values(zeros(shape, device))
    }

    /// `values` as a parameter of its own.
    pub(crate) fn of(values: Tensor<2>, trained: bool) -> Self {
        Self::Values(Param::initialized(ParamId::new(), values).set_require_grad(trained))
    }

    /// A frozen weight in blocks.
    pub fn of_blocks(weight: QuantizedWeight) -> Self {
        Self::Blocks(Blocks { weight })
    }

    /// `[rows, columns]`. Allocates nothing.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Values(param) => param.lazy_shape().dims(),
            Self::Blocks(blocks) => blocks.weight.shape(),
        }
    }

    /// The matrix as operations take it.
    pub fn stored(&self) -> Weight {
        match self {
            Self::Values(param) => param.val().into(),
            Self::Blocks(blocks) => blocks.weight.clone().into(),
        }
    }

    /// The blocks, if it is held in such.
    pub fn blocks(&self) -> Option<&QuantizedWeight> {
        match self {
            Self::Values(_) => None,
            Self::Blocks(blocks) => Some(&blocks.weight),
        }
    }

    /// The parameter, unless it is held in blocks.
    pub fn param(&self) -> Option<&Param<Tensor<2>>> {
        match self {
            Self::Values(param) => Some(param),
            Self::Blocks(_) => None,
        }
    }

    /// Another with the same values, a parameter of its own.
    pub(crate) fn copied(&self) -> Self {
        match self {
            Self::Values(param) => Self::of(param.val().detach(), param.val().is_require_grad()),
            Self::Blocks(_) => self.clone(),
        }
    }
}

/// A trained parameter that takes no memory until it is used or replaced.
pub(crate) fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device, require_grad| Tensor::zeros(shape, device).set_require_grad(require_grad),
        device.clone(),
        true,
        shape.into(),
    )
}

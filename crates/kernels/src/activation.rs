use burn::tensor::{Tensor, activation};

/// The nonlinearity of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)`, with `Φ` the normal distribution (Hendrycks & Gimpel, 2016, arXiv:1606.08415).
    Gelu,
    /// Its tanh approximation, as in GPT-2.
    GeluTanh,
    /// `max(x, 0)²` (So et al., 2021, arXiv:2109.08668).
    Relu2,
    /// `x·σ(x)`, in a gated network the SwiGLU of Shazeer (2020, arXiv:2002.05202).
    Silu,
}

impl Activation {
    /// The activation of every value.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::Relu2 => activation::relu(x).square(),
            Self::Silu => activation::silu(x),
        }
    }
}

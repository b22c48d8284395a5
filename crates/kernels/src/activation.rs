use burn::tensor::{Tensor, activation};

/// GELU in its tanh approximation (Hendrycks & Gimpel, 2016), elementwise.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::gelu_tanh(x);
    }
    gelu_tanh_reference(x)
}

/// [`gelu_tanh`], composed of Burn operations.
pub fn gelu_tanh_reference<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu_approximate(x)
}

/// `max(x, 0)²` (So et al., 2021, arXiv:2109.08668), elementwise.
pub fn relu2<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::relu2(x);
    }
    relu2_reference(x)
}

/// [`relu2`], composed of Burn operations.
pub fn relu2_reference<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::relu(x).square()
}

/// `silu(gate) · up` (Shazeer, 2020), elementwise on equal shapes.
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&gate.device(), gate.dtype()) {
        return crate::flex::swiglu(gate, up);
    }
    swiglu_reference(gate, up)
}

/// [`swiglu`], composed of Burn operations.
pub fn swiglu_reference<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    activation::silu(gate) * up
}

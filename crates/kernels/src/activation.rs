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

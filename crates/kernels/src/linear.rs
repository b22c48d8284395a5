use burn::tensor::Tensor;

/// `x · weightᵀ + bias`, with `x` `(n, in)`, `weight` `(out, in)` as checkpoints store it, `bias` `(out)`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::linear(x, weight, bias);
    }
    linear_reference(x, weight, bias)
}

/// [`linear`], composed of Burn operations.
pub fn linear_reference(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

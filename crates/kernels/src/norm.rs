use burn::tensor::Tensor;

/// LayerNorm (Ba et al., 2016) over the last axis: `(x − mean) / √(variance + eps) · weight + bias`.
/// `x` is `(…, d)`, `weight` and `bias` are `(d)`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::layer_norm(x, weight, bias, eps);
    }
    layer_norm_reference(x, weight, bias, eps)
}

/// [`layer_norm`], composed of Burn operations.
pub fn layer_norm_reference<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    centred / (variance + eps).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}

/// RMSNorm (Zhang & Sennrich, 2019) over the last axis: `x / √(mean(x²) + eps) · weight`.
/// `x` is `(…, d)`, `weight` is `(d)`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::rms_norm(x, weight, eps);
    }
    rms_norm_reference(x, weight, eps)
}

/// [`rms_norm`], composed of Burn operations.
pub fn rms_norm_reference<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let mean_square = x.clone().square().mean_dim(D - 1);
    x / (mean_square + eps).sqrt() * weight.unsqueeze()
}

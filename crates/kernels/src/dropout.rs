use burn::tensor::{Distribution, Tensor};

/// Sets each value to zero with `probability`, and divides the others by `1 − probability` (Srivastava et al., 2014).
///
/// The fused version draws one number from the device's generator, which [`Device::seed`](burn::tensor::Device::seed)
/// sets, and computes the mask from it and each value's place, in the backward pass anew.
pub fn dropout<const D: usize>(x: Tensor<D>, probability: f64) -> Tensor<D> {
    if probability == 0.0 {
        return x;
    }
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::dropout(x, probability);
    }
    dropout_reference(x, probability)
}

/// [`dropout`], composed of Burn operations. It draws other masks.
pub fn dropout_reference<const D: usize>(x: Tensor<D>, probability: f64) -> Tensor<D> {
    let keep = 1.0 - probability;
    let mask = x.random_like(Distribution::Bernoulli(keep));
    x * mask * (1.0 / keep)
}

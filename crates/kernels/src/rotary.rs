use burn::tensor::Tensor;

/// Rotates queries or keys by their positions (Su et al., 2021): entry `i` pairs with `i + hd/2`, as in Hugging Face
/// checkpoints. `x` is `(b, t, h, hd)`; `cos` and `sin` are `(t, hd/2)`.
pub fn rotate(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&x.device(), x.dtype()) {
        return crate::flex::rotate(x, cos, sin);
    }
    rotate_reference(x, cos, sin)
}

/// [`rotate`], composed of Burn operations.
pub fn rotate_reference(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    let [_, t, _, hd] = x.dims();
    let [first, second] = [x.clone().narrow(3, 0, hd / 2), x.narrow(3, hd / 2, hd / 2)];
    let [cos, sin] = [cos, sin].map(|table| table.reshape([1, t, 1, hd / 2]));
    let rotated = [first.clone() * cos.clone() - second.clone() * sin.clone(), second * cos + first * sin];
    Tensor::cat(rotated.into(), 3)
}

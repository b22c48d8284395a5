use burn::tensor::{Int, Tensor, module};

/// The rows of `weight` `(v, d)` with the numbers `ids` `(b, t)`: `(b, t, d)`.
///
/// # Panics
/// If an id is not below `v`.
pub fn embedding(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    #[cfg(feature = "cpu")]
    if crate::is_fused(&weight.device(), weight.dtype()) {
        return crate::flex::embedding(weight, ids);
    }
    embedding_reference(weight, ids)
}

/// [`embedding`] as Burn has it.
pub fn embedding_reference(weight: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    module::embedding(weight, ids)
}

use burn::tensor::{Int, Tensor, TensorData, module};

use crate::Weight;
use crate::weight::in_float32;

/// The rows of `weight` `(v, d)` with the numbers `ids` `(b, t)`: `(b, t, d)` in float32. A weight that is not stored in
/// float32 has no gradient; only the rows that are asked for are widened.
///
/// # Panics
/// If an id is not below `v`.
pub fn embedding(weight: impl Into<Weight>, ids: Tensor<2, Int>) -> Tensor<3> {
    match weight.into() {
        #[cfg(feature = "cpu")]
        Weight::Tensor(weight) if crate::is_fused(&weight.device(), weight.dtype()) => {
            crate::flex::embedding(weight, ids)
        }
        weight => embedding_reference(weight, ids),
    }
}

/// [`embedding`] as Burn has it.
pub fn embedding_reference(weight: impl Into<Weight>, ids: Tensor<2, Int>) -> Tensor<3> {
    match weight.into() {
        Weight::Tensor(weight) => in_float32(module::embedding(weight, ids)),
        Weight::Quantized(quantized) => {
            let ([b, t], [_, d], device) = (ids.dims(), quantized.shape(), ids.device());
            let ids: Vec<i32> = ids.into_data().iter().collect();
            Tensor::from_data(TensorData::new(quantized.gather(&ids), [b, t, d]), &device)
        }
    }
}

//! Rows of a table, and the table's gradient.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::profile::measured;

use super::simd::{tensor, values, zeros};

/// Ids as 32-bit integers, whatever width the tensor has.
pub(super) fn ids_of(ids: &FlexTensor) -> Vec<i32> {
    match ids.dtype() {
        burn::tensor::DType::I64 => ids.storage::<i64>().iter().map(|id| *id as i32).collect(),
        _ => ids.storage::<i32>().to_vec(),
    }
}

/// Rows `ids` `(b, t)` of `weight` `(v, d)`, both contiguous: `(b, t, d)`.
pub(super) fn forward(weight: &FlexTensor, ids: &FlexTensor) -> FlexTensor {
    let (d, shape) = (weight.layout().shape()[1], ids.layout().shape());
    let ids = ids_of(ids);
    measured("embedding forward", 0, 2 * ids.len() * d, || {
        let mut y = vec![0.0; ids.len() * d];
        let rows = values(weight);
        y.par_chunks_mut(d).zip(&ids).for_each(|(y, id)| y.copy_from_slice(&rows[*id as usize * d..][..d]));
        tensor(y, vec![shape[0], shape[1], d])
    })
}

/// Gradient by the table of `v` rows: those of `grad` `(b, t, d)`, added up by id, always in the same order.
pub(super) fn backward(grad: &FlexTensor, ids: &FlexTensor, v: usize) -> FlexTensor {
    let d = grad.layout().shape()[2];
    let ids = ids_of(ids);
    measured("embedding backward", 0, v * d + 3 * ids.len() * d, || {
        let mut by_weight = zeros(v * d);
        for (id, grad) in ids.iter().zip(values(grad).chunks_exact(d)) {
            let row = &mut by_weight[*id as usize * d..][..d];
            row.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
        }
        tensor(by_weight, vec![v, d])
    })
}

//! Rows of a table, and the table's gradient.

use std::collections::BTreeMap;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::profile::measured;

use super::simd::{owned, tensor, values, zeros};

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

/// Gradient by the table of `v` rows: those of `grad` `(b, t, d)`, added up by id, always in the same order, and the sums
/// added to `others`, if there is such a gradient already. That is the case where the table is also the head's weight.
pub(super) fn backward(grad: &FlexTensor, ids: &FlexTensor, v: usize, others: Option<FlexTensor>) -> FlexTensor {
    let d = grad.layout().shape()[2];
    let ids = ids_of(ids);
    let touched = 3 * ids.len() * d + if others.is_some() { 0 } else { v * d };
    measured("embedding backward", 0, touched, || {
        let mut by_weight = others.map_or_else(|| tensor(zeros(v * d), vec![v, d]), owned);
        let rows = by_weight.storage_mut::<f32>();
        let add = |sum: &mut [f32], grad: &[f32]| sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
        let mut sums = BTreeMap::<i32, Vec<f32>>::new();
        for (id, grad) in ids.iter().zip(values(grad).chunks_exact(d)) {
            sums.entry(*id).and_modify(|sum| add(sum, grad)).or_insert_with(|| grad.to_vec());
        }
        for (id, sum) in sums {
            add(&mut rows[id as usize * d..][..d], &sum);
        }
        by_weight
    })
}

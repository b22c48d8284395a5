//! Softmax cross-entropy.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::profile::measured;

use super::simd::{exp, max, sum, tensor, tensor_like, values, vectorized};
use crate::IGNORED;

/// Targets as 32-bit integers, whatever width the tensor has.
fn targets_of(targets: &FlexTensor) -> Vec<i32> {
    match targets.dtype() {
        burn::tensor::DType::I64 => targets.storage::<i64>().iter().map(|id| *id as i32).collect(),
        _ => targets.storage::<i32>().to_vec(),
    }
}

/// Losses `(n)` of `logits` `(n, v)`, and the logarithm of every row's sum of exponentials, for the backward pass.
pub(super) fn forward(logits: &FlexTensor, targets: &FlexTensor) -> (FlexTensor, Vec<f32>) {
    let v = logits.layout().shape()[1];
    measured("cross-entropy forward", 0, values(logits).len(), || {
        let targets = targets_of(targets);
        let rows = values(logits).par_chunks(v).zip(&targets);
        let (losses, log_sums) = rows
            .map(|(row, &target)| {
                let log_sum = vectorized(
                    #[inline(always)]
                    || {
                        let max = max(row);
                        max + sum(
                            row,
                            #[inline(always)]
                            |x| exp(x - max),
                        )
                        .ln()
                    },
                );
                (if target == IGNORED { 0.0 } else { log_sum - row[target as usize] }, log_sum)
            })
            .unzip::<_, _, Vec<f32>, Vec<f32>>();
        let n = losses.len();
        (tensor(losses, vec![n]), log_sums)
    })
}

/// Gradient by the logits, `(softmax − onehot)·grad`, written over the logits where nobody else holds them.
pub(super) fn backward(
    mut logits: FlexTensor,
    targets: &FlexTensor,
    log_sums: &[f32],
    grad: &FlexTensor,
) -> FlexTensor {
    let v = logits.layout().shape()[1];
    let n = values(&logits).len();
    measured("cross-entropy backward", 0, 2 * n, || {
        let targets = targets_of(targets);
        let row_gradient = |row: &mut [f32], target: i32, log_sum: f32, grad: f32| {
            if target == IGNORED {
                return row.fill(0.0);
            }
            vectorized(
                #[inline(always)]
                || row.iter_mut().for_each(|x| *x = exp(*x - log_sum) * grad),
            );
            row[target as usize] -= grad;
        };
        let rows = targets.par_iter().zip(log_sums).zip(values(grad));
        if let Some(values) = logits.try_storage_mut::<f32>() {
            values.par_chunks_mut(v).zip(rows).for_each(|(row, ((t, l), g))| row_gradient(row, *t, *l, *g));
            return logits;
        }
        let mut gradient = values(&logits).to_vec();
        gradient.par_chunks_mut(v).zip(rows).for_each(|(row, ((t, l), g))| row_gradient(row, *t, *l, *g));
        tensor_like(gradient, &logits)
    })
}

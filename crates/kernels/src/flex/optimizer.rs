//! Adam and the norm of gradients.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::AdamStep;
use crate::profile::measured;

use super::simd::{owned, sum, tensor, values, vectorized};

/// Values of one task: less than of other loops, for the sake of roots and divisions.
const BLOCK: usize = 1 << 12;

/// Operations of the optimizer, which never see autodiff.
#[backend_extension(Flex)]
pub trait OptimizerOps: Backend {
    fn adam(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl OptimizerOps for Flex {
    fn adam(
        weight: FlexTensor,
        grad: FlexTensor,
        m: FlexTensor,
        v: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        measured("adam", 0, 7 * values(&grad).len(), || {
            let [mut weight, mut m, mut v] = [weight, m, v].map(owned);
            let grad = owned(grad);
            update(weight.storage_mut(), m.storage_mut(), v.storage_mut(), values(&grad), step);
            (weight, m, v)
        })
    }

    fn sum_of_squares(x: FlexTensor) -> FlexTensor {
        let x = owned(x);
        measured("norm of gradients", 0, values(&x).len(), || {
            let blocks = values(&x).par_chunks(BLOCK);
            let sums: Vec<f32> = blocks.map(|block| vectorized!(sum(block, |x| x * x))).collect();
            tensor(vec![sums.iter().sum()], vec![1])
        })
    }
}

fn update(weight: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], step: AdamStep) {
    let AdamStep { betas: [beta1, beta2], grad_factor, decay_factor, rate, eps } = step;
    let [fresh1, fresh2] = [(1.0 - beta1) * grad_factor, (1.0 - beta2) * grad_factor * grad_factor];
    let [beta1, beta2, fresh1, fresh2] = [beta1, beta2, fresh1, fresh2].map(|x| x as f32);
    let [decay, rate, eps] = [decay_factor, rate, eps].map(|x| x as f32);
    let state = weight.par_chunks_mut(BLOCK).zip(m.par_chunks_mut(BLOCK)).zip(v.par_chunks_mut(BLOCK));
    state.zip(grad.par_chunks(BLOCK)).for_each(|(((weight, m), v), grad)| {
        vectorized!({
            for (((w, m), v), g) in weight.iter_mut().zip(m.iter_mut()).zip(v.iter_mut()).zip(grad) {
                *m = *m * beta1 + g * fresh1;
                *v = *v * beta2 + g * g * fresh2;
                *w = *w * decay - *m / (v.sqrt() + eps) * rate;
            }
        });
    });
}

//! LayerNorm and RMSNorm: one pass forward, two backward, all cores.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::profile::measured;

use super::simd::{column_sums, sum, sum2, tensor, tensor_like, values, vectorized};

/// Rows of one task; fixed, so that sums over rows do not depend on the number of threads.
const ROWS: usize = 64;

/// The width of the last axis.
fn width(x: &FlexTensor) -> usize {
    x.layout().shape().to_vec().last().copied().unwrap_or(1)
}

/// Normalizes the rows of `x`; `bias` decides between LayerNorm (some) and RMSNorm. Also gives the mean (LayerNorm
/// only) and the reciprocal deviation of every row, `(n, 2)`, for the backward pass.
pub(super) fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    eps: f64,
) -> (FlexTensor, Vec<f32>) {
    let (d, eps) = (width(x), eps as f32);
    let (weight, bias) = (values(weight), bias.map(values));
    measured("norm forward", 0, 2 * values(x).len(), || {
        let mut y = vec![0.0; values(x).len()];
        let mut stats = vec![0.0; values(x).len() / d * 2];
        let blocks = y.par_chunks_mut(ROWS * d).zip(values(x).par_chunks(ROWS * d)).zip(stats.par_chunks_mut(ROWS * 2));
        blocks.for_each(|((y, x), stats)| {
            vectorized!({
                for ((y, x), stats) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(stats.chunks_exact_mut(2)) {
                    let mean = if bias.is_some() { sum(x, |x| x) / d as f32 } else { 0.0 };
                    let variance = sum(x, |x| (x - mean) * (x - mean)) / d as f32;
                    let scale = 1.0 / (variance + eps).sqrt();
                    stats.copy_from_slice(&[mean, scale]);
                    match bias {
                        Some(bias) => {
                            for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                                *y = (x - mean) * scale * w + b;
                            }
                        }
                        None => y.iter_mut().zip(x).zip(weight).for_each(|((y, x), w)| *y = x * scale * w),
                    }
                }
            });
        });
        (tensor_like(y, x), stats)
    })
}

/// Gradients by `x`, the weight and (LayerNorm) the bias.
pub(super) fn backward(
    x: &FlexTensor,
    weight: &FlexTensor,
    stats: &[f32],
    grad: &FlexTensor,
    centred: bool,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (d, w) = (width(x), values(weight));
    measured("norm backward", 0, 3 * values(x).len(), || {
        let mut dx = vec![0.0; values(x).len()];
        let blocks = values(x).len().div_ceil(ROWS * d);
        let (mut dw, mut db) = (vec![0.0; blocks * d], vec![0.0; blocks * d]);
        let rows =
            dx.par_chunks_mut(ROWS * d).zip(values(x).par_chunks(ROWS * d)).zip(values(grad).par_chunks(ROWS * d));
        let sums = dw.par_chunks_mut(d).zip(db.par_chunks_mut(d)).zip(stats.par_chunks(ROWS * 2));
        rows.zip(sums).for_each(|(((dx, x), g), ((dw, db), stats))| {
            vectorized!({
                let rows = dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(g.chunks_exact(d));
                for (((dx, x), g), stats) in rows.zip(stats.chunks_exact(2)) {
                    let [mean, scale] = [stats[0], stats[1]];
                    // The normalized row is (x − mean)·scale; dx may hold w·g in between.
                    dx.iter_mut().zip(w).zip(g).for_each(|((dx, w), g)| *dx = w * g);
                    let along = sum2(dx, x, |wg, x| wg * (x - mean)) * scale / d as f32;
                    let level = if centred { sum(dx, |wg| wg) / d as f32 } else { 0.0 };
                    for ((((dx, x), g), dw), db) in dx.iter_mut().zip(x).zip(g).zip(&mut *dw).zip(&mut *db) {
                        let normalized = (x - mean) * scale;
                        *dx = (*dx - level - normalized * along) * scale;
                        *dw += g * normalized;
                        *db += g;
                    }
                }
            });
        });
        let [dw, db] = [dw, db].map(|partial| tensor(column_sums(&partial, d), vec![d]));
        (tensor_like(dx, x), dw, db)
    })
}

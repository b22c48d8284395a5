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

/// What the backward pass needs: the normalized rows, from the output or from the input.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    values: FlexTensor,
    of_output: bool,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    /// The mean (LayerNorm only) and the reciprocal deviation of every row of the input.
    stats: Vec<[f32; 2]>,
}

/// Normalizes the rows of `x`; `bias` decides between LayerNorm (some) and RMSNorm.
pub(super) fn forward(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>, eps: f64) -> (FlexTensor, Saved) {
    let (d, eps) = (width(&x), eps as f32);
    let (w, b) = (values(&weight), bias.as_ref().map(values));
    let (y, stats) = measured("norm forward", 0, 2 * values(&x).len(), || {
        let mut y = vec![0.0; values(&x).len()];
        let mut stats = vec![[0.0; 2]; values(&x).len() / d];
        let blocks = y.par_chunks_mut(ROWS * d).zip(values(&x).par_chunks(ROWS * d)).zip(stats.par_chunks_mut(ROWS));
        blocks.for_each(|((y, x), stats)| {
            vectorized!({
                for ((y, x), stats) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(&mut *stats) {
                    let mean = if b.is_some() { sum(x, |x| x) / d as f32 } else { 0.0 };
                    let variance = sum(x, |x| (x - mean) * (x - mean)) / d as f32;
                    let scale = 1.0 / (variance + eps).sqrt();
                    *stats = [mean, scale];
                    match b {
                        Some(b) => {
                            for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
                                *y = (x - mean) * scale * w + b;
                            }
                        }
                        None => y.iter_mut().zip(x).zip(w).for_each(|((y, x), w)| *y = x * scale * w),
                    }
                }
            });
        });
        (tensor_like(y, &x), stats)
    });
    let of_output = is_invertible(w, b);
    let saved = Saved { values: if of_output { y.clone() } else { x }, of_output, weight, bias, stats };
    (y, saved)
}

/// Whether the normalized rows can be had back from the output, `(y − bias)/weight`, within a few units in the last
/// place. The next layer keeps the output anyway, so that the input need not be kept.
fn is_invertible(weight: &[f32], bias: Option<&[f32]>) -> bool {
    /// How much larger than the weight a bias may be. So many units in the last place, at most, are lost by it.
    const MOST: f32 = 16.0;
    /// Far above where numbers lose digits, or their inverses are infinite.
    const LEAST: f32 = 1e-20;
    let biases_fit = |bias: &[f32]| weight.iter().zip(bias).all(|(w, b)| b.abs() <= MOST * w.abs());
    weight.iter().all(|w| w.abs() > LEAST) && bias.is_none_or(biases_fit)
}

/// Gradients by `x`, the weight and (LayerNorm) the bias.
pub(super) fn backward(saved: &Saved, grad: &FlexTensor) -> (FlexTensor, FlexTensor, FlexTensor) {
    let Saved { weight, bias, stats, of_output, .. } = saved;
    let (d, w, centred) = (width(grad), values(weight), bias.is_some());
    let bias = bias.as_ref().map_or_else(|| vec![0.0; d], |bias| values(bias).to_vec());
    let inverse: Vec<f32> = w.iter().map(|w| 1.0 / w).collect();
    measured("norm backward", 0, 3 * values(grad).len(), || {
        let mut dx = vec![0.0; values(grad).len()];
        let blocks = values(grad).len().div_ceil(ROWS * d);
        let (mut dw, mut db) = (vec![0.0; blocks * d], vec![0.0; blocks * d]);
        let kept = values(&saved.values).par_chunks(ROWS * d);
        let rows = dx.par_chunks_mut(ROWS * d).zip(kept).zip(values(grad).par_chunks(ROWS * d));
        let sums = dw.par_chunks_mut(d).zip(db.par_chunks_mut(d)).zip(stats.par_chunks(ROWS));
        rows.zip(sums).for_each(|(((dx, kept), g), ((dw, db), stats))| {
            let mut normalized = vec![0.0; d];
            vectorized!({
                let rows = dx.chunks_exact_mut(d).zip(kept.chunks_exact(d)).zip(g.chunks_exact(d));
                for (((dx, kept), g), [mean, scale]) in rows.zip(stats) {
                    if *of_output {
                        let rows = normalized.iter_mut().zip(kept).zip(&bias).zip(&inverse);
                        rows.for_each(|(((n, y), b), inverse)| *n = (y - b) * inverse);
                    } else {
                        normalized.iter_mut().zip(kept).for_each(|(n, x)| *n = (x - mean) * scale);
                    }
                    // dx holds w·g in between.
                    dx.iter_mut().zip(w).zip(g).for_each(|((dx, w), g)| *dx = w * g);
                    let along = sum2(dx, &normalized, |wg, n| wg * n) / d as f32;
                    let level = if centred { sum(dx, |wg| wg) / d as f32 } else { 0.0 };
                    for ((((dx, n), g), dw), db) in dx.iter_mut().zip(&normalized).zip(g).zip(&mut *dw).zip(&mut *db) {
                        *dx = (*dx - level - n * along) * scale;
                        *dw += g * n;
                        *db += g;
                    }
                }
            });
        });
        let [dw, db] = [dw, db].map(|partial| tensor(column_sums(&partial, d), vec![d]));
        (tensor_like(dx, grad), dw, db)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_weights_are_not_divided_by() {
        assert!(is_invertible(&[1.0, -0.01], None));
        assert!(is_invertible(&[1.0, -0.01], Some(&[-16.0, 0.1])));
        assert!(!is_invertible(&[1.0, -0.01], Some(&[0.0, 0.2])));
        assert!(!is_invertible(&[1.0, 0.0], None));
        assert!(!is_invertible(&[1.0, f32::NAN], None));
    }
}

//! Rotation of queries and keys.

use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::profile::measured;

use super::simd::{tensor_like, values, vectorized};

/// Rotates `x` `(b, t, h, hd)` by the angles of `cos` and `sin` `(t, hd/2)`, or back by them: the gradient.
pub(super) fn rotate(x: &FlexTensor, cos: &FlexTensor, sin: &FlexTensor, back: bool) -> FlexTensor {
    let shape = x.layout().shape();
    let [t, h, hd] = [shape[1], shape[2], shape[3]];
    let half = hd / 2;
    let (cos, sin, sign) = (values(cos), values(sin), if back { -1.0 } else { 1.0 });
    measured("rotary", 0, 2 * values(x).len(), || {
        let mut y = vec![0.0; values(x).len()];
        let positions = y.par_chunks_mut(h * hd).zip(values(x).par_chunks(h * hd)).enumerate();
        positions.with_min_len(16).for_each(|(position, (y, x))| {
            let row = position % t * half;
            let (cos, sin) = (&cos[row..row + half], &sin[row..row + half]);
            vectorized!({
                for (y, x) in y.chunks_exact_mut(hd).zip(x.chunks_exact(hd)) {
                    let ((x1, x2), (y1, y2)) = (x.split_at(half), y.split_at_mut(half));
                    for (((((y1, y2), x1), x2), c), s) in y1.iter_mut().zip(y2).zip(x1).zip(x2).zip(cos).zip(sin) {
                        *y1 = x1 * c - x2 * s * sign;
                        *y2 = x2 * c + x1 * s * sign;
                    }
                }
            });
        });
        tensor_like(y, x)
    })
}

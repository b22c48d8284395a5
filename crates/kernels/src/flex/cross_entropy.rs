//! Softmax cross-entropy, alone and with the head of a language model.

use std::borrow::Cow;

use burn_flex::FlexTensor;

use rayon::prelude::*;

use crate::IGNORED;
use crate::profile::measured;

use super::embedding::ids_of;
use super::gemm::{Matrix, add_product, new_product};
use super::linear::{dims, product_cost};
use super::simd::{BLOCK, exp, log_sum_exp, tensor, tensor_like, values, vectorized, zeros};
use super::weight::StoredWeight;

/// Logits that [`head_loss`] holds at a time, in values.
const LOGITS: usize = 1 << 24;

/// The loss of one row of logits, and the logarithm of its sum of exponentials.
fn row_loss(row: &[f32], target: i32) -> (f32, f32) {
    let log_sum = vectorized!(log_sum_exp(row));
    (if target == IGNORED { 0.0 } else { log_sum - row[target as usize] }, log_sum)
}

/// Turns a row of logits into its gradient, `(softmax − onehot)·grad`.
fn row_gradient(row: &mut [f32], target: i32, log_sum: f32, grad: f32) {
    if target == IGNORED {
        return row.fill(0.0);
    }
    vectorized!({
        for x in row.iter_mut() {
            *x = exp(*x - log_sum) * grad;
        }
    });
    row[target as usize] -= grad;
}

/// Losses `(n)` of `logits` `(n, v)`, and the logarithm of every row's sum of exponentials, for the backward pass.
pub(super) fn forward(logits: &FlexTensor, targets: &FlexTensor) -> (FlexTensor, Vec<f32>) {
    let v = logits.layout().shape()[1];
    measured("cross-entropy forward", 0, values(logits).len(), || {
        let targets = ids_of(targets);
        let rows = values(logits).par_chunks(v).zip(&targets);
        let (losses, log_sums): (Vec<f32>, Vec<f32>) = rows.map(|(row, target)| row_loss(row, *target)).unzip();
        let n = losses.len();
        (tensor(losses, vec![n]), log_sums)
    })
}

/// Gradient by the logits, written over the logits where nobody else holds them.
pub(super) fn backward(
    mut logits: FlexTensor,
    targets: &FlexTensor,
    log_sums: &[f32],
    grad: &FlexTensor,
) -> FlexTensor {
    let v = logits.layout().shape()[1];
    let n = values(&logits).len();
    measured("cross-entropy backward", 0, 2 * n, || {
        let targets = ids_of(targets);
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

/// Hidden states `(n, d)`, the head's weight `(v, d)` and the targets `(n)`, in equal blocks of rows whose logits fit
/// into [`LOGITS`].
struct Head<'a> {
    /// Those hidden states whose targets count: of samples to fine-tune on, the questions do not.
    x: Cow<'a, [f32]>,
    weight: &'a StoredWeight,
    /// Their targets.
    targets: Vec<i32>,
    /// Their places among the hidden states, unless these are all.
    places: Option<Vec<usize>>,
    n: usize,
    d: usize,
    v: usize,
    rows: usize,
}

impl<'a> Head<'a> {
    fn new(x: &'a FlexTensor, weight: &'a StoredWeight, targets: &FlexTensor) -> Self {
        let ([n, d], [v, _]) = (dims(x), weight.dims());
        let mut head =
            Self { x: Cow::Borrowed(values(x)), weight, targets: ids_of(targets), places: None, n, d, v, rows: 0 };
        if head.targets.contains(&IGNORED) {
            let places: Vec<usize> = (0..n).filter(|&i| head.targets[i] != IGNORED).collect();
            head.x = places.iter().flat_map(|&i| &head.x[i * d..][..d]).copied().collect();
            head.targets = places.iter().map(|&i| head.targets[i]).collect();
            head.places = Some(places);
        }
        let most = (LOGITS / v).max(64);
        let blocks = head.targets.len().div_ceil(most).max(1);
        head.rows = head.targets.len().div_ceil(blocks).max(1);
        head
    }

    /// Calls `f` with the logits of every block, in the same memory, its hidden states and its targets.
    fn for_each_block(&self, mut f: impl FnMut(&mut [f32], Matrix, &[i32])) {
        let mut logits = Vec::new();
        for (x, targets) in self.x.chunks(self.rows * self.d).zip(self.targets.chunks(self.rows)) {
            let x = Matrix::new(x, targets.len(), self.d, self.d);
            self.weight.put_product("head forward", x, &mut logits);
            f(&mut logits, x, targets);
        }
    }

    /// `(n, d)`: rows for the hidden states that count, in their places; zero for the others.
    fn in_place(&self, rows: Vec<f32>) -> Vec<f32> {
        let Some(places) = &self.places else { return rows };
        let mut all = zeros(self.n * self.d);
        for (row, &i) in rows.chunks_exact(self.d).zip(places) {
            all[i * self.d..][..self.d].copy_from_slice(row);
        }
        all
    }
}

/// Sum of the losses, `(1)`.
pub(super) fn head_loss(x: &FlexTensor, weight: &StoredWeight, targets: &FlexTensor) -> FlexTensor {
    let head = Head::new(x, weight, targets);
    let mut losses = Vec::with_capacity(head.n);
    head.for_each_block(|logits, _, targets| {
        measured("head, loss", 0, logits.len(), || {
            let rows = logits.par_chunks(head.v).zip(targets);
            losses.par_extend(rows.map(|(row, target)| row_loss(row, *target).0));
        });
    });
    tensor(vec![losses.iter().sum()], vec![1])
}

/// Sum of the losses, `(1)`, and its gradients by the hidden states and, if wanted, by the weight.
pub(super) fn head_loss_and_gradients(
    x: &FlexTensor,
    weight: &StoredWeight,
    targets: &FlexTensor,
    by_weight: bool,
) -> (FlexTensor, [Option<FlexTensor>; 2]) {
    let head = Head::new(x, weight, targets);
    let Head { n, d, v, .. } = head;
    let (mut losses, mut dx, mut dw) = (Vec::with_capacity(n), Vec::with_capacity(head.targets.len() * d), Vec::new());
    head.for_each_block(|logits, x, targets| {
        measured("head, loss", 0, 2 * logits.len(), || {
            let rows = logits.par_chunks_mut(v).zip(targets);
            losses.par_extend(rows.map(|(row, target)| {
                let (loss, log_sum) = row_loss(row, *target);
                row_gradient(row, *target, log_sum, 1.0);
                loss
            }));
        });
        dx.extend(weight.transposed_product("head backward, input", logits, [targets.len(), v]));
        if !by_weight {
            return;
        }
        let (gradient, precision) = (Matrix::new(logits, targets.len(), v, v), weight.precision);
        product_cost("head backward, weight", [targets.len(), d, v], || {
            if dw.is_empty() {
                dw = new_product(gradient.t(), x, precision);
            } else {
                add_product(&mut dw, gradient.t(), x, precision);
            }
        });
    });
    if dw.is_empty() && by_weight {
        dw = zeros(v * d); // no target counts
    }
    let gradients = [Some(tensor(head.in_place(dx), vec![n, d])), by_weight.then(|| tensor(dw, vec![v, d]))];
    (tensor(vec![losses.iter().sum()], vec![1]), gradients)
}

/// A tensor times a number, in place where nobody else holds it.
pub(super) fn scaled(mut x: FlexTensor, factor: f32) -> FlexTensor {
    measured("head, scaling", 0, 2 * values(&x).len(), || {
        x.storage_mut::<f32>().par_chunks_mut(BLOCK).for_each(|block| {
            vectorized!({
                for x in block.iter_mut() {
                    *x *= factor;
                }
            });
        });
    });
    x
}

//! The low-rank addition to a linear layer, and its gradients.

use burn_flex::FlexTensor;

use super::dropout::{self, Mask};
use super::gemm::{Matrix, product, threads};
use super::linear::{self, matrix};
use super::simd::{tensor, values};
use crate::profile::measured;

/// What goes with the factors of an adapter through Burn's dispatch.
#[derive(Clone, Copy, Debug)]
pub struct AdapterPlan {
    /// What the addition is multiplied by.
    pub scale: f32,
    /// What is dropped of `x` before it meets `a`.
    pub mask: Option<Mask>,
}

/// What is added: `scale·(x·aᵀ)·bᵀ`. Both tensors are contiguous.
#[derive(Debug, Clone)]
pub(super) struct LowRank {
    /// `(r, in)`.
    pub a: FlexTensor,
    /// `(out, r)`.
    pub b: FlexTensor,
    pub plan: AdapterPlan,
}

impl LowRank {
    /// Adds to `y` `(n, out)` what `x` `(n, in)` gives, and gives `x·aᵀ` `(n, r)` for the backward pass.
    pub fn add_to(&self, y: &mut FlexTensor, x: &FlexTensor) -> Vec<f32> {
        let [n, d_in] = linear::dims(x);
        let ([d_out, rank], dropped) = (linear::dims(&self.b), self.dropped(x));
        let x = dropped.as_ref().unwrap_or(x);
        measured("adapter forward", 2 * n * rank * (d_in + d_out), n * (d_in + 2 * d_out), || {
            let low = new(Matrix::new(values(x), n, d_in, d_in), matrix(&self.a).t(), 1.0);
            add(y.storage_mut::<f32>(), Matrix::new(&low, n, rank, rank), matrix(&self.b).t(), self.plan.scale);
            low
        })
    }

    /// The gradients by `a` and `b`, those that are wanted, of the gradient `grad` `(n, out)` by `y`; and `dx`, the
    /// gradient by `x` of the rest, where it is wanted, with that of the addition.
    pub fn backward(
        &self,
        x: &FlexTensor,
        low: &[f32],
        grad: &FlexTensor,
        dx: Option<FlexTensor>,
        [by_a, by_b]: [bool; 2],
    ) -> (Option<FlexTensor>, [Option<FlexTensor>; 2]) {
        let ([n, d_in], [d_out, rank]) = (linear::dims(x), linear::dims(&self.b));
        let touched = n * (2 * d_out + if dx.is_some() { 3 } else { 1 } * d_in);
        let (AdapterPlan { scale, mask }, dropped) = (self.plan, self.dropped(x));
        measured("adapter backward", 4 * n * rank * (d_in + d_out), touched, || {
            let grad = matrix(grad);
            let db = by_b.then(|| new(grad.t(), Matrix::new(low, n, rank, rank), scale));
            let by_low = new(grad, matrix(&self.b), scale); // (n, r)
            let by_low = Matrix::new(&by_low, n, rank, rank);
            let da = by_a.then(|| new(by_low.t(), matrix(dropped.as_ref().unwrap_or(x)), 1.0));
            let dx = dx.map(|mut dx| match mask {
                None => {
                    add(dx.storage_mut::<f32>(), by_low, matrix(&self.a), 1.0);
                    dx
                }
                Some(mask) => {
                    let through = tensor(new(by_low, matrix(&self.a), 1.0), vec![n, d_in]);
                    linear::sum(dx, &dropout::apply(&through, mask))
                }
            });
            let shaped = |values: Option<Vec<f32>>, shape| values.map(|values| tensor(values, shape));
            (dx, [shaped(da, vec![rank, d_in]), shaped(db, vec![d_out, rank])])
        })
    }

    /// `x` as `a` meets it, where that is not `x` itself.
    fn dropped(&self, x: &FlexTensor) -> Option<FlexTensor> {
        self.plan.mask.map(|mask| dropout::apply(x, mask))
    }
}

/// `scale·a·b`.
fn new(a: Matrix, b: Matrix, scale: f32) -> Vec<f32> {
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
    let mut out = vec![0.0; m * n];
    product(&mut out, n, 0.0, scale, a, b, threads(m, n, k));
    out
}

/// `out += scale·a·b`.
fn add(out: &mut [f32], a: Matrix, b: Matrix, scale: f32) {
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
    product(out, n, 1.0, scale, a, b, threads(m, n, k));
}

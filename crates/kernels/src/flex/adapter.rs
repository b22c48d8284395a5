//! Linear layers with a low-rank addition, and their gradients.

use burn_flex::FlexTensor;

use super::dropout::{self, Mask};
use super::gemm::{Matrix, product, threads};
use super::linear::{self, matrix};
use super::simd::{tensor, values};
use super::weight::{Multiplied, StoredWeight};
use crate::profile::measured;

/// How a layer and its adapter are computed.
#[derive(Clone, Debug)]
pub struct How {
    /// What the addition is multiplied by.
    pub scale: f32,
    /// What is dropped of `x` before it meets `a`.
    pub mask: Option<Mask>,
    /// Of the layer's products.
    pub weight: Multiplied,
}

/// A layer and its adapter: `y = x·weightᵀ + scale·(x·aᵀ)·bᵀ`. All tensors are contiguous.
#[derive(Debug, Clone)]
pub(super) struct Adapted {
    /// `(out, in)`.
    pub weight: StoredWeight,
    /// `(r, in)`.
    pub a: FlexTensor,
    /// `(out, r)`.
    pub b: FlexTensor,
    scale: f32,
    mask: Option<Mask>,
}

impl Adapted {
    /// Of `weight`, `a` and `b`.
    pub fn new([weight, a, b]: [FlexTensor; 3], how: How) -> Self {
        let weight = StoredWeight::new(&weight, how.weight);
        Self { weight, a: a.to_contiguous(), b: b.to_contiguous(), scale: how.scale, mask: how.mask }
    }

    /// `(n, in)` → `(n, out)`, and `x·aᵀ` `(n, r)` for the backward pass.
    pub fn forward(&self, x: &FlexTensor) -> (FlexTensor, Vec<f32>) {
        let mut y = linear::forward(x, &self.weight);
        let [n, d_in] = linear::dims(x);
        let ([d_out, rank], dropped) = (linear::dims(&self.b), self.dropped(x));
        let x = dropped.as_ref().unwrap_or(x);
        let low = measured("adapter forward", 2 * n * rank * (d_in + d_out), n * (d_in + 2 * d_out), || {
            let low = new(Matrix::new(values(x), n, d_in, d_in), matrix(&self.a).t(), 1.0);
            add(y.storage_mut::<f32>(), Matrix::new(&low, n, rank, rank), matrix(&self.b).t(), self.scale);
            low
        });
        (y, low)
    }

    /// The gradients by `x`, `weight`, `a` and `b`, those that are wanted, of the gradient `grad` `(n, out)` by `y`.
    pub fn backward(
        &self,
        x: &FlexTensor,
        low: &[f32],
        grad: &FlexTensor,
        wanted: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let [by_x, by_weight, by_a, by_b] = wanted;
        let ([n, d_in], [d_out, rank]) = (linear::dims(x), linear::dims(&self.b));
        let touched = n * (2 * d_out + if by_x { 3 } else { 1 } * d_in);
        let dx = by_x.then(|| linear::backward_x(grad, &self.weight));
        let dw = by_weight.then(|| linear::backward_weight(grad, x, self.weight.precision));
        let dropped = self.dropped(x);
        measured("adapter backward", 4 * n * rank * (d_in + d_out), touched, || {
            let grad = matrix(grad);
            let db = by_b.then(|| new(grad.t(), Matrix::new(low, n, rank, rank), self.scale));
            let by_low = new(grad, matrix(&self.b), self.scale); // (n, r)
            let by_low = Matrix::new(&by_low, n, rank, rank);
            let da = by_a.then(|| new(by_low.t(), matrix(dropped.as_ref().unwrap_or(x)), 1.0));
            let dx = dx.map(|mut dx| match self.mask {
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
            [dx, dw, shaped(da, vec![rank, d_in]), shaped(db, vec![d_out, rank])]
        })
    }

    /// `x` as `a` meets it, where that is not `x` itself.
    fn dropped(&self, x: &FlexTensor) -> Option<FlexTensor> {
        self.mask.map(|mask| dropout::apply(x, mask))
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

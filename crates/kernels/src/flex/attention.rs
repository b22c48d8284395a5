//! Attention in blocks of queries, without the `t × s` matrix in memory (Dao et al., 2022, arXiv:2205.14135).

use std::ops::Range;

use burn::tensor::DType;
use burn_flex::FlexTensor;
use gemm::Parallelism;
use half::f16;
use rayon::prelude::*;

use crate::Visible;
use crate::profile::measured;

use super::dropout::Mask;
use super::gemm::{Matrix, product};
use super::half::widen_f16;
use super::simd::{exp, exp_sum, max, sum2, tensor, vectorized};

/// Queries of one block.
const BLOCK: usize = 32;

/// A tensor `(b, t, h, hd)` in memory; only the last axis must be contiguous, so a part of a cache is read in place.
struct Heads<'a> {
    values: Values<'a>,
    batch: usize,
    position: usize,
    head: usize,
    hd: usize,
}

#[derive(Clone, Copy)]
enum Values<'a> {
    F32(&'a [f32]),
    /// Of a cache that holds half as many bytes.
    F16(&'a [f16]),
}

impl<'a> Heads<'a> {
    fn new(x: &'a FlexTensor) -> Self {
        let layout = x.layout();
        let stride = |axis: usize| layout.strides()[axis] as usize;
        let values = match x.dtype() {
            DType::F16 => Values::F16(&x.storage::<f16>()[layout.start_offset()..]),
            _ => Values::F32(&x.storage::<f32>()[layout.start_offset()..]),
        };
        Self { values, batch: stride(0), position: stride(1), head: stride(2), hd: layout.shape()[3] }
    }

    fn at(&self, b: usize, head: usize, position: usize) -> usize {
        b * self.batch + head * self.head + position * self.position
    }

    /// Positions `from..from + n` of one head, `(n, hd)`, of a tensor in float32.
    fn rows(&self, b: usize, head: usize, from: usize, n: usize) -> Matrix<'a> {
        let Values::F32(values) = self.values else { unreachable!("gradients are of float32") };
        Matrix::new(&values[self.at(b, head, from)..], n, self.hd, self.position)
    }

    /// [`Self::rows`] of a tensor in float32 or float16, in place or widened into `scratch`.
    fn matrix<'s>(&self, b: usize, head: usize, from: usize, n: usize, scratch: &'s mut Vec<f32>) -> Matrix<'s>
    where
        'a: 's,
    {
        let at = self.at(b, head, from);
        match self.values {
            Values::F32(_) => self.rows(b, head, from, n),
            Values::F16(values) => {
                scratch.resize(n * self.hd, 0.0);
                for (i, row) in scratch.chunks_exact_mut(self.hd).enumerate() {
                    let halves = &values[at + i * self.position..][..self.hd];
                    vectorized!(row.iter_mut().zip(halves).for_each(|(x, half)| *x = widen_f16(*half)));
                }
                Matrix::new(scratch, n, self.hd, self.hd)
            }
        }
    }

    /// One position of one head, `(hd)`, of a tensor in float32.
    fn row(&self, b: usize, head: usize, position: usize) -> &'a [f32] {
        let Values::F32(values) = self.values else { unreachable!("gradients are of float32") };
        &values[self.at(b, head, position)..][..self.hd]
    }
}

/// `x` as [`Heads`] can read it: itself, or a contiguous copy.
pub(super) fn readable(x: FlexTensor) -> FlexTensor {
    let strides = x.layout().strides();
    if strides[3] == 1 && strides.iter().all(|stride| *stride >= 0) { x } else { x.to_contiguous() }
}

/// Sizes of one call, and the dropout of its weights. Queries `(b, t, h, hd)`; keys and values `(b, s, kv, hd)`.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    b: usize,
    t: usize,
    s: usize,
    h: usize,
    kv: usize,
    hd: usize,
    visible: Visible,
    dropout: Option<Mask>,
}

impl Sizes {
    pub fn new(q: &FlexTensor, k: &FlexTensor, visible: Visible, dropout: Option<Mask>) -> Self {
        let (q, k) = (q.layout().shape(), k.layout().shape());
        Self { b: q[0], t: q[1], s: k[1], h: q[2], kv: k[2], hd: q[3], visible, dropout }
    }

    /// Of `t` queries among the `q` of several sequences, and the keys `k` of their own.
    pub fn of_segment(t: usize, q: &FlexTensor, k: &FlexTensor, visible: Visible) -> Self {
        Self { t, ..Self::new(q, k, visible, None) }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.hd as f32).sqrt()
    }

    /// Values that the forward pass reads and writes.
    fn touched(&self) -> usize {
        2 * self.hd * (self.b * self.t * self.h + self.b * self.s * self.kv)
    }

    /// Keys that query `i` of row `b` looks at.
    fn visible(&self, b: usize, i: usize) -> Range<usize> {
        self.visible.keys(b, i, self.t)
    }

    /// Keys that any of the queries `i..i + rows` of row `b` looks at: both ends never fall from one to the next.
    fn keys(&self, b: usize, i: usize, rows: usize) -> Range<usize> {
        self.visible(b, i).start..self.visible(b, i + rows - 1).end
    }

    /// Pairs of a query and a key it looks at, in all heads.
    fn pairs(&self) -> usize {
        let seen = |query: usize| self.visible(query / self.t, query % self.t).len();
        self.h * (0..self.b * self.t).map(seen).sum::<usize>()
    }

    /// The key/value head that query head `head` looks at.
    fn key_head(&self, head: usize) -> usize {
        head / (self.h / self.kv)
    }
}

/// A raw pointer that tasks share; each writes elements of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32, usize);

// SAFETY: every task derives slices of elements that no other task touches: query heads differ in the third axis of
// `(b, t, h, hd)`, and key heads are each handled by one task.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

impl Shared {
    fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr(), values.len())
    }

    /// Makes `rows` `(n, hd)` the rows that begin at `offset` and lie `stride` apart.
    fn put(self, offset: usize, stride: usize, hd: usize, rows: &[f32]) {
        for (i, row) in rows.chunks_exact(hd).enumerate() {
            let at = offset + i * stride;
            assert!(at + hd <= self.1, "row beyond the tensor");
            // SAFETY: within the allocation by the assertion; no other task touches this row (see above).
            #[allow(unsafe_code)]
            let out = unsafe { std::slice::from_raw_parts_mut(self.0.add(at), hd) };
            out.copy_from_slice(row);
        }
    }
}

/// The part of a row of weights of the keys `keys` that is `visible`; the hidden parts become zero.
fn visible_part<'a>(row: &'a mut [f32], visible: &Range<usize>, keys: &Range<usize>) -> &'a mut [f32] {
    let visible = visible.start - keys.start..visible.end - keys.start;
    row[..visible.start].fill(0.0);
    row[visible.end..].fill(0.0);
    &mut row[visible]
}

/// The output `(b, t, h, hd)`, and for the backward pass the logarithm of each row's sum of exponentials, `(b, h, t)`.
pub(super) fn forward(q: &FlexTensor, k: &FlexTensor, v: &FlexTensor, sizes: &Sizes) -> (FlexTensor, Vec<f32>) {
    let Sizes { b, t, h, hd, .. } = *sizes;
    measured("attention forward", 4 * hd * sizes.pairs(), sizes.touched(), || {
        let qkv = [q, k, v].map(Heads::new);
        let mut y = vec![0.0; b * t * h * hd];
        let mut log_sums = vec![0.0; b * h * t];
        let shared = Shared::new(&mut y);
        log_sums.par_chunks_mut(t).enumerate().for_each(|(task, log_sums)| {
            forward_head(&qkv, sizes, [task / h, task % h], 0, shared, log_sums);
        });
        (tensor(y, vec![b, t, h, hd]), log_sums)
    })
}

/// The output `(1, n, h, hd)` of queries `q` `(1, n, h, hd)`, of which each segment has as many as its sizes say, with the
/// keys and values of their segments.
pub(super) fn forward_segments(q: &FlexTensor, segments: &[([FlexTensor; 2], Sizes)]) -> FlexTensor {
    let [_, n, h, hd] = q.layout().shape()[..] else { unreachable!("queries have four axes") };
    let pairs = segments.iter().map(|(_, sizes)| sizes.pairs()).sum::<usize>();
    let touched = segments.iter().map(|(_, sizes)| sizes.touched()).sum();
    measured("attention forward", 4 * hd * pairs, touched, || {
        let mut y = vec![0.0; n * h * hd];
        let shared = Shared::new(&mut y);
        let mut first = 0;
        let tasks: Vec<_> = segments
            .iter()
            .flat_map(|([k, v], sizes)| {
                first += sizes.t;
                (0..h).map(move |head| (k, v, sizes, first - sizes.t, head))
            })
            .collect();
        tasks.into_par_iter().for_each(|(k, v, sizes, first, head)| {
            let qkv = [q, k, v].map(Heads::new);
            forward_head(&qkv, sizes, [0, head], first, shared, &mut vec![0.0; sizes.t]);
        });
        tensor(y, vec![1, n, h, hd])
    })
}

/// Writes one query head's part of the output, of queries from `first` on, and the logarithms of its rows' sums `(t)`.
fn forward_head(
    [q, k, v]: &[Heads; 3],
    sizes: &Sizes,
    [b, head]: [usize; 2],
    first: usize,
    y: Shared,
    log_sums: &mut [f32],
) {
    let Sizes { t, h, hd, .. } = *sizes;
    let key_head = sizes.key_head(head);
    let (mut p, mut out) = (Vec::new(), vec![0.0; BLOCK * hd]);
    let [mut q_wide, mut k_wide, mut v_wide] = [const { Vec::new() }; 3];
    for i in (0..t).step_by(BLOCK) {
        let rows = BLOCK.min(t - i);
        let keys = sizes.keys(b, i, rows);
        let n = keys.len();
        let q = q.matrix(b, head, first + i, rows, &mut q_wide);
        let k = k.matrix(b, key_head, keys.start, n, &mut k_wide);
        let v = v.matrix(b, key_head, keys.start, n, &mut v_wide);
        p.resize(rows * n, 0.0);
        product(&mut p, n, 0.0, sizes.scale(), q, k.t(), Parallelism::None);
        let mut totals = [1.0; BLOCK];
        for (r, (row, total)) in p.chunks_exact_mut(n).zip(&mut totals).enumerate() {
            let row = visible_part(row, &sizes.visible(b, i + r), &keys);
            let shift = vectorized!(max(row));
            *total = vectorized!(exp_sum(row, shift));
            log_sums[i + r] = shift + total.ln();
            if let Some(mask) = sizes.dropout {
                let mask = mask.of((b * h + head) * t + i + r);
                vectorized!(row.iter_mut().enumerate().for_each(|(j, p)| *p *= mask.factor(j)));
            }
        }
        let out = &mut out[..rows * hd];
        product(out, hd, 0.0, 1.0, Matrix::new(&p, rows, n, n), v, Parallelism::None);
        for (row, total) in out.chunks_exact_mut(hd).zip(&totals) {
            row.iter_mut().for_each(|y| *y /= total);
        }
        y.put(((b * t + first + i) * h + head) * hd, h * hd, hd, out);
    }
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    pub q: FlexTensor,
    pub k: FlexTensor,
    pub v: FlexTensor,
    pub y: FlexTensor,
    pub log_sums: Vec<f32>,
    pub sizes: Sizes,
}

/// Gradients by `q`, `k` and `v`.
pub(super) fn backward(saved: &Saved, grad: &FlexTensor) -> [FlexTensor; 3] {
    let Sizes { b, t, s, h, kv, hd, .. } = saved.sizes;
    let touched = 4 * b * t * h * hd + 4 * b * s * kv * hd;
    measured("attention backward", 10 * hd * saved.sizes.pairs(), touched, || {
        let mut dq = vec![0.0; b * t * h * hd];
        let [mut dk, mut dv] = [vec![0.0; b * s * kv * hd], vec![0.0; b * s * kv * hd]];
        let [dq_out, dk_out, dv_out] = [Shared::new(&mut dq), Shared::new(&mut dk), Shared::new(&mut dv)];
        // One task has all query heads of one key/value head, over which that one's gradients add up.
        (0..b * kv).into_par_iter().for_each(|task| {
            let (b, key_head, group) = (task / kv, task % kv, h / kv);
            let (mut dk, mut dv) = (vec![0.0; s * hd], vec![0.0; s * hd]);
            for head in (0..group).map(|g| key_head * group + g) {
                backward_head(saved, grad, b, head, dq_out, &mut dk, &mut dv);
            }
            let at = (b * s * kv + key_head) * hd;
            dk_out.put(at, kv * hd, hd, &dk);
            dv_out.put(at, kv * hd, hd, &dv);
        });
        [tensor(dq, vec![b, t, h, hd]), tensor(dk, vec![b, s, kv, hd]), tensor(dv, vec![b, s, kv, hd])]
    })
}

/// Writes one query head's part of `dq`, and adds to `dk` and `dv` `(s, hd)` of its key/value head.
fn backward_head(saved: &Saved, grad: &FlexTensor, b: usize, head: usize, dq: Shared, dk: &mut [f32], dv: &mut [f32]) {
    let Saved { q, k, v, y, log_sums, sizes } = saved;
    let Sizes { t, h, hd, .. } = *sizes;
    let (scale, key_head) = (sizes.scale(), sizes.key_head(head));
    let [q, k, v, y, grad] = [q, k, v, y, grad].map(Heads::new);
    let (mut p, mut ds, mut dq_rows) = (Vec::new(), Vec::new(), vec![0.0; BLOCK * hd]);
    for i in (0..t).step_by(BLOCK) {
        let rows = BLOCK.min(t - i);
        let keys = sizes.keys(b, i, rows);
        let n = keys.len();
        let [q, g] = [&q, &grad].map(|x| x.rows(b, head, i, rows));
        let [k, v] = [&k, &v].map(|x| x.rows(b, key_head, keys.start, n));
        p.resize(rows * n, 0.0);
        ds.resize(rows * n, 0.0);
        product(&mut p, n, 0.0, scale, q, k.t(), Parallelism::None);
        product(&mut ds, n, 0.0, 1.0, g, v.t(), Parallelism::None); // gradient by the weights
        for (r, (p, ds)) in p.chunks_exact_mut(n).zip(ds.chunks_exact_mut(n)).enumerate() {
            let log_sum = log_sums[(b * h + head) * t + i + r];
            let visible = sizes.visible(b, i + r);
            let (p, ds) = (visible_part(p, &visible, &keys), visible_part(ds, &visible, &keys));
            let along = vectorized!(sum2(y.row(b, head, i + r), grad.row(b, head, i + r), |y, g| y * g));
            if let Some(mask) = sizes.dropout {
                let mask = mask.of((b * h + head) * t + i + r);
                vectorized!({
                    for (j, (p, ds)) in p.iter_mut().zip(ds.iter_mut()).enumerate() {
                        let (weight, factor) = (exp(*p - log_sum), mask.factor(j));
                        *p = weight * factor;
                        *ds = weight * (*ds * factor - along);
                    }
                });
                continue;
            }
            vectorized!({
                for (p, ds) in p.iter_mut().zip(ds.iter_mut()) {
                    *p = exp(*p - log_sum);
                    *ds = *p * (*ds - along);
                }
            });
        }
        let (p, ds) = (Matrix::new(&p, rows, n, n), Matrix::new(&ds, rows, n, n));
        let dq_rows = &mut dq_rows[..rows * hd];
        product(dq_rows, hd, 0.0, scale, ds, k, Parallelism::None);
        dq.put(((b * t + i) * h + head) * hd, h * hd, hd, dq_rows);
        product(&mut dk[keys.start * hd..], hd, 1.0, scale, ds.t(), q, Parallelism::None);
        product(&mut dv[keys.start * hd..], hd, 1.0, 1.0, p.t(), g, Parallelism::None);
    }
}

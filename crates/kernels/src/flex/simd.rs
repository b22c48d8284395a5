//! Loops that the compiler vectorizes for the CPU it runs on, and the functions they need.

use std::mem::MaybeUninit;

use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Values that one task of an elementwise loop works on: enough to outweigh the task, little enough for the cache.
pub(super) const BLOCK: usize = 1 << 14;

/// Values that [`filled`] asks for at a time; a multiple of every quantized type's block.
const FILLED: usize = 1024;

/// Evaluates an expression, compiled for the widest vectors that this CPU has. Functions that it calls, closures among
/// them, must be inlined: what is not is compiled for the oldest CPU. So large ones are marked `#[inline(always)]`.
macro_rules! vectorized {
    ($body:expr) => {
        pulp::Arch::new().dispatch($crate::flex::simd::Vectorized(
            #[inline(always)]
            || $body,
        ))
    };
}
pub(super) use vectorized;

/// A closure that is called as `FnMut`: the call of an `FnOnce` goes through a function that may not be inlined.
pub(super) struct Vectorized<F>(pub F);

impl<R, F: FnMut() -> R> pulp::WithSimd for Vectorized<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}

/// A float32 tensor of `values` with the shape of `like`.
pub(super) fn tensor_like(values: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    tensor(values, like.layout().shape().to_vec())
}

/// A float32 tensor of `values`.
pub(super) fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(burn::tensor::TensorData::new(values, shape))
}

/// The tensor itself if it is contiguous, so that it can be changed in place.
pub(super) fn owned(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() && x.layout().start_offset() == 0 { x } else { x.to_contiguous() }
}

/// The values of a contiguous float32 tensor.
pub(super) fn values(x: &FlexTensor) -> &[f32] {
    x.storage::<f32>()
}

/// Adds up `rows` rows of partial sums: `(rows, d)` → `(d)`, always in the same order.
pub(super) fn column_sums(partial: &[f32], d: usize) -> Vec<f32> {
    let mut total = vec![0.0; d];
    for row in partial.chunks_exact(d) {
        vectorized!(total.iter_mut().zip(row).for_each(|(total, x)| *total += x));
    }
    total
}

/// Sum of `f` over all indices of a slice, in 16 lanes, so that the order does not depend on the CPU.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
}

/// Sum of `f` over pairs, as [`sum`].
#[inline(always)]
pub(super) fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (xs, ys) = (x.chunks_exact(16), y.chunks_exact(16));
    let rest = xs.remainder().iter().zip(ys.remainder());
    for (x, y) in xs.zip(ys) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += f(*x, *y);
        }
    }
    lanes.iter().sum::<f32>() + rest.map(|(x, y)| f(*x, *y)).sum::<f32>()
}

/// Largest value, in 16 lanes.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Replaces every value by `exp(value − shift)` and gives their sum, in 16 lanes.
#[inline(always)]
pub(super) fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let mut chunks = x.chunks_exact_mut(16);
    for chunk in &mut chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = exp(*x - shift);
            *lane += *x;
        }
    }
    let mut rest = 0.0;
    for x in chunks.into_remainder() {
        *x = exp(*x - shift);
        rest += *x;
    }
    lanes.iter().sum::<f32>() + rest
}

/// Logarithm of the sum of the exponentials, in 16 lanes.
#[inline(always)]
pub(super) fn log_sum_exp(x: &[f32]) -> f32 {
    let shift = max(x);
    let mut lanes = [0.0f32; 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += exp(*x - shift);
        }
    }
    shift + (lanes.iter().sum::<f32>() + rest.iter().map(|x| exp(*x - shift)).sum::<f32>()).ln()
}

/// `eˣ` within 2 units in the last place for x in [−87, 88]; 0 below. Branch-free, so that loops vectorize, and with
/// the polynomial in pairs (Estrin), so that its steps overlap.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer
    let clamped = x.clamp(-87.5, 88.5); // NaN passes through
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, clamped)); // ln 2 in two parts
    let r2 = r * r;
    let p5 = 1.987_569_1e-4_f32.mul_add(r, 1.398_2e-3);
    let p3 = 8.333_452e-3_f32.mul_add(r, 4.166_579_6e-2);
    let p1 = 1.666_666_5e-1_f32.mul_add(r, 0.5);
    let p = p5.mul_add(r2, p3).mul_add(r2, p1).mul_add(r2, r + 1.0);
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.5 { 0.0 } else { p * scale }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// A new vector of `n` values. `fill` writes every value of a part of it; it is given the parts in blocks of [`BLOCK`]
/// with their number, on all cores.
fn new_vector(n: usize, fill: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    let mut y = Vec::with_capacity(n);
    let room = &mut y.spare_capacity_mut()[..n];
    room.par_chunks_mut(BLOCK).enumerate().for_each(|(block, room)| fill(block, room));
    // SAFETY: the callers below write every value of every block.
    #[allow(unsafe_code)]
    unsafe {
        y.set_len(n);
    }
    y
}

/// `n` zeros, written on all cores.
pub(super) fn zeros(n: usize) -> Vec<f32> {
    new_vector(n, |_, y| y.fill(MaybeUninit::new(0.0)))
}

/// The values of block number `block`.
#[inline(always)]
fn block_of<T>(x: &[T], block: usize) -> &[T] {
    &x[block * BLOCK..x.len().min((block + 1) * BLOCK)]
}

/// A new vector of `f(x)` for every value, on all cores.
pub(super) fn map1<T: Copy + Sync>(x: &[T], f: impl Fn(T) -> f32 + Sync) -> Vec<f32> {
    new_vector(x.len(), |block, y| {
        let x = block_of(x, block);
        assert_eq!(x.len(), y.len());
        vectorized!({
            for (y, x) in y.iter_mut().zip(x) {
                y.write(f(*x));
            }
        });
    })
}

/// A new vector of `n` values, of which `fill` writes some at a time: those from its first argument on. These are at most
/// [`FILLED`], as many unless they are the last, and in the nearest cache.
pub(super) fn filled(n: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    new_vector(n, |block, y| {
        let mut part = [0.0; FILLED];
        for (i, y) in y.chunks_mut(FILLED).enumerate() {
            let part = &mut part[..y.len()];
            fill(block * BLOCK + i * FILLED, part);
            y.write_copy_of_slice(part);
        }
    })
}

/// A new vector of `f(part, i, x)` for every value, on all cores: `part` is what `part_of` gives for the number of the
/// value's block of [`BLOCK`], and `i` its place in it.
pub(super) fn map_in_blocks<P: Copy>(
    x: &[f32],
    part_of: impl Fn(usize) -> P + Sync,
    f: impl Fn(P, usize, f32) -> f32 + Sync,
) -> Vec<f32> {
    new_vector(x.len(), |block, y| {
        let (x, part) = (block_of(x, block), part_of(block));
        assert_eq!(x.len(), y.len());
        vectorized!({
            for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                y.write(f(part, i, *x));
            }
        });
    })
}

/// A new vector of `f(a, b)` for every pair, on all cores.
pub(super) fn map2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    new_vector(a.len(), |block, y| {
        let (a, b) = (block_of(a, block), block_of(b, block));
        assert!(a.len() == y.len() && b.len() == y.len());
        vectorized!({
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                y.write(f(*a, *b));
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_sigmoid_are_accurate() {
        for i in -8_700..=8_800 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "exp({x}) = {}", exp(x));
            let exact = 1.0 / (1.0 + f64::from(-x).exp());
            assert!((f64::from(sigmoid(x)) - exact).abs() < 3e-7, "sigmoid({x}) = {}", sigmoid(x));
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn reductions_cover_the_remainder() {
        for n in [1, 7, 16, 129] {
            let x: Vec<f32> = (0..n).map(|i| i as f32 - 3.0).collect();
            assert_eq!(sum(&x, |x| x), x.iter().sum::<f32>());
            assert_eq!(max(&x), n as f32 - 4.0);
            let mut exps = x.clone();
            let shift = n as f32;
            let exact: f32 = x.iter().map(|x| (x - shift).exp()).sum();
            assert!((exp_sum(&mut exps, shift) / exact - 1.0).abs() < 1e-5);
            assert_eq!(sum2(&x, &x, |a, b| a * b), x.iter().map(|x| x * x).sum::<f32>());
        }
    }
}

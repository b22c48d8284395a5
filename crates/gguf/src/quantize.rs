//! Float32 to stored values, bit for bit as ggml's `quantize_row_*_ref` has them
//! (<https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c>).

use half::{bf16, f16};

use crate::TensorType;
use crate::dequantize::scale_and_min;

/// Appends `values`, which are finite and fill blocks, to `out`; `false` if this type is not written.
///
/// # Panics
/// If `values` do not fill blocks.
#[must_use]
pub fn quantize(kind: TensorType, values: &[f32], out: &mut Vec<u8>) -> bool {
    assert!(values.len().is_multiple_of(kind.block_len()), "{} values in blocks of {kind}", values.len());
    match kind {
        TensorType::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        TensorType::F16 => out.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        TensorType::Bf16 => out.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
        TensorType::Q8_0 => values.as_chunks().0.iter().for_each(|block| q8_0(block, out)),
        TensorType::Q4_0 => values.as_chunks().0.iter().for_each(|block| q4_0(block, out)),
        TensorType::Q4K => values.as_chunks().0.iter().for_each(|block| q4_k(block, out)),
        _ => return false,
    }
    true
}

/// `1 / d`, or 0 for a block of zeros.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(x: &[f32; 32], out: &mut Vec<u8>) {
    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let d = largest / 127.0;
    out.extend(f16::from_f32(d).to_le_bytes());
    out.extend(x.map(|x| ((x * inverse(d)).round() as i8).cast_unsigned()));
}

fn q4_0(x: &[f32; 32], out: &mut Vec<u8>) {
    // The value furthest from zero, with its sign, becomes −8.
    let furthest = x.iter().fold(0.0f32, |furthest, &x| if x.abs() > furthest.abs() { x } else { furthest });
    let d = furthest / -8.0;
    out.extend(f16::from_f32(d).to_le_bytes());
    let q = x.map(|x| ((x * inverse(d) + 8.5) as u8).min(15));
    out.extend((0..16).map(|i| q[i] | q[i + 16] << 4));
}

fn q4_k(x: &[f32; 256], out: &mut Vec<u8>) {
    let fits = x.as_chunks::<32>().0.iter().map(fit).collect::<Vec<_>>();
    let largest = |of: fn(&Fit) -> f32| fits.iter().map(of).fold(0.0f32, f32::max);
    let [largest_scale, largest_min] = [largest(|fit| fit.scale), largest(|fit| fit.min)];

    // Scales and minima in six bits each.
    let six_bits = |x: f32, largest: f32| nearest(if largest > 0.0 { 63.0 / largest } else { 0.0 } * x).min(63) as u8;
    let mut scales = [0u8; 12];
    for (j, fit) in fits.iter().enumerate() {
        let [d, m] = [six_bits(fit.scale, largest_scale), six_bits(fit.min, largest_min)];
        if j < 4 {
            (scales[j], scales[j + 4]) = (d, m);
        } else {
            scales[j + 4] = d & 15 | (m & 15) << 4;
            scales[j - 4] |= d >> 4 << 6;
            scales[j] |= m >> 4 << 6;
        }
    }
    let [d, m] = [largest_scale, largest_min].map(|largest| f16::from_f32(largest / 63.0));
    out.extend(d.to_le_bytes());
    out.extend(m.to_le_bytes());
    out.extend(scales);

    // The values once more, by the scales as they are stored.
    let mut q = [[0u8; 32]; 8];
    for (j, (q, x)) in q.iter_mut().zip(x.as_chunks::<32>().0).enumerate() {
        let [scale, min] = scale_and_min(j, &scales).map(f32::from);
        let [d, m] = [d.to_f32() * scale, m.to_f32() * min];
        *q = if d == 0.0 { fits[j].q } else { x.map(|x| nearest((x + m) / d).clamp(0, 15) as u8) };
    }
    for [low, high] in q.as_chunks::<2>().0 {
        out.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
    }
}

/// `x ≈ scale · q − min`, with `q` from 0 to 15.
struct Fit {
    scale: f32,
    min: f32,
    q: [u8; 32],
}

/// The best of a search over scales, by least squares weighted with the size of the values (`make_qkx2_quants`).
fn fit(x: &[f32; 32]) -> Fit {
    const LEVELS: f32 = 15.0;
    const STEPS: u8 = 20;
    let sum = |term: &dyn Fn(usize) -> f32| (0..32).fold(0.0f32, |sum, i| sum + term(i));
    let root_mean_square = (sum(&|i| x[i] * x[i]) / 32.0).sqrt();
    let weight = x.map(|x| root_mean_square + x.abs());
    let min = x.iter().copied().fold(x[0], f32::min).min(0.0);
    let max = x.iter().copied().fold(x[0], f32::max);
    if max == min {
        return Fit { scale: 0.0, min: -min, q: [0; 32] };
    }
    let [sum_w, sum_x] = [sum(&|i| weight[i]), sum(&|i| weight[i] * x[i])];
    let round = |inverse: f32, min: f32| x.map(|x| nearest(inverse * (x - min)).clamp(0, LEVELS as i32) as u8);
    let error = |q: &[u8; 32], scale: f32, min: f32| {
        sum(&|i| {
            let off = scale * f32::from(q[i]) + min - x[i];
            weight[i] * (off * off)
        })
    };

    let inverse = LEVELS / (max - min);
    let mut best = Fit { scale: 1.0 / inverse, min, q: round(inverse, min) };
    let mut smallest = error(&best.q, best.scale, best.min);
    for step in 0..=STEPS {
        // From the best minimum so far.
        let q = round((-1.0 + 0.1 * f32::from(step) + LEVELS) / (max - best.min), best.min);
        let l = |i: usize| f32::from(q[i]);
        let [sum_l, sum_l2, sum_xl] =
            [sum(&|i| weight[i] * l(i)), sum(&|i| weight[i] * l(i) * l(i)), sum(&|i| weight[i] * l(i) * x[i])];
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant <= 0.0 {
            continue;
        }
        let mut scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
        let mut min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
        if min > 0.0 {
            (scale, min) = (sum_xl / sum_l2, 0.0);
        }
        let error = error(&q, scale, min);
        if error < smallest {
            smallest = error;
            best = Fit { scale, min, q };
        }
    }
    Fit { min: -best.min, ..best }
}

/// To the nearest whole number, halves to the even one.
fn nearest(x: f32) -> i32 {
    x.round_ties_even() as i32
}

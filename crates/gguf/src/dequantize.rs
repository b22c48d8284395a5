//! Stored values to float32, bit for bit as ggml's `dequantize_row_*` has them
//! (<https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c>). `q` are quantized values, `d` scales, `m` minima.

use half::{bf16, f16};

use crate::TensorType;

/// Fills `out` from `bytes`.
///
/// # Panics
/// If `bytes` are not as many as `out.len()` values of this type take.
pub fn dequantize(kind: TensorType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(kind.bytes(out.len() as u64), Some(bytes.len() as u64), "bytes of {} values of {kind}", out.len());
    match kind {
        TensorType::F32 => each(bytes, out, |b: &[u8; 4], y: &mut [f32; 1]| y[0] = f32::from_le_bytes(*b)),
        TensorType::F16 => each(bytes, out, |b: &[u8; 2], y: &mut [f32; 1]| y[0] = f16::from_le_bytes(*b).to_f32()),
        TensorType::Bf16 => each(bytes, out, |b: &[u8; 2], y: &mut [f32; 1]| y[0] = bf16::from_le_bytes(*b).to_f32()),
        TensorType::Q8_0 => each(bytes, out, q8_0),
        TensorType::Q4_0 => each(bytes, out, q4_0),
        TensorType::Q4_1 => each(bytes, out, q4_1),
        TensorType::Q5_0 => each(bytes, out, q5_0),
        TensorType::Q5_1 => each(bytes, out, q5_1),
        TensorType::Q4K => each(bytes, out, q4_k),
        TensorType::Q5K => each(bytes, out, q5_k),
        TensorType::Q6K => each(bytes, out, q6_k),
    }
}

/// Blocks, and what reads one.
struct Blocks<'a, F, const BYTES: usize, const LEN: usize> {
    bytes: &'a [[u8; BYTES]],
    out: &'a mut [[f32; LEN]],
    read: F,
}

/// Calls `read` with the bytes and the values of every block, compiled for the widest vectors of this CPU.
fn each<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    read: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    pulp::Arch::new().dispatch(Blocks { bytes: bytes.as_chunks().0, out: out.as_chunks_mut().0, read });
}

impl<F, const BYTES: usize, const LEN: usize> pulp::WithSimd for Blocks<'_, F, BYTES, LEN>
where
    F: Fn(&[u8; BYTES], &mut [f32; LEN]),
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for (bytes, values) in self.bytes.iter().zip(self.out) {
            (self.read)(bytes, values);
        }
    }
}

/// The float16 at byte `at`.
pub(crate) fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

#[inline(always)]
fn q8_0(b: &[u8; 34], y: &mut [f32; 32]) {
    let d = half(b, 0);
    for (y, &q) in y.iter_mut().zip(&b[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// Values of four bits, two a byte: the low halves of all bytes first. `value` makes one out of its bits.
#[inline(always)]
fn fours(qs: &[u8], y: &mut [f32; 32], value: impl Fn(f32) -> f32) {
    let (low, high) = y.split_at_mut(16);
    for ((low, high), q) in low.iter_mut().zip(high).zip(qs) {
        *low = value(f32::from(q & 15));
        *high = value(f32::from(q >> 4));
    }
}

#[inline(always)]
fn q4_0(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = half(b, 0);
    fours(&b[2..], y, |q| (q - 8.0) * d);
}

#[inline(always)]
fn q4_1(b: &[u8; 20], y: &mut [f32; 32]) {
    let [d, m] = [half(b, 0), half(b, 2)];
    fours(&b[4..], y, |q| q * d + m);
}

/// Values of five bits: the fifth bits of all in four bytes, then the other four bits as in [`fours`].
#[inline(always)]
fn fives(b: &[u8], y: &mut [f32; 32], value: impl Fn(f32) -> f32) {
    let fifth = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let (low, high) = y.split_at_mut(16);
    for (i, ((low, high), &q)) in low.iter_mut().zip(high).zip(&b[4..]).enumerate() {
        *low = value((u32::from(q & 15) | (fifth >> i & 1) << 4) as f32);
        *high = value((u32::from(q >> 4) | (fifth >> (i + 16) & 1) << 4) as f32);
    }
}

#[inline(always)]
fn q5_0(b: &[u8; 22], y: &mut [f32; 32]) {
    let d = half(b, 0);
    fives(&b[2..], y, |q| (q - 16.0) * d);
}

#[inline(always)]
fn q5_1(b: &[u8; 24], y: &mut [f32; 32]) {
    let [d, m] = [half(b, 0), half(b, 2)];
    fives(&b[4..], y, |q| q * d + m);
}

/// Scale and minimum `j` of eight, six bits each in twelve bytes.
#[inline(always)]
pub(crate) fn scale_and_min(j: usize, scales: &[u8]) -> [u8; 2] {
    if j < 4 {
        [scales[j] & 63, scales[j + 4] & 63]
    } else {
        let [high_d, high_m] = [scales[j - 4] >> 6, scales[j] >> 6];
        [scales[j + 4] & 15 | high_d << 4, scales[j + 4] >> 4 | high_m << 4]
    }
}

#[inline(always)]
fn q4_k(b: &[u8; 144], y: &mut [f32; 256]) {
    let [d, m] = [half(b, 0), half(b, 2)];
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let [scale, min] = scale_and_min(j, &b[4..16]).map(f32::from);
        let [d, m] = [d * scale, m * min];
        for (y, q) in y.iter_mut().zip(&b[16 + j / 2 * 32..]) {
            *y = d * f32::from(if j % 2 == 0 { q & 15 } else { q >> 4 }) - m;
        }
    }
}

#[inline(always)]
fn q5_k(b: &[u8; 176], y: &mut [f32; 256]) {
    let [d, m] = [half(b, 0), half(b, 2)];
    let high = &b[16..48];
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let [scale, min] = scale_and_min(j, &b[4..16]).map(f32::from);
        let [d, m] = [d * scale, m * min];
        for ((y, q), high) in y.iter_mut().zip(&b[48 + j / 2 * 32..]).zip(high) {
            let q = if j % 2 == 0 { q & 15 } else { q >> 4 };
            *y = d * f32::from(q | (high >> j & 1) << 4) - m;
        }
    }
}

#[inline(always)]
fn q6_k(b: &[u8; 210], y: &mut [f32; 256]) {
    let d = half(b, 208);
    // Two halves of 128 values; in each, four rows of 32.
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let [half, row] = [j / 4, j % 4];
        let low = &b[64 * half + 32 * (row % 2)..];
        let high = &b[128 + 32 * half..];
        let scales = &b[192 + 2 * j..];
        for (i, y) in y.iter_mut().enumerate() {
            let q = if row < 2 { low[i] & 15 } else { low[i] >> 4 } | (high[i] >> (2 * row) & 3) << 4;
            *y = d * f32::from(scales[i / 16].cast_signed()) * (f32::from(q) - 32.0);
        }
    }
}

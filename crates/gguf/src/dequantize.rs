//! Stored values to float32, bit for bit as ggml's `dequantize_row_*` has them
//! (<https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c>). `q` are quantized values, `d` scales, `m` minima.

use half::{bf16, f16};

use crate::TensorType;

/// Fills `out` from `bytes`.
///
/// # Panics
/// If `bytes` are not exactly what `out.len()` values of this type take.
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
        TensorType::Q2K => each(bytes, out, q2_k),
        TensorType::Q3K => each(bytes, out, q3_k),
        TensorType::Q4K => each(bytes, out, q4_k),
        TensorType::Q5K => each(bytes, out, q5_k),
        TensorType::Q6K => each(bytes, out, q6_k),
        TensorType::Iq4Nl => each(bytes, out, iq4_nl),
        TensorType::Iq4Xs => each(bytes, out, iq4_xs),
        TensorType::Mxfp4 => each(bytes, out, mxfp4),
        TensorType::Tq1_0 => each(bytes, out, tq1_0),
        TensorType::Tq2_0 => each(bytes, out, tq2_0),
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

/// The float16 at byte `at`. Without a call or a branch, so that the loops over blocks stay loops: the sign and the rest
/// moved into place, where the exponent is 112 too small, unless it is that of infinity and NaN.
#[inline(always)]
pub(crate) fn half(bytes: &[u8], at: usize) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let bits = u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let (sign, rest) = ((bits & 0x8000) << 16, (bits & 0x7FFF) << 13);
    let finite = (f32::from_bits(rest) * TWO_TO_112).to_bits();
    f32::from_bits(sign | if rest < 0x7C00 << 13 { finite } else { rest | 0x7F80_0000 })
}

#[inline(always)]
fn q8_0(b: &[u8; 34], y: &mut [f32; 32]) {
    let d = half(b, 0);
    for i in 0..32 {
        y[i] = f32::from(b[2 + i].cast_signed()) * d;
    }
}

/// Values of four bits, two a byte: the low halves of all bytes first. `value` makes one out of its bits.
#[inline(always)]
fn fours(qs: &[u8], y: &mut [f32; 32], value: impl Fn(f32) -> f32) {
    let Some(qs) = qs.first_chunk::<16>() else { return }; // as an array, the loops need no checks
    for i in 0..16 {
        y[i] = value(f32::from(qs[i] & 15));
    }
    for i in 0..16 {
        y[i + 16] = value(f32::from(qs[i] >> 4));
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

/// Values of two bits, four a byte: 128 values are four rows of 32, of which byte `i` has the `i`th values.
#[inline(always)]
fn twos(qs: &[u8], j: usize) -> impl Iterator<Item = u8> {
    qs[j / 4 * 32..].iter().take(32).map(move |q| q >> (2 * (j % 4)) & 3)
}

#[inline(always)]
fn q2_k(b: &[u8; 84], y: &mut [f32; 256]) {
    let [d, m] = [half(b, 80), half(b, 82)];
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let scales = [b[2 * j], b[2 * j + 1]];
        for (i, (y, q)) in y.iter_mut().zip(twos(&b[16..80], j)).enumerate() {
            let scale = scales[i / 16];
            *y = d * f32::from(scale & 15) * f32::from(q) - m * f32::from(scale >> 4);
        }
    }
}

/// Scale `j` of sixteen, six bits each in twelve bytes.
#[inline(always)]
fn scale_of_q3_k(j: usize, scales: &[u8]) -> f32 {
    let low = if j < 8 { scales[j] & 15 } else { scales[j - 8] >> 4 };
    let high = scales[8 + j % 4] >> (2 * (j / 4)) & 3;
    f32::from(low | high << 4) - 32.0
}

#[inline(always)]
fn q3_k(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = half(b, 108);
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let scales = [2 * j, 2 * j + 1].map(|j| d * scale_of_q3_k(j, &b[96..108]));
        for (i, ((y, q), high)) in y.iter_mut().zip(twos(&b[32..96], j)).zip(&b[..32]).enumerate() {
            *y = scales[i / 16] * (f32::from(q | (high >> j & 1) << 2) - 4.0);
        }
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

/// The levels of `IQ4_NL` and `IQ4_XS` (`kvalues_iq4nl`).
const IQ4_LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Levels that four bits choose, two a byte: those by the low halves of all bytes first.
#[inline(always)]
fn chosen(qs: &[u8], y: &mut [f32; 32], d: f32, levels: &[i8; 16]) {
    let (low, high) = y.split_at_mut(16);
    for ((low, high), q) in low.iter_mut().zip(high).zip(qs) {
        *low = d * f32::from(levels[usize::from(q & 15)]);
        *high = d * f32::from(levels[usize::from(q >> 4)]);
    }
}

#[inline(always)]
fn iq4_nl(b: &[u8; 18], y: &mut [f32; 32]) {
    chosen(&b[2..], y, half(b, 0), &IQ4_LEVELS);
}

#[inline(always)]
fn iq4_xs(b: &[u8; 136], y: &mut [f32; 256]) {
    let d = half(b, 0);
    let high = u16::from_le_bytes([b[2], b[3]]);
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = b[4 + j / 2] >> (4 * (j % 2)) & 15;
        let scale = f32::from(u16::from(low) | (high >> (2 * j) & 3) << 4) - 32.0;
        chosen(&b[8 + 16 * j..], y, d * scale, &IQ4_LEVELS);
    }
}

/// Twice the values of a float of one sign, two exponent and one mantissa bit (`kvalues_mxfp4`).
const MXFP4_LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

#[inline(always)]
fn mxfp4(b: &[u8; 17], y: &mut [f32; 32]) {
    // Half of 2^(e − 127), since the levels are doubled; below float32's normal numbers, its bits are counted out.
    let e = u32::from(b[0]);
    let d = f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 });
    chosen(&b[1..], y, d, &MXFP4_LEVELS);
}

/// The digit `n` of a byte that holds a fraction in base 3, the first digit on top, less 1.
#[inline(always)]
fn ternary(q: u8, n: usize) -> f32 {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let rest = u16::from(q.wrapping_mul(POWERS[n]));
    f32::from((rest * 3) >> 8) - 1.0
}

#[inline(always)]
fn tq1_0(b: &[u8; 54], y: &mut [f32; 256]) {
    let d = half(b, 52);
    // 32 and 16 bytes with five values each, and four with four; the first values of all bytes first.
    let (first, rest) = y.split_at_mut(160);
    let (second, third) = rest.split_at_mut(80);
    for (y, qs) in [(first, &b[..32]), (second, &b[32..48]), (third, &b[48..52])] {
        for (n, y) in y.chunks_exact_mut(qs.len()).enumerate() {
            y.iter_mut().zip(qs).for_each(|(y, &q)| *y = ternary(q, n) * d);
        }
    }
}

#[inline(always)]
fn tq2_0(b: &[u8; 66], y: &mut [f32; 256]) {
    let d = half(b, 64);
    for (j, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        y.iter_mut().zip(twos(&b[..64], j)).for_each(|(y, q)| *y = d * (f32::from(q) - 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float16_keeps_its_value() {
        for bits in 0..=u16::MAX {
            let (ours, exact) = (half(&bits.to_le_bytes(), 0), f16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == exact.to_bits() || ours.is_nan() && exact.is_nan(),
                "{bits:#06x}: {ours}, not {exact}"
            );
        }
    }
}

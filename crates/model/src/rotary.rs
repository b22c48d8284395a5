use std::f64::consts::TAU;
use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use crate::{RopeScaling, Rotary};

/// Cosines and sines of the rotation angles of some positions, shared by all layers of one forward pass.
#[derive(Debug, Clone)]
pub struct RotaryTables {
    cos: Tensor<2>, // (t, hd/2)
    sin: Tensor<2>,
}

impl RotaryTables {
    /// Tables for the tokens of some sequences, one behind the other, and heads of width `head_dim`: of each sequence, the
    /// positions of the tokens and how many it has in all.
    pub fn new(places: &[(Range<usize>, usize)], head_dim: usize, rotary: &Rotary, device: &Device) -> Self {
        let width = rotary.width.unwrap_or(head_dim);
        let factor = rotary.scaling.attention_factor();
        let tokens = places.iter().map(|(positions, _)| positions.len()).sum();
        let [mut cos, mut sin] = [const { Vec::new() }; 2];
        for (positions, total) in places {
            let frequencies = frequencies(rotary, width, *total);
            for position in positions.clone() {
                for frequency in &frequencies {
                    let angle = position as f64 * frequency;
                    cos.push((factor * angle.cos()) as f32);
                    sin.push((factor * angle.sin()) as f32);
                }
            }
        }
        let [cos, sin] = [cos, sin].map(|table| Tensor::from_data(TensorData::new(table, [tokens, width / 2]), device));
        Self { cos, sin }
    }

    /// Rotates queries or keys `(b, t, h, hd)` by their positions, as many entries of each head as the tables are for.
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let ([_, half], [_, _, _, hd]) = (self.cos.dims(), x.dims());
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        if 2 * half == hd {
            return llm_kernels::rotate(x, cos, sin);
        }
        let rest = x.clone().narrow(3, 2 * half, hd - 2 * half);
        Tensor::cat(vec![llm_kernels::rotate(x.narrow(3, 0, 2 * half), cos, sin), rest], 3)
    }
}

/// The frequencies of heads of which `width` entries are turned, in a sequence of `total` tokens.
fn frequencies(rotary: &Rotary, width: usize, total: usize) -> Vec<f64> {
    let Rotary { theta, scaling, .. } = rotary;
    let theta = match scaling {
        RopeScaling::Dynamic { factor, original_context_length } => {
            let stretch = total.max(*original_context_length) as f64 / *original_context_length as f64;
            let width = width as f64;
            theta * (factor * stretch - (factor - 1.0)).powf(width / (width - 2.0))
        }
        _ => *theta,
    };
    let ramp = match scaling {
        RopeScaling::Yarn { .. } => yarn_ramp(theta, width, scaling),
        _ => None,
    };
    let frequency = |i: usize| {
        let frequency = theta.powf(-2.0 * i as f64 / width as f64);
        match (scaling, ramp) {
            (RopeScaling::Yarn { factor, .. }, Some([low, high])) => {
                let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (1.0 - divided + divided / factor)
            }
            _ => scale(frequency, i, total, scaling),
        }
    };
    (0..width / 2).map(frequency).collect()
}

/// The numbers of the wavelengths between which YaRN passes from those that are kept to those that are divided.
fn yarn_ramp(theta: f64, width: usize, scaling: &RopeScaling) -> Option<[f64; 2]> {
    let RopeScaling::Yarn { original_context_length, beta_fast, beta_slow, truncate, .. } = *scaling else {
        return None;
    };
    let number = |turns: f64| width as f64 * (original_context_length as f64 / (turns * TAU)).ln() / (2.0 * theta.ln());
    let [mut low, mut high] = [number(beta_fast), number(beta_slow)];
    if truncate {
        [low, high] = [low.floor(), high.ceil()];
    }
    let [low, high] = [low.max(0.0), high.min(width as f64 - 1.0)];
    // As `transformers` does it, so that the ramp has a length.
    Some([low, if (high - low).abs() > 0.0 { high } else { low + 0.001 }])
}

/// Frequency number `i` after `scaling`, in a sequence of `total` tokens.
fn scale(frequency: f64, i: usize, total: usize, scaling: &RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None | RopeScaling::Yarn { .. } | RopeScaling::Dynamic { .. } => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_length } => {
            let turns = *original_context_length as f64 * frequency / TAU; // turns within the original context
            let keep = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
            frequency * (keep + (1.0 - keep) / factor)
        }
        RopeScaling::LongRope { short_factors, long_factors, original_context_length, .. } => {
            frequency / if total > *original_context_length { long_factors[i] } else { short_factors[i] }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_short_wavelengths_and_stretches_long_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context_length: 8192,
        };
        assert_eq!(scale(1.0, 0, 1, &scaling), 1.0);
        assert_eq!(scale(1e-6, 0, 1, &scaling), 1e-6 / 8.0);
        let between = scale(2.0 * TAU / 8192.0, 0, 1, &scaling) / (2.0 * TAU / 8192.0);
        assert!((between - (1.0 / 3.0 + 2.0 / 3.0 / 8.0)).abs() < 1e-12);
    }
    #[test]
    fn longrope_takes_its_factors_by_the_length_of_the_whole_sequence() {
        let scaling = RopeScaling::LongRope {
            short_factors: vec![1.0, 2.0],
            long_factors: vec![4.0, 8.0],
            original_context_length: 16,
            attention_factor: 1.0,
        };
        assert_eq!([scale(1.0, 1, 16, &scaling), scale(1.0, 1, 17, &scaling)], [0.5, 0.125]);
    }

    #[test]
    fn what_lies_beyond_the_rotary_width_stays() {
        let device = Device::flex();
        let x = || Tensor::<1, burn::tensor::Int>::arange(0..24, &device).float().reshape([1, 2, 2, 6]);
        let rotary = Rotary { width: Some(4), ..Rotary::new(100.0) };
        let turned = RotaryTables::new(&[(3..5, 5)], 6, &rotary, &device).rotate(x());
        let whole = RotaryTables::new(&[(3..5, 5)], 4, &Rotary::new(100.0), &device).rotate(x().narrow(3, 0, 4));
        assert_eq!(turned.clone().narrow(3, 0, 4).into_data(), whole.into_data());
        assert_eq!(turned.narrow(3, 4, 2).into_data(), x().narrow(3, 4, 2).into_data());
    }
}

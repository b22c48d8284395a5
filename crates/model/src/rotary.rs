use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

use crate::RopeScaling;

/// Cosines and sines of the rotation angles of some positions, shared by all layers of one forward pass.
#[derive(Debug, Clone)]
pub struct RotaryTables {
    cos: Tensor<2>, // (t, hd/2)
    sin: Tensor<2>,
}

impl RotaryTables {
    /// Tables for positions `start..start + t` and heads of width `head_dim`.
    pub fn new(start: usize, t: usize, head_dim: usize, theta: f64, scaling: RopeScaling, device: &Device) -> Self {
        let frequencies: Vec<f64> =
            (0..head_dim / 2).map(|i| scale(theta.powf(-2.0 * i as f64 / head_dim as f64), scaling)).collect();
        let table = |f: fn(f64) -> f64| {
            let row = |position: usize| frequencies.iter().map(move |frequency| f(position as f64 * frequency) as f32);
            let values: Vec<f32> = (start..start + t).flat_map(row).collect();
            Tensor::from_data(TensorData::new(values, [t, head_dim / 2]), device)
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates queries or keys `(b, t, h, hd)` by their positions.
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        llm_kernels::rotate(x, self.cos.clone(), self.sin.clone())
    }
}

/// A frequency after `scaling`.
fn scale(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_length } => {
            let turns = original_context_length as f64 * frequency / TAU; // turns within the original context
            let keep = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
            frequency * (keep + (1.0 - keep) / factor)
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
        assert_eq!(scale(1.0, scaling), 1.0);
        assert_eq!(scale(1e-6, scaling), 1e-6 / 8.0);
        let between = scale(2.0 * TAU / 8192.0, scaling) / (2.0 * TAU / 8192.0);
        assert!((between - (1.0 / 3.0 + 2.0 / 3.0 / 8.0)).abs() < 1e-12);
    }
}

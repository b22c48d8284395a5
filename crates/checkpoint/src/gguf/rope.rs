//! The rotary scaling of Llama 3, which GGUF stores as what it does and not as what it is: `rope_freqs.weight` divides every
//! frequency.

use std::f64::consts::TAU;

/// The settings that Llama 3.1 came with and all its descendants kept.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
/// The context of Llama 3's pretraining, where the divisors do not tell.
const USUAL_CONTEXT: f64 = 8192.0;
/// Divisors are float32, computed from float32.
const TOLERANCE: f64 = 1e-4;

/// `rope_type` llama3.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Llama3 {
    pub factor: f64,
    pub low: f64,
    pub high: f64,
    pub context: f64,
}

impl Llama3 {
    /// What every frequency of a head of width `head_dim` is divided by.
    pub fn divisors(&self, theta: f64, head_dim: usize) -> Vec<f32> {
        let Self { factor, low, high, context } = *self;
        let divisor = |frequency: f64| {
            let keep = ((context * frequency / TAU - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / (keep + (1.0 - keep) / factor)
        };
        frequencies(theta, head_dim).map(|frequency| divisor(frequency) as f32).collect()
    }

    /// The settings that give these divisors, with the usual `low` and `high`.
    pub fn from_divisors(divisors: &[f32], theta: f64) -> Option<Self> {
        let divisors: Vec<f64> = divisors.iter().map(|&divisor| f64::from(divisor)).collect();
        let factor = divisors.iter().copied().fold(0.0, f64::max);
        if !factor.is_finite() || factor <= 1.0 {
            return None;
        }
        let head_dim = 2 * divisors.len();
        // On the ramp between short and long wavelengths, a divisor tells the context.
        let contexts = frequencies(theta, head_dim).zip(&divisors).filter_map(|(frequency, divisor)| {
            let keep = (1.0 / divisor - 1.0 / factor) / (1.0 - 1.0 / factor);
            (0.001..0.999).contains(&keep).then(|| ((keep * (HIGH - LOW) + LOW) * TAU / frequency).round())
        });
        let candidates = contexts.chain([USUAL_CONTEXT]);
        let settings = candidates.map(|context| Self { factor, low: LOW, high: HIGH, context });
        let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() <= TOLERANCE * b;
        { settings }.find(|settings| settings.divisors(theta, head_dim).iter().zip(&divisors).all(near))
    }
}

fn frequencies(theta: f64, head_dim: usize) -> impl Iterator<Item = f64> {
    (0..head_dim / 2).map(move |i| theta.powf(-2.0 * i as f64 / head_dim as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_again_in_what_they_do() {
        for (factor, context, theta, head_dim) in
            [(8.0, 8192.0, 5e5, 128), (32.0, 8192.0, 5e5, 64), (8.0, 32.0, 1e4, 16), (4.0, 2048.0, 1e4, 64)]
        {
            let settings = Llama3 { factor, low: 1.0, high: 4.0, context };
            assert_eq!(Llama3::from_divisors(&settings.divisors(theta, head_dim), theta), Some(settings));
        }
        let unusual = Llama3 { factor: 8.0, low: 1.0, high: 2.0, context: 8192.0 };
        assert_eq!(Llama3::from_divisors(&unusual.divisors(5e5, 128), 5e5), None);
        assert_eq!(Llama3::from_divisors(&[1.0, 1.0], 1e4), None);
        assert_eq!(Llama3::from_divisors(&[1.0, f32::NAN, f32::INFINITY], 1e4), None);
    }
}

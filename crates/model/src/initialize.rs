//! Initial weights, drawn on the host, so that a seed gives the same model on every device.

use std::convert::Infallible;
use std::f32::consts::TAU;

use burn::tensor::TensorData;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::{CausalLm, NormKind, ParamInfo, Role, replace_params};

/// Values that one generator draws; the weights do not depend on the number of threads.
const CHUNK: usize = 1 << 16;

impl CausalLm {
    /// Draws all weights: matrices and embeddings from N(0, 0.02²), the two projections that end on the residual
    /// stream from N(0, (0.02/√(2·layers))²) (Radford et al., 2019), norms 1 (stored as 0 where that means 1), biases 0.
    #[must_use]
    pub fn initialize(self, seed: u64) -> Self {
        let residual = 0.02 / (2.0 * self.config().num_layers as f32).sqrt();
        let norm = if self.config().norm == NormKind::RmsNorm1p { 0.0 } else { 1.0 };
        let mut index = 0;
        let initialized = replace_params(self, &mut |info: &ParamInfo| {
            index += 1;
            let values = match info.role {
                Role::Norm => vec![norm; info.len()],
                Role::Bias => vec![0.0; info.len()],
                Role::Adapter => return Ok(None),
                _ if info.name.ends_with("o_proj.weight") || info.name.ends_with("down_proj.weight") => {
                    normal(info.len(), residual, seed, index)
                }
                _ => normal(info.len(), 0.02, seed, index),
            };
            Ok::<_, Infallible>(Some(TensorData::new(values, info.shape.clone()).into()))
        });
        match initialized {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }
}

/// `n` values of N(0, std²) from (`seed`, `stream`), by the Box–Muller transform.
fn normal(n: usize, std: f32, seed: u64, stream: u64) -> Vec<f32> {
    let mut values = vec![0.0; n];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream << 32 | chunk as u64);
        for pair in values.chunks_mut(2) {
            let radius = std * (-2.0 * (1.0 - unit(&mut rng)).ln()).sqrt();
            let (sin, cos) = (TAU * unit(&mut rng)).sin_cos();
            pair[0] = radius * cos;
            if let Some(second) = pair.get_mut(1) {
                *second = radius * sin;
            }
        }
    });
    values
}

/// `n` values, uniform in `[−bound, bound)`, from (`seed`, `stream`).
pub(crate) fn uniform(n: usize, bound: f32, seed: u64, stream: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    (0..n).map(|_| bound * (2.0 * unit(&mut rng) - 1.0)).collect()
}

/// Uniform in `[0, 1)`.
fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

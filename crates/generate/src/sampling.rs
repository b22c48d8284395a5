//! From logits to a token, as a chain of small steps in the order of Hugging Face's `generate`:
//! repeat penalty → temperature → top-k → top-p → min-p → draw.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::GenerateError;

/// How a token is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; at 0 the most probable token is taken, without chance.
    pub temperature: f32,
    /// Only this many most probable tokens remain; 0 for all (Fan et al., 2018, arXiv:1805.04833).
    pub top_k: usize,
    /// Only the most probable tokens remain, until they have this probability together; 1 for all (Holtzman et al.,
    /// 2019, arXiv:1904.09751).
    pub top_p: f32,
    /// Only tokens remain that have this share of the most probable one's probability; 0 for all (Nguyen et al., 2024,
    /// arXiv:2407.01082).
    pub min_p: f32,
    /// Divides positive logits of recent tokens and multiplies negative ones; 1 for no effect (Keskar et al., 2019,
    /// arXiv:1909.05858).
    pub repeat_penalty: f32,
    /// How many tokens are recent, those of the prompt included.
    pub repeat_last_n: usize,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.0, repeat_last_n: 64, seed: 0 }
    }
}

impl Sampling {
    /// The most probable token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Rejects settings outside their range.
    ///
    /// # Errors
    /// [`GenerateError::Setting`] with the name and the value.
    pub fn validate(&self) -> Result<(), GenerateError> {
        let unit = 0.0..=1.0;
        let checks = [
            ("temperature", self.temperature, (0.0..f32::INFINITY).contains(&self.temperature), "0 or more"),
            ("top-p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "more than 0 and at most 1"),
            ("min-p", self.min_p, unit.contains(&self.min_p), "from 0 to 1"),
            (
                "repeat-penalty",
                self.repeat_penalty,
                self.repeat_penalty > 0.0 && self.repeat_penalty.is_finite(),
                "more than 0",
            ),
        ];
        match checks.into_iter().find(|(_, _, fine, _)| !fine) {
            Some((name, value, _, expected)) => Err(GenerateError::Setting { name, value, expected }),
            None => Ok(()),
        }
    }
}

/// Draws tokens; its random numbers depend on the seed and the number of the sample only.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Sampling,
    rng: ChaCha12Rng,
    candidates: Vec<Candidate>,
}

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    id: u32,
    logit: f32,
}

impl Sampler {
    /// The sampler of text number `sample`.
    ///
    /// # Errors
    /// Those of [`Sampling::validate`].
    pub fn new(settings: Sampling, sample: u64) -> Result<Self, GenerateError> {
        settings.validate()?;
        let mut rng = ChaCha12Rng::seed_from_u64(settings.seed);
        rng.set_stream(sample);
        Ok(Self { settings, rng, candidates: Vec::new() })
    }

    /// The token that follows `text`, of which `logits` `(v)` are the scores.
    ///
    /// # Errors
    /// [`GenerateError::NotFinite`] for NaN or positive infinity, or if no logit is finite.
    pub fn sample(&mut self, logits: &[f32], text: &[u32]) -> Result<u32, GenerateError> {
        check(logits, text.len())?;
        let Sampling { temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, .. } = self.settings;
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend((0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }));
        penalize(candidates, &text[text.len().saturating_sub(repeat_last_n)..], repeat_penalty);
        if temperature == 0.0 {
            return Ok(candidates.iter().min_by(|a, b| more_probable(a, b)).map_or(0, |best| best.id));
        }
        temper(candidates, temperature);
        keep_top_k(candidates, top_k);
        keep_top_p(candidates, top_p);
        keep_min_p(candidates, min_p);
        Ok(draw(candidates, uniform(&mut self.rng)))
    }
}

/// Whether a token can be drawn at all.
fn check(logits: &[f32], position: usize) -> Result<(), GenerateError> {
    let bad = logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY);
    let bad = bad.or_else(|| logits.iter().all(|logit| !logit.is_finite()).then_some(0));
    match bad {
        Some(id) => {
            let value = logits.get(id).copied().unwrap_or(f32::NAN);
            Err(GenerateError::NotFinite { value, id, position })
        }
        None => Ok(()),
    }
}

/// The more probable first, the smaller id first among equals.
#[allow(clippy::trivially_copy_pass_by_ref)] // the shape that sorting takes
fn more_probable(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Makes recent tokens less probable (for a penalty above 1), each once however often it came.
fn penalize(candidates: &mut [Candidate], recent: &[u32], penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    let mut recent = recent.to_vec();
    recent.sort_unstable();
    recent.dedup();
    for id in recent {
        if let Some(Candidate { logit, .. }) = candidates.get_mut(id as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// Divides by the temperature, with the largest at 0, so that small temperatures do not overflow.
fn temper(candidates: &mut [Candidate], temperature: f32) {
    let top = candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
    for candidate in candidates {
        candidate.logit = (candidate.logit - top) / temperature;
    }
}

/// Keeps the `k` most probable, in order; 0 keeps all, in any order.
fn keep_top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if k == 0 || k >= candidates.len() {
        return;
    }
    candidates.select_nth_unstable_by(k - 1, more_probable);
    candidates.truncate(k);
    candidates.sort_unstable_by(more_probable);
}

/// Keeps the most probable until they have probability `p` together, at least one.
fn keep_top_p(candidates: &mut Vec<Candidate>, p: f32) {
    if p >= 1.0 {
        return;
    }
    candidates.sort_unstable_by(more_probable);
    let mut sum = 0.0;
    let enough = masses(candidates).iter().position(|mass| {
        sum += mass;
        sum >= f64::from(p)
    });
    candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
}

/// Keeps those with at least `share` of the largest probability.
fn keep_min_p(candidates: &mut Vec<Candidate>, share: f32) {
    if share > 0.0 {
        let top = candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
        candidates.retain(|c| c.logit >= top + share.ln());
    }
}

/// Probabilities: softmax of the logits.
fn masses(candidates: &[Candidate]) -> Vec<f64> {
    let top = candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
    let mut masses: Vec<f64> = candidates.iter().map(|c| f64::from(c.logit - top).exp()).collect();
    let sum: f64 = masses.iter().sum();
    masses.iter_mut().for_each(|mass| *mass /= sum);
    masses
}

/// The candidate at `u` in [0, 1) of the probabilities laid end to end.
fn draw(candidates: &[Candidate], u: f64) -> u32 {
    let mut left = u;
    let masses = masses(candidates);
    let found = masses.iter().position(|mass| {
        left -= mass;
        left < 0.0
    });
    // Rounding may leave a rest past the last one.
    let place = found.or_else(|| masses.iter().rposition(|mass| *mass > 0.0));
    place.map_or(0, |place| candidates[place].id)
}

/// 53 random bits as a number in [0, 1).
fn uniform(rng: &mut ChaCha12Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
#[path = "sampling_tests.rs"]
mod tests;

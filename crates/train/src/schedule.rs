//! Learning rate schedules: a pure function of the step, so that nothing about them has to be saved.

use serde::{Deserialize, Serialize};

/// Course of the learning rate after the warmup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Stays at its height.
    Constant,
    /// Falls on a straight line.
    Linear,
    /// Falls on half a cosine wave (Loshchilov & Hutter, 2017, arXiv:1608.03983).
    #[default]
    Cosine,
    /// Warmup, stable, decay: stays at its height and falls on a straight line at the end (Hu et al., 2024,
    /// arXiv:2404.06395).
    Wsd,
}

/// The section `[schedule]` of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSection {
    /// Course after the warmup.
    pub kind: ScheduleKind,
    /// Steps over which the learning rate rises from near zero.
    pub warmup_steps: u64,
    /// The learning rate at the end, as a share of its height.
    pub min_lr_ratio: f64,
    /// The last share of all steps in which `wsd` falls.
    pub decay_fraction: f64,
}

impl Default for ScheduleSection {
    fn default() -> Self {
        Self { kind: ScheduleKind::Cosine, warmup_steps: 100, min_lr_ratio: 0.1, decay_fraction: 0.2 }
    }
}

impl ScheduleSection {
    /// Share of the full learning rate at `step`, from 0, of `steps` in all. Lies in `[0, 1]`.
    pub fn factor(&self, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let begin = match self.kind {
            ScheduleKind::Constant => return 1.0,
            ScheduleKind::Linear | ScheduleKind::Cosine => self.warmup_steps,
            ScheduleKind::Wsd => {
                let decay = (steps as f64 * self.decay_fraction).round() as u64;
                steps.saturating_sub(decay).max(self.warmup_steps)
            }
        };
        if step < begin {
            return 1.0;
        }
        let progress = ((step - begin) as f64 / steps.saturating_sub(begin).max(1) as f64).min(1.0);
        let left = match self.kind {
            ScheduleKind::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            _ => 1.0 - progress,
        };
        self.min_lr_ratio + (1.0 - self.min_lr_ratio) * left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(kind: ScheduleKind, warmup_steps: u64, steps: u64, at: &[u64]) -> Vec<f64> {
        let schedule = ScheduleSection { kind, warmup_steps, min_lr_ratio: 0.1, decay_fraction: 0.25 };
        at.iter().map(|&step| (schedule.factor(step, steps) * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn warmup_rises_from_the_first_step_to_the_full_rate() {
        for kind in [ScheduleKind::Constant, ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Wsd] {
            assert_eq!(factors(kind, 4, 100, &[0, 1, 3, 4]), [0.25, 0.5, 1.0, 1.0], "{kind:?}");
        }
    }

    #[test]
    fn values_at_the_edges() {
        assert_eq!(factors(ScheduleKind::Constant, 0, 100, &[0, 99, 500]), [1.0, 1.0, 1.0]);
        assert_eq!(factors(ScheduleKind::Linear, 20, 100, &[20, 60, 100, 500]), [1.0, 0.55, 0.1, 0.1]);
        assert_eq!(factors(ScheduleKind::Cosine, 20, 100, &[20, 60, 100, 500]), [1.0, 0.55, 0.1, 0.1]);
        // Decay begins at step 75.
        assert_eq!(factors(ScheduleKind::Wsd, 20, 100, &[20, 74, 75, 100]), [1.0, 1.0, 1.0, 0.1]);
        assert_eq!(factors(ScheduleKind::Wsd, 20, 100, &[80]), [0.82]);
    }

    #[test]
    fn warmup_longer_than_the_run_and_no_steps_at_all_are_no_division_by_zero() {
        assert_eq!(factors(ScheduleKind::Cosine, 10, 5, &[4, 10, 11]), [0.5, 1.0, 0.1]);
        assert_eq!(factors(ScheduleKind::Linear, 0, 0, &[0, 1]), [1.0, 0.1]);
    }
}

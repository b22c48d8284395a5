//! Dynamic loss scaling for float16 (Micikevicius et al., 2018, arXiv:1710.03740).

use serde::{Deserialize, Serialize};

/// Good steps after which a larger scale is tried.
const PATIENCE: u32 = 1000;
const LARGEST: f64 = 16_777_216.0;

/// The loss is multiplied by it so that small gradients do not vanish in float16; gradients that overflow halve it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    value: f64,
    /// The scale that the gradients of the last step carry.
    last: f64,
    good_steps: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { value: 65_536.0, last: 65_536.0, good_steps: 0 }
    }
}

impl LossScale {
    /// What the next loss is multiplied by.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// What the gradients of the last good step are to be divided by.
    pub(crate) fn of_last_step(&self) -> f64 {
        self.last
    }

    /// Takes note of finite gradients.
    pub(crate) fn succeeded(&mut self) {
        self.last = self.value;
        self.good_steps += 1;
        if self.good_steps >= PATIENCE {
            self.good_steps = 0;
            self.value = (self.value * 2.0).min(LARGEST);
        }
    }

    /// Halves the scale after gradients that are not finite; false where it cannot be the reason any more.
    pub(crate) fn overflowed(&mut self) -> bool {
        self.good_steps = 0;
        self.value /= 2.0;
        self.value >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_on_overflow_until_one_and_doubles_after_patience() {
        let mut scale = LossScale::default();
        assert!(scale.overflowed());
        assert!((scale.value() - 32_768.0).abs() < f64::EPSILON);
        for _ in 0..PATIENCE {
            scale.succeeded();
        }
        assert!((scale.of_last_step() - 32_768.0).abs() < f64::EPSILON);
        assert!((scale.value() - 65_536.0).abs() < f64::EPSILON);
        assert_eq!((0..40).take_while(|_| scale.overflowed()).count(), 16);
    }
}

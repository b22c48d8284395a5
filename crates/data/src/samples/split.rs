//! Setting samples aside for validation.

use std::collections::BTreeMap;

use super::Sample;
use super::duplicates::sample_key;
use crate::batch::mix;

/// A share of samples that is set aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    pub(super) fraction: f64,
    pub(super) seed: u64,
}

/// What was made of samples, in two parts; the second has about a share of them, at least one if there are two
/// that differ. Which part one comes to follows from what its sample says and the seed.
pub(super) fn split<T>(samples: Vec<T>, share: Share, of: impl Fn(&T) -> &Sample) -> (Vec<T>, Vec<T>) {
    let wanted = (samples.len() as f64 * share.fraction).round().max(1.0) as usize;
    if share.fraction == 0.0 {
        return (samples, Vec::new());
    }
    // By a number that looks random: how many samples say the same.
    let mut groups: BTreeMap<u64, usize> = BTreeMap::new();
    let scores: Vec<u64> = samples.iter().map(|sample| mix(share.seed, sample_key(&of(sample).content))).collect();
    scores.iter().for_each(|&score| *groups.entry(score).or_default() += 1);
    let (mut aside, mut last) = (0, None);
    for (score, count) in groups.iter().take(groups.len().saturating_sub(1)) {
        if aside >= wanted {
            break;
        }
        aside += count;
        last = Some(*score);
    }
    let (mut train, mut valid) = (Vec::new(), Vec::new());
    for (sample, score) in samples.into_iter().zip(scores) {
        if Some(score) <= last { valid.push(sample) } else { train.push(sample) }
    }
    (train, valid)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::{Content, Origin};
    use super::*;

    fn samples(texts: &[u8]) -> Vec<Sample> {
        let file: std::sync::Arc<Path> = Path::new("a.jsonl").into();
        let sample = |(i, text): (usize, &u8)| Sample {
            origin: Origin { file: file.clone(), line: i as u64 + 1 },
            content: Content::Text(format!("text {text}")),
            learned: true,
            unused: Vec::new(),
        };
        texts.iter().enumerate().map(sample).collect()
    }

    fn split(samples: Vec<Sample>, fraction: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
        super::split(samples, Share { fraction, seed }, |sample| sample)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_equal_samples_stay_together(
            texts in proptest::collection::vec(0u8..60, 2..300), fraction in 0.01f64..0.99, seed: u64
        ) {
            let all = samples(&texts);
            let (train, valid) = split(all.clone(), fraction, seed);
            let mut together: Vec<_> = train.iter().chain(&valid).cloned().collect();
            together.sort_by_key(|sample| sample.origin.line);
            prop_assert_eq!(&together, &all);
            prop_assert!(valid.iter().all(|one| train.iter().all(|other| other.content != one.content)));
            prop_assert_eq!(split(all, fraction, seed), (train.clone(), valid.clone()));
            prop_assert!(!train.is_empty());
            prop_assert_eq!(valid.is_empty(), texts.iter().all(|text| *text == texts[0]));
        }
    }

    #[test]
    fn the_share_is_met_and_the_seed_matters() {
        let texts: Vec<u8> = (0..200).collect();
        let (train, valid) = split(samples(&texts), 0.1, 1);
        assert_eq!((train.len(), valid.len()), (180, 20));
        assert_ne!(split(samples(&texts), 0.1, 2).1, valid);
        assert_eq!(split(samples(&texts), 0.0, 1).1, []);
    }
}

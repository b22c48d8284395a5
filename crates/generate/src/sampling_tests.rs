use super::*;
use proptest::prelude::*;

fn candidates(logits: &[f32]) -> Vec<Candidate> {
    (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }).collect()
}

fn ids(candidates: &[Candidate]) -> Vec<u32> {
    candidates.iter().map(|c| c.id).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// Logits of the probabilities.
fn log(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[test]
fn each_step_keeps_what_it_says() {
    let logits = log(&[0.1, 0.4, 0.05, 0.3, 0.15]);
    let kept = |step: fn(&mut Vec<Candidate>)| {
        let mut c = candidates(&logits);
        step(&mut c);
        c.sort_unstable_by(more_probable);
        ids(&c)
    };
    assert_eq!(kept(|c| keep_top_k(c, 2)), [1, 3]);
    assert_eq!(kept(|c| keep_top_k(c, 0)), [1, 3, 4, 0, 2]);
    assert_eq!(kept(|c| keep_top_p(c, 0.6)), [1, 3]);
    assert_eq!(kept(|c| keep_top_p(c, 0.75)), [1, 3, 4]);
    assert_eq!(kept(|c| keep_top_p(c, 0.01)), [1]);
    assert_eq!(kept(|c| keep_min_p(c, 0.3)), [1, 3, 4]);
    assert_eq!(kept(|c| keep_min_p(c, 1.0)), [1]);
}

#[test]
fn a_repeated_token_is_penalized_once() {
    let mut c = candidates(&[2.0, -2.0, 1.0]);
    penalize(&mut c, &[0, 1, 0, 0, 7], 2.0);
    assert_eq!(c.iter().map(|c| c.logit).collect::<Vec<_>>(), [1.0, -4.0, 1.0]);
}

#[test]
fn only_recent_tokens_are_penalized() {
    let settings = Sampling { repeat_penalty: 3.0, repeat_last_n: 2, ..Sampling::greedy() };
    let mut sampler = Sampler::new(settings, 0).unwrap();
    assert_eq!(sampler.sample(&[2.0, 1.5], &[0, 1, 1]).unwrap(), 0);
    assert_eq!(sampler.sample(&[2.0, 1.5], &[1, 0, 1]).unwrap(), 0);
    assert_eq!(sampler.sample(&[2.0, 1.5], &[1, 0, 0]).unwrap(), 1);
}

#[test]
fn draws_follow_the_probabilities() {
    let settings = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() };
    let mut sampler = Sampler::new(settings, 0).unwrap();
    let probabilities = [0.5, 0.2, 0.3];
    let mut counts = [0_u32; 3];
    for _ in 0..20_000 {
        counts[sampler.sample(&log(&probabilities), &[]).unwrap() as usize] += 1;
    }
    for (count, p) in counts.iter().zip(probabilities) {
        // Three standard deviations of a binomial count are at most 212.
        assert!((f64::from(*count) - 20_000.0 * f64::from(p)).abs() < 212.0, "{counts:?}");
    }
}

#[test]
fn the_seed_and_the_sample_decide() {
    let draw = |seed, sample| {
        let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() }, sample).unwrap();
        (0..32).map(|_| sampler.sample(&[0.0; 40], &[]).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1, 0), draw(1, 0));
    assert_ne!(draw(1, 0), draw(2, 0));
    assert_ne!(draw(1, 0), draw(1, 1));
}

#[test]
fn logits_without_a_number_are_an_error() {
    let mut sampler = Sampler::new(Sampling::default(), 0).unwrap();
    for (logits, bad) in [(vec![0.0, f32::NAN], 1), (vec![f32::INFINITY, 0.0], 0), (vec![f32::NEG_INFINITY; 2], 0)] {
        let error = sampler.sample(&logits, &[5, 6]).unwrap_err();
        assert!(matches!(error, GenerateError::NotFinite { id, position: 2, .. } if id == bad), "{error}");
    }
    // A token that is ruled out is fine.
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY, 0.0], &[]).unwrap(), 1);
}

#[test]
fn settings_outside_their_range_are_errors() {
    let default = Sampling::default();
    for (settings, name) in [
        (Sampling { temperature: -0.1, ..default }, "temperature"),
        (Sampling { temperature: f32::NAN, ..default }, "temperature"),
        (Sampling { top_p: 0.0, ..default }, "top-p"),
        (Sampling { top_p: 1.5, ..default }, "top-p"),
        (Sampling { min_p: f32::NAN, ..default }, "min-p"),
        (Sampling { min_p: 1.1, ..default }, "min-p"),
        (Sampling { repeat_penalty: 0.0, ..default }, "repeat-penalty"),
        (Sampling { repeat_penalty: f32::INFINITY, ..default }, "repeat-penalty"),
    ] {
        assert!(settings.validate().unwrap_err().to_string().starts_with(name), "{settings:?}");
    }
    assert!(default.validate().is_ok());
}

fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(prop_oneof![-50.0_f32..50.0, Just(1.0), Just(f32::NEG_INFINITY)], 1..80)
        .prop_filter("one token is possible", |logits| logits.iter().any(|l| l.is_finite()))
}

fn any_settings() -> impl Strategy<Value = Sampling> {
    (0.01_f32..4.0, 0_usize..90, 0.001_f32..=1.0, 0.0_f32..=1.0, 0.5_f32..3.0, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, repeat_penalty, seed)| Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty,
            repeat_last_n: 8,
            seed,
        },
    )
}

proptest! {
    #[test]
    fn masses_sum_to_one(logits in any_logits(), temperature in 0.001_f32..10.0) {
        let mut c = candidates(&logits);
        temper(&mut c, temperature);
        let masses = masses(&c);
        prop_assert!((masses.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        prop_assert!(masses.iter().all(|mass| (0.0..=1.0).contains(mass)));
    }

    #[test]
    fn every_step_keeps_the_most_probable(logits in any_logits(), k in 1_usize..90, p in 0.001_f32..=1.0, share in 0.0_f32..=1.0) {
        let best = argmax(&logits);
        let [mut top_k, mut top_p, mut min_p] = [(); 3].map(|()| candidates(&logits));
        keep_top_k(&mut top_k, k);
        keep_top_p(&mut top_p, p);
        keep_min_p(&mut min_p, share);
        for kept in [&top_k, &top_p, &min_p] {
            prop_assert!(kept.iter().any(|c| c.id == best));
        }
        prop_assert_eq!(top_k.len(), k.min(logits.len()));
    }

    #[test]
    fn top_p_keeps_enough_and_no_more(logits in any_logits(), p in 0.001_f32..0.999) {
        let all = masses(&candidates(&logits));
        let mut kept = candidates(&logits);
        keep_top_p(&mut kept, p);
        let mass: f64 = kept.iter().map(|c| all[c.id as usize]).sum();
        let least = kept.last().map_or(0.0, |c| all[c.id as usize]);
        prop_assert!(mass >= f64::from(p) - 1e-9);
        prop_assert!(mass - least < f64::from(p) + 1e-9);
    }

    #[test]
    fn a_drawn_token_is_possible_and_repeatable(logits in any_logits(), settings in any_settings(), text in prop::collection::vec(0_u32..90, 0..20)) {
        let draw = || Sampler::new(settings, 3).unwrap().sample(&logits, &text).unwrap();
        let id = draw();
        prop_assert!(logits[id as usize].is_finite());
        prop_assert_eq!(draw(), id);
    }

    #[test]
    fn greedy_takes_the_first_of_the_most_probable(logits in any_logits()) {
        prop_assert_eq!(Sampler::new(Sampling::greedy(), 0).unwrap().sample(&logits, &[]).unwrap(), argmax(&logits));
    }
}

use std::path::Path;

use proptest::prelude::*;

use super::super::{Origin, PreferenceSampler, TokenizedPair};
use super::*;

const PAD: u32 = 9999;

/// Inputs and targets of a sample.
type Unpacked = (Vec<i32>, Vec<i32>);

/// Samples of these lengths, with ids that occur once; every third token is not learned.
fn samples(lengths: &[usize]) -> Vec<TokenizedSample> {
    let file: Arc<Path> = Path::new("a.jsonl").into();
    let mut next = 0;
    let sample = |(line, &length): (usize, &usize)| {
        let ids: Vec<u32> = (next..next + length as u32).collect();
        next += length as u32;
        let trained = ids.iter().map(|id| id % 3 != 0).collect();
        TokenizedSample { ids, trained, origin: Origin { file: file.clone(), line: line as u64 } }
    };
    lengths.iter().enumerate().map(sample).collect()
}

/// The samples in a batch, found again by where they start; and the padding of each row.
fn unpack(batch: &Batch) -> (Vec<Unpacked>, Vec<usize>) {
    let starts = batch.sample_starts.as_ref().unwrap();
    assert_eq!([batch.inputs.len(), batch.targets.len(), starts.len()], [batch.batch * batch.time; 3]);
    let (mut found, mut padding) = (Vec::new(), Vec::new());
    for row in 0..batch.batch {
        let place = |i: usize| row * batch.time + i;
        let mut begin = 0;
        padding.push(0);
        while begin < batch.time {
            assert_eq!(starts[place(begin)] as usize, begin);
            let length = (begin..batch.time).take_while(|&i| starts[place(i)] as usize == begin).count();
            let range = place(begin)..place(begin + length);
            if batch.inputs[range.start] == PAD as i32 {
                assert!(batch.inputs[range.clone()].iter().all(|&id| id == PAD as i32));
                assert!(batch.targets[range].iter().all(|&target| target == IGNORED));
                padding[row] += length;
            } else {
                found.push((batch.inputs[range.clone()].to_vec(), batch.targets[range].to_vec()));
            }
            begin += length;
        }
    }
    (found, padding)
}

/// What a sample looks like in a batch.
fn expected(sample: &TokenizedSample) -> Unpacked {
    let inputs: Vec<i32> = sample.ids.iter().map(|&id| id as i32).collect();
    let target = |i| if i < inputs.len() && sample.trained[i] { inputs[i] } else { IGNORED };
    let targets = (1..=inputs.len()).map(target).collect();
    (inputs, targets)
}

proptest! {
    #[test]
    fn an_epoch_and_an_evaluation_have_each_sample_once(
        lengths in proptest::collection::vec(1usize..30, 1..60), packing: bool, batch_rows in 1usize..4, seed: u64
    ) {
        let all = samples(&lengths);
        let mut wanted: Vec<_> = all.iter().map(expected).collect();
        wanted.sort();
        let longest = *lengths.iter().max().unwrap();
        let sampler = SampleSampler::new(all, batch_rows, longest, 2, packing, PAD).unwrap();
        prop_assert_eq!(sampler.tokens(), lengths.iter().sum::<usize>() as u64);

        let mut found: Vec<_> = sampler.evaluation().flat_map(|batch| unpack(&batch).0).collect();
        found.sort();
        prop_assert_eq!(&found, &wanted);

        // As many batches as make whole epochs: each sample as often as there are epochs.
        let epochs = 2 * batch_rows as u64;
        let steps = sampler.rows();
        let mut found = Vec::new();
        for step in 0..steps {
            for rank in 0..2 {
                let batch = sampler.batch(seed, step, rank);
                let (samples, padding) = unpack(&batch);
                found.extend(samples);
                prop_assert_eq!(&batch, &sampler.batch(seed, step, rank));
                if packing {
                    prop_assert_eq!(batch.time, longest);
                } else {
                    prop_assert_eq!(padding.iter().min(), Some(&0), "a batch is as long as its longest row");
                }
            }
        }
        found.sort();
        let wanted: Vec<_> = wanted.into_iter().flat_map(|one| std::iter::repeat_n(one, epochs as usize)).collect();
        prop_assert_eq!(found, wanted);
        let learned = sampler.samples().iter().map(TokenizedSample::targets).sum::<usize>();
        prop_assert_eq!(sampler.trained_tokens(), learned as u64);
    }
}

#[test]
fn a_row_of_two_samples_and_padding() {
    let mut all = samples(&[4, 2]);
    all[0].trained = vec![true, false, true, true];
    all[1].trained = vec![false, true];
    let sampler = SampleSampler::new(all, 1, 8, 1, true, PAD).unwrap();
    let batch = sampler.batch(1, 0, 0);
    let (pad, skip) = (PAD as i32, IGNORED);
    assert_eq!(batch.inputs, [0, 1, 2, 3, 4, 5, pad, pad]);
    assert_eq!(batch.targets, [skip, 2, 3, skip, 5, skip, skip, skip]);
    assert_eq!(batch.sample_starts.as_deref(), Some(&[0, 0, 0, 0, 4, 4, 6, 6][..]));
    assert_eq!((sampler.steps_per_epoch(), sampler.trained_tokens(), sampler.tokens()), (1.0, 3, 6));
}

#[test]
fn the_order_is_new_in_every_epoch_and_for_every_seed() {
    let sampler = SampleSampler::new(samples(&[5; 40]), 4, 5, 1, true, PAD).unwrap();
    let epoch = |seed, epoch: u64| {
        (epoch * 10..epoch * 10 + 10).map(|step| sampler.batch(seed, step, 0).inputs).collect::<Vec<_>>()
    };
    assert_eq!(sampler.steps_per_epoch(), 10.0);
    assert_ne!(epoch(1, 0), epoch(1, 1));
    assert_ne!(epoch(1, 0), epoch(2, 0));
    assert_eq!(epoch(1, 0), epoch(1, 0));
}

#[test]
fn the_hash_tells_whatever_changes_a_batch() {
    let hash = |lengths: &[usize], rows, length, packing, change: bool| {
        let mut all = samples(lengths);
        all[0].trained[1] ^= change;
        SampleSampler::new(all, rows, length, 1, packing, PAD).unwrap().hash()
    };
    let one = hash(&[4, 3], 2, 8, true, false);
    assert_eq!(one, hash(&[4, 3], 2, 8, true, false));
    for other in [
        hash(&[3, 4], 2, 8, true, false),
        hash(&[4, 3], 1, 8, true, false),
        hash(&[4, 3], 2, 7, true, false),
        hash(&[4, 3], 2, 8, false, false),
        hash(&[4, 3], 2, 8, true, true),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn no_samples_and_too_long_ones_are_errors() {
    assert!(matches!(SampleSampler::new(Vec::new(), 1, 8, 1, true, PAD), Err(DataError::NoSamples)));
    let error = SampleSampler::new(samples(&[3, 9]), 1, 8, 1, false, PAD).unwrap_err();
    assert!(error.to_string().starts_with("a.jsonl:1: the sample has 9 tokens, but a row has 8"), "{error}");
}

#[test]
fn rows_of_chosen_and_rejected_are_pairs() {
    let all = samples(&[3, 5, 2, 2, 6, 4]);
    let pairs: Vec<_> =
        all.chunks(2).map(|two| TokenizedPair { chosen: two[0].clone(), rejected: two[1].clone() }).collect();
    let sampler = PreferenceSampler::new(pairs.clone(), 2, 1, PAD).unwrap();
    assert_eq!((sampler.steps_per_epoch(), sampler.tokens()), (1.5, 22));
    let batches: Vec<_> = (0..3).map(|step| sampler.batch(7, step, 0)).collect();
    let mut seen = Vec::new();
    for batch in batches.iter().cloned().chain(sampler.evaluation()) {
        assert_eq!(batch.chosen.time, batch.rejected.time);
        let rows = unpack(&batch.chosen).0.into_iter().zip(unpack(&batch.rejected).0);
        for (chosen, rejected) in rows {
            let pair = pairs.iter().position(|pair| expected(&pair.chosen) == chosen).unwrap();
            assert_eq!(expected(&pairs[pair].rejected), rejected);
            seen.push(pair);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    let mut other = pairs;
    other[2].rejected.trained[1] ^= true;
    assert_ne!(PreferenceSampler::new(other, 2, 1, PAD).unwrap().hash(), sampler.hash());
    assert!(PreferenceSampler::new(Vec::new(), 2, 1, PAD).is_err());
}

//! What a tap sees of a forward pass, against `transformers` and against the pass without it.

mod common;

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{GOLDEN, assert_close, golden_dir, golden_model, golden_values, ints, values};
use llm_checkpoint::load_tensors;
use llm_model::{CausalLm, KvCache, Part, Run, Segment, Tap};

/// Keeps all that it is shown.
struct Record {
    /// The layers whose attention it wants to see.
    layers: Vec<usize>,
    parts: Vec<(Part, Tensor<3>)>,
    /// By layer and segment.
    attention: Vec<([usize; 2], Tensor<4>)>,
}

impl Record {
    fn new(layers: impl IntoIterator<Item = usize>) -> Self {
        Self { layers: layers.into_iter().collect(), parts: Vec::new(), attention: Vec::new() }
    }

    /// Of all layers of `model`.
    fn of(model: &CausalLm) -> Self {
        Self::new(0..model.config().num_layers)
    }

    /// Which attention it was shown, in order.
    fn shown(&self) -> Vec<[usize; 2]> {
        self.attention.iter().map(|(place, _)| *place).collect()
    }
}

impl Tap for Record {
    fn part(&mut self, part: Part, x: &Tensor<3>) {
        self.parts.push((part, x.clone()));
    }

    fn wants_attention(&self, layer: usize) -> bool {
        self.layers.contains(&layer)
    }

    fn attention(&mut self, layer: usize, segment: usize, weights: Tensor<4>) {
        self.attention.push(([layer, segment], weights));
    }
}

/// The ids of a golden model, `(2, 24)`.
fn golden_ids(name: &str) -> Tensor<2, Int> {
    ints(&golden_values(name)["ids"], &Device::flex())
}

/// The attention weights that `transformers` computes, `(b, h, t, t)` each, by layer.
fn golden_attention(name: &str) -> Vec<Tensor<4>> {
    let stored: BTreeMap<String, TensorData> = load_tensors(&golden_dir(name).join("attention.safetensors")).unwrap();
    (0..stored.len()).map(|layer| Tensor::from_data(stored[&layer.to_string()].clone(), &Device::flex())).collect()
}

fn bits<const D: usize>(tensor: &Tensor<D>) -> Vec<u32> {
    values(tensor.clone()).into_iter().map(f32::to_bits).collect()
}

/// Every query spreads one over the keys.
fn assert_rows_sum_to_one(what: &str, weights: &Tensor<4>) {
    let sums = values(weights.clone().sum_dim(3));
    assert_close(&format!("{what}: sums of rows"), &sums, &vec![1.0; sums.len()], 1e-5);
}

#[test]
fn attention_equals_that_of_transformers() {
    for name in GOLDEN {
        let (model, theirs) = (golden_model(name), golden_attention(name));
        let mut record = Record::of(&model);
        model.hidden(Run::rows(golden_ids(name)).with_tap(&mut record));
        let layers: Vec<_> = (0..theirs.len()).map(|layer| [layer, 0]).collect();
        assert_eq!(record.shown(), layers, "{name}: the layers shown");
        for (([layer, _], ours), theirs) in record.attention.into_iter().zip(theirs) {
            let what = format!("{name}: layer {layer}");
            assert_eq!(ours.dims(), theirs.dims(), "{what}");
            assert_rows_sum_to_one(&what, &ours);
            assert_close(&what, &values(ours), &values(theirs), 1e-5);
        }
    }
}

#[test]
fn attention_is_shown_of_the_layers_that_are_asked_for() {
    let (model, ids) = (golden_model("gemma3"), golden_ids("gemma3"));
    for (layers, shown) in [(vec![], vec![]), (vec![1], vec![[1, 0]]), (vec![2, 0], vec![[0, 0], [2, 0]])] {
        let mut record = Record::new(layers);
        model.hidden(Run::rows(ids.clone()).with_tap(&mut record));
        assert_eq!(record.shown(), shown);
    }
}

#[test]
fn a_tap_changes_no_bit() {
    let device = Device::flex();
    for name in GOLDEN {
        let (model, ids) = (golden_model(name), golden_ids(name));
        let mut record = Record::of(&model);
        let [without, with] =
            [model.hidden(Run::rows(ids.clone())), model.hidden(Run::rows(ids.clone()).with_tap(&mut record))];
        assert_eq!(bits(&without), bits(&with), "{name}");

        // Nor what a cache holds, as the tokens that follow show.
        let mut record = Record::of(&model);
        let mut caches = [(); 2].map(|()| KvCache::new(model.config(), 24, &device));
        let row = |from, t| ids.clone().slice([0..1, from..from + t]);
        let [bare, tapped] = &mut caches;
        bare.expect(24);
        tapped.expect(24);
        let without = [(0, 20), (20, 4)].map(|(from, t)| model.hidden(Run::cached(row(from, t), bare)));
        let with =
            [(0, 20), (20, 4)].map(|(from, t)| model.hidden(Run::cached(row(from, t), tapped).with_tap(&mut record)));
        for (without, with) in without.iter().zip(&with) {
            assert_eq!(bits(without), bits(with), "{name}: with a cache");
        }
    }
}

#[test]
fn parts_are_shown_in_order_and_a_block_is_the_sum_of_what_came_before() {
    for name in GOLDEN {
        let model = golden_model(name);
        let mut record = Record::new([]);
        let hidden = model.hidden(Run::rows(golden_ids(name)).with_tap(&mut record));

        let learned = model.model.embed_positions.is_some();
        let mut expected = vec!["model.embed_tokens".to_owned()];
        expected.extend(learned.then(|| "model.embed_positions".into()));
        for layer in 0..model.config().num_layers {
            expected.extend([".self_attn", ".mlp", ""].map(|part| format!("model.layers.{layer}{part}")));
        }
        expected.push("model.norm".into());
        let names: Vec<String> = record.parts.iter().map(|(part, _)| part.to_string()).collect();
        assert_eq!(names, expected, "{name}");

        let mut parts = record.parts.into_iter();
        let mut stream = parts.next().unwrap().1;
        for (part, x) in parts {
            match part {
                Part::Block(_) => assert_eq!(bits(&x), bits(&stream), "{name}: {part}"),
                Part::Norm => assert_eq!(bits(&x), bits(&hidden), "{name}: {part}"),
                _ => stream = stream + x,
            }
        }
    }
}

#[test]
fn each_segment_shows_its_attention_as_it_is_alone() {
    let device = Device::flex();
    // Of each row of the golden ids, how many tokens a cache holds and how many are added to them. `transformers`
    // computed whole rows, which is what dynamic rotary scaling depends on.
    let segments = [(9, 5), (17, 7)];
    for name in GOLDEN {
        let (model, ids, theirs) = (golden_model(name), golden_ids(name), golden_attention(name));
        let row = |row: usize, from, t| ids.clone().slice([row..row + 1, from..from + t]);
        let caches = [0, 1].map(|i| {
            let mut cache = KvCache::new(model.config(), 24, &device);
            cache.expect(24);
            model.hidden(Run::cached(row(i, 0, segments[i].0), &mut cache));
            cache
        });

        let mut together = Record::of(&model);
        let mut held = caches.clone();
        let added = [0, 1].map(|i| row(i, segments[i].0, segments[i].1));
        let parts = held.iter_mut().zip(segments).map(|(cache, (_, tokens))| Segment { tokens, cache }).collect();
        model.hidden(Run::segments(Tensor::cat(added.to_vec(), 1), parts).with_tap(&mut together));
        let places: Vec<_> = (0..theirs.len()).flat_map(|layer| [[layer, 0], [layer, 1]]).collect();
        assert_eq!(together.shown(), places, "{name}: layers and segments shown");

        let alone = [0, 1].map(|i| {
            let mut record = Record::of(&model);
            model.hidden(Run::cached(added[i].clone(), &mut caches[i].clone()).with_tap(&mut record));
            record
        });
        for ([layer, i], ours) in together.attention {
            let what = format!("{name}: layer {layer}, segment {i}");
            let (held, t) = segments[i];
            let [_, h, ..] = theirs[layer].dims();
            assert_eq!(ours.dims(), [1, h, t, held + t], "{what}");
            assert_rows_sum_to_one(&what, &ours);
            let (place, alone) = &alone[i].attention[layer];
            assert_eq!(*place, [layer, 0], "{what}: alone");
            assert_close(&format!("{what}: alone"), &values(ours.clone()), &values(alone.clone()), 2e-5);
            let theirs = theirs[layer].clone().slice([i..i + 1, 0..h, held..held + t, 0..held + t]);
            assert_close(&what, &values(ours), &values(theirs), 1e-5);
        }
    }
}

#[test]
fn packed_rows_show_the_attention_of_each_sample_as_it_is_alone() {
    // Where samples of a row of 24 tokens begin, and how long they are.
    let samples = [(0, 9), (9, 15)];
    let starts = samples.map(|(from, t)| vec![from as u32; t]).concat().repeat(2);
    for name in GOLDEN {
        let (model, ids) = (golden_model(name), golden_ids(name));
        let mut packed = Record::of(&model);
        model.hidden(Run::packed(ids.clone(), Some(&starts.clone().into())).with_tap(&mut packed));
        for (from, t) in samples {
            let mut alone = Record::of(&model);
            model.hidden(Run::rows(ids.clone().narrow(1, from, t)).with_tap(&mut alone));
            assert_eq!(packed.shown(), alone.shown(), "{name}: the layers shown");
            for (([layer, _], packed), (_, alone)) in packed.attention.iter().zip(alone.attention) {
                let what = format!("{name}: layer {layer}, sample at {from}");
                let queries = packed.clone().narrow(2, from, t);
                // A sample that sums to one among its own keys sees no other.
                let own = queries.narrow(3, from, t);
                assert_rows_sum_to_one(&what, &own);
                assert_close(&what, &values(own), &values(alone), 2e-5);
            }
        }
    }
}

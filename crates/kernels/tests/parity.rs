//! Every fused operation against its reference: forward and all gradients, on odd shapes, views and large values.
#![cfg(feature = "cpu")]

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_kernels::{
    AdamStep, Causal, IGNORED, adam, adam_reference, attention, attention_reference, cross_entropy,
    cross_entropy_reference, gelu_tanh, gelu_tanh_reference, layer_norm, layer_norm_reference, linear,
    linear_cross_entropy, linear_cross_entropy_reference, linear_reference, profile, relu2, relu2_reference, rms_norm,
    rms_norm_reference, rotate, rotate_reference, sum_of_squares, sum_of_squares_reference, swiglu, swiglu_reference,
};

fn device() -> Device {
    Device::flex().autodiff()
}

/// Values of mean 0 and deviation `scale`, another set at every call, the same in every run.
fn values<const D: usize>(shape: [usize; D], scale: f64) -> Tensor<D> {
    thread_local!(static CALLS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
    let mut state = CALLS.with(|calls| calls.replace(calls.get() + 1)) << 32;
    let mut uniform = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15); // SplitMix64
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 24) as f64
    };
    let n = shape.iter().product();
    let normal = (0..n).map(|_| ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) * scale);
    Tensor::from_data(TensorData::new(normal.map(|x| x as f32).collect::<Vec<_>>(), shape), &device())
}

fn random<const D: usize>(shape: [usize; D], scale: f64) -> Tensor<D> {
    values(shape, scale).require_grad()
}

/// A leaf whose memory is not laid out as its shape.
fn random_transposed(shape: [usize; 2]) -> Tensor<2> {
    values([shape[1], shape[0]], 1.0).transpose().require_grad()
}

/// Largest difference, relative to the largest value.
fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let scale = b.clone().abs().max().into_scalar::<f32>().max(0.1);
    (a - b).abs().max().into_scalar::<f32>() / scale
}

/// Compares outputs and the gradients by each leaf, with a random gradient from above.
macro_rules! assert_parity {
    ($fused:expr, $reference:expr, [$($leaf:ident),*], $what:expr) => {{
        let (fused, reference) = ($fused, $reference);
        assert!(difference(fused.clone().inner(), reference.clone().inner()) < 2e-5, "{}: forward", $what);
        let weights = values(fused.dims(), 1.0);
        let (mut fused, mut reference) =
            ((fused * weights.clone()).sum().backward(), (reference * weights).sum().backward());
        $(
            let (a, b) = ($leaf.grad_remove(&mut fused).unwrap(), $leaf.grad_remove(&mut reference).unwrap());
            assert!(difference(a, b) < 1e-4, "{}: gradient by {}", $what, stringify!($leaf));
        )*
    }};
}

#[test]
fn norms() {
    for (n, d) in [(1, 1), (7, 129), (129, 7), (200, 64)] {
        for scale in [1.0, 1e3] {
            let (x, w, b) = (random([n, d], scale), random([d], 1.0), random([d], 1.0));
            let what = format!("({n}, {d}) × {scale}");
            let [lw, lb] = [w.clone(), b.clone()];
            if d > 1 {
                assert_parity!(
                    layer_norm(x.clone(), lw.clone(), lb.clone(), 1e-5),
                    layer_norm_reference(x.clone(), lw, lb, 1e-5),
                    [x, w, b],
                    what
                );
            }
            assert_parity!(
                rms_norm(x.clone(), w.clone(), 1e-6),
                rms_norm_reference(x.clone(), w.clone(), 1e-6),
                [x, w],
                what
            );
        }
    }
    let (x, w) = (random_transposed([33, 20]), random([20], 1.0));
    assert_parity!(
        rms_norm(x.clone(), w.clone(), 1e-6),
        rms_norm_reference(x.clone(), w.clone(), 1e-6),
        [x, w],
        "view"
    );
}

#[test]
fn activations() {
    for n in [1, 7, 129, 40_000] {
        let (x, y) = (random([n, 3], 3.0), random([n, 3], 3.0));
        assert_parity!(gelu_tanh(x.clone()), gelu_tanh_reference(x.clone()), [x], n);
        assert_parity!(relu2(x.clone()), relu2_reference(x.clone()), [x], n);
        assert_parity!(swiglu(x.clone(), y.clone()), swiglu_reference(x.clone(), y.clone()), [x, y], n);
    }
    let x = random_transposed([9, 5]);
    assert_parity!(gelu_tanh(x.clone()), gelu_tanh_reference(x.clone()), [x], "view");
}

#[test]
fn linears() {
    for (n, i, o) in [(1, 1, 1), (7, 129, 1), (129, 7, 65), (300, 128, 130)] {
        let (x, w, b) = (random([n, i], 1.0), random([o, i], 1.0), random([o], 1.0));
        let what = format!("{n} × {i} → {o}");
        let bias = Some(b.clone());
        assert_parity!(
            linear(x.clone(), w.clone(), bias.clone()),
            linear_reference(x.clone(), w.clone(), bias),
            [x, w, b],
            what
        );
        assert_parity!(linear(x.clone(), w.clone(), None), linear_reference(x.clone(), w.clone(), None), [x, w], what);
    }
    let (x, w) = (random_transposed([9, 5]), random_transposed([4, 5]));
    assert_parity!(linear(x.clone(), w.clone(), None), linear_reference(x.clone(), w.clone(), None), [x, w], "views");
}

#[test]
fn rotations() {
    for (b, t, h, hd) in [(1, 1, 1, 2), (2, 7, 3, 6), (1, 129, 2, 64)] {
        let x = random([b, t, h, hd], 1.0);
        let angles = values([t, hd / 2], 3.0);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        assert_parity!(
            rotate(x.clone(), cos.clone(), sin.clone()),
            rotate_reference(x.clone(), cos, sin),
            [x],
            format!("({b}, {t}, {h}, {hd})")
        );
    }
}

#[test]
fn cross_entropies() {
    for (n, v) in [(1, 1), (7, 129), (129, 7), (64, 1000)] {
        for scale in [1.0, 1e4] {
            let logits = random([n, v], scale);
            let ids: Vec<i32> = (0..n).map(|i| if i % 5 == 3 { IGNORED } else { (i * 31 % v) as i32 }).collect();
            let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), &device());
            assert_parity!(
                cross_entropy(logits.clone(), targets.clone()),
                cross_entropy_reference(logits.clone(), targets.clone()),
                [logits],
                format!("({n}, {v}) × {scale}")
            );
        }
    }
}

#[test]
fn attentions() {
    let shapes =
        [(1, 1, 1, 1, 2), (2, 7, 4, 2, 6), (1, 129, 2, 1, 64), (3, 65, 3, 3, 5), (1, 200, 4, 1, 16), (2, 64, 2, 2, 32)];
    for (b, t, h, kv, hd) in shapes {
        for (start, window) in [(0, None), (0, Some(1)), (0, Some(9)), (5, None), (70, Some(66))] {
            let s = start + t;
            let (q, k, v) = (random([b, t, h, hd], 2.0), random([b, s, kv, hd], 2.0), random([b, s, kv, hd], 1.0));
            let causal = Causal { start, window };
            assert_parity!(
                attention(q.clone(), k.clone(), v.clone(), causal),
                attention_reference(q.clone(), k.clone(), v.clone(), causal, |weights| weights),
                [q, k, v],
                format!("({b}, {t}, {h}/{kv}, {hd}), {causal:?}")
            );
        }
    }
}

#[test]
fn attention_reads_a_part_of_a_cache_in_place() {
    let (q, cache) = (random([2, 3, 4, 8], 1.0), random([2, 40, 2, 8], 1.0));
    let keys = || cache.clone().narrow(1, 0, 13);
    let causal = Causal { start: 10, window: None };
    assert_parity!(
        attention(q.clone(), keys(), keys(), causal),
        attention_reference(q.clone(), keys(), keys(), causal, |weights| weights),
        [q, cache],
        "cache"
    );
}

#[test]
fn linear_cross_entropies() {
    // The last shape needs several blocks of rows.
    for (n, d, v) in [(1, 1, 1), (7, 129, 65), (129, 7, 9), (65, 3, 270_000)] {
        let (x, w) = (random([n, d], 1.0), random([v, d], 1.0));
        let ids: Vec<i32> = (0..n).map(|i| if i % 5 == 3 { IGNORED } else { (i * 31 % v) as i32 }).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), &device());
        assert_parity!(
            linear_cross_entropy(x.clone(), w.clone(), targets.clone()),
            linear_cross_entropy_reference(x.clone(), w.clone(), targets.clone()),
            [x, w],
            format!("({n}, {d}, {v})")
        );
        let [x, w, targets] = [x.inner().reshape([n * d]), w.inner().reshape([v * d]), targets.float().inner()];
        let untracked = |f: fn(Tensor<2>, Tensor<2>, Tensor<1, Int>) -> Tensor<1>| {
            f(x.clone().reshape([n, d]), w.clone().reshape([v, d]), targets.clone().int())
        };
        assert!(difference(untracked(linear_cross_entropy), untracked(linear_cross_entropy_reference)) < 2e-5);
    }
}

#[test]
fn adam_steps() {
    let step = AdamStep { betas: [0.9, 0.95], grad_factor: 0.3, decay_factor: 0.999, rate: 1e-2, eps: 1e-8 };
    for n in [1, 7, 129, 70_000] {
        let leaf = |scale| values([n], scale).inner();
        let (w, g, m, v) = (leaf(1.0), leaf(1.0), leaf(1.0), leaf(1.0).square());
        let (w1, [m1, v1]) = adam_reference(w.clone(), g.clone(), [m.clone(), v.clone()], step);
        // Once over tensors that are held here too and must not change, and once in place.
        let before = w.clone().into_data();
        let (w2, [m2, v2]) = adam(w.clone(), g.clone(), [m.clone(), v.clone()], step);
        assert_eq!(w.clone().into_data(), before);
        let (w3, [m3, v3]) = adam(w, g, [m, v], step);
        for (name, reference, shared, in_place) in [("w", w1, w2, w3), ("m", m1, m2, m3), ("v", v1, v2, v3)] {
            assert!(difference(shared.clone(), reference) < 1e-6, "{name} of {n}");
            assert_eq!(shared.into_data(), in_place.into_data(), "{name} of {n}");
        }
    }
}

#[test]
fn sums_of_squares() {
    for shape in [[1, 1], [7, 129], [300, 200]] {
        let x = values(shape, 3.0).inner();
        assert!(difference(sum_of_squares(x.clone()), sum_of_squares_reference(x.clone())) < 1e-5);
        assert!(difference(sum_of_squares(x.clone().transpose()), sum_of_squares_reference(x)) < 1e-5);
    }
}

#[test]
fn a_profile_counts_calls_flops_and_bytes() {
    let (x, w) = (values([5, 3], 1.0).inner(), values([7, 3], 1.0).inner());
    let (y, costs) = profile(|| linear(x, w, None));
    assert_eq!(y.dims(), [5, 7]);
    // Other tests run at the same time.
    let cost = costs["linear forward"];
    assert!(cost.calls >= 1 && cost.flops >= 210.0 && cost.bytes >= 4.0 * (15.0 + 21.0 + 35.0), "{cost:?}");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let (x, w, b) = (random([300, 64], 1.0), random([64], 1.0), random([64], 1.0));
    let weight = random([900, 64], 1.0);
    let ids: Vec<i32> = (0..300).map(|i| i * 3).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [300]), &device());
    let run = || {
        let y = layer_norm(x.clone(), w.clone(), b.clone(), 1e-5);
        let y = linear(gelu_tanh(y), weight.clone().narrow(0, 0, 64), None).reshape([2, 150, 4, 16]);
        let y = attention(y.clone(), y.clone(), y, Causal { start: 0, window: None });
        let grads = linear_cross_entropy(y.reshape([300, 64]), weight.clone(), targets.clone()).backward();
        let weights = [w.grad(&grads).unwrap(), b.grad(&grads).unwrap()].map(Tensor::into_data);
        let matrices = [x.grad(&grads).unwrap(), weight.grad(&grads).unwrap()].map(Tensor::into_data);
        (weights, matrices)
    };
    let alone = pool(1).install(run);
    assert_eq!(alone, pool(3).install(run));
    assert_eq!(alone, pool(3).install(run));
}

//! Every fused operation against its reference: forward and all gradients, on odd shapes, views and large values.
#![cfg(feature = "cpu")]

use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use llm_gguf::TensorType;
use llm_kernels::{
    Activation, AdamStep, Adapter, IGNORED, Input, Precision, QuantizedWeight, Segment, Visible, Weight, adam,
    adam_reference, attention, attention_reference, attention_weights, cross_entropy, cross_entropy_reference, dropout,
    embedding, embedding_reference, is_fused, layer_norm, layer_norm_reference, linear, linear_cross_entropy,
    linear_cross_entropy_reference, linear_reference, profile, rms_norm, rms_norm_reference, rotate, rotate_reference,
    segment_attention, segment_attention_reference, sum_of_squares, sum_of_squares_reference,
};

/// Flex with gradients, where every function has a fused version to hold to its reference.
fn device() -> Device {
    let device = Device::flex().autodiff();
    assert!(is_fused(&device, DType::F32), "the references would be compared with themselves");
    device
}

/// [`linear`] or [`linear_reference`].
type LinearFn = fn(Input, Weight, Option<Tensor<1>>, Option<Adapter>, Precision) -> Tensor<2>;
/// The fused version and its reference.
const LINEARS: [LinearFn; 2] = [
    |x, w, bias, adapter, p| linear(x, w, bias, adapter, p),
    |x, w, bias, adapter, p| linear_reference(x, w, bias, adapter, p),
];

/// `x·wᵀ` in float32, fused.
fn plain(x: &Tensor<2>, w: impl Into<Weight>) -> Tensor<2> {
    linear(x.clone(), w, None, None, Precision::F32)
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
fn embeddings() {
    for (b, t, v, d) in [(1, 1, 1, 1), (3, 7, 5, 129), (2, 129, 300, 7)] {
        let ids: Vec<i32> = (0..b * t).map(|i| (i * i * 7 % v) as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [b, t]), &device());
        let w = random([v, d], 1.0);
        let what = format!("({b}, {t}) of ({v}, {d})");
        assert_parity!(embedding(w.clone(), ids.clone()), embedding_reference(w.clone(), ids), [w], what);
    }
    let (w, ids) = (random_transposed([6, 5]), Tensor::<2, Int>::from_data([[1, 5, 1], [0, 1, 2]], &device()));
    let ids = ids.transpose();
    assert_parity!(embedding(w.clone(), ids.clone()), embedding_reference(w.clone(), ids), [w], "views");
}

/// The gradient of a table that is the head's weight too, of which the embedding adds its part to the head's; and of one
/// that is used thrice.
#[test]
fn tied_embeddings() {
    for (b, t, v, d) in [(1, 1, 2, 1), (3, 7, 5, 129), (2, 129, 300, 7)] {
        let ids = |factor: usize| {
            let ids: Vec<i32> = (0..b * t).map(|i| (i * i * factor % v) as i32).collect();
            Tensor::<2, Int>::from_data(TensorData::new(ids, [b, t]), &device())
        };
        let targets = || ids(11).reshape([b * t]);
        let w = random([v, d], 1.0);
        let hidden = |x: Tensor<3>| x.reshape([b * t, d]);
        let what = format!("({b}, {t}) of ({v}, {d})");
        assert_parity!(
            linear_cross_entropy(hidden(embedding(w.clone(), ids(7))), w.clone(), targets(), Precision::F32),
            linear_cross_entropy_reference(
                hidden(embedding_reference(w.clone(), ids(7))),
                w.clone(),
                targets(),
                Precision::F32
            ),
            [w],
            what
        );
        assert_parity!(
            plain(&hidden(embedding(w.clone(), ids(7)) + embedding(w.clone(), ids(3))), w.clone()),
            linear_reference(
                hidden(embedding_reference(w.clone(), ids(7)) + embedding_reference(w.clone(), ids(3))),
                w.clone(),
                None,
                None,
                Precision::F32
            ),
            [w],
            what
        );
    }
}

#[test]
fn norms() {
    // Where weights are not too small beside biases, the backward pass begins with the output, else with the input.
    type Change = fn(Tensor<1>) -> Tensor<1>;
    let weights: [(&str, Change); 3] = [
        ("any weights", |w| w),
        ("weights away from zero", |w| w.clone().sign() * (w.abs() + 0.5)),
        ("one weight of zero", |w| w.slice_fill(0..1, 0.0)),
    ];
    for (n, d) in [(1, 1), (7, 129), (129, 7), (200, 64)] {
        for (scale, (of, weights)) in [1.0, 1e3].into_iter().flat_map(|scale| weights.map(|weights| (scale, weights))) {
            let (x, b) = (random([n, d], scale), random([d], 1.0));
            let w = weights(values([d], 1.0)).require_grad();
            let what = format!("({n}, {d}) × {scale}, {of}");
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
fn activated_linears() {
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu2, Activation::Silu] {
        for (n, i, o) in [(1, 1, 1), (7, 129, 3), (129, 7, 65), (400, 100, 4)] {
            let (x, factor) = (random([n, i], 3.0), random([n, i], 1.0));
            let (w, b) = (random([o, i], 1.0), random([o], 1.0));
            let run = |f: LinearFn, factor: Option<&Tensor<2>>| {
                let input = Input::Activated(activation, x.clone(), factor.cloned());
                f(input, w.clone().into(), Some(b.clone()), None, Precision::F32)
            };
            let what = format!("{activation:?}, {n} × {i} → {o}");
            let [fused, reference] = LINEARS.map(|f| run(f, None));
            assert_parity!(fused, reference, [x, w, b], what);
            let [fused, reference] = LINEARS.map(|f| run(f, Some(&factor)));
            assert_parity!(fused, reference, [x, factor, w, b], format!("{what}, gated"));
        }
    }
    let (x, w) = (random_transposed([9, 5]), random_transposed([4, 5]));
    let [fused, reference] = LINEARS.map(|f| {
        let input = Input::Activated(Activation::GeluTanh, x.clone(), Some(x.clone()));
        f(input, w.clone().into(), None, None, Precision::F32)
    });
    assert_parity!(fused, reference, [x, w], "views, one tensor twice");
}

#[test]
fn linears_with_adapters() {
    for (n, i, o, r) in [(1, 1, 1, 1), (7, 129, 3, 2), (129, 7, 65, 8), (300, 100, 130, 5)] {
        let (x, factor) = (random([n, i], 1.0), random([n, i], 1.0));
        let (w, bias) = (random([o, i], 1.0), random([o], 1.0));
        let (a, b) = (random([r, i], 1.0), random([o, r], 1.0));
        let adapter = || Some(Adapter { a: a.clone(), b: b.clone(), scale: 1.7, dropout: 0.0 });
        let what = format!("{n} × {i} → {o}, rank {r}");
        let run = |f: LinearFn, input: &Input, w: &Tensor<2>| {
            f(input.clone(), w.clone().into(), Some(bias.clone()), adapter(), Precision::F32)
        };
        for input in [Input::Plain(x.clone()), Input::Activated(Activation::Silu, x.clone(), None)] {
            let [fused, reference] = LINEARS.map(|f| run(f, &input, &w));
            assert_parity!(fused, reference, [x, w, bias, a, b], what);
        }
        let gated = Input::Activated(Activation::GeluTanh, x.clone(), Some(factor.clone()));
        let [fused, reference] = LINEARS.map(|f| run(f, &gated, &w));
        assert_parity!(fused, reference, [x, factor, w, bias, a, b], what);

        // A frozen weight has no gradient, and the others are the same.
        let frozen = w.clone().detach().set_require_grad(false);
        let [fused, reference] = LINEARS.map(|f| run(f, &gated, &frozen));
        assert_parity!(fused, reference, [x, factor, bias, a, b], what);
        assert!(frozen.grad(&run(LINEARS[0], &gated, &frozen).sum().backward()).is_none());
    }
    let (x, w, a, b) =
        (random_transposed([9, 5]), random_transposed([4, 5]), random_transposed([2, 5]), random_transposed([4, 2]));
    let [fused, reference] = LINEARS.map(|f| {
        let adapter = Adapter { a: a.clone(), b: b.clone(), scale: 0.5, dropout: 0.0 };
        f(x.clone().into(), w.clone().into(), None, Some(adapter), Precision::F32)
    });
    assert_parity!(fused, reference, [x, w, a, b], "views");
}

#[test]
fn dropout_of_adapters_is_the_same_in_both_passes() {
    let (n, i, o, r) = (40, 30, 20, 4);
    let (x, w) = (random([n, i], 1.0), values([o, i], 1.0));
    let (a, b) = (random([r, i], 1.0), random([o, r], 1.0));
    let y = |x: &Tensor<2>, dropout| {
        device().seed(3);
        let adapter = Adapter { a: a.clone(), b: b.clone(), scale: 2.0, dropout };
        linear(x.clone(), w.clone(), None, Some(adapter), Precision::F32)
    };
    // What is dropped, told by the same mask on ones: the layer is linear in its input, so the gradient tells the output.
    let grads = y(&x, 0.3).sum().backward();
    let (by_x, by_b) = (x.grad(&grads).unwrap(), b.grad(&grads).unwrap());
    let [by_x, out] = [(by_x * x.clone().inner()).sum(), y(&x, 0.3).inner().sum()].map(Tensor::into_scalar::<f32>);
    assert!((by_x - out).abs() < 1e-2 * out.abs().max(1.0), "{by_x} against {out}");
    let linear_part = y(&x, 0.3).inner() - plain(&x, w.clone()).inner();
    let [by_b, added] = [(by_b * b.clone().inner()).sum(), linear_part.sum()].map(Tensor::into_scalar::<f32>);
    assert!((by_b - added).abs() < 1e-2 * added.abs().max(1.0), "{by_b} against {added}");
    assert!(difference(y(&x, 0.3).inner(), y(&x, 0.0).inner()) > 0.01, "nothing was dropped");
}

/// A frozen weight of two bytes a value counts as the values that it has, whether all of them are widened at once or not.
#[test]
fn frozen_halves_pass_gradients_on() {
    for (n, i, o) in [(1, 70, 33), (5, 70, 33), (20, 70, 33), (300, 70, 33), (20, 4_100, 1_100)] {
        let (x, w) = (random([n, i], 1.0), values([o, i], 1.0));
        for precision in [Precision::F16, Precision::Bf16] {
            let half = w.clone().cast(precision.dtype());
            let widened = half.clone().cast(Precision::F32.dtype());
            let run = |w: &Tensor<2>| plain(&x, w.clone());
            assert_parity!(run(&half), run(&widened), [x], format!("{n} × {i} → {o}, {precision:?}"));
        }
    }
}

/// So does a quantized one, in every operation that takes a weight.
#[test]
fn quantized_weights_count_as_the_values_that_they_have() {
    for (n, i, o) in [(1, 32, 1), (7, 64, 5), (130, 96, 65), (20, 4_096, 1_100)] {
        let (x, factor, bias) = (random([n, i], 1.0), random([n, i], 1.0), random([o], 1.0));
        let (a, b) = (random([3, i], 1.0), random([o, 3], 1.0));
        let exact: Vec<f32> = values([o, i], 1.0).into_data().try_into_vec().unwrap();
        for kind in [TensorType::Q8_0, TensorType::Q4_0] {
            let q = QuantizedWeight::quantize(kind, [o, i], &exact).unwrap();
            let w = Tensor::<2>::from_data(TensorData::new(q.values(), [o, i]), &device());
            let what = format!("{n} × {i} → {o}, {kind}");

            let bias_too = || Some(bias.clone());
            for run in LINEARS {
                let expected = linear(x.clone(), w.clone(), bias_too(), None, Precision::F32);
                let y = run(x.clone().into(), q.clone().into(), bias_too(), None, Precision::F32);
                assert_parity!(y, expected, [x, bias], what);
            }
            let adapter = || Some(Adapter { a: a.clone(), b: b.clone(), scale: 0.7, dropout: 0.0 });
            let activated = |factor| Input::Activated(Activation::Silu, x.clone(), factor);
            for input in [activated(None), activated(Some(factor.clone())), x.clone().into()] {
                let run = |w: Weight| linear(input.clone(), w, None, None, Precision::F32);
                assert_parity!(run(q.clone().into()), run(w.clone().into()), [x], what);
                let run = |w: Weight| linear(input.clone(), w, bias_too(), adapter(), Precision::F32);
                assert_parity!(run(q.clone().into()), run(w.clone().into()), [x, bias, a, b], what);
            }
            let ids = |n: usize| (0..n).map(|i| (i * 7 % o) as i32).collect::<Vec<_>>();
            let rows = Tensor::<2, Int>::from_data(TensorData::new(ids(6), [2, 3]), &device());
            assert_eq!(embedding(q.clone(), rows.clone()).into_data(), embedding(w.clone(), rows).into_data());
            let targets = Tensor::<1, Int>::from_data(TensorData::new(ids(n), [n]), &device());
            let run = |w: Weight| linear_cross_entropy(x.clone(), w, targets.clone(), Precision::F32);
            assert_parity!(run(q.clone().into()), run(w.clone().into()), [x], format!("{what}, head"));
        }
    }
}

/// Whatever a frozen weight is stored in, its products are those of factors rounded to the precision.
#[test]
fn frozen_weights_are_rounded_to_the_precision_of_their_products() {
    for (n, i, o) in [(1, 64, 5), (7, 128, 33), (140, 64, 65), (20, 4_096, 1_100)] {
        let (x, w, g) = (random([n, i], 1.0), values([o, i], 1.0), values([n, o], 1.0));
        let exact: Vec<f32> = w.clone().into_data().try_into_vec().unwrap();
        let q8 = QuantizedWeight::quantize(TensorType::Q8_0, [o, i], &exact).unwrap();
        let stored: [Weight; 3] =
            [w.clone().cast(FloatDType::F16).into(), w.clone().cast(FloatDType::BF16).into(), q8.into()];
        for weight in stored {
            for precision in [Precision::F16, Precision::Bf16] {
                let [x16, w16, g16] = [&x, &weight.in_float32(&device()), &g].map(|factor| rounded(factor, precision));
                let y = linear(x.clone(), weight.clone(), None, None, precision);
                let mut grads = (y.clone() * g.clone()).sum().backward();
                let what = format!("{weight:?}, {precision:?}");
                assert!(difference(y.inner(), x16.matmul(w16.clone().transpose())) < 1e-5, "{what}: forward");
                assert!(difference(x.grad_remove(&mut grads).unwrap(), g16.matmul(w16)) < 1e-5, "{what}: gradient");
            }
        }
    }
}

/// The head and its loss have the same gradient by the hidden states whether the head is frozen or not.
#[test]
fn a_frozen_head_has_no_gradient() {
    let (x, w) = (random([9, 8], 1.0), random([11, 8], 1.0));
    let targets = || Tensor::<1, Int>::from_data(TensorData::from([0, 1, 2, 3, IGNORED, 5, 6, 7, 8]), &device());
    let loss = |w: &Tensor<2>| linear_cross_entropy(x.clone(), w.clone(), targets(), Precision::F32);
    let frozen = w.clone().detach().set_require_grad(false);
    assert_parity!(loss(&frozen), loss(&w), [x], "frozen head");
    assert!(frozen.grad(&loss(&frozen).backward()).is_none());
}

#[test]
fn linears() {
    for (n, i, o) in [(1, 1, 1), (7, 129, 1), (129, 7, 65), (300, 128, 130)] {
        let (x, w, b) = (random([n, i], 1.0), random([o, i], 1.0), random([o], 1.0));
        let what = format!("{n} × {i} → {o}");
        let run = |bias: Option<&Tensor<1>>| {
            LINEARS.map(|f| f(x.clone().into(), w.clone().into(), bias.cloned(), None, Precision::F32))
        };
        let [fused, reference] = run(Some(&b));
        assert_parity!(fused, reference, [x, w, b], what);
        let [fused, reference] = run(None);
        assert_parity!(fused, reference, [x, w], what);
    }
    let (x, w) = (random_transposed([9, 5]), random_transposed([4, 5]));
    let [fused, reference] = LINEARS.map(|f| f(x.clone().into(), w.clone().into(), None, None, Precision::F32));
    assert_parity!(fused, reference, [x, w], "views");
}

/// Leaves whose values are rounded to `precision`, as the gradients see them too.
fn rounded<const D: usize>(x: &Tensor<D>, precision: Precision) -> Tensor<D> {
    x.clone().inner().cast(precision.dtype()).cast(Precision::F32.dtype())
}

#[test]
fn lower_precision_rounds_the_factors_of_every_product_and_nothing_else() {
    for precision in [Precision::F16, Precision::Bf16] {
        for (n, i, o) in [(1, 1, 1), (7, 129, 5), (129, 7, 65), (200, 210, 60)] {
            let (x, w, g) = (random([n, i], 1.0), random([o, i], 1.0), values([n, o], 1.0));
            let y = linear(x.clone(), w.clone(), None, None, precision);
            let mut grads = (y.clone() * g.clone()).sum().backward();
            let [x16, w16, g16] = [&x, &w, &g].map(|factor| rounded(factor, precision));
            let what = format!("{precision:?}, {n} × {i} → {o}");
            assert!(difference(y.inner(), x16.clone().matmul(w16.clone().transpose())) < 1e-5, "{what}: forward");
            let (by_x, by_w) = (x.grad_remove(&mut grads).unwrap(), w.grad_remove(&mut grads).unwrap());
            assert!(difference(by_x, g16.clone().matmul(w16.clone())) < 1e-5, "{what}: gradient by x");
            assert!(difference(by_w, g16.transpose().matmul(x16.clone())) < 1e-5, "{what}: gradient by the weight");

            let ids = Tensor::<1, Int>::from_data(TensorData::new(vec![0i32; n], [n]), &device());
            let loss = linear_cross_entropy(x, w, ids.clone(), precision).inner();
            let expected = cross_entropy_reference(x16.matmul(w16.transpose()), ids.inner()).sum();
            assert!(difference(loss, expected) < 1e-5, "{what}: loss");
        }
    }
}

#[test]
fn dropout_keeps_the_share_and_the_mean_and_repeats_with_the_seed() {
    let x = values([300, 200], 0.0).add_scalar(1.0).require_grad();
    let drop = |seed: u64| {
        device().seed(seed);
        dropout(x.clone(), 0.25)
    };
    let y = drop(7);
    let grads = y.clone().sum().backward();
    let y = y.inner();
    assert_eq!(x.grad(&grads).unwrap().into_data(), y.clone().into_data(), "the gradient has the same mask");
    assert_eq!(drop(7).inner().into_data(), y.clone().into_data(), "the same seed");
    assert_ne!(drop(8).inner().into_data(), y.clone().into_data(), "another seed");
    let kept = y.clone().greater_elem(0.0).int().sum().into_scalar::<i32>();
    assert!((kept - 45_000).abs() < 500, "{kept} of 60,000 kept"); // a deviation is 106
    assert_eq!(y.max().into_scalar::<f32>(), 1.0 / 0.75);
    // Rows and columns are dropped independently of each other.
    let kept = drop(9).inner().greater_elem(0.0).float();
    for (axis, n) in [(0, 300.0), (1, 200.0)] {
        let shares = kept.clone().mean_dim(axis);
        let spread = shares.sub_scalar(0.75).square().mean().sqrt().into_scalar::<f32>();
        let expected = (0.75f32 * 0.25 / n).sqrt();
        assert!((spread / expected - 1.0).abs() < 0.2, "axis {axis}: {spread}, not {expected}");
    }
}

#[test]
fn attention_with_dropout() {
    let (b, t, h, kv, hd) = (2, 70, 4, 2, 8);
    let [q, k, v] = [random([b, t, h, hd], 1.0), random([b, t, kv, hd], 1.0), random([b, t, kv, hd], 1.0)];
    let causal = Visible::causal(0, Some(50));
    let run = |v: Tensor<4>| {
        device().seed(3);
        attention(q.clone(), k.clone(), v, &causal, 0.3)
    };
    // With values of one, an output is the sum of the weights that are left; the mean of all is near 1.
    let sums = run(v.ones_like()).inner();
    let mean = sums.clone().mean().into_scalar::<f32>();
    assert!((mean - 1.0).abs() < 0.03 && (sums - 1.0).abs().max().into_scalar::<f32>() > 0.1, "{mean}");
    // The output is linear in v, with the same mask for the same seed.
    let y = run(v.clone());
    let doubled = run(v.clone() * 2.0);
    assert!(difference(doubled.inner(), y.clone().inner() * 2.0) < 1e-5);
    // Gradients by differences, along random directions.
    let weights = values(y.dims(), 1.0);
    let loss = |q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>| {
        device().seed(3);
        (attention(q.clone(), k.clone(), v.clone(), &causal, 0.3) * weights.clone()).sum()
    };
    let grads = loss(&q, &k, &v).backward();
    for (name, leaf) in [("q", &q), ("k", &k), ("v", &v)] {
        let direction = values(leaf.dims(), 1.0);
        let moved = |step: f32| {
            let other = Tensor::from_inner((leaf.clone() + direction.clone() * step).inner());
            let [q, k, v] =
                [("q", &q), ("k", &k), ("v", &v)].map(|(n, x)| if n == name { other.clone() } else { x.clone() });
            f64::from(loss(&q, &k, &v).into_scalar::<f32>())
        };
        let numeric = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        let analytic = f64::from((leaf.grad(&grads).unwrap() * direction.inner()).sum().into_scalar::<f32>());
        assert!((numeric - analytic).abs() < 1e-2 * analytic.abs().max(1.0), "{name}: {analytic}, not {numeric}");
    }
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

/// An encoder's attention: all keys of a row, as many as it has, which need not be as many as the queries.
#[test]
fn attentions_without_order() {
    for (b, t, s, h, kv, hd) in [(1, 1, 1, 1, 1, 2), (2, 7, 5, 4, 2, 6), (3, 40, 130, 3, 1, 16)] {
        let (q, k, v) = (random([b, t, h, hd], 2.0), random([b, s, kv, hd], 2.0), random([b, s, kv, hd], 1.0));
        let lengths = (0..b).map(|row| s - row).collect();
        let whole = Visible::Whole { lengths };
        assert_parity!(
            attention(q.clone(), k.clone(), v.clone(), &whole, 0.0),
            attention_reference(q.clone(), k.clone(), v.clone(), &whole, 0.0),
            [q, k, v],
            format!("{b} × {t} to {s}")
        );
        // A row is what it is alone, without what fills it up; and the weights of a query add up to one.
        let (row, length) = (b - 1, s - b + 1);
        let together = attention(q.clone(), k.clone(), v.clone(), &whole, 0.0).narrow(0, row, 1);
        let [k, v] = [k, v].map(|x| x.narrow(0, row, 1).narrow(1, 0, length));
        let alone = Visible::Whole { lengths: vec![length].into() };
        let q = q.narrow(0, row, 1);
        assert!(difference(attention(q.clone(), k.clone(), v, &alone, 0.0).inner(), together.inner()) < 1e-6);
        let sums = attention_weights(q, k, &alone).sum_dim(3);
        assert!((sums - 1.0).abs().max().into_scalar::<f32>() < 1e-5);
    }
}

/// Several sequences in one pass: each as if it were alone, with keys and values in float32 or in float16.
#[test]
fn attentions_of_segments() {
    let device = Device::flex();
    let (h, kv, hd) = (4, 2, 16);
    for tokens in [vec![1], vec![1, 1, 1], vec![40, 1, 7, 1]] {
        let n = tokens.iter().sum();
        let q = values([1, n, h, hd], 2.0).inner();
        for half in [false, true] {
            let stored = |s: usize| {
                let x = values([1, s, kv, hd], 1.0).inner();
                if half { x.cast(FloatDType::F16) } else { x }
            };
            let segment = |(i, tokens): (usize, &usize)| {
                let start = i * 33;
                let s = start + tokens;
                let window = (i % 2 == 1).then_some(20);
                Segment { tokens: *tokens, keys: stored(s), values: stored(s), visible: Visible::causal(start, window) }
            };
            let segments: Vec<_> = tokens.iter().enumerate().map(segment).collect();
            let together = segment_attention(q.clone(), segments.clone());
            let what = format!("{tokens:?}, half: {half}");
            assert!(difference(together.clone(), segment_attention_reference(&q, segments.clone())) < 2e-5, "{what}");
            let mut from = 0;
            for segment in segments {
                let q = q.clone().narrow(1, from, segment.tokens);
                let of_it = together.clone().narrow(1, from, segment.tokens);
                from += segment.tokens;
                assert_eq!(segment_attention(q, vec![segment]).into_data(), of_it.into_data(), "{what}: alone");
            }
        }
    }
    assert!(is_fused(&device, DType::F32));
}

#[test]
fn attentions() {
    let shapes =
        [(1, 1, 1, 1, 2), (2, 7, 4, 2, 6), (1, 129, 2, 1, 64), (3, 65, 3, 3, 5), (1, 200, 4, 1, 16), (2, 64, 2, 2, 32)];
    for (b, t, h, kv, hd) in shapes {
        for (start, window) in [(0, None), (0, Some(1)), (0, Some(9)), (5, None), (70, Some(66))] {
            let s = start + t;
            let (q, k, v) = (random([b, t, h, hd], 2.0), random([b, s, kv, hd], 2.0), random([b, s, kv, hd], 1.0));
            // Samples of 13 tokens, the first of each row shorter than that of the row before.
            let start_of = |b: usize, i: usize| ((i + b) / 13 * 13).saturating_sub(b);
            let starts = (0..b * t).map(|query| start_of(query / t, query % t) as u32).collect();
            let samples = (start == 0).then_some(starts);
            for samples in [None, samples] {
                let causal = Visible::Causal { start, window, samples };
                assert_parity!(
                    attention(q.clone(), k.clone(), v.clone(), &causal, 0.0),
                    attention_reference(q.clone(), k.clone(), v.clone(), &causal, 0.0),
                    [q, k, v],
                    format!("({b}, {t}, {h}/{kv}, {hd}), {causal:?}")
                );
            }
        }
    }
}

#[test]
fn attention_reads_a_part_of_a_cache_in_place() {
    let (q, cache) = (random([2, 3, 4, 8], 1.0), random([2, 40, 2, 8], 1.0));
    let keys = || cache.clone().narrow(1, 0, 13);
    let causal = Visible::causal(10, None);
    assert_parity!(
        attention(q.clone(), keys(), keys(), &causal, 0.0),
        attention_reference(q.clone(), keys(), keys(), &causal, 0.0),
        [q, cache],
        "cache"
    );
}

#[test]
fn linear_cross_entropies() {
    // The last shape needs several blocks of rows.
    for (n, d, v) in [(1, 1, 1), (7, 129, 65), (129, 7, 9), (65, 3, 270_000)] {
        let (x, w) = (random([n, d], 1.0), random([v, d], 1.0));
        // Every fifth target does not count; of the smallest, none does.
        let ids: Vec<i32> = (0..n).map(|i| if i % 5 == 3 || n == 1 { IGNORED } else { (i * 31 % v) as i32 }).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), &device());
        assert_parity!(
            linear_cross_entropy(x.clone(), w.clone(), targets.clone(), Precision::F32),
            linear_cross_entropy_reference(x.clone(), w.clone(), targets.clone(), Precision::F32),
            [x, w],
            format!("({n}, {d}, {v})")
        );
        let [x, w, targets] = [x.inner().reshape([n * d]), w.inner().reshape([v * d]), targets.float().inner()];
        let untracked = |f: fn(Tensor<2>, Tensor<2>, Tensor<1, Int>, Precision) -> Tensor<1>| {
            f(x.clone().reshape([n, d]), w.clone().reshape([v, d]), targets.clone().int(), Precision::F32)
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
    let (y, costs) = profile(|| linear(x, w, None, None, Precision::F32));
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
        let square = weight.clone().narrow(0, 0, 64);
        let y = linear(Input::Activated(Activation::GeluTanh, y, None), square, None, None, Precision::Bf16);
        let y = y.reshape([2, 150, 4, 16]);
        device().seed(1);
        let y = dropout(attention(y.clone(), y.clone(), y, &Visible::causal(0, None), 0.1), 0.1);
        let y = y.reshape([300, 64]);
        let grads = linear_cross_entropy(y, weight.clone(), targets.clone(), Precision::F32).backward();
        let weights = [w.grad(&grads).unwrap(), b.grad(&grads).unwrap()].map(Tensor::into_data);
        let matrices = [x.grad(&grads).unwrap(), weight.grad(&grads).unwrap()].map(Tensor::into_data);
        (weights, matrices)
    };
    let alone = pool(1).install(run);
    assert_eq!(alone, pool(3).install(run));
    assert_eq!(alone, pool(3).install(run));
}

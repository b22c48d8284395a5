//! The kernels as an extension of Burn: dispatch by device, and backward passes for autodiff.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use burn_flex::FlexTensor;

use super::attention::{Saved, Sizes};
use super::{activation, attention, cross_entropy, linear, norm, rotary};

/// The fused operations, as Burn dispatches them; see the public functions of the crate for shapes.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn relu2(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        start: usize,
        window: usize,
    ) -> FloatTensor<Self>;
}

impl FusedOps for Flex {
    fn layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, eps: f64) -> FlexTensor {
        norm::forward(&x.to_contiguous(), &weight.to_contiguous(), Some(&bias.to_contiguous()), eps).0
    }

    fn rms_norm(x: FlexTensor, weight: FlexTensor, eps: f64) -> FlexTensor {
        norm::forward(&x.to_contiguous(), &weight.to_contiguous(), None, eps).0
    }

    fn gelu_tanh(x: FlexTensor) -> FlexTensor {
        activation::gelu(&x.to_contiguous())
    }

    fn relu2(x: FlexTensor) -> FlexTensor {
        activation::relu2(&x.to_contiguous())
    }

    fn swiglu(gate: FlexTensor, up: FlexTensor) -> FlexTensor {
        activation::swiglu(&gate.to_contiguous(), &up.to_contiguous())
    }

    fn linear_bias(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        linear::forward(&x.to_contiguous(), &weight.to_contiguous(), Some(&bias.to_contiguous()))
    }

    fn linear_plain(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        linear::forward(&x.to_contiguous(), &weight.to_contiguous(), None)
    }

    fn rotate(x: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        rotary::rotate(&x.to_contiguous(), &cos.to_contiguous(), &sin.to_contiguous(), false)
    }

    fn cross_entropy(logits: FlexTensor, targets: FlexTensor) -> FlexTensor {
        cross_entropy::forward(&logits.to_contiguous(), &targets.to_contiguous()).0
    }

    fn linear_cross_entropy(x: FlexTensor, weight: FlexTensor, targets: FlexTensor) -> FlexTensor {
        cross_entropy::head_loss(&x.to_contiguous(), &weight.to_contiguous(), &targets.to_contiguous())
    }

    fn causal_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, start: usize, window: usize) -> FlexTensor {
        let [q, k, v] = [q, k, v].map(attention::readable);
        attention::forward(&q, &k, &v, Sizes::new(&q, &k, start, window)).0
    }
}

/// Declares a backward pass: a unit struct with the number of its inputs, the state that the forward pass leaves, and
/// a function from (state, gradient, which inputs want one) to the inputs' gradients.
macro_rules! backward {
    ($name:ident, $n:literal, $state:ty, |$saved:ident, $grad:ident, $wanted:ident| $body:expr) => {
        #[derive(Debug)]
        struct $name;

        impl Backward<Flex, $n> for $name {
            type State = $state;

            fn backward(self, ops: Ops<Self::State, $n>, grads: &mut Gradients, _: &mut Checkpointer) {
                let $grad = grads.consume::<Flex>(&ops.node).to_contiguous();
                let $saved = ops.state;
                let parents: [Option<NodeId>; $n] = ops.parents.map(|parent| parent.map(|node| node.id));
                let $wanted = parents.map(|parent| parent.is_some());
                let gradients: [Option<FlexTensor>; $n] = $body;
                for (parent, gradient) in parents.into_iter().zip(gradients) {
                    if let (Some(parent), Some(gradient)) = (parent, gradient) {
                        grads.register::<Flex>(parent, gradient);
                    }
                }
            }
        }
    };
}

/// Runs a forward pass on the inner tensors, and registers its backward pass where an input is tracked.
macro_rules! record {
    ($backward:ident, [$($node:expr),*], $output:expr, $state:expr) => {
        match $backward.prepare::<C>([$($node),*]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish($state, $output),
            OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}

backward!(NormBackward, 3, (FlexTensor, FlexTensor, Vec<f32>), |saved, grad, _wanted| {
    let (dx, dw, db) = norm::backward(&saved.0, &saved.1, &saved.2, &grad, true);
    [Some(dx), Some(dw), Some(db)]
});

backward!(RmsNormBackward, 2, (FlexTensor, FlexTensor, Vec<f32>), |saved, grad, _wanted| {
    let (dx, dw, _) = norm::backward(&saved.0, &saved.1, &saved.2, &grad, false);
    [Some(dx), Some(dw)]
});

backward!(GeluBackward, 1, FlexTensor, |x, grad, _wanted| [Some(activation::gelu_backward(&x, &grad))]);

backward!(Relu2Backward, 1, FlexTensor, |x, grad, _wanted| [Some(activation::relu2_backward(&x, &grad))]);

backward!(SwigluBackward, 2, (FlexTensor, FlexTensor), |saved, grad, _wanted| {
    let (gate, up) = activation::swiglu_backward(&saved.0, &saved.1, &grad);
    [Some(gate), Some(up)]
});

backward!(LinearBackward, 2, (FlexTensor, FlexTensor), |saved, grad, wanted| [
    wanted[0].then(|| linear::backward_x(&grad, &saved.1)),
    wanted[1].then(|| linear::backward_weight(&grad, &saved.0)),
]);

backward!(LinearBiasBackward, 3, (FlexTensor, FlexTensor), |saved, grad, wanted| [
    wanted[0].then(|| linear::backward_x(&grad, &saved.1)),
    wanted[1].then(|| linear::backward_weight(&grad, &saved.0)),
    wanted[2].then(|| linear::backward_bias(&grad)),
]);

backward!(RotateBackward, 1, (FlexTensor, FlexTensor), |saved, grad, _wanted| [Some(rotary::rotate(
    &grad, &saved.0, &saved.1, true
))]);

backward!(CrossEntropyBackward, 1, (FlexTensor, FlexTensor, Vec<f32>), |saved, grad, _wanted| {
    let (logits, targets, log_sums) = saved;
    [Some(cross_entropy::backward(logits, &targets, &log_sums, &grad))]
});

backward!(LinearCrossEntropyBackward, 2, [FlexTensor; 2], |saved, grad, _wanted| {
    let factor = grad.storage::<f32>()[0];
    saved.map(|gradient| Some(cross_entropy::scaled(gradient, factor)))
});

backward!(AttentionBackward, 3, Saved, |saved, grad, _wanted| attention::backward(&saved, &grad).map(Some));

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let (xp, wp) = (x.primitive().to_contiguous(), weight.primitive().to_contiguous());
        let (y, stats) = norm::forward(&xp, &wp, Some(&bias.primitive().to_contiguous()), eps);
        record!(NormBackward, [x.node(), weight.node(), bias.node()], y, (xp, wp, stats))
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let (xp, wp) = (x.primitive().to_contiguous(), weight.primitive().to_contiguous());
        let (y, stats) = norm::forward(&xp, &wp, None, eps);
        record!(RmsNormBackward, [x.node(), weight.node()], y, (xp, wp, stats))
    }

    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let xp = x.primitive().to_contiguous();
        let y = activation::gelu(&xp);
        record!(GeluBackward, [x.node()], y, xp)
    }

    fn relu2(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let xp = x.primitive().to_contiguous();
        let y = activation::relu2(&xp);
        record!(Relu2Backward, [x.node()], y, xp)
    }

    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate_p, up_p) = (gate.primitive().to_contiguous(), up.primitive().to_contiguous());
        let y = activation::swiglu(&gate_p, &up_p);
        record!(SwigluBackward, [gate.node(), up.node()], y, (gate_p, up_p))
    }

    fn linear_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let (xp, wp) = (x.primitive().to_contiguous(), weight.primitive().to_contiguous());
        let y = linear::forward(&xp, &wp, Some(&bias.primitive().to_contiguous()));
        record!(LinearBiasBackward, [x.node(), weight.node(), bias.node()], y, (xp, wp))
    }

    fn linear_plain(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (xp, wp) = (x.primitive().to_contiguous(), weight.primitive().to_contiguous());
        let y = linear::forward(&xp, &wp, None);
        record!(LinearBackward, [x.node(), weight.node()], y, (xp, wp))
    }

    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let [cos, sin] = [cos, sin].map(|table| table.primitive().to_contiguous());
        let y = rotary::rotate(&x.primitive().to_contiguous(), &cos, &sin, false);
        record!(RotateBackward, [x.node()], y, (cos, sin))
    }

    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let (node, logits) = (logits.node(), logits.primitive().to_contiguous());
        let targets = targets.to_contiguous();
        let (losses, log_sums) = cross_entropy::forward(&logits, &targets);
        record!(CrossEntropyBackward, [node], losses, (logits, targets, log_sums))
    }

    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        let (xp, wp) = (x.primitive().to_contiguous(), weight.primitive().to_contiguous());
        let targets = targets.to_contiguous();
        match LinearCrossEntropyBackward.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, gradients) = cross_entropy::head_loss_and_gradients(&xp, &wp, &targets);
                prep.finish(gradients, loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(cross_entropy::head_loss(&xp, &wp, &targets)),
        }
    }

    fn causal_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        start: usize,
        window: usize,
    ) -> FloatTensor<Self> {
        let [qp, kp, vp] = [&q, &k, &v].map(|x| attention::readable(x.primitive().clone()));
        let sizes = Sizes::new(&qp, &kp, start, window);
        let (y, log_sums) = attention::forward(&qp, &kp, &vp, sizes);
        let saved = Saved { q: qp, k: kp, v: vp, y: y.clone(), log_sums, sizes };
        record!(AttentionBackward, [q.node(), k.node(), v.node()], y, saved)
    }
}

//! The kernels as an extension of Burn: dispatch by device, and backward passes for autodiff.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Flex, backend_extension};
use burn_flex::FlexTensor;

use super::attention::{Saved, Sizes};
use super::dropout::{self, Mask};
use super::linear::{Layer, LinearPlan};
use super::simd::owned;
use super::weight::StoredWeight;
use super::{attention, cross_entropy, embedding, linear, norm, rotary};
use crate::{Precision, QuantizedWeight, Visible};

/// The fused operations, as Burn dispatches them; see the public functions of the crate for shapes.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    fn embedding_rows(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn linear(
        x: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        plan: LinearPlan,
    ) -> FloatTensor<Self>;
    fn add_bias(y: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;
    fn dropout(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self>;
    fn rotate(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        quantized: Option<QuantizedWeight>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        visible: Visible,
        dropout: Option<Mask>,
    ) -> FloatTensor<Self>;
}

impl FusedOps for Flex {
    fn embedding_rows(weight: FlexTensor, ids: FlexTensor) -> FlexTensor {
        embedding::forward(&weight.to_contiguous(), &ids.to_contiguous())
    }

    fn layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, eps: f64) -> FlexTensor {
        norm::forward(x.to_contiguous(), weight.to_contiguous(), Some(bias.to_contiguous()), eps).0
    }

    fn rms_norm(x: FlexTensor, weight: FlexTensor, eps: f64) -> FlexTensor {
        norm::forward(x.to_contiguous(), weight.to_contiguous(), None, eps).0
    }

    fn linear(
        x: FlexTensor,
        factor: FlexTensor,
        weight: FlexTensor,
        a: FlexTensor,
        b: FlexTensor,
        plan: LinearPlan,
    ) -> FlexTensor {
        Layer::forward([x, factor, weight, a, b], plan, false).0
    }

    fn add_bias(y: FlexTensor, bias: FlexTensor) -> FlexTensor {
        linear::add_bias(owned(y), &bias.to_contiguous())
    }

    fn dropout(x: FlexTensor, mask: Mask) -> FlexTensor {
        dropout::apply(&x.to_contiguous(), mask)
    }

    fn rotate(x: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
        rotary::rotate(&x.to_contiguous(), &cos.to_contiguous(), &sin.to_contiguous(), false)
    }

    fn cross_entropy(logits: FlexTensor, targets: FlexTensor) -> FlexTensor {
        cross_entropy::forward(&logits.to_contiguous(), &targets.to_contiguous()).0
    }

    fn linear_cross_entropy(
        x: FlexTensor,
        weight: FlexTensor,
        targets: FlexTensor,
        quantized: Option<QuantizedWeight>,
        precision: Precision,
    ) -> FlexTensor {
        let weight = StoredWeight::new(&weight, quantized, precision);
        cross_entropy::head_loss(&x.to_contiguous(), &weight, &targets.to_contiguous())
    }

    fn attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, visible: Visible, dropout: Option<Mask>) -> FlexTensor {
        let [q, k, v] = [q, k, v].map(attention::readable);
        attention::forward(&q, &k, &v, &Sizes::new(&q, &k, visible, dropout)).0
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
    ($backward:ident, $nodes:expr, $output:expr, $state:expr) => {
        match $backward.prepare::<C>($nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish($state, $output),
            OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}

/// The backward pass of an embedding. Where the table has a gradient by its other use, as the head's weight, it adds to
/// that one in place: a second one of its size, and adding the two, would cost much with a large vocabulary.
#[derive(Debug)]
struct EmbeddingBackward;

impl Backward<Flex, 1> for EmbeddingBackward {
    /// The table and the ids.
    type State = (FloatTensor<Autodiff<Flex>>, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (weight, ids) = ops.state;
        let [v, _] = linear::dims(weight.primitive());
        let others = grads.remove::<Flex>(&weight);
        grads.register::<Flex>(weight.id(), embedding::backward(&grad, &ids, v, others));
    }
}

backward!(NormBackward, 3, norm::Saved, |saved, grad, _wanted| {
    let (dx, dw, db) = norm::backward(&saved, &grad);
    [Some(dx), Some(dw), Some(db)]
});

backward!(RmsNormBackward, 2, norm::Saved, |saved, grad, _wanted| {
    let (dx, dw, _) = norm::backward(&saved, &grad);
    [Some(dx), Some(dw)]
});

backward!(LinearBackward, 5, Layer, |layer, grad, wanted| layer.backward(&grad, wanted));

backward!(BiasBackward, 2, (), |_saved, grad, wanted| {
    let by_bias = wanted[1].then(|| linear::backward_bias(&grad));
    [Some(grad), by_bias]
});

backward!(DropoutBackward, 1, Mask, |mask, grad, _wanted| [Some(dropout::apply(&grad, mask))]);

backward!(RotateBackward, 1, (FlexTensor, FlexTensor), |saved, grad, _wanted| [Some(rotary::rotate(
    &grad, &saved.0, &saved.1, true
))]);

backward!(CrossEntropyBackward, 1, (FlexTensor, FlexTensor, Vec<f32>), |saved, grad, _wanted| {
    let (logits, targets, log_sums) = saved;
    [Some(cross_entropy::backward(logits, &targets, &log_sums, &grad))]
});

backward!(LinearCrossEntropyBackward, 2, [Option<FlexTensor>; 2], |saved, grad, _wanted| {
    let factor = grad.storage::<f32>()[0];
    saved.map(|gradient| gradient.map(|gradient| cross_entropy::scaled(gradient, factor)))
});

backward!(AttentionBackward, 3, Saved, |saved, grad, _wanted| attention::backward(&saved, &grad).map(Some));

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn embedding_rows(weight: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let ids = ids.to_contiguous();
        let y = embedding::forward(&weight.primitive().to_contiguous(), &ids);
        record!(EmbeddingBackward, [weight.node()], y, (weight, ids))
    }

    fn layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let [x, weight, bias] = [x, weight, bias].map(|x| x.into_primitive().to_contiguous());
        let (y, saved) = norm::forward(x, weight, Some(bias), eps);
        record!(NormBackward, nodes, y, saved)
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let [x, weight] = [x, weight].map(|x| x.into_primitive().to_contiguous());
        let (y, saved) = norm::forward(x, weight, None, eps);
        record!(RmsNormBackward, nodes, y, saved)
    }

    fn linear(
        x: FloatTensor<Self>,
        factor: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        plan: LinearPlan,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), factor.node(), weight.node(), a.node(), b.node()];
        let trained = weight.is_tracked();
        let tensors = [x, factor, weight, a, b].map(FloatTensor::<Self>::into_primitive);
        let (y, layer) = Layer::forward(tensors, plan, trained);
        record!(LinearBackward, nodes, y, layer)
    }

    fn add_bias(y: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let (node, bias_node) = (y.node(), bias.node());
        let y = linear::add_bias(owned(y.into_primitive()), &bias.primitive().to_contiguous());
        record!(BiasBackward, [node, bias_node], y, ())
    }

    fn dropout(x: FloatTensor<Self>, mask: Mask) -> FloatTensor<Self> {
        let y = dropout::apply(&x.primitive().to_contiguous(), mask);
        record!(DropoutBackward, [x.node()], y, mask)
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
        quantized: Option<QuantizedWeight>,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let by_weight = weight.is_tracked() && quantized.is_none();
        let xp = x.primitive().to_contiguous();
        let stored = StoredWeight::new(weight.primitive(), quantized, precision);
        let targets = targets.to_contiguous();
        match LinearCrossEntropyBackward.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, gradients) = cross_entropy::head_loss_and_gradients(&xp, &stored, &targets, by_weight);
                prep.finish(gradients, loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(cross_entropy::head_loss(&xp, &stored, &targets)),
        }
    }

    fn attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        visible: Visible,
        dropout: Option<Mask>,
    ) -> FloatTensor<Self> {
        let [qp, kp, vp] = [&q, &k, &v].map(|x| attention::readable(x.primitive().clone()));
        let sizes = Sizes::new(&qp, &kp, visible, dropout);
        let (y, log_sums) = attention::forward(&qp, &kp, &vp, &sizes);
        let saved = Saved { q: qp, k: kp, v: vp, y: y.clone(), log_sums, sizes };
        record!(AttentionBackward, [q.node(), k.node(), v.node()], y, saved)
    }
}

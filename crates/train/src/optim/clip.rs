//! The global norm of gradients.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use llm_kernels::sum_of_squares;
use llm_model::CausalLm;

/// Sum of squares of all gradients, `(1)`, on the device; `None` without any gradient. Its root is the global norm, as
/// `torch.nn.utils.clip_grad_norm_` measures it.
pub(crate) fn squared_norms(model: &CausalLm, grads: &GradientsParams) -> Option<Tensor<1>> {
    struct Visitor<'a> {
        grads: &'a GradientsParams,
        squares: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for Visitor<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.get::<D>(param.id) {
                self.squares.push(sum_of_squares(grad));
            }
        }
    }
    let mut visitor = Visitor { grads, squares: Vec::new() };
    model.visit(&mut visitor);
    if visitor.squares.is_empty() { None } else { Some(Tensor::cat(visitor.squares, 0).sum()) }
}

/// What gradients of norm `norm` are multiplied by so that it does not exceed `limit`; 0 for no limit.
pub(crate) fn clip_factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

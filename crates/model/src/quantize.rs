//! A frozen model whose matrices are held in few bits.

use burn::module::{Param, ParamId};
use burn::tensor::Tensor;
use llm_kernels::QuantizedWeight;

use crate::{CausalLm, Linear};

impl CausalLm {
    /// The same model, frozen, whose linear layers are held as `quantized` gives them for the name and the shape
    /// `[out, in]` of each; `None` leaves a layer as it is. A weight that has not been used until then is never
    /// allocated. What is trained on top, adapters, sees the values that these have.
    ///
    /// # Errors
    /// The first of `quantized`.
    ///
    /// # Panics
    /// If `quantized` gives another shape than the layer's.
    pub fn with_quantized<E>(
        mut self,
        mut quantized: impl FnMut(&str, [usize; 2]) -> Result<Option<QuantizedWeight>, E>,
    ) -> Result<Self, E> {
        let mut done = Ok(());
        self.each_linear(&mut |name, linear| {
            if done.is_ok() {
                match quantized(name, linear.weight.lazy_shape().dims()) {
                    Ok(Some(quantized)) => hold(linear, quantized),
                    Ok(None) => {}
                    Err(error) => done = Err(error),
                }
            }
        });
        done.map(|()| self.freeze_except(&|_| false))
    }

    /// How many linear layers are quantized, and the bytes that their weights take.
    pub fn quantized_size(&self) -> (usize, usize) {
        let sizes =
            self.linears().into_iter().filter_map(|(_, linear)| linear.quantized.as_ref().map(QuantizedWeight::size));
        sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }
}

fn hold(linear: &mut Linear, quantized: QuantizedWeight) {
    let (shape, device) = (linear.weight.lazy_shape().dims::<2>(), linear.weight.lazy_device());
    assert_eq!(quantized.shape(), shape, "shape of a weight in blocks");
    // One value in memory, seen as all of them; whoever takes it for the weight finds no number.
    let nowhere = Tensor::<2>::full([1, 1], f32::NAN, &device).expand(shape);
    linear.weight = Param::initialized(ParamId::new(), nowhere).set_require_grad(false);
    linear.quantized = Some(quantized);
}

//! Fused operations with hand-written backward passes; knows no model.
//!
//! Every operation is one public function over plain tensors, in two versions: a *reference* composed of Burn
//! operations, which runs on every device, and a *fused* one for float32 on the Flex CPU backend, which makes fewer
//! passes over memory and uses all cores. The function takes the fused one where it can; tests hold one to the other,
//! forward and every gradient.
//!
//! Setting the environment variable `LLM_KERNELS=reference` turns all fused versions off.
#![warn(missing_docs)]

mod activation;
mod allocator;
mod attention;
mod cross_entropy;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod optimizer;
mod precision;
mod profile;
mod rotary;
mod weight;

#[cfg(feature = "cpu")]
mod flex;

pub use activation::Activation;
pub use allocator::LargeBlocks;
pub use attention::{
    SampleStarts, Segment, Visible, attention, attention_reference, attention_weights, segment_attention,
    segment_attention_reference,
};
pub use cross_entropy::{
    IGNORED, cross_entropy, cross_entropy_reference, linear_cross_entropy, linear_cross_entropy_reference,
};
pub use dropout::{dropout, dropout_reference};
pub use embedding::{embedding, embedding_reference};
pub use linear::{Adapter, Input, linear, linear_reference};
pub use norm::{layer_norm, layer_norm_reference, rms_norm, rms_norm_reference};
pub use optimizer::{AdamStep, adam, adam_reference, sum_of_squares, sum_of_squares_reference};
pub use precision::{Precision, has_fast_bf16};
pub use profile::{OperationCost, memory_bandwidth, profile};
pub use rotary::{rotate, rotate_reference};
pub use weight::{QuantizedWeight, Weight};

use burn::tensor::{DType, Device};

/// Runs `f`, which computes on `device`; on the CPU, as a task of the thread pool that the fused operations share. They
/// then start at once; called from outside, each of them would have to wake the pool and wait for it, which costs small
/// models a tenth of their time. Elsewhere `f` stays on its thread: a GPU has a queue for each of them.
pub fn in_thread_pool<R: Send>(device: &Device, f: impl FnOnce() -> R + Send) -> R {
    if is_fused(device, DType::F32) { rayon::scope(|_| f()) } else { f() }
}

/// Makes the calling thread, which should be the program's first, one of the pool's: then what it computes needs no
/// [`in_thread_pool`], and memory that it frees is near when it takes more. Does nothing if the pool is there already.
pub fn join_thread_pool() {
    // The error says that the pool is there already.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
}

/// Whether the fused versions serve tensors of `dtype` on `device`.
#[cfg(feature = "cpu")]
pub fn is_fused(device: &Device, dtype: DType) -> bool {
    use std::sync::OnceLock;

    use burn::backend::DispatchDevice;

    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let allowed = *ALLOWED.get_or_init(|| std::env::var_os("LLM_KERNELS").is_none_or(|value| value != "reference"));
    let flex = matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_));
    allowed && flex && dtype == DType::F32
}

/// No fused versions in a build without the CPU backend.
#[cfg(not(feature = "cpu"))]
pub fn is_fused(_: &Device, _: DType) -> bool {
    false
}

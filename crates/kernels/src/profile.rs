//! What the fused operations cost, by operation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;

/// What all calls of one operation took together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OperationCost {
    /// Number of calls.
    pub calls: u64,
    /// Time, in seconds.
    pub seconds: f64,
    /// Floating-point operations of its matrix products, by their shapes; 0 where it has none.
    pub flops: f64,
    /// Bytes that it must at least read and write: every input and output once.
    pub bytes: f64,
}

static RECORDING: AtomicBool = AtomicBool::new(false);
static COSTS: Mutex<BTreeMap<&'static str, OperationCost>> = Mutex::new(BTreeMap::new());

/// Runs `f`, and tells what every fused operation has cost in it. Operations of other threads count as well.
pub fn profile<R>(f: impl FnOnce() -> R) -> (R, BTreeMap<&'static str, OperationCost>) {
    let take = || std::mem::take(&mut *COSTS.lock().unwrap_or_else(PoisonError::into_inner));
    take();
    RECORDING.store(true, Ordering::Relaxed);
    let result = f();
    RECORDING.store(false, Ordering::Relaxed);
    (result, take())
}

/// Bytes a second that all cores together copy from memory to memory, read and written bytes both counted. Takes about
/// a tenth of a second.
pub fn memory_bandwidth() -> f64 {
    const VALUES: usize = 1 << 24; // 64 MiB: beyond any cache
    let from = vec![1.0f32; VALUES];
    let mut to = vec![0.0f32; VALUES];
    let mut best = f64::INFINITY;
    for _ in 0..4 {
        let start = Instant::now();
        let part = VALUES.div_ceil(rayon::current_num_threads());
        to.par_chunks_mut(part).zip(from.par_chunks(part)).for_each(|(to, from)| to.copy_from_slice(from));
        best = best.min(start.elapsed().as_secs_f64());
    }
    std::hint::black_box(&to);
    (2 * 4 * VALUES) as f64 / best
}

/// Runs one operation that makes `flops` floating-point operations and touches `values` numbers of four bytes.
#[cfg(feature = "cpu")]
pub(crate) fn measured<R>(operation: &'static str, flops: usize, values: usize, f: impl FnOnce() -> R) -> R {
    if !RECORDING.load(Ordering::Relaxed) {
        return f();
    }
    let start = Instant::now();
    let result = f();
    let seconds = start.elapsed().as_secs_f64();
    let mut costs = COSTS.lock().unwrap_or_else(PoisonError::into_inner);
    let cost = costs.entry(operation).or_default();
    cost.calls += 1;
    cost.seconds += seconds;
    cost.flops += flops as f64;
    cost.bytes += 4.0 * values as f64;
    result
}

//! The speed that a device reaches in matrix products.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use llm_kernels::{Precision, linear};

/// Side of the square matrices.
const SIDE: usize = 1024;
/// How long is measured, after one product to warm up.
const TIME: Duration = Duration::from_millis(300);

static MEASURED: Mutex<Vec<(Device, Precision, f64)>> = Mutex::new(Vec::new());

/// The best measured speed of a product of two 1024 × 1024 matrices on `device`, with factors rounded to `precision`, in
/// FLOP/s. Measured once in a process, in about a third of a second.
pub fn matmul_peak(device: &Device, precision: Precision) -> f64 {
    let device = device.clone().inner();
    let mut measured = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((.., peak)) = measured.iter().find(|(on, of, _)| *on == device && *of == precision) {
        return *peak;
    }
    let peak = measure(&device, precision);
    measured.push((device, precision, peak));
    peak
}

fn measure(device: &Device, precision: Precision) -> f64 {
    let matrix = || Tensor::<2>::random([SIDE, SIDE], Distribution::Default, device);
    let (a, b) = (matrix(), matrix());
    // Reading one value waits for the device.
    let product = || {
        let product = match precision {
            Precision::F32 => a.clone().matmul(b.clone()),
            _ => linear(a.clone(), b.clone(), None, None, precision),
        };
        product.slice([0..1, 0..1]).into_scalar::<f32>()
    };
    let _ = product();
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    while begin.elapsed() < TIME {
        let start = Instant::now();
        let _ = product();
        best = best.min(start.elapsed().as_secs_f64());
    }
    2.0 * (SIDE as f64).powi(3) / best
}

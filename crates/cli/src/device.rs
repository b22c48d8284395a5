use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use burn::tensor::Device;
use clap::Args;
use llm_model::Precision;
use llm_train::{Alone, RunOptions, precision_warning};

use crate::printer::Printer;

/// `--device`, for commands that run a model.
#[derive(Debug, Clone, Copy, Args)]
pub struct DeviceArgs {
    /// Device to run on: `auto`, `cpu`, `ndarray`, `wgpu` or `wgpu:N`.
    ///
    /// `auto` is a GPU if there is one, else `cpu`. `wgpu:N` is adapter N, counted from 0; without N, a GPU takes
    /// precedence over a software adapter.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
}

/// What `--precision` may be.
pub const PRECISIONS: [&str; 3] = ["f32", "f16", "bf16"];

/// What was typed after `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if there is one, else the CPU.
    Auto,
    /// Burn's Flex backend: pure Rust on the CPU.
    Cpu,
    /// Burn's `NdArray` backend.
    NdArray,
    /// The adapter of this index through wgpu; without an index, the one that promises most.
    Wgpu(Option<usize>),
}

/// A device and what to call it.
#[derive(Debug, Clone)]
pub struct NamedDevice {
    /// The device, without autodiff.
    pub device: Device,
    /// For example `cpu` or `wgpu:0 (NVIDIA GeForce RTX 4090)`.
    pub name: String,
}

impl NamedDevice {
    /// How a run is made in `out` on this device, by this process alone.
    pub fn run_options(&self, out: &Path, resume: bool, tensorboard: bool) -> RunOptions {
        let (device, device_name) = (self.device.clone(), self.name.clone());
        RunOptions { out: out.to_owned(), resume, tensorboard, device, device_name, group: Arc::new(Alone) }
    }
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(dead_code)] // which variants can occur depends on the features
pub enum DeviceError {
    /// The build lacks the backend.
    #[error("device {0} is not part of this build, which has {has}\nhint: build with --features {0}", has = compiled())]
    NotCompiled(&'static str),
    /// wgpu finds nothing to run on.
    #[error(
        "device wgpu: no adapter found\nhint: install a Vulkan driver (mesa-vulkan-drivers has one for every CPU), \
             or use --device cpu"
    )]
    NoAdapter,
    /// An index past the last adapter.
    #[error("device wgpu:{index}: there are {count} adapters, counted from 0\nhint: use --device wgpu:{}", count - 1)]
    NoSuchAdapter {
        /// The index asked for.
        index: usize,
        /// Adapters found, at least one.
        count: usize,
    },
    /// The adapter is there but its driver refuses.
    #[error("device wgpu:{0}: the driver does not open this adapter\nhint: use --device cpu")]
    Refused(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "ndarray" => Ok(Self::NdArray),
            "wgpu" => Ok(Self::Wgpu(None)),
            _ => text
                .strip_prefix("wgpu:")
                .and_then(|index| index.parse().ok())
                .map(|index| Self::Wgpu(Some(index)))
                .ok_or_else(|| "expected auto, cpu, ndarray, wgpu or wgpu:N".into()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Wgpu(None) => f.write_str("wgpu"),
            Self::Wgpu(Some(index)) => write!(f, "wgpu:{index}"),
        }
    }
}

impl DeviceArgs {
    /// The device; for `auto`, says which on stderr.
    pub fn open(self, printer: Printer) -> Result<NamedDevice, DeviceError> {
        match self.device {
            DeviceChoice::Auto => {
                let chosen = gpu().map_or_else(cpu, Ok)?;
                printer.note(format_args!("device: {}", chosen.name));
                Ok(chosen)
            }
            DeviceChoice::Cpu => cpu(),
            DeviceChoice::NdArray => ndarray(),
            DeviceChoice::Wgpu(index) => wgpu(index),
        }
    }

    /// The device to train on in `precision`, with a warning where that gains nothing.
    pub fn open_to_train(self, precision: Precision, printer: Printer) -> Result<NamedDevice, DeviceError> {
        let device = self.open(printer)?;
        if let Some(text) = precision_warning(precision, &device.device) {
            printer.warn(text);
        }
        Ok(device)
    }
}

#[allow(clippy::unnecessary_wraps)] // a build without the CPU backend has an error to give
fn cpu() -> Result<NamedDevice, DeviceError> {
    #[cfg(feature = "cpu")]
    return Ok(NamedDevice { device: Device::flex(), name: "cpu".into() });
    #[cfg(not(feature = "cpu"))]
    Err(DeviceError::NotCompiled("cpu"))
}

#[allow(clippy::unnecessary_wraps)] // as above
fn ndarray() -> Result<NamedDevice, DeviceError> {
    #[cfg(feature = "ndarray")]
    #[allow(deprecated)] // Burn advises Flex, as `cpu` is; NdArray stays for comparison
    return Ok(NamedDevice { device: Device::ndarray(), name: "ndarray".into() });
    #[cfg(not(feature = "ndarray"))]
    Err(DeviceError::NotCompiled("ndarray"))
}

/// The best GPU that opens, never a software adapter.
fn gpu() -> Option<NamedDevice> {
    #[cfg(feature = "wgpu")]
    return driver_present()
        .then(adapters::list)?
        .into_iter()
        .filter(|adapter| !adapter.is_software())
        .find_map(|adapter| adapter.open().ok());
    #[cfg(not(feature = "wgpu"))]
    None
}

/// Whether the system can have a GPU at all. Where Linux has no device file of one, asking every graphics library would
/// take half a second and draw complaints from some of them about a missing display.
#[cfg(feature = "wgpu")]
fn driver_present() -> bool {
    const FILES: [&str; 6] = ["/dev/dri", "/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kgsl-3d0", "/dev/mali0"];
    cfg!(not(target_os = "linux")) || FILES.iter().any(|file| Path::new(file).exists())
}

fn wgpu(index: Option<usize>) -> Result<NamedDevice, DeviceError> {
    #[cfg(feature = "wgpu")]
    return adapters::open(index);
    #[cfg(not(feature = "wgpu"))]
    {
        let _ = index;
        Err(DeviceError::NotCompiled("wgpu"))
    }
}

/// The devices of this build.
fn compiled() -> String {
    let all =
        [("cpu", cfg!(feature = "cpu")), ("ndarray", cfg!(feature = "ndarray")), ("wgpu", cfg!(feature = "wgpu"))];
    let names: Vec<_> = all.iter().filter(|(_, compiled)| *compiled).map(|(name, _)| *name).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What wgpu can run on. Burn opens a wgpu device at its first use and panics where that fails, so adapters are listed
/// first, and opened here where a panic is caught.
#[cfg(feature = "wgpu")]
mod adapters {
    use std::panic;

    use burn::tensor::{Device, DeviceKind, DeviceType};

    use super::{DeviceError, NamedDevice};

    pub(super) struct Adapter {
        index: usize,
        device: Device,
    }

    /// All adapters, the most promising first; the indices are wgpu's order.
    pub(super) fn list() -> Vec<Adapter> {
        let devices = quietly(|| Device::enumerate(DeviceType::Wgpu).into_vec()).unwrap_or_default();
        let adapter = |(index, device)| Adapter { index, device };
        let mut adapters: Vec<_> = devices.into_iter().enumerate().map(adapter).collect();
        adapters.sort_by_key(Adapter::rank);
        adapters
    }

    pub(super) fn open(index: Option<usize>) -> Result<NamedDevice, DeviceError> {
        let adapters = list();
        let first = adapters.first().ok_or(DeviceError::NoAdapter)?;
        let Some(index) = index else { return first.open() };
        let wanted = adapters.iter().find(|adapter| adapter.index == index);
        wanted.ok_or(DeviceError::NoSuchAdapter { index, count: adapters.len() })?.open()
    }

    impl Adapter {
        /// A rasterizer that runs on the CPU: lavapipe, SwiftShader, WARP.
        pub(super) fn is_software(&self) -> bool {
            self.device == Device::wgpu(DeviceKind::Cpu)
        }

        /// 0 for a card of its own, 1 for a GPU in the CPU's package, 2 for a virtual one, 4 for software.
        fn rank(&self) -> usize {
            if self.is_software() {
                return 4;
            }
            let kinds: [fn(usize) -> DeviceKind; 3] =
                [DeviceKind::DiscreteGpu, DeviceKind::IntegratedGpu, DeviceKind::VirtualGpu];
            // Within its kind, an adapter's index is at most that among all.
            let is = |kind: &fn(usize) -> DeviceKind| (0..=self.index).any(|i| self.device == Device::wgpu(kind(i)));
            kinds.iter().position(is).unwrap_or(3)
        }

        pub(super) fn open(&self) -> Result<NamedDevice, DeviceError> {
            let identity = quietly(|| self.device.identity()).ok_or(DeviceError::Refused(self.index))?;
            let part = identity.map_or_else(String::new, |identity| format!(" ({})", identity.name));
            Ok(NamedDevice { device: self.device.clone(), name: format!("wgpu:{}{part}", self.index) })
        }
    }

    /// What `work` gives, or nothing if it panics.
    fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        let result = panic::catch_unwind(panic::AssertUnwindSafe(work));
        panic::set_hook(hook);
        result.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_written_as_they_are_read() {
        for text in ["auto", "cpu", "ndarray", "wgpu", "wgpu:0", "wgpu:3"] {
            assert_eq!(text.parse::<DeviceChoice>().map(|choice| choice.to_string()), Ok(text.into()));
        }
        for text in ["gpu", "wgpu:", "wgpu:-1", "wgpu:x", "CPU", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}

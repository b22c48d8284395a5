use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::Device;

use crate::Group;

/// Where and how a run is made; none of it changes what is computed, but for the device's rounding.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The run directory.
    pub out: PathBuf,
    /// Go on with the run that is there.
    pub resume: bool,
    /// Write event files for TensorBoard too.
    pub tensorboard: bool,
    /// The device, without autodiff.
    pub device: Device,
    /// What its user calls it.
    pub device_name: String,
    /// The processes that make the run together.
    pub group: Arc<dyn Group>,
}

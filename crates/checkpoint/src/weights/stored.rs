//! The tensors of a model on disk, in whichever files they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llm_gguf::TensorType;
use llm_model::{CausalLm, QuantizedWeight, Role, params};
use rayon::prelude::*;
use serde::Deserialize;

use super::scales::scales;
use super::{Load, Scales, WeightFile};
use crate::families::Place;
use crate::floats::Floats;
use crate::gguf::GgufTensors;
use crate::pictures::{is_within_other, text_name};
use crate::{CheckpointError, ModelSource};

/// Weights in one file.
pub(crate) const SINGLE: &str = "model.safetensors";
/// Where the weights lie if they are spread over several files.
const INDEX: &str = "model.safetensors.index.json";
/// The same as PyTorch writes them.
const PICKLED: &str = "pytorch_model.bin";
const PICKLED_INDEX: &str = "pytorch_model.bin.index.json";
const NO_WEIGHTS: &str = "weights are read from model.safetensors or from model.safetensors.index.json and its shards, \
                          or else from pytorch_model.bin or from pytorch_model.bin.index.json and its shards";

/// What of the model in `source` is not read, as text does not pass through it.
pub(crate) fn other_parts(source: &ModelSource) -> Result<OtherParts, CheckpointError> {
    Ok(StoredWeights::open(source, Load::Float32)?.other_parts)
}

/// The tensors in a directory or a GGUF file, wherever they lie.
pub(super) struct StoredWeights {
    /// The one file, or the index.
    pub path: PathBuf,
    files: Vec<WeightFile>,
    /// Position in `files`, and name there, by the tensor's name in a model of text alone.
    by_name: BTreeMap<String, (usize, String)>,
    other_parts: OtherParts,
    /// What weights of 8 bits are multiplied by.
    scales: Option<Scales>,
    how: Load,
}

/// Parts of a model that text does not pass through, which are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtherParts {
    /// Their tensors.
    pub tensors: usize,
    /// Their parameters.
    pub parameters: usize,
}

impl StoredWeights {
    pub fn open(source: &ModelSource, how: Load) -> Result<Self, CheckpointError> {
        if let Some(file) = source.gguf() {
            return Ok(Self::single(WeightFile::Gguf(GgufTensors::of(Arc::clone(file))?), how, None));
        }
        let dir = source.path();
        let kinds = [SINGLE, INDEX, PICKLED, PICKLED_INDEX];
        let found = kinds.into_iter().find(|name| dir.join(name).exists()).unwrap_or(SINGLE);
        let path = dir.join(found);
        let scales = scales(dir)?;
        if found == SINGLE || found == PICKLED {
            return WeightFile::open(&path, NO_WEIGHTS, how).map(|file| Self::single(file, how, scales));
        }
        let weight_map = read_index(&path)?;
        let names: BTreeSet<&String> = weight_map.values().collect();
        let hint = format!("{found} names this file; get the whole directory");
        let open = |name: &&String| WeightFile::open(&dir.join(name), &hint, how);
        let files = names.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let there: BTreeSet<String> = files.iter().flat_map(WeightFile::names).collect();
        match weight_map.keys().find(|tensor| !there.contains(*tensor)) {
            None => Ok(Self::of(path, files, how, scales)),
            Some(tensor) => Err(CheckpointError::MissingTensor {
                path: dir.join(&weight_map[tensor]),
                tensor: tensor.clone(),
                hint: format!("{found} says that it is there; download the whole directory again"),
            }),
        }
    }

    fn single(file: WeightFile, how: Load, scales: Option<Scales>) -> Self {
        Self::of(file.path().to_owned(), vec![file], how, scales)
    }

    fn of(path: PathBuf, files: Vec<WeightFile>, how: Load, scales: Option<Scales>) -> Self {
        let mut by_name = BTreeMap::new();
        let mut other_parts = OtherParts::default();
        let all = || files.iter().enumerate().flat_map(|(i, file)| file.names().into_iter().map(move |name| (i, name)));
        let of_several = all().any(|(_, name)| is_within_other(&name));
        for (i, name) in all() {
            let ours = if of_several { text_name(&name) } else { Some(name.clone()) };
            if let Some(ours) = ours {
                by_name.insert(ours, (i, name));
            } else {
                other_parts.tensors += 1;
                other_parts.parameters += files[i].shape(&name).map_or(0, |shape| shape.iter().product());
            }
        }
        Self { path, files, by_name, other_parts, scales, how }
    }

    /// The name under which `tensor` is stored: some files leave out the name of the module around all others.
    fn resolve(&self, tensor: &str) -> Option<(&str, &WeightFile)> {
        let (_, (file, name)) = self.entry(tensor)?;
        Some((name, &self.files[*file]))
    }

    fn entry(&self, tensor: &str) -> Option<(&String, &(usize, String))> {
        let inner = tensor.split_once('.').map_or("", |(_, inner)| inner);
        self.by_name.get_key_value(tensor).or_else(|| self.by_name.get_key_value(inner))
    }

    pub fn read(&self, tensor: &str) -> Result<Floats, CheckpointError> {
        let (name, file) = self.resolve(tensor).ok_or_else(|| self.missing(tensor))?;
        let floats = file.floats(name)?;
        match &self.scales {
            Some(scales) if file.is_float8(name) => self.scaled(tensor, floats, scales),
            _ => Ok(floats),
        }
    }

    /// The values of a weight of 8 bits, times its scales: in float32, or in bfloat16 where they need not be exact.
    fn scaled(&self, tensor: &str, floats: Floats, scales: &Scales) -> Result<Floats, CheckpointError> {
        let (name, file) = self.resolve(tensor).ok_or_else(|| self.missing(tensor))?;
        let found = Scales::names(tensor).into_iter().find(|scale| self.entry(scale).is_some());
        let scale = found.ok_or_else(|| self.missing(&Scales::names(tensor)[0]))?;
        let (scale_name, scale_file) = self.resolve(&scale).ok_or_else(|| self.missing(&scale))?;
        let shapes = [file.shape(name), scale_file.shape(scale_name)].map(Option::unwrap_or_default);
        let values = scale_file.floats(scale_name)?.into_f32();
        let Some(scaled) = scales.apply(floats.into_f32(), shapes[0], &values, shapes[1]) else {
            return Err(CheckpointError::Scales {
                path: scale_file.path().to_owned(),
                tensor: scale_name.to_owned(),
                found: shapes[1].to_vec(),
                weight: shapes[0].to_vec(),
            });
        };
        let floats = Floats::from_f32(scaled);
        floats.check_finite(file.path(), name)?;
        Ok(if self.how == Load::Float32 { floats } else { floats.into_bf16() })
    }

    /// The matrix of `shape` at `place`, if the file has it in blocks of a type that is `kept`. All values are finite.
    pub fn blocks(
        &self,
        place: &Place,
        shape: [usize; 2],
        kept: &dyn Fn(TensorType) -> bool,
    ) -> Result<Option<QuantizedWeight>, CheckpointError> {
        match self.resolve(&place.tensor) {
            Some((name, WeightFile::Gguf(file))) => file.blocks(name, place, shape, kept),
            _ => Ok(None),
        }
    }

    /// Whether a tensor is stored in blocks.
    pub fn is_in_blocks(&self, tensor: &str) -> bool {
        matches!(self.resolve(tensor), Some((name, WeightFile::Gguf(file))) if file.is_in_blocks(name))
    }

    /// Several tensors by their names.
    pub fn read_all(&self, tensors: BTreeSet<String>) -> Result<BTreeMap<String, Floats>, CheckpointError> {
        tensors.into_par_iter().map(|tensor| self.read(&tensor).map(|floats| (tensor, floats))).collect()
    }

    fn missing(&self, tensor: &str) -> CheckpointError {
        let hint = if tensor.starts_with("lm_head.") {
            "if the model shares its head with the embedding, set tie_word_embeddings to true in config.json"
        } else {
            "check that config.json belongs to these weights (number of layers, biases)"
        };
        CheckpointError::MissingTensor { path: self.path.clone(), tensor: tensor.to_owned(), hint: hint.to_owned() }
    }

    /// Holds names and shapes against the model, before anything is read or allocated.
    pub fn check(&self, model: &CausalLm, place: &dyn Fn(&str) -> Place) -> Result<(), CheckpointError> {
        let mut used = BTreeSet::new();
        for info in params(model).iter().filter(|info| info.role != Role::Adapter) {
            let place = place(&info.name);
            let (ours, (file, name)) = self.entry(&place.tensor).ok_or_else(|| self.missing(&place.tensor))?;
            let file = &self.files[*file];
            let (found, expected) = (file.shape(name).unwrap_or_default(), place.stored_shape(&info.shape));
            if found != expected {
                return Err(CheckpointError::Shape {
                    path: file.path().to_owned(),
                    tensor: name.clone(),
                    found: found.to_vec(),
                    expected,
                });
            }
            used.insert(ours.as_str());
        }
        if model.config().tied {
            self.check_tied_head(&place("model.embed_tokens.weight").tensor)?;
        }
        let tied_head = |name: &str| model.config().tied && name == HEAD;
        let scale = |name: &str| self.scales.is_some() && Scales::belongs(name);
        let known = |name: &str| used.contains(name) || is_buffer(name) || tied_head(name) || scale(name);
        let extra = || self.by_name.iter().filter(|(name, _)| !known(name)).map(|(_, (_, stored))| stored);
        match extra().count() {
            0 => Ok(()),
            count => Err(CheckpointError::ExtraTensors {
                path: self.path.clone(),
                count,
                names: extra().take(3).cloned().collect(),
            }),
        }
    }

    /// Some files store a shared head twice; it must be the same.
    fn check_tied_head(&self, embedding: &str) -> Result<(), CheckpointError> {
        let Some((head, file)) = self.resolve(HEAD) else { return Ok(()) };
        let [ours, shared] = [file.floats(head)?, self.read(embedding)?];
        if ours.bytes == shared.bytes || ours.into_f32() == shared.into_f32() {
            return Ok(());
        }
        Err(CheckpointError::HeadNotTied {
            path: file.path().to_owned(),
            head: head.to_owned(),
            embedding: embedding.to_owned(),
        })
    }
}

/// The head's weight, under the same name everywhere.
pub(crate) const HEAD: &str = "lm_head.weight";

/// Tensors that old files hold beside the weights: the causal mask of GPT-2, the rotary frequencies of Llama.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name.ends_with(".rotary_emb.inv_freq")
}

/// The file of each tensor, by an index.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read(path).map_err(|e| CheckpointError::read(path, e, NO_WEIGHTS))?;
    let json = |message: String| CheckpointError::Json { path: path.to_owned(), message };
    let index: Index = serde_json::from_slice(&text).map_err(|e| json(e.to_string()))?;
    // An index must not lead out of its directory.
    let plain = |name: &&String| Path::new(name).file_name() != Some(name.as_ref());
    match index.weight_map.values().find(plain) {
        Some(name) => Err(json(format!("{name:?} is not the name of a file in the same directory"))),
        None => Ok(index.weight_map),
    }
}

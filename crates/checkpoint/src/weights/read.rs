//! Parameters out of the tensors of a model, in the number type that is wanted.

use std::collections::BTreeMap;

use llm_gguf::TensorType;
use llm_model::{CausalLm, ParamInfo, QuantizedWeight, Role, Values, replace_params};

use super::stored::StoredWeights;
use super::{places, stored_tensors};
use crate::families::Place;
use crate::floats::Floats;
use crate::{CheckpointError, ModelSource, Quantize};

/// In which number type weights are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// In float32, to continue training.
    Float32,
    /// Tables and matrices as they are stored, and from mapped files without a copy; the rest in float32.
    AsStored {
        /// Also those in blocks; else these are widened once, which training is faster with.
        blocks: bool,
    },
    /// The linear layers of the blocks in few bits, the rest as they are stored, or on devices that cannot multiply
    /// with those in float32. Files are read, not mapped: nothing of them stays in memory.
    Quantized {
        /// How few.
        quantize: Quantize,
        /// Tables as they are stored.
        as_stored: bool,
    },
}

impl Load {
    /// Whether the values of a parameter stay in the number type of the file.
    fn keeps(self, role: Role) -> bool {
        let table = matches!(role, Role::Matrix | Role::Embedding | Role::Head);
        table && matches!(self, Self::AsStored { .. } | Self::Quantized { as_stored: true, .. })
    }

    /// How few bits a parameter is to be held in, if it is to be held in blocks whatever the file has.
    fn quantize(self, role: Role) -> Option<Quantize> {
        match self {
            Self::Quantized { quantize, .. } if role == Role::Matrix => Some(quantize),
            _ => None,
        }
    }

    /// Whether a parameter that the file has in blocks of this kind is held in them.
    fn keeps_blocks(self, role: Role, kind: TensorType) -> bool {
        let as_stored = self != (Self::AsStored { blocks: false }) && self.keeps(role);
        self.quantize(role).map_or(as_stored, |quantize| quantize.keeps(kind))
    }
}

/// [`load_weights`](crate::load_weights), or the same in other number types.
pub(crate) fn load(source: &ModelSource, model: CausalLm, how: Load) -> Result<CausalLm, CheckpointError> {
    let config = model.config().clone();
    let place = places(&config);
    let stored = StoredWeights::open(source, how)?;
    stored.check(&model, &place)?;
    // What the model takes as it is, and not as a copy, may be read all at once, by all cores.
    let ready = match how {
        Load::AsStored { blocks } => {
            let names = stored_tensors(&model).into_iter().map(|(name, _)| name);
            stored.read_all(names.filter(|name| !blocks || !stored.is_in_blocks(name)).collect())?
        }
        _ => BTreeMap::new(),
    };
    let mut reader = Reader { stored: &stored, ready, last: None };
    replace_params::<CheckpointError>(model, &mut |info: &ParamInfo| {
        if info.role == Role::Adapter {
            return Ok(None);
        }
        let place = place(&info.name);
        if let Some(blocks) = reader.blocks(&place, info, how)? {
            return Ok(Some(Values::Blocks(blocks)));
        }
        let floats = reader.floats(&place)?;
        let data = if how.keeps(info.role) {
            floats.parameter_as_stored(&place, &info.shape)
        } else {
            floats.parameter(&place, &info.shape)
        };
        Ok(Some(data.into()))
    })
}

/// Reads one parameter after the other.
struct Reader<'a> {
    stored: &'a StoredWeights,
    /// Tensors that have been read before.
    ready: BTreeMap<String, Floats>,
    /// A tensor that several parameters in a row share.
    last: Option<(String, Floats)>,
}

impl Reader<'_> {
    /// The values of the tensor at `place`; all are finite.
    fn floats(&mut self, place: &Place) -> Result<Floats, CheckpointError> {
        let floats = match self.last.take() {
            Some((tensor, floats)) if tensor == place.tensor => floats,
            _ => match self.ready.remove(&place.tensor) {
                Some(floats) => floats,
                None => self.stored.read(&place.tensor)?,
            },
        };
        if !place.is_whole() {
            self.last = Some((place.tensor.clone(), floats.clone()));
        }
        Ok(floats)
    }

    /// The parameter `info` at `place` in blocks, if it is to be held in such: those of the file if they are as small as
    /// wanted, else new ones.
    fn blocks(
        &mut self,
        place: &Place,
        info: &ParamInfo,
        how: Load,
    ) -> Result<Option<QuantizedWeight>, CheckpointError> {
        let &[rows, columns] = info.shape.as_slice() else { return Ok(None) };
        let kept = |kind| how.keeps_blocks(info.role, kind);
        if let Some(stored) = self.stored.blocks(place, [rows, columns], &kept)? {
            return Ok(Some(stored));
        }
        let Some(quantize) = how.quantize(info.role) else { return Ok(None) };
        let values = self.floats(place)?.into_f32();
        let values = if place.is_whole() { values } else { place.extract(&values, &info.shape) };
        let quantized = QuantizedWeight::quantize(quantize.kind(), [rows, columns], &values);
        quantized.map(Some).ok_or_else(|| CheckpointError::Quantize {
            path: self.stored.path.clone(),
            tensor: place.tensor.clone(),
            kind: quantize.kind(),
            row: columns,
        })
    }
}

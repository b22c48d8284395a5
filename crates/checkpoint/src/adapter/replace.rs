//! What adapters have besides factors of linear layers: other values for whole tensors of the base, rows of its tables, and
//! LoRA on embeddings, which is added to them at once.

use std::collections::BTreeMap;

use burn::tensor::TensorData;
use llm_model::{CausalLm, ParamInfo, Role, chosen_params, params, replace_params};
use rayon::prelude::*;

use super::load::{Stored, module_of};
use super::tensors::TOKEN_ROWS;
use crate::CheckpointError;
use crate::families::Place;
use crate::weights::{HEAD, places};

/// `model` with what `adapters` replace, each times its weight. `tied` if its head was the embedding before.
pub(super) fn replace(adapters: &[(Stored, f64)], model: CausalLm, tied: bool) -> Result<CausalLm, CheckpointError> {
    let mut changed = changes(adapters, &model, tied)?;
    if changed.is_empty() {
        return Ok(model);
    }
    replace_params(model, &mut |info: &ParamInfo| {
        Ok(changed.remove(&info.name).map(|values| TensorData::new(values, info.shape.clone()).into()))
    })
}

/// New values of parameters, by their names.
fn changes(
    adapters: &[(Stored, f64)],
    model: &CausalLm,
    tied: bool,
) -> Result<BTreeMap<String, Vec<f32>>, CheckpointError> {
    let place = places(model.config());
    let embedding = place("model.embed_tokens.weight").tensor;
    let mut changed: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for info in params(model).iter().filter(|info| info.role != Role::Adapter) {
        let place = place(&info.name);
        for (stored, weight) in adapters {
            let twin = [HEAD, &embedding].into_iter().find(|twin| *twin != place.tensor);
            let twin = twin.filter(|_| tied && (place.tensor == HEAD || place.tensor == embedding));
            let one = Replaced { stored, info, place: &place, twin };
            if !one.is_any() {
                continue;
            }
            let base = values(model, &info.name);
            let Some(new) = one.values(&base)? else { continue };
            let sum = changed.remove(&info.name);
            changed.insert(info.name.clone(), moved(&base, new, *weight, sum));
        }
    }
    Ok(changed)
}

/// Values that were `base` until adapters made `sum` of them, moved by `weight` times the way from there to `new`.
fn moved(base: &[f32], new: Vec<f32>, weight: f64, sum: Option<Vec<f32>>) -> Vec<f32> {
    if weight == 1.0 && sum.is_none() {
        return new;
    }
    let mut sum = sum.unwrap_or_else(|| base.to_vec());
    for ((sum, base), new) in sum.iter_mut().zip(base).zip(new) {
        *sum += (weight * f64::from(new - base)) as f32;
    }
    sum
}

/// The values that a parameter of `model` has.
fn values(model: &CausalLm, name: &str) -> Vec<f32> {
    let mut values = Vec::new();
    chosen_params(model, &|other| other == name, &mut |_, data| values = data.iter::<f32>().collect());
    values
}

/// A parameter of the base, as one adapter has it.
struct Replaced<'a> {
    stored: &'a Stored,
    info: &'a ParamInfo,
    place: &'a Place,
    /// The tensor that was the same in the base, unless the adapter trains one of them apart from the other.
    twin: Option<&'a str>,
}

impl Replaced<'_> {
    fn is_any(&self) -> bool {
        let tensors = &self.stored.tensors;
        self.whole().is_some() || self.kinds().iter().any(|kind| tensors.find(kind).is_some())
    }

    /// The tensor of the adapter that is all of it.
    fn whole(&self) -> Option<&str> {
        let Stored { tensors, config } = self.stored;
        let shared = |twin: &&str| config.ties || !config.saves(module_of(twin));
        tensors.find(&self.place.tensor).or_else(|| self.twin.filter(shared).and_then(|twin| tensors.find(twin)))
    }

    /// The factors of a table, and its rows.
    fn kinds(&self) -> [String; 3] {
        let table = module_of(&self.place.tensor);
        ["lora_embedding_A", "lora_embedding_B", TOKEN_ROWS].map(|kind| format!("{table}.{kind}"))
    }

    /// The values that the adapter makes of `base`; nothing if they are the same.
    fn values(&self, base: &[f32]) -> Result<Option<Vec<f32>>, CheckpointError> {
        let tensors = &self.stored.tensors;
        let is_table = matches!(self.info.role, Role::Embedding | Role::Head);
        let mut new = match self.whole() {
            None => base.to_vec(),
            Some(tensor) => {
                let shape = self.place.stored_shape(&self.info.shape);
                self.check_vocabulary(tensor, is_table)?;
                let stored = tensors.read(tensor, &shape)?;
                if self.place.is_whole() { stored } else { self.place.extract(&stored, &self.info.shape) }
            }
        };
        if is_table {
            let [a, b, rows] = self.kinds();
            if tensors.find(&a).is_some() || tensors.find(&b).is_some() {
                self.add_factors(&mut new, &a, &b)?;
            }
            let twin_rows = self.twin.map(|twin| format!("{}.{TOKEN_ROWS}", module_of(twin)));
            for rows in [Some(rows), twin_rows].into_iter().flatten() {
                if tensors.find(&rows).is_some() {
                    self.set_rows(&mut new, &rows)?;
                }
            }
        }
        Ok((new != base).then_some(new))
    }

    fn check_vocabulary(&self, tensor: &str, is_table: bool) -> Result<(), CheckpointError> {
        let found = self.stored.tensors.shape(tensor).unwrap_or_default();
        match (found.as_slice(), self.info.shape.as_slice()) {
            (&[found, width], &[model, ours]) if is_table && width == ours && found != model => {
                Err(self.other_vocabulary(tensor, found))
            }
            _ => Ok(()),
        }
    }

    /// Adds `scale · (B·A)ᵀ` to a table `(v, d)`, of `A` `(r, v)` and `B` `(d, r)`.
    fn add_factors(&self, table: &mut [f32], a: &str, b: &str) -> Result<(), CheckpointError> {
        let Stored { tensors, config } = self.stored;
        let (module, [v, d]) = (module_of(&self.place.tensor), [self.info.shape[0], self.info.shape[1]]);
        let (rank, scale) = (config.rank_of(module), config.scale_of(module) as f32);
        self.check_columns(a, rank)?;
        let [a, b] = [tensors.read(a, &[rank, v])?, tensors.read(b, &[d, rank])?];
        table.par_chunks_mut(d).enumerate().for_each(|(row, values)| {
            let column: Vec<f32> = (0..rank).map(|k| a[k * v + row]).collect();
            for (value, b) in values.iter_mut().zip(b.chunks(rank)) {
                *value += scale * b.iter().zip(&column).map(|(b, a)| b * a).sum::<f32>();
            }
        });
        Ok(())
    }

    /// Says of `A` `(r, v)` whether only the vocabulary is another.
    fn check_columns(&self, tensor: &str, rank: usize) -> Result<(), CheckpointError> {
        match self.stored.tensors.shape(tensor).as_deref() {
            Some(&[r, found]) if r == rank && found != self.info.shape[0] => Err(self.other_vocabulary(tensor, found)),
            _ => Ok(()),
        }
    }

    /// The error of a tensor for a vocabulary of `found` tokens.
    fn other_vocabulary(&self, tensor: &str, found: usize) -> CheckpointError {
        let tensors = &self.stored.tensors;
        let (path, tensor) = (tensors.path().to_owned(), tensors.in_file(tensor).to_owned());
        CheckpointError::AdapterVocabulary { path, tensor, found, model: self.info.shape[0] }
    }

    /// Replaces the rows that the adapter trained alone.
    fn set_rows(&self, table: &mut [f32], tensor: &str) -> Result<(), CheckpointError> {
        let Stored { tensors, config } = self.stored;
        let (rows, d) = (config.rows_of(module_of_rows(tensor)), self.info.shape[1]);
        let values = tensors.read(tensor, &[rows.len(), d])?;
        for (&row, values) in rows.iter().zip(values.chunks(d)) {
            let Some(held) = table.get_mut(row.saturating_mul(d)..row.saturating_mul(d).saturating_add(d)) else {
                return Err(CheckpointError::AdapterRow {
                    path: tensors.path().to_owned(),
                    tensor: tensors.in_file(tensor).to_owned(),
                    row,
                    rows: self.info.shape[0],
                });
            };
            held.copy_from_slice(values);
        }
        Ok(())
    }
}

fn module_of_rows(tensor: &str) -> &str {
    tensor.rsplit_once('.').map_or(tensor, |(module, _)| module)
}

//! Writing a model as one GGUF file.

use std::path::Path;

use llm_data::Tokenizer;
use llm_gguf::{Layout, TensorPlan, TensorType, Value};
use llm_model::CausalLm;

use super::config;
use super::tensors::Change;
use super::tokenizer;
use crate::CheckpointError;
use crate::atomic::write_sized;
use crate::families::publishable;
use crate::weights::{stored_tensors, visit_stored};

/// `general.file_type` (`llama_ftype`).
const FILE_TYPES: [(TensorType, u32); 6] = [
    (TensorType::F32, 0),
    (TensorType::F16, 1),
    (TensorType::Q4_0, 2),
    (TensorType::Q8_0, 7),
    (TensorType::Q4K, 14),
    (TensorType::Bf16, 32),
];
/// The version of the quantized types that is written.
const QUANTIZATION_VERSION: u32 = 2;

/// Writes `model` and its tokenizer to one GGUF file, atomically, with matrices stored as `kind` and all else in float32.
/// As in llama.cpp's own files, the matrix of the head has more than four bits: each of its errors is one of a logit.
/// Beside the model, one tensor at a time is in memory. Gives notes on what is not as one would expect: matrices stored in
/// another type because their rows do not fill its blocks, and what llama.cpp does not do. Biases that llama.cpp asks for
/// and the model lacks are written as zeros.
///
/// # Errors
/// [`CheckpointError::NotGguf`] for what llama.cpp would compute or split differently, and those of
/// [`write_atomic`](crate::write_atomic).
pub fn save_gguf(
    path: &Path,
    model: &CausalLm,
    tokenizer: Option<&Tokenizer>,
    kind: TensorType,
) -> Result<Vec<String>, CheckpointError> {
    let model = &publishable(model);
    let model_config = model.config();
    let file_type = FILE_TYPES.iter().find(|(known, _)| *known == kind).map(|(_, number)| *number);
    let file_type = file_type.ok_or_else(|| CheckpointError::NotGguf(format!("{kind} is read, but not written")))?;
    let description = config::write(model_config)?;
    let (architecture, mut notes) = (description.architecture, description.notes);
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::String(architecture.name.to_owned())),
        ("general.type".to_owned(), Value::String("model".to_owned())),
        ("general.file_type".to_owned(), Value::U32(file_type)),
        ("general.quantization_version".to_owned(), Value::U32(QUANTIZATION_VERSION)),
    ];
    metadata.extend(description.metadata);
    if let Some(tokenizer) = tokenizer {
        let (of_tokenizer, its_notes) = tokenizer::write(tokenizer, model_config.vocab_size)?;
        metadata.extend(of_tokenizer);
        notes.extend(its_notes);
    } else {
        metadata.push(("tokenizer.ggml.model".to_owned(), Value::String("no_vocab".to_owned())));
    }

    let change = |name: &str| Change::of(architecture, name, model_config.num_heads, model_config.num_kv_heads);
    let mut plans = Vec::new();
    for (name, values) in &description.tensors {
        plans.push(TensorPlan { name: (*name).to_owned(), shape: vec![values.len()], kind: TensorType::F32 });
    }
    let head = if model_config.tied { "token_embd.weight" } else { "output.weight" };
    let mut narrow = Vec::new();
    for (stored, shape) in stored_tensors(model) {
        let unnamed = || CheckpointError::NotGguf(format!("GGUF has no name for {stored}"));
        let name = architecture.gguf_name(&stored).ok_or_else(unnamed)?;
        let shape = change(&stored).shape(&shape);
        let wanted = if name == head && kind.block_bytes() < kind.block_len() { TensorType::Q8_0 } else { kind };
        let used = fitting(wanted, &name, &shape);
        if used != wanted && shape.len() > 1 && !keeps_float32(&name) {
            narrow.push((used, shape[shape.len() - 1]));
        }
        plans.push(TensorPlan { name, shape, kind: used });
    }
    if let Some((used, row)) = narrow.first() {
        let [count, block] = [narrow.len(), kind.block_len()];
        notes.push(format!(
            "{count} matrices are stored as {used}: their rows of {row} values do not fill blocks of {block}"
        ));
    }
    let refused = |e: llm_gguf::GgufError| CheckpointError::NotGguf(e.to_string());
    let layout = Layout::new(&metadata, &plans).map_err(refused)?;
    write_sized(path, Some(layout.size()), |out| {
        let write = |e| CheckpointError::write(path, e, Some(layout.size()));
        let mut tensors = layout.start(out).map_err(write)?;
        for (_, values) in &description.tensors {
            tensors.write(values).map_err(write)?;
        }
        visit_stored(model, &mut |name, shape, values| tensors.write(&change(name).apply(values, shape))).map_err(write)
    })?;
    Ok(notes)
}

/// Tables that llama.cpp adds to activations as they are.
fn keeps_float32(name: &str) -> bool {
    name == "position_embd.weight"
}

/// The type for a tensor: the one asked for if its rows fill the blocks, else the next wider one.
fn fitting(kind: TensorType, name: &str, shape: &[usize]) -> TensorType {
    if shape.len() < 2 || keeps_float32(name) {
        return TensorType::F32;
    }
    let fits = |kind: &TensorType| shape[shape.len() - 1].is_multiple_of(kind.block_len());
    [kind, TensorType::Q8_0, TensorType::F16].into_iter().find(fits).unwrap_or(TensorType::F32)
}

//! Writes adapters over the golden models, and their logits, for `scripts/check_peft.py`.
//!
//! ```text
//! cargo run --release -p llm-checkpoint --example tiny_adapters -- FOLDER
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use llm_checkpoint::{load_model, load_tensors, save_adapter, save_tensors};
use llm_model::{LoraConfig, ParamInfo, Role, TargetModules, replace_params};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::args().nth(1).ok_or("give a folder to write to")?);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/golden");
    let some = TargetModules::Names(["q_proj", "v_proj", "up_proj"].map(ToOwned::to_owned).to_vec());
    let all = LoraConfig { rank: 3, alpha: 5.0, ..LoraConfig::default() };
    let kinds = [
        ("all", all.clone()),
        ("some", LoraConfig { rslora: true, target_modules: some.clone(), ..all.clone() }),
        ("dora", LoraConfig { dora: true, target_modules: some, ..all }),
    ];
    let device = Device::flex();
    for family in ["llama", "llama_llama3", "gpt2", "phi3", "qwen2", "qwen3", "gemma3", "olmo2", "smollm3", "mistral"] {
        for (kind, config) in &kinds {
            let model = load_model(&golden.join(family), &device)?.with_lora(config, 1)?;
            let mut seed = 0.0f32;
            let model = replace_params(model, &mut |info: &ParamInfo| {
                seed += 1.0;
                let centre = if info.shape.len() == 1 { 1.0 } else { 0.0 };
                let values: Vec<f32> = (0..info.len()).map(|i| centre + (i as f32 * 0.7 + seed).sin() * 0.1).collect();
                let value = TensorData::new(values, info.shape.clone());
                Ok::<_, Box<dyn Error>>((info.role == Role::Adapter).then(|| value.into()))
            })?;
            let folder = out.join(format!("{family}.{kind}"));
            save_adapter(&folder, &model, None)?;
            let ids = load_tensors(&golden.join(family).join("golden.safetensors"))?.remove("ids").ok_or("no ids")?;
            let logits = model.forward(Tensor::<2, Int>::from_data(ids, &device), None).into_data();
            save_tensors(&folder.join("logits.safetensors"), &[("logits".to_owned(), logits)])?;
        }
    }
    Ok(())
}

//! `--adapter-path`: LoRA adapters over a model.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use llm_checkpoint::{AdapterDescription, CHAT_TEMPLATE, describe_adapter, load_adapters};
use llm_model::CausalLm;

use crate::error::CliError;
use crate::printer::Printer;

/// Adapters to use.
#[derive(Debug, Clone, Args)]
pub struct AdapterArgs {
    /// LoRA adapter for the model: a directory, as from PEFT or mlx-lm. Repeatable; adapters are summed, each times its
    /// weight [default: 1].
    #[arg(long, value_name = "PATH[=WEIGHT]", value_parser = adapter)]
    pub adapter_path: Vec<Adapter>,
}

/// An adapter and its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    path: PathBuf,
    weight: f64,
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.weight == 1.0 { Ok(()) } else { write!(f, "={}", self.weight) }
    }
}

/// `PATH` or `PATH=WEIGHT`. What is there by its whole name is a path.
fn adapter(text: &str) -> Result<Adapter, String> {
    let split = if Path::new(text).exists() { None } else { text.rsplit_once('=') };
    let Some((path, weight)) = split else { return Ok(Adapter { path: text.into(), weight: 1.0 }) };
    match weight.parse() {
        Ok(weight) if f64::is_finite(weight) => Ok(Adapter { path: path.into(), weight }),
        _ => Err(format!("{weight:?} is not a number; expected a weight such as {path}=0.5")),
    }
}

impl AdapterArgs {
    /// The adapter at `path` alone.
    pub fn one(path: PathBuf) -> Self {
        Self { adapter_path: vec![Adapter { path, weight: 1.0 }] }
    }

    /// What they are, each with its weight.
    pub fn describe(&self) -> Result<Vec<(AdapterDescription, f64)>, CliError> {
        self.adapter_path.iter().map(|adapter| Ok((describe_adapter(&adapter.path)?, adapter.weight))).collect()
    }

    /// The chat template that came with an adapter: that of the samples it was trained on, where the model has none.
    pub fn chat_template(&self) -> Option<PathBuf> {
        self.adapter_path.iter().map(|adapter| adapter.path.join(CHAT_TEMPLATE)).find(|path| path.is_file())
    }

    /// `model` with the adapters; warns of what in them is not heeded.
    pub fn apply(&self, model: CausalLm, printer: Printer) -> Result<CausalLm, CliError> {
        if self.adapter_path.is_empty() {
            return Ok(model);
        }
        for Adapter { path, .. } in &self.adapter_path {
            let AdapterDescription { unknown_settings, other_parts, .. } = describe_adapter(path)?;
            if !unknown_settings.is_empty() {
                let settings = unknown_settings.join(", ");
                printer.warn(format_args!("{}: unknown settings are ignored: {settings}", path.display()));
            }
            if other_parts > 0 {
                let parts = "tensors of parts other than text are skipped";
                printer.warn(format_args!("{}: {other_parts} {parts}", path.display()));
            }
        }
        let adapters: Vec<_> = self.adapter_path.iter().map(|a| (a.path.as_path(), a.weight)).collect();
        Ok(load_adapters(&adapters, model)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_an_equals_sign() {
        let of = |path: &str, weight| Ok(Adapter { path: path.into(), weight });
        assert_eq!(adapter("a/b"), of("a/b", 1.0));
        assert_eq!(adapter("a/b=0.7"), of("a/b", 0.7));
        assert_eq!(adapter("a=b=-2"), of("a=b", -2.0));
        assert!(adapter("a/b=much").unwrap_err().contains("much"));
        assert!(adapter("a/b=nan").is_err());
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("x=1");
        std::fs::create_dir(&odd).unwrap();
        assert_eq!(adapter(odd.to_str().unwrap()), of(odd.to_str().unwrap(), 1.0));
    }
}

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;
use comfy_table::{Cell, CellAlignment};
use llm_checkpoint::{AdapterDescription, describe_adapter, is_adapter, published_type};
use llm_data::{Tokenizer, TokenizerKind};
use llm_model::{CausalLm, ModelConfig, ParamInfo, params};
use llm_train::{ConfigFile, RunConfig};
use serde_json::json;

use super::{shape_text, table};
use crate::error::CliError;
use crate::model::{locate, open};
use crate::numbers::grouped;
use crate::printer::{Printer, stdout};

const EXAMPLES: &str = "Examples:
  llm inspect model --model runs/mine
  llm inspect model -c configs/shakespeare-char.toml --vocab-size 65";

/// What `llm inspect model` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TreeArgs {
    #[command(flatten)]
    source: Source,

    /// Vocabulary size; needed with --config if the tokenizer is not trained yet and its size is unknown.
    #[arg(long, value_name = "N", requires = "config")]
    vocab_size: Option<usize>,

    /// Show every layer, even if identical.
    #[arg(long)]
    all: bool,

    /// Print the configuration and every tensor as JSON.
    #[arg(long)]
    json: bool,
}

/// Where the model is described.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// The model: a directory, as from `llm train --out` or Hugging Face, a .gguf file, or ORG/NAME on the hub
    /// (or ORG/NAME@REVISION); or an adapter, as from `llm finetune`, PEFT or mlx-lm.
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,

    /// Training configuration: show the model that it would train.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn run(args: &TreeArgs, printer: Printer) -> Result<(), CliError> {
    let config = match (&args.source.model, &args.source.config) {
        (Some(model), _) => {
            let path = locate(model, None, printer)?;
            if is_adapter(&path) && !path.join("config.json").exists() {
                return print_adapter(&describe_adapter(&path)?, args.json);
            }
            open(&path, printer)?.config()?
        }
        (None, Some(file)) => planned(file, args.vocab_size)?,
        (None, None) => unreachable!("clap asks for one of the two"),
    };
    // Weights are not read, and take no memory until they are.
    let tensors = params(&CausalLm::new(&config, &Device::default()));
    if args.json { print_json(&config, &tensors) } else { print_tree(&config, &tensors, args.all) }
}

/// Prints what an adapter is.
fn print_adapter(adapter: &AdapterDescription, json: bool) -> Result<(), CliError> {
    let mut out = stdout();
    if json {
        writeln!(out, "{}", json!({ "adapter": adapter }))?;
        return Ok(());
    }
    let kind = if adapter.dora { "DoRA" } else { "LoRA" };
    let AdapterDescription { base, rank, alpha, dropout, targets, layers, parameters, .. } = adapter;
    if adapter.format == "mlx-lm" {
        let scale = alpha / *rank as f64;
        writeln!(out, "adapter     {kind} by mlx-lm, rank {rank}, scale {scale}, dropout {dropout}")?;
    } else {
        let scale = if adapter.rslora { "alpha / √rank" } else { "alpha / rank" };
        writeln!(out, "adapter     {kind} of rank {rank}, alpha {alpha}, dropout {dropout}; scale {scale}")?;
    }
    writeln!(out, "base        {}", base.as_deref().unwrap_or("not named"))?;
    let unit = if *layers == 1 { "layer" } else { "layers" };
    writeln!(out, "targets     {} ({} {unit})", targets.join(", "), grouped(*layers as u64))?;
    if !adapter.replaced.is_empty() {
        writeln!(out, "replaces    {}", first_of(&adapter.replaced))?;
    }
    if !adapter.unknown_settings.is_empty() {
        writeln!(out, "ignored     unknown settings {}", adapter.unknown_settings.join(", "))?;
    }
    if adapter.other_parts > 0 {
        writeln!(out, "skipped     {} tensors of parts other than text", grouped(adapter.other_parts as u64))?;
    }
    writeln!(out, "parameters  {}; {:.1} MB in float32", grouped(*parameters as u64), *parameters as f64 * 4.0 / 1e6)?;
    Ok(())
}

/// The first few names, and how many more there are.
fn first_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// The model that a training configuration describes.
fn planned(file: &Path, vocab_size: Option<usize>) -> Result<ModelConfig, CliError> {
    let RunConfig { model, tokenizer, .. } = RunConfig::load(file)?;
    let vocab_size = match (vocab_size, &tokenizer.path, tokenizer.kind) {
        (Some(given), ..) => given,
        (None, Some(path), _) => Tokenizer::load(path)?.vocab_size(),
        (None, None, TokenizerKind::Bpe | TokenizerKind::Word) => tokenizer.vocab_size,
        (None, None, TokenizerKind::Byte) => 256 + 1, // and the end of a text
        (None, None, TokenizerKind::Char) => return Err(CliError::OpenVocabulary { path: file.to_owned() }),
    };
    Ok(model.resolve(vocab_size)?)
}

fn print_json(config: &ModelConfig, tensors: &[ParamInfo]) -> Result<(), CliError> {
    let tensor = |info: &ParamInfo| json!({ "name": info.name, "shape": info.shape, "parameters": info.len() });
    let all = json!({
        "model_type": published_type(config),
        "parameters": total(tensors),
        "config": config,
        "tensors": tensors.iter().map(tensor).collect::<Vec<_>>(),
    });
    writeln!(stdout(), "{all}")?;
    Ok(())
}

fn total(tensors: &[ParamInfo]) -> usize {
    tensors.iter().map(ParamInfo::len).sum()
}

fn print_tree(config: &ModelConfig, tensors: &[ParamInfo], all: bool) -> Result<(), CliError> {
    let mut root = Node::default();
    for info in tensors {
        root.insert(&info.name, info);
    }
    let mut table = table(["module", "shape", "parameters"]);
    let mut rows = Vec::new();
    root.children.iter().for_each(|child| child.rows(0, all, &mut rows));
    if config.tied {
        rows.push(["lm_head".into(), "shares model.embed_tokens".into(), "0".into()]);
    }
    rows.push(["total".into(), String::new(), grouped(total(tensors) as u64)]);
    for [name, shape, count] in rows {
        let [name, shape] = [name, shape].map(Cell::new);
        table.add_row([name, shape, Cell::new(count).set_alignment(CellAlignment::Right)]);
    }
    let mut out = stdout();
    writeln!(out, "{}", table.trim_fmt())?;
    let kind =
        published_type(config).map_or("loads only in this program".to_owned(), |kind| format!("model type {kind}"));
    writeln!(out, "\n{kind}; {:.1} MB in float32", total(tensors) as f64 * 4.0 / 1e6)?;
    Ok(())
}

/// A module, or a parameter where it has a shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    name: String,
    shape: Option<Vec<usize>>,
    parameters: usize,
    children: Vec<Self>,
}

impl Node {
    fn insert(&mut self, path: &str, info: &ParamInfo) {
        self.parameters += info.len();
        let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let at = self.children.iter().position(|child| child.name == name).unwrap_or_else(|| {
            self.children.push(Self { name: name.to_owned(), ..Self::default() });
            self.children.len() - 1
        });
        let child = &mut self.children[at];
        if let Some(rest) = rest {
            child.insert(rest, info);
        } else {
            (child.shape, child.parameters) = (Some(info.shape.clone()), info.len());
        }
    }

    /// Rows of name, shape and number of parameters, children two columns further in.
    fn rows(&self, depth: usize, all: bool, rows: &mut Vec<[String; 3]>) {
        let indent = "  ".repeat(depth);
        let count = grouped(self.parameters as u64);
        match (&self.shape, &self.children[..]) {
            (Some(shape), _) => rows.push([format!("{indent}{}", self.name), shape_text(shape), count]),
            // A module of one parameter is one row.
            (None, [Self { name, shape: Some(shape), .. }]) => {
                rows.push([format!("{indent}{}.{name}", self.name), shape_text(shape), count]);
            }
            (None, [first, .., last]) if !all && self.children.iter().all(|child| child.is_like(first)) => {
                rows.push([format!("{indent}{}", self.name), String::new(), count]);
                let name = format!("{} to {}, each", first.name, last.name);
                Self { name, ..first.clone() }.rows(depth + 1, all, rows);
                if let Some([_, _, count]) = rows.iter_mut().rfind(|[name, ..]| name.ends_with(", each")) {
                    *count = format!("{} × {count}", self.children.len());
                }
            }
            (None, children) => {
                rows.push([format!("{indent}{}", self.name), String::new(), count]);
                children.iter().for_each(|child| child.rows(depth + 1, all, rows));
            }
        }
    }

    /// Whether it is the same in all but the name, and one of a list.
    fn is_like(&self, other: &Self) -> bool {
        self.name.parse::<usize>().is_ok() && self.shape == other.shape && self.children == other.children
    }
}

#[cfg(test)]
mod tests {
    use llm_model::{Family, ModelSection};

    use super::*;

    fn rows(all: bool) -> Vec<[String; 3]> {
        let section = ModelSection { family: Family::Llama, num_layers: 3, ..ModelSection::default() };
        let mut root = Node::default();
        for info in params(&CausalLm::new(&section.resolve(100).unwrap(), &Device::default())) {
            root.insert(&info.name, &info);
        }
        let mut rows = Vec::new();
        root.children.iter().for_each(|child| child.rows(0, all, &mut rows));
        rows
    }

    #[test]
    fn layers_that_are_alike_are_shown_once() {
        let alike: Vec<_> = rows(false).into_iter().filter(|[name, ..]| name.contains("each")).collect();
        // 4 · 128² of attention, 3 · 128 · 352 of feed-forward, 2 · 128 of norms
        assert_eq!(alike, [["    0 to 2, each".to_owned(), String::new(), "3 × 200,960".to_owned()]]);
        let find = |name: &str, all| rows(all).into_iter().filter(|[row, ..]| row.trim() == name).collect::<Vec<_>>();
        assert_eq!(find("layers", false)[0][2], "602,880");
        assert_eq!(find("q_proj.weight", false).len(), 1);
        assert_eq!(find("q_proj.weight", true).len(), 3);
        assert_eq!(find("embed_tokens.weight", true)[0][1..], ["100 × 128", "12,800"]);
    }
}

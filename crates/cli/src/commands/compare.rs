use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use llm_checkpoint::{ModelFiles, adapter_base, is_adapter};
use llm_eval::{Comparison, EvalData, Score, Side, differences};
use serde_json::{Map, Value, json};

use crate::adapters::AdapterArgs;
use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::measure::MeasureView;
use crate::model::{locate, open};
use crate::numbers::grouped;
use crate::printer::{Printer, plain_stdout, stdout};

/// The default prompts for both models.
const PROMPTS: [&str; 3] = ["Once upon a time", "The capital of France is", "To be healthy, one should"];

const EXAMPLES: &str = "Examples:
  llm compare runs/base runs/tuned --data valid.jsonl
  llm compare runs/base --adapter-path runs/qa --data valid.jsonl      a model and its adapter
  llm compare org/name mine.q4.gguf --prompt \"The sea is\" -n 40";

/// What `llm compare` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompareArgs {
    /// A model: a directory, a .gguf file, or ORG/NAME or ORG/NAME@REVISION on the hub; or an adapter's directory, which
    /// names its model.
    #[arg(value_name = "A")]
    first: String,

    /// The model to compare with; optional with --adapter-path [default: A].
    #[arg(value_name = "B", required_unless_present = "adapter_path")]
    second: Option<String>,

    /// LoRA adapters over B.
    #[command(flatten)]
    adapters: AdapterArgs,

    /// Texts or samples to evaluate both on, as `llm eval perplexity` does (repeatable).
    #[arg(long, value_name = "PATH")]
    data: Vec<PathBuf>,

    /// Prompt for both to continue greedily (repeatable) [default: three built-in prompts].
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true,
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    prompt: Vec<String>,

    /// Maximum number of tokens per continuation.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 32)]
    max_tokens: usize,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One of the two, without its weights.
struct Compared {
    /// What it was called, its adapters included.
    name: String,
    files: ModelFiles,
    adapters: AdapterArgs,
}

pub fn run(args: &CompareArgs, printer: Printer) -> Result<(), CliError> {
    let none = AdapterArgs { adapter_path: Vec::new() };
    let second = args.second.as_ref().unwrap_or(&args.first);
    let both = [Compared::open(&args.first, &none, printer)?, Compared::open(second, &args.adapters, printer)?];
    let device = args.device.open(printer)?.device;
    // One after the other: two models need not fit into memory.
    let [first, second] = both.each_ref().map(|one| args.look(one, &device, printer));
    let sides = [first?, second?];
    let names = both.each_ref().map(|one| one.name.as_str());
    if args.json { args.print_json(names, &sides) } else { args.print(names, &sides) }
}

impl Compared {
    /// `model` with `adapters`; if it is an adapter itself, the model that it names, with it.
    fn open(model: &str, adapters: &AdapterArgs, printer: Printer) -> Result<Self, CliError> {
        let path = Path::new(model);
        let alone = is_adapter(path) && !path.join("config.json").exists();
        let (base, adapters) = if alone {
            let base = adapter_base(path)?.ok_or_else(|| CliError::NoBase { path: path.to_owned() })?;
            let mut all = AdapterArgs::one(path.to_owned());
            all.adapter_path.extend(adapters.adapter_path.iter().cloned());
            (base, all)
        } else {
            (model.to_owned(), adapters.clone())
        };
        let files = ModelFiles::of(open(&locate(&base, None, printer)?, printer)?)?;
        let name = adapters.adapter_path.iter().fold(base, |name, adapter| format!("{name} + {adapter}"));
        Ok(Self { name, files, adapters })
    }
}

impl CompareArgs {
    fn prompts(&self) -> Vec<&str> {
        if self.prompt.is_empty() { PROMPTS.to_vec() } else { self.prompt.iter().map(String::as_str).collect() }
    }

    fn look(&self, compared: &Compared, device: &Device, printer: Printer) -> Result<Side, CliError> {
        let files = &compared.files;
        let adapters = compared.adapters.describe()?;
        let model = compared.adapters.apply(files.load_for_inference(device)?, printer)?;
        let data = (!self.data.is_empty()).then(|| EvalData::new(self.data.clone()));
        let asked = Comparison { data, prompts: self.prompts(), max_tokens: self.max_tokens };
        let mut view = MeasureView::new(printer);
        Ok(asked.look(files, adapters, &model, device, &mut |event| view.show(event))?)
    }

    fn print(&self, names: [&str; 2], sides: &[Side; 2]) -> Result<(), CliError> {
        let [a, b] = sides;
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["", names[0], names[1]]);
        table.add_row(["parameters".into(), grouped(a.parameters), grouped(b.parameters)]);
        if let (Some(a), Some(b)) = (a.score, b.score) {
            let mut row = |name: &str, number: fn(&Score) -> f64| {
                table.add_row([name.to_owned(), format!("{:.4}", number(&a)), format!("{:.4}", number(&b))]);
            };
            row("loss", |score| score.loss);
            row("perplexity", Score::perplexity);
            row("bits per byte", Score::bits_per_byte);
            table.add_row(["tokens".into(), grouped(a.tokens as u64), grouped(b.tokens as u64)]);
        }
        for (key, [a, b]) in differences(&a.config, &b.config) {
            table.add_row([key, a.to_string(), b.to_string()]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(stdout(), "{}", table.trim_fmt())?;
        let mut out = plain_stdout();
        for ((prompt, a), b) in self.prompts().into_iter().zip(&a.texts).zip(&b.texts) {
            writeln!(out, "\nprompt: {prompt}\nA: {a}\nB: {b}")?;
        }
        Ok(())
    }

    fn print_json(&self, names: [&str; 2], sides: &[Side; 2]) -> Result<(), CliError> {
        let [a, b] = sides;
        let side = |model: &str, side: &Side| {
            let score = side.score.map(|score| score.json());
            json!({ "model": model, "parameters": side.parameters, "score": score })
        };
        let differences: Map<String, Value> =
            differences(&a.config, &b.config).map(|(key, values)| (key, json!(values))).collect();
        let text = |((prompt, a), b): ((&str, &String), &String)| json!({ "prompt": prompt, "a": a, "b": b });
        let texts: Vec<Value> = self.prompts().into_iter().zip(&a.texts).zip(&b.texts).map(text).collect();
        let all = json!({ "a": side(names[0], a), "b": side(names[1], b), "config": differences, "texts": texts });
        writeln!(plain_stdout(), "{all}")?;
        Ok(())
    }
}

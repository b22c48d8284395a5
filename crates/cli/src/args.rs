use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::commands::bench::BenchCommand;
use crate::commands::chat::ChatArgs;
use crate::commands::compare::CompareArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::convert::ConvertArgs;
use crate::commands::data::DataCommand;
use crate::commands::eval::EvalCommand;
use crate::commands::finetune::FinetuneArgs;
use crate::commands::generate::GenerateArgs;
use crate::commands::inspect::InspectCommand;
use crate::commands::merge::MergeArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::tokenize::TokenizeArgs;
use crate::commands::tokenizer::TokenizerCommand;
use crate::commands::train::TrainArgs;
use crate::printer::Printer;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Raw text to a working language model, on any CPU or GPU: tokenize, train, generate.
#[derive(Debug, Parser)]
#[command(name = "llm", version, styles = STYLES, max_term_width = 100)]
pub struct Cli {
    /// No progress and no notes on stderr; errors stay.
    #[arg(short, long, global = true, display_order = 900)]
    pub quiet: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Prints what is wrong with the command line, or the help that was asked for, and ends the program.
pub fn exit(error: &clap::Error) -> ! {
    let trains = ["train", "pretrain", "finetune", "plan"];
    let command = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    // There is nowhere to report that stderr is closed.
    let _ = error.print();
    if error.kind() == ErrorKind::UnknownArgument && command.is_some_and(|name| trains.contains(&name.as_str())) {
        Printer::new(false).note("hint: every key of the configuration can be set: --set section.key=value");
    }
    std::process::exit(error.exit_code())
}

/// The commands, in the order of `llm --help`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a language model on text.
    #[command(visible_alias = "pretrain")]
    Train(TrainArgs),
    /// Train a model further, on samples of one's own: an adapter, parts of it or all.
    Finetune(FinetuneArgs),
    /// Generate text with a model.
    #[command(visible_alias = "infer")]
    Generate(GenerateArgs),
    /// Talk with a model.
    Chat(ChatArgs),
    /// Measure how good a model is.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Put two models side by side: losses, texts, what differs in their configurations.
    Compare(CompareArgs),
    /// Show the tokens of a text: pieces, ids and bytes.
    Tokenize(TokenizeArgs),
    /// Train tokenizers and look into them.
    #[command(subcommand)]
    Tokenizer(TokenizerCommand),
    /// Prepare text for training, and check samples to fine-tune on.
    #[command(subcommand)]
    Data(DataCommand),
    /// Write a model as a Hugging Face directory or as one GGUF file, and check the result.
    Convert(ConvertArgs),
    /// Make a plain model of a model and its LoRA adapters.
    Merge(MergeArgs),
    /// Look into a model: its modules, its weights, its logits.
    #[command(subcommand)]
    Inspect(InspectCommand),
    /// Tell what a training run will take: parameters, memory, time.
    Plan(PlanArgs),
    /// Measure speed.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Print the completion script of a shell.
    Completions(CompletionsArgs),
}

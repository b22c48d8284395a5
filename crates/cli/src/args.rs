use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{
    bench, chat, compare, completions, convert, data, eval, finetune, generate, inspect, merge, plan, tokenize,
    tokenizer, train,
};
use crate::error::CliError;
use crate::printer::Printer;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// From raw text to a working language model, on any CPU or GPU: tokenize, train, generate.
#[derive(Debug, Parser)]
#[command(name = "llm", version, styles = STYLES, max_term_width = 100)]
pub struct Cli {
    /// Suppress progress and notes; errors are still printed.
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
        Printer::new(false).note("hint: any configuration key can be set with --set section.key=value");
    }
    std::process::exit(error.exit_code())
}

/// The commands, in the order of `llm --help`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a language model on text.
    #[command(visible_alias = "pretrain")]
    Train(train::TrainArgs),
    /// Fine-tune a model on your own samples: an adapter, some of its weights, or all.
    Finetune(finetune::FinetuneArgs),
    /// Generate text with a model.
    #[command(visible_alias = "infer")]
    Generate(generate::GenerateArgs),
    /// Chat with a model.
    Chat(chat::ChatArgs),
    /// Evaluate a model.
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Compare two models: losses, texts and configurations.
    Compare(compare::CompareArgs),
    /// Show the tokens of a text: pieces, ids and bytes.
    Tokenize(tokenize::TokenizeArgs),
    /// Train and inspect tokenizers.
    #[command(subcommand)]
    Tokenizer(tokenizer::TokenizerCommand),
    /// Prepare text for training, and check samples for fine-tuning.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Convert a model to a Hugging Face directory or a GGUF file, and check the result.
    Convert(convert::ConvertArgs),
    /// Merge LoRA adapters into a model.
    Merge(merge::MergeArgs),
    /// Inspect a model: its modules, weights and logits.
    #[command(subcommand)]
    Inspect(inspect::InspectCommand),
    /// Estimate the parameters, memory and time of a training run.
    Plan(plan::PlanArgs),
    /// Measure speed.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Print a shell completion script.
    Completions(completions::CompletionsArgs),
}

impl Command {
    /// Does what was asked for.
    pub fn run(self, printer: Printer) -> Result<(), CliError> {
        match self {
            Self::Train(args) => train::run(&args, printer),
            Self::Finetune(args) => finetune::run(&args, printer),
            Self::Generate(args) => generate::run(&args, printer),
            Self::Chat(args) => chat::run(&args, printer),
            Self::Eval(command) => eval::run(&command, printer),
            Self::Compare(args) => compare::run(&args, printer),
            Self::Tokenize(args) => tokenize::run(&args),
            Self::Tokenizer(command) => tokenizer::run(command, printer),
            Self::Data(command) => data::run(command, printer),
            Self::Convert(args) => convert::run(&args, printer),
            Self::Merge(args) => merge::run(&args, printer),
            Self::Inspect(command) => inspect::run(&command, printer),
            Self::Plan(args) => plan::run(&args, printer),
            Self::Bench(command) => bench::run(&command, printer),
            Self::Completions(args) => completions::run(&args, &mut Cli::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of all commands below `command`, as they are typed.
    fn names(command: &clap::Command, above: &str) -> Vec<String> {
        let name = |below: &clap::Command| format!("{above} {}", below.get_name());
        let all = command.get_subcommands().filter(|below| below.get_name() != "help");
        all.flat_map(|below| [name(below)].into_iter().chain(names(below, &name(below)))).collect()
    }

    #[test]
    fn the_help_of_every_command_is_held() {
        let held = include_str!("../tests/cmd/help.trycmd");
        for name in names(&Cli::command(), "llm") {
            assert!(held.contains(&format!("\n$ {name} --help\n")), "{name} is not in help.trycmd");
        }
    }
}

//! `llm chat`: a conversation with a model, at a terminal or through a pipe.

mod command;
mod lines;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use llm_checkpoint::{ModelFiles, write_atomic};
use llm_generate::{Budget, Conversation, Event, FinishReason, Form, Generation, Generator, Options, Prompt, Sampling};
use llm_model::params;
use serde_json::Value;

use crate::adapters::AdapterArgs;
use crate::device::DeviceArgs;
use crate::error::{ChatError, CliError};
use crate::interrupt;
use crate::model::{ModelArgs, template};
use crate::numbers::grouped;
use crate::printer::{Printer, plain_stdout, stdout};
use crate::sampling::{Most, SamplingArgs, unlimited_or};
use crate::variables::VariableArgs;
use command::{Command, HELP, Setting};
use lines::{Input, Lines};

const EXAMPLES: &str = "Examples:
  llm chat --model HuggingFaceTB/SmolLM2-135M-Instruct
  llm chat --model runs/mine --system \"Answer in one sentence.\" --temp 0.3
  llm chat --model Qwen/Qwen3-0.6B --chat-template-kwargs '{\"enable_thinking\": false}'
  echo \"What is a cat?\" | llm chat --model runs/mine --temp 0

At the prompt, /help lists the commands. Ctrl-C stops an answer, Ctrl-D or /bye leaves.";

/// What `llm chat` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ChatArgs {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    adapters: AdapterArgs,

    /// System message.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Maximum number of tokens per answer; -1 for what fits [default: from the model's generation_config.json, else -1].
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = unlimited_or)]
    max_tokens: Option<usize>,

    /// Jinja chat template to use instead of the model's own.
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,

    #[command(flatten)]
    variables: VariableArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print settings and where each comes from to stderr, and tokens per second even without a terminal.
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    // Last, for its heading holds for all that follow.
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub fn run(args: &ChatArgs, printer: Printer) -> Result<(), CliError> {
    let source = args.model.source(printer)?;
    let device = args.device.open(printer)?;
    let (files, model) = ModelFiles::with_weights(source, &device.device)?;
    let template = template(&files, args.chat_template.as_deref(), &args.adapters)?;
    let model = args.adapters.apply(model, printer)?;
    let context = files.config.context_length;
    let settings = args.sampling.resolve(args.max_tokens, context, &files.generation);
    if args.verbose {
        printer.note(format_args!("settings: {settings}"));
    }
    if template.is_none() {
        printer.warn(
            "this model has no chat template: it continues your text rather than answering\n\
             hint: for a conversation, use a chat model, or give the template with --chat-template",
        );
    }
    let end = template.as_ref().and_then(|template| template.end_of_turn(&files.tokenizer));
    let form = match template {
        None if !args.variables.is_empty() => return Err(CliError::NoTemplate),
        None => Form::Plain,
        Some(template) => {
            let variables = args.variables.given(&template, printer);
            Form::Template(Box::new(template), variables)
        }
    };
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if interactive {
        let parameters: usize = params(&model).iter().map(|info| info.shape.iter().product::<usize>()).sum();
        printer.note(format_args!(
            "{} parameters, context of {} tokens on {}; /help lists the commands",
            grouped(parameters as u64),
            grouped(context as u64),
            device.name
        ));
    }
    let chat = Chat {
        generator: Generator::new(&model, &files.tokenizer, &device.device),
        files: &files,
        form,
        conversation: Conversation::new(args.system.clone()),
        options: Options {
            sampling: settings.sampling,
            max_tokens: settings.max_tokens,
            ends: end.into_iter().collect(),
            ..Options::default()
        },
        interrupted: if interactive { interrupt::flag() } else { Arc::default() },
        interactive,
        shows_speed: interactive || args.verbose,
        printer,
    };
    chat.run(Lines::open(interactive, printer)?)
}

struct Chat<'a> {
    generator: Generator<'a>,
    files: &'a ModelFiles,
    form: Form,
    conversation: Conversation,
    options: Options,
    interrupted: Arc<AtomicBool>,
    interactive: bool,
    shows_speed: bool,
    printer: Printer,
}

impl Chat<'_> {
    /// Answers until there is no more input. At a terminal, errors are shown and the conversation continues; a script ends
    /// with the first.
    fn run(mut self, mut lines: Lines) -> Result<(), CliError> {
        loop {
            let done = match lines.read()? {
                Input::Line(line) if line.trim().is_empty() => continue,
                Input::Line(line) if line.starts_with('/') => self.obey(&line),
                Input::Line(line) | Input::Block(line) => self.answer(&line).map(|()| ControlFlow::Continue(())),
                Input::Interrupted => {
                    self.printer.note("Ctrl-D or /bye leaves");
                    continue;
                }
                Input::End => return Ok(()),
            };
            match done {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(error @ CliError::Output(_)) => return Err(error),
                Err(error) if self.interactive => self.printer.error(&error.report()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what a command says; breaks to leave.
    fn obey(&mut self, line: &str) -> Result<ControlFlow<()>, CliError> {
        match Command::parse(line)? {
            Command::Help => writeln!(stdout(), "{HELP}")?,
            Command::System(None) => match &self.conversation.system {
                Some(text) => writeln!(stdout(), "{text}")?,
                None => self.printer.note("no system message"),
            },
            Command::System(Some(text)) => self.conversation.system = Some(text),
            Command::Show => self.show()?,
            Command::Set(setting) => self.set(setting)?,
            Command::Save(path) => self.save(&path)?,
            Command::Load(path) => {
                self.conversation = Conversation::load(&path)?;
                let messages = self.conversation.len();
                self.printer.note(format_args!("{}: resumed, {messages} messages", path.display()));
            }
            Command::Reset => {
                self.conversation.clear();
                self.printer.note("conversation cleared");
            }
            Command::Bye => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn set(&mut self, setting: Setting) -> Result<(), CliError> {
        let mut sampling = self.options.sampling;
        match setting {
            Setting::Temperature(value) => sampling.temperature = value,
            Setting::TopK(value) => sampling.top_k = value,
            Setting::TopP(value) => sampling.top_p = value,
            Setting::MinP(value) => sampling.min_p = value,
            Setting::RepeatPenalty(value) => sampling.repeat_penalty = value,
            Setting::RepeatLastN(value) => sampling.repeat_last_n = value,
            Setting::Seed(seed) => {
                sampling.seed = seed.value();
                self.options.sample = 0;
            }
            Setting::MaxTokens(value) => self.options.max_tokens = value,
            Setting::System(text) => self.conversation.system = text,
            Setting::Variable(name, value) => self.set_variable(name, value)?,
        }
        sampling.validate()?;
        self.options.sampling = sampling;
        Ok(())
    }

    /// Gives the chat template a variable that it reads, or leaves it out.
    fn set_variable(&mut self, name: String, value: Option<Value>) -> Result<(), CliError> {
        let known = match &self.form {
            Form::Template(template, _) => template.variables(),
            Form::Plain => BTreeSet::new(),
        };
        if !known.contains(&name) {
            return Err(ChatError::UnknownSetting { name, variables: known.into_iter().collect() }.into());
        }
        if let Form::Template(_, variables) = &mut self.form {
            match value {
                Some(value) => variables.insert(name, value),
                None => variables.remove(&name),
            };
        }
        Ok(())
    }

    fn show(&self) -> Result<(), CliError> {
        let Sampling { temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, seed } = self.options.sampling;
        let [repeat_last_n, max_tokens] = [repeat_last_n, self.options.max_tokens].map(Most);
        writeln!(
            stdout(),
            "temperature {temperature}\ntop-k {top_k}\ntop-p {top_p}\nmin-p {min_p}\nrepeat-penalty {repeat_penalty}\n\
             repeat-last-n {repeat_last_n}\nseed {seed}\nmax-tokens {max_tokens}\nsystem {}",
            self.conversation.system.as_deref().unwrap_or_default()
        )?;
        if let Form::Template(template, variables) = &self.form {
            for name in template.variables() {
                let value = variables.get(&name).map_or("(default)".to_owned(), Value::to_string);
                writeln!(stdout(), "{name} {value}")?;
            }
        }
        Ok(())
    }

    fn save(&self, path: &Path) -> Result<(), CliError> {
        let json = self.conversation.to_json();
        write_atomic(path, |out| writeln!(out, "{json}"))?;
        self.printer.note(format_args!("{}: {} messages", path.display(), self.conversation.len()));
        Ok(())
    }

    /// Says `text` to the model and shows its answer as it comes. A message that gets no answer is taken back.
    fn answer(&mut self, text: &str) -> Result<(), CliError> {
        self.conversation.push("user", text);
        let said = self.prompt().and_then(|ids| self.generate(&ids));
        match said {
            Ok(made) if made.finish_reason == FinishReason::Cancelled && made.ids.is_empty() => {
                self.conversation.pop();
                self.printer.note("stopped before the answer; the message is removed");
                Ok(())
            }
            Ok(made) => {
                self.options.sample += 1;
                self.report(&made);
                self.conversation.push("assistant", &made.text);
                Ok(())
            }
            Err(error) => {
                self.conversation.pop();
                Err(error)
            }
        }
    }

    /// The tokens of the conversation, without its oldest messages where the context is full.
    fn prompt(&mut self) -> Result<Vec<u32>, CliError> {
        let context = self.files.config.context_length;
        let budget = Budget { context, answer: self.options.max_tokens };
        let Prompt { ids, forgotten } = self.conversation.prompt(&self.form, &self.files.tokenizer, budget)?;
        if forgotten > 0 {
            let text = format!("the context of {context} tokens is full: the oldest {forgotten} messages are dropped");
            self.printer.warn(text);
        }
        Ok(ids)
    }

    fn generate(&mut self, ids: &[u32]) -> Result<Generation, CliError> {
        self.interrupted.store(false, Ordering::SeqCst);
        let mut out = plain_stdout();
        let mut written = Ok(());
        let made = self.generator.generate(ids, &self.options, &mut |event| {
            if let Event::Text(text) = event {
                written = write!(out, "{text}").and_then(|()| out.flush());
            }
            let go_on = written.is_ok() && !self.interrupted.load(Ordering::SeqCst);
            if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        writeln!(out)?;
        Ok(made)
    }

    /// How an answer ended, where that is not by itself, and how fast it came.
    fn report(&self, made: &Generation) {
        match made.finish_reason {
            FinishReason::Cancelled => self.printer.note("stopped; the partial answer is kept"),
            FinishReason::Length => self
                .printer
                .note(format_args!("cut after {} tokens; /set max-tokens N allows more", self.options.max_tokens)),
            FinishReason::Context => self.printer.note("cut at the end of the context"),
            FinishReason::EndOfText | FinishReason::Stop => {}
        }
        let timings = &made.timings;
        if self.shows_speed {
            self.printer.note(format_args!(
                "[{} tokens, {:.1} tokens/s; read {} of {} prompt tokens in {:.2} s]",
                timings.generated_tokens,
                timings.decode_tokens_per_s(),
                timings.prompt_tokens - timings.cached_tokens,
                timings.prompt_tokens,
                timings.prefill.as_secs_f64()
            ));
        }
    }
}

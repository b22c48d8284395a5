use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use llm_checkpoint::ModelFiles;
use llm_data::{ChatInput, ChatTemplate, Tokenizer};
use llm_generate::{ContextOverflow, Event, GenerateError, Generation, Generator, Options};
use serde_json::json;

use crate::adapters::AdapterArgs;
use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::model::{ModelArgs, template};
use crate::printer::{Printer, plain_stdout, stdout};
use crate::sampling::{Resolved, SamplingArgs, unlimited_or};
use crate::variables::VariableArgs;
use crate::{input, interrupt};

const EXAMPLES: &str = "Examples:
  llm generate --model runs/mine --prompt \"Once upon a time\"
  llm generate --model runs/mine --num-samples 3 --temp 0.6 --stop \"The end.\"
  cat tale.txt | llm generate --model runs/mine --prompt - --json";

/// What `llm generate` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    adapters: AdapterArgs,

    /// Text to continue; `-` reads stdin [default: start a new text].
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// Send the prompt as a user message, formatted by the model's chat template.
    #[arg(long, requires = "prompt")]
    chat: bool,

    #[command(flatten)]
    variables: VariableArgs,

    /// Maximum number of tokens to generate; -1 for no limit but the end of the text or the context [default: from the
    /// model's generation_config.json, else 256].
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = unlimited_or)]
    max_tokens: Option<usize>,

    /// Stop before this text, which may contain special tokens (repeatable).
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,

    /// Continue past an end-of-text token.
    #[arg(long)]
    ignore_eos: bool,

    /// At the end of the model's context: stop, or slide and keep its newer half.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Overflow::Stop)]
    context_overflow: Overflow,

    /// Prompt tokens per forward pass; fewer use less memory.
    #[arg(long, value_name = "N", default_value_t = Options::default().prefill_chunk as u64,
          value_parser = clap::value_parser!(u64).range(1..))]
    prefill_chunk: u64,

    /// Number of texts to generate, each with its own random numbers.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    num_samples: u64,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print the prompt before each text.
    #[arg(long, conflicts_with = "json")]
    echo: bool,

    /// Print one JSON object per text and line: text, tokens, finish_reason, seed, timings.
    #[arg(long)]
    json: bool,

    /// Print settings, where each comes from, and tokens per second to stderr.
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    // Last, for its heading holds for all that follow.
    #[command(flatten)]
    sampling: SamplingArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Overflow {
    Stop,
    Slide,
}

pub fn run(args: &GenerateArgs, printer: Printer) -> Result<(), CliError> {
    if !args.chat && !args.variables.is_empty() {
        return Err(CliError::NotChat);
    }
    let source = args.model.source(printer)?;
    let prompt = args.prompt.as_deref().map(input::text).transpose()?;
    if prompt.as_deref() == Some("") {
        return Err(GenerateError::EmptyPrompt.into());
    }
    let device = args.device.open(printer)?;
    let (files, model) = ModelFiles::with_weights(source, &device.device)?;
    let tokenizer = &files.tokenizer;
    let template = template(&files, None, &args.adapters);
    // A prompt may be a chat in itself. Without --chat, a template that cannot be read is none of this command's business.
    let template = if args.chat { template? } else { template.ok().flatten() };
    let ids = match &prompt {
        Some(text) if args.chat => {
            chat_ids(text, args, template.as_ref().ok_or(CliError::NoTemplate)?, tokenizer, printer)?
        }
        prompt => prompt_ids(prompt.as_deref(), tokenizer)?,
    };
    let model = args.adapters.apply(model, printer)?;
    let settings = args.sampling.resolve(args.max_tokens, Options::default().max_tokens, &files.generation);
    if args.verbose {
        printer.note(format_args!("settings: {settings}"));
    }
    let options = options(args, &settings, template.as_ref(), tokenizer);

    let interrupted = interrupt::watch(printer, None);
    let mut generator = Generator::new(&model, tokenizer, &device.device);
    for sample in 0..args.num_samples {
        if sample > 0 && !args.json {
            writeln!(stdout(), "---")?;
        }
        let options = Options { sample, ..options.clone() };
        let echo = prompt.as_deref().filter(|_| args.echo).unwrap_or_default();
        let made = if args.json {
            let mut check = |_: Event| while_not(&interrupted);
            let made = generator.generate(&ids, &options, &mut check)?;
            writeln!(plain_stdout(), "{}", to_json(prompt.as_deref(), &made, &options))?;
            made
        } else {
            stream(&mut generator, &ids, &options, echo, &interrupted)?
        };
        if args.verbose {
            printer.note(speed(&made));
        }
        if interrupted.load(Ordering::SeqCst) {
            return Err(CliError::Interrupted);
        }
    }
    Ok(())
}

/// Tokens of the prompt, or the one that begins a text.
fn prompt_ids(prompt: Option<&str>, tokenizer: &Tokenizer) -> Result<Vec<u32>, CliError> {
    if let Some(text) = prompt {
        return Ok(tokenizer.encode_prompt(text)?);
    }
    let first = tokenizer.bos_id().or(tokenizer.end_of_text_id());
    Ok(vec![first.ok_or(CliError::NothingToBeginWith)?])
}

/// Tokens of the prompt as a message of a user, after which the answer begins.
fn chat_ids(
    prompt: &str,
    args: &GenerateArgs,
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    printer: Printer,
) -> Result<Vec<u32>, CliError> {
    let messages = [json!({ "role": "user", "content": prompt })];
    let variables = args.variables.given(template, printer);
    let input = ChatInput { messages: &messages, add_generation_prompt: true, variables, ..ChatInput::default() };
    Ok(tokenizer.encode_rendered(&template.render(&input)?.text)?)
}

fn options(
    args: &GenerateArgs,
    settings: &Resolved,
    template: Option<&ChatTemplate>,
    tokenizer: &Tokenizer,
) -> Options {
    let end = template.and_then(|template| template.end_of_turn(tokenizer));
    Options {
        sampling: settings.sampling,
        sample: 0,
        max_tokens: settings.max_tokens,
        stop: args.stop.clone(),
        ends: end.into_iter().collect(),
        ignore_eos: args.ignore_eos,
        context_overflow: match args.context_overflow {
            Overflow::Stop => ContextOverflow::Stop,
            Overflow::Slide => ContextOverflow::Slide,
        },
        prefill_chunk: usize::try_from(args.prefill_chunk).unwrap_or(usize::MAX),
    }
}

/// Prints the text as it comes, and a line break at the end.
fn stream(
    generator: &mut Generator,
    ids: &[u32],
    options: &Options,
    echo: &str,
    interrupted: &AtomicBool,
) -> Result<Generation, CliError> {
    let mut out = plain_stdout();
    write!(out, "{echo}")?;
    let mut written = Ok(());
    let made = generator.generate(ids, options, &mut |event| {
        if let Event::Text(text) = event {
            written = write!(out, "{text}").and_then(|()| out.flush());
        }
        if written.is_err() { ControlFlow::Break(()) } else { while_not(interrupted) }
    })?;
    written?;
    writeln!(out)?;
    Ok(made)
}

fn while_not(interrupted: &AtomicBool) -> ControlFlow<()> {
    if interrupted.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn to_json(prompt: Option<&str>, made: &Generation, options: &Options) -> serde_json::Value {
    let timings = &made.timings;
    json!({
        "prompt": prompt,
        "text": made.text,
        "tokens": made.ids,
        "finish_reason": made.finish_reason.name(),
        "seed": options.sampling.seed,
        "sample": options.sample,
        "timings": {
            "prompt_tokens": timings.prompt_tokens,
            "cached_tokens": timings.cached_tokens,
            "prefill_seconds": timings.prefill.as_secs_f64(),
            "prefill_tokens_per_s": timings.prefill_tokens_per_s(),
            "generated_tokens": timings.generated_tokens,
            "decode_seconds": timings.decode.as_secs_f64(),
            "decode_tokens_per_s": timings.decode_tokens_per_s(),
        },
    })
}

fn speed(made: &Generation) -> String {
    let timings = &made.timings;
    format!(
        "prompt: {} tokens ({} cached), {:.1} tokens/s; generated: {} tokens, {:.1} tokens/s; ended by: {}",
        timings.prompt_tokens,
        timings.cached_tokens,
        timings.prefill_tokens_per_s(),
        timings.generated_tokens,
        timings.decode_tokens_per_s(),
        made.finish_reason.name()
    )
}

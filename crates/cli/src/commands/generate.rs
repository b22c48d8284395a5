use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use llm_checkpoint::{load_config, load_for_inference, load_tokenizer};
use llm_data::Tokenizer;
use llm_generate::{ContextOverflow, Event, GenerateError, Generation, Generator, Options, Sampling};
use serde_json::json;

use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::printer::{Printer, stdout};
use crate::{input, interrupt};

const EXAMPLES: &str = "Examples:
  llm generate --model runs/mine --prompt \"Once upon a time\"
  llm generate --model runs/mine --num-samples 3 --temp 0.6 --stop \"The end.\"
  cat tale.txt | llm generate --model runs/mine --prompt - --json";

/// What `llm generate` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct GenerateArgs {
    /// Directory of the model, as `llm train --out` or Hugging Face makes it, or a .gguf file.
    #[arg(short, long, value_name = "DIR|GGUF")]
    model: PathBuf,

    /// The text to go on from; `-` reads stdin. Without it, the model begins a text.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,

    /// Most tokens to generate.
    #[arg(short = 'n', long, value_name = "N", default_value_t = Options::default().max_tokens)]
    max_tokens: usize,

    /// End before this text (may be given several times).
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true,
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,

    /// Go on after an end-of-text token.
    #[arg(long)]
    ignore_eos: bool,

    /// At the end of the model's context: stop, or slide on with its newer half.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Overflow::Stop)]
    context_overflow: Overflow,

    /// Prompt tokens in one forward pass; fewer take less memory.
    #[arg(long, value_name = "N", default_value_t = Options::default().prefill_chunk as u64,
          value_parser = clap::value_parser!(u64).range(1..))]
    prefill_chunk: u64,

    /// How many texts to generate; each has random numbers of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    num_samples: u64,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print the prompt before each text.
    #[arg(long, conflicts_with = "json")]
    echo: bool,

    /// Print one JSON object a line for each text: text, tokens, finish_reason, seed, timings.
    #[arg(long)]
    json: bool,

    /// Show the settings and tokens per second on stderr.
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    // Last, for its heading holds for all that follow.
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Below 1 the probable gets more probable; 0 always takes the most probable token.
    #[arg(long, visible_alias = "temp", value_name = "T", allow_negative_numbers = true, default_value_t = Sampling::default().temperature,
          value_parser = checked(|sampling, value| sampling.temperature = value))]
    temperature: f32,

    /// Draw among this many most probable tokens; 0 for all.
    #[arg(long, value_name = "K", default_value_t = Sampling::default().top_k)]
    top_k: usize,

    /// Draw among the most probable tokens that have this probability together; 1 for all.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().top_p,
          value_parser = checked(|sampling, value| sampling.top_p = value))]
    top_p: f32,

    /// Draw among tokens with at least this share of the largest probability; 0 for all.
    #[arg(long, value_name = "P", default_value_t = Sampling::default().min_p,
          value_parser = checked(|sampling, value| sampling.min_p = value))]
    min_p: f32,

    /// Above 1, tokens that came lately get less probable.
    #[arg(long, value_name = "X", default_value_t = Sampling::default().repeat_penalty,
          value_parser = checked(|sampling, value| sampling.repeat_penalty = value))]
    repeat_penalty: f32,

    /// How many of the last tokens the penalty is for.
    #[arg(long, value_name = "N", default_value_t = Sampling::default().repeat_last_n)]
    repeat_last_n: usize,

    /// Same seed, same text; without it, another text each time.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Overflow {
    Stop,
    Slide,
}

/// Reads a number that [`Sampling::validate`] accepts where `set` puts it.
fn checked(set: fn(&mut Sampling, f32)) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync + 'static {
    move |text| {
        let value = text.parse().map_err(|_| "not a number".to_owned())?;
        let mut sampling = Sampling::default();
        set(&mut sampling, value);
        match sampling.validate() {
            Err(GenerateError::Setting { expected, .. }) => Err(format!("it must be {expected}")),
            Err(error) => Err(error.to_string()),
            Ok(()) => Ok(value),
        }
    }
}

impl SamplingArgs {
    fn resolve(self) -> Sampling {
        let Self { temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, seed } = self;
        let seed = seed.unwrap_or_else(seed_of_now);
        Sampling { temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, seed }
    }
}

/// A seed that is short enough to be typed again.
fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ (now.as_secs() & 0xFFFF_FFFF)
}

pub fn run(args: &GenerateArgs, printer: Printer) -> Result<(), CliError> {
    let config = load_config(&args.model)?;
    let tokenizer = load_tokenizer(&args.model, &config)?;
    let prompt = args.prompt.as_deref().map(input::text).transpose()?;
    let ids = prompt_ids(prompt.as_deref(), &tokenizer)?;
    let device = args.device.open(printer)?;
    let model = load_for_inference(&args.model, &device.device)?;
    let options = options(args);
    if args.verbose {
        printer.note(describe(&options.sampling));
    }

    let interrupted = interrupt::watch(printer, None);
    let mut generator = Generator::new(&model, &tokenizer, &device.device)?;
    for sample in 0..args.num_samples {
        if sample > 0 && !args.json {
            writeln!(stdout(), "---")?;
        }
        let options = Options { sample, ..options.clone() };
        let echo = prompt.as_deref().filter(|_| args.echo).unwrap_or_default();
        let made = if args.json {
            let mut check = |_: Event| while_not(&interrupted);
            let made = generator.generate(&ids, &options, &mut check)?;
            writeln!(stdout(), "{}", to_json(prompt.as_deref(), &made, &options))?;
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
    match prompt {
        Some("") => Err(GenerateError::EmptyPrompt.into()),
        Some(text) => Ok(tokenizer.encode_prompt(text)?),
        None => {
            let first = tokenizer.bos_id().or(tokenizer.end_of_text_id());
            Ok(vec![first.ok_or(CliError::NothingToBeginWith)?])
        }
    }
}

fn options(args: &GenerateArgs) -> Options {
    Options {
        sampling: args.sampling.resolve(),
        sample: 0,
        max_tokens: args.max_tokens,
        stop: args.stop.clone(),
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
    let mut out = stdout();
    write!(out, "{echo}")?;
    let mut written = Ok(());
    let made = generator.generate(ids, options, &mut |event| {
        if let Event::Text(text) = event {
            written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
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

fn describe(sampling: &Sampling) -> String {
    let Sampling { temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, seed } = sampling;
    format!(
        "sampling: temperature {temperature}, top-k {top_k}, top-p {top_p}, min-p {min_p}, \
         repeat penalty {repeat_penalty} over {repeat_last_n} tokens, seed {seed}"
    )
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

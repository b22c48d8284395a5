use std::sync::atomic::Ordering;

use clap::Args;
use llm_eval::Question;
use llm_generate::Generator;
use serde_json::json;

use crate::adapters::AdapterArgs;
use crate::device::DeviceArgs;
use crate::error::CliError;
use crate::interrupt;
use crate::measure::{MeasureArgs, MeasureView};
use crate::model::ModelArgs;
use crate::printer::{Printer, plain_stdout, stdout};

const EXAMPLES: &str = "Examples:
  llm eval answers --model runs/mine --data data/domain
  llm eval answers --model org/name --adapter-path runs/qa --data qa.jsonl --json > answers.jsonl";

/// What `llm eval answers` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AnswersArgs {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    adapters: AdapterArgs,

    #[command(flatten)]
    data: MeasureArgs,

    /// Maximum number of tokens per answer.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 64)]
    max_tokens: usize,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print one JSON object per sample and line: prompt, expected, answer, exact.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &AnswersArgs, printer: Printer) -> Result<(), CliError> {
    let files = args.model.open(printer)?;
    let template = files.chat_template()?;
    let stops = files.stop_tokens(template.as_ref());
    let mut view = MeasureView::new(printer);
    let samples = args.data.data().samples(&files, files.config.context_length, &mut |event| view.show(event))?;
    let questions: Vec<_> = samples.iter().filter_map(Question::asked).collect();
    let texts = samples.len() - questions.len();
    if questions.is_empty() {
        return Err(CliError::NothingToAnswer { data: args.data.typed(), model: args.model.name().to_owned() });
    }
    if texts > 0 {
        printer.warn(format_args!("{texts} of {} samples are plain texts, without a question: skipped", samples.len()));
    }
    let device = args.device.open(printer)?.device;
    let model = args.adapters.apply(files.load_for_inference(&device)?, printer)?;

    let interrupted = interrupt::watch(printer, None);
    let mut generator = Generator::new(&model, &files.tokenizer, &device);
    let bar = printer.steps_bar(questions.len() as u64);
    let mut exact = 0;
    for question in &questions {
        let answer = question.check(&mut generator, &files.tokenizer, &stops, args.max_tokens)?;
        exact += usize::from(answer.is_exact());
        if args.json {
            let prompt = files.tokenizer.decode(question.prompt)?;
            let same = answer.is_exact();
            let line = json!({ "prompt": prompt, "expected": answer.expected, "answer": answer.given, "exact": same });
            writeln!(plain_stdout(), "{line}")?;
        }
        bar.inc(1);
        if interrupted.load(Ordering::SeqCst) {
            return Err(CliError::Interrupted);
        }
    }
    bar.finish_and_clear();
    let share = 100.0 * exact as f64 / questions.len() as f64;
    let line = format!("exact answers  {exact} of {} ({share:.1} %)", questions.len());
    if args.json {
        printer.note(line);
    } else {
        writeln!(stdout(), "{line}")?;
    }
    Ok(())
}

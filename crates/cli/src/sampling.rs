//! How tokens are drawn: flags before `generation_config.json` before our own defaults.

use std::fmt::{self, Display};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use llm_checkpoint::GenerationDefaults;
use llm_generate::{GenerateError, Sampling};

/// How tokens are drawn. What is not given comes from the model's `generation_config.json`.
#[derive(Debug, Clone, Copy, Default, Args)]
#[command(next_help_heading = "Sampling (values in the model's generation_config.json override these defaults)")]
pub struct SamplingArgs {
    #[arg(long, visible_alias = "temp", value_name = "T", allow_negative_numbers = true,
          help = help("Temperature: below 1 sharpens the distribution; 0 is greedy", Sampling::default().temperature),
          value_parser = checked(|sampling, value| sampling.temperature = value))]
    temperature: Option<f32>,

    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = all_or,
          help = help("Sample from the K most likely tokens; 0 or -1 for all", Sampling::default().top_k))]
    top_k: Option<usize>,

    #[arg(long, value_name = "P",
          help = help("Sample from the smallest set of tokens whose probability reaches P; 1 for all", Sampling::default().top_p),
          value_parser = checked(|sampling, value| sampling.top_p = value))]
    top_p: Option<f32>,

    #[arg(long, value_name = "P",
          help = help("Sample from tokens with at least P times the largest probability; 0 for all", Sampling::default().min_p),
          value_parser = checked(|sampling, value| sampling.min_p = value))]
    min_p: Option<f32>,

    #[arg(long, value_name = "X",
          help = help("Penalty on recently used tokens; 1 is off", Sampling::default().repeat_penalty),
          value_parser = checked(|sampling, value| sampling.repeat_penalty = value))]
    repeat_penalty: Option<f32>,

    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = unlimited_or,
          help = help("Number of recent tokens to penalize; -1 for all", Sampling::default().repeat_last_n))]
    repeat_last_n: Option<usize>,

    /// Random seed; with -1, a new one each time [default: -1].
    #[arg(long, value_name = "SEED", allow_negative_numbers = true, value_parser = seed)]
    seed: Option<Seed>,
}

/// What `--seed` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seed {
    /// Another one each time: -1.
    Random,
    /// This one.
    Fixed(u64),
}

impl Seed {
    /// The number to draw with.
    pub fn value(self) -> u64 {
        match self {
            Self::Random => seed_of_now(),
            Self::Fixed(seed) => seed,
        }
    }
}

/// A number of tokens, as it is typed for llama.cpp and vLLM: -1 is all of them, however many, which is `usize::MAX` here.
pub fn unlimited_or(text: &str) -> Result<usize, String> {
    match text {
        "-1" => Ok(usize::MAX),
        text => text.parse().map_err(|_| "it must be a whole number from 0, or -1 for all".to_owned()),
    }
}

/// The same where 0 is all of them.
pub fn all_or(text: &str) -> Result<usize, String> {
    unlimited_or(text).map(|k| if k == usize::MAX { 0 } else { k })
}

/// A seed, or -1.
pub fn seed(text: &str) -> Result<Seed, String> {
    match text {
        "-1" => Ok(Seed::Random),
        text => {
            let seed = text.parse().map_err(|_| "it must be a whole number from 0, or -1 for a random one".to_owned());
            seed.map(Seed::Fixed)
        }
    }
}

fn help(text: &str, default: impl Display) -> String {
    format!("{text} [default: {default}]")
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

/// A number of tokens; `usize::MAX` is all.
#[derive(Debug, Clone, Copy)]
pub struct Most(pub usize);

impl Display for Most {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == usize::MAX { f.write_str("all") } else { self.0.fmt(f) }
    }
}

/// Where a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Given,
    Model,
    Default,
    Clock,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "given",
            Self::Model => "generation_config.json",
            Self::Default => "default",
            Self::Clock => "by the clock",
        })
    }
}

/// Settings, and where each of them comes from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Maximum number of tokens to generate.
    pub max_tokens: usize,
    lines: Vec<(&'static str, String, Origin)>,
}

impl Resolved {
    fn pick<T: Display + Copy>(&mut self, name: &'static str, given: Option<T>, model: Option<T>, default: T) -> T {
        let (value, origin) = match (given, model) {
            (Some(value), _) => (value, Origin::Given),
            (None, Some(value)) => (value, Origin::Model),
            (None, None) => (default, Origin::Default),
        };
        self.lines.push((name, value.to_string(), origin));
        value
    }
}

/// `temperature 0.7 (generation_config.json), top-k 40 (default), …`
impl Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            self.lines.iter().map(|(name, value, origin)| format!("{name} {value} ({origin})")).collect();
        f.write_str(&parts.join(", "))
    }
}

impl SamplingArgs {
    /// What was given, else what the model's file names, else our defaults. `do_sample: false` in the file means
    /// temperature 0, and its penalty is for the whole text, as in `transformers`.
    ///
    /// `max_tokens` is what was given, and `else_tokens` what holds where nobody says anything.
    pub fn resolve(self, max_tokens: Option<usize>, else_tokens: usize, model: &GenerationDefaults) -> Resolved {
        let default = Sampling::default();
        let Sampling { temperature, top_k, top_p, min_p, repeat_penalty, repeat_last_n, .. } = default;
        let greedy = (model.do_sample == Some(false)).then_some(0.0);
        let whole_text = model.repetition_penalty.filter(|_| self.repeat_penalty.is_none()).map(|_| usize::MAX);
        let mut resolved = Resolved { sampling: default, max_tokens: 0, lines: Vec::new() };
        resolved.sampling = Sampling {
            temperature: resolved.pick("temperature", self.temperature, greedy.or(model.temperature), temperature),
            top_k: resolved.pick("top-k", self.top_k, model.top_k, top_k),
            top_p: resolved.pick("top-p", self.top_p, model.top_p, top_p),
            min_p: resolved.pick("min-p", self.min_p, model.min_p, min_p),
            repeat_penalty: resolved.pick(
                "repeat-penalty",
                self.repeat_penalty,
                model.repetition_penalty,
                repeat_penalty,
            ),
            repeat_last_n: self.repeat_last_n.or(whole_text).unwrap_or(repeat_last_n),
            seed: self.seed.unwrap_or(Seed::Random).value(),
        };
        let last_n = Most(resolved.sampling.repeat_last_n).to_string();
        let origin = |given: bool, model: bool| match (given, model) {
            (true, _) => Origin::Given,
            (_, true) => Origin::Model,
            _ => Origin::Default,
        };
        let from = origin(self.repeat_last_n.is_some(), whole_text.is_some());
        resolved.lines.push(("repeat-last-n", last_n, from));
        let from = if matches!(self.seed, Some(Seed::Fixed(_))) { Origin::Given } else { Origin::Clock };
        resolved.lines.push(("seed", resolved.sampling.seed.to_string(), from));
        let most = |given: Option<usize>| given.map(Most);
        resolved.max_tokens =
            resolved.pick("max-tokens", most(max_tokens), most(model.max_new_tokens), Most(else_tokens)).0;
        resolved
    }
}

/// A seed that is short enough to be typed again.
fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ (now.as_secs() & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let model = GenerationDefaults {
            do_sample: Some(false),
            temperature: Some(0.6),
            top_k: Some(20),
            repetition_penalty: Some(1.1),
            max_new_tokens: Some(7),
            ..GenerationDefaults::default()
        };
        let none = SamplingArgs { seed: Some(Seed::Fixed(1)), ..SamplingArgs::default() };
        let resolved = none.resolve(None, 256, &model);
        assert_eq!(
            resolved.to_string(),
            "temperature 0 (generation_config.json), top-k 20 (generation_config.json), top-p 0.95 (default), \
             min-p 0.05 (default), repeat-penalty 1.1 (generation_config.json), \
             repeat-last-n all (generation_config.json), seed 1 (given), max-tokens 7 (generation_config.json)"
        );
        assert_eq!((resolved.sampling.temperature, resolved.sampling.repeat_last_n), (0.0, usize::MAX));
        let some = SamplingArgs { temperature: Some(0.5), repeat_penalty: Some(1.3), ..none };
        let resolved = some.resolve(Some(9), 256, &model);
        assert_eq!((resolved.sampling.temperature, resolved.sampling.repeat_penalty), (0.5, 1.3));
        assert_eq!((resolved.sampling.repeat_last_n, resolved.max_tokens), (Sampling::default().repeat_last_n, 9));
        let drawn = none.resolve(None, 256, &GenerationDefaults { do_sample: Some(true), ..model });
        assert_eq!(drawn.sampling.temperature, 0.6);
        let ours = none.resolve(None, 256, &GenerationDefaults::default());
        assert_eq!(ours.sampling, Sampling { seed: 1, ..Sampling::default() });
        assert_eq!(ours.max_tokens, 256);
    }

    #[test]
    fn minus_one_is_what_it_is_elsewhere() {
        assert_eq!([all_or("-1"), all_or("0"), all_or("40")], [Ok(0), Ok(0), Ok(40)]);
        assert_eq!([unlimited_or("-1"), unlimited_or("0"), unlimited_or("64")], [Ok(usize::MAX), Ok(0), Ok(64)]);
        assert_eq!([seed("-1"), seed("7")], [Ok(Seed::Random), Ok(Seed::Fixed(7))]);
        for wrong in ["-2", "x", "1.5", ""] {
            assert!(all_or(wrong).is_err() && unlimited_or(wrong).is_err() && seed(wrong).is_err(), "{wrong}");
        }
    }
}

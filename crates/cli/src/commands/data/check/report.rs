//! What the check found, whatever it is printed as.

use llm_checkpoint::ModelFiles;
use llm_data::{
    BadLine, Content, DataError, Finding, LeftOutReason, Origin, Rendering, Sample, SampleSection, SampleSet,
    SampleSummary, Severity, TokenizedPair, TokenizedSample, Tokenizer, check_samples,
};
use serde::Serialize;

use crate::error::CliError;
use crate::measure::names;

/// Everything that is shown.
#[derive(Debug, Serialize)]
pub struct Report {
    pub data: String,
    pub rendering: Rendering,
    /// The token that ends an answer.
    pub end_of_turn: Option<String>,
    /// Whether all samples are preferences.
    pub preferences: bool,
    pub context: usize,
    pub max_length: usize,
    pub train: Part,
    pub valid: Part,
    pub test: Part,
    pub histogram: Vec<Bin>,
    pub findings: Vec<Finding>,
    pub samples: Vec<Shown>,
}

/// The samples of a part that are used.
#[derive(Debug, Default, Serialize)]
pub struct Part {
    pub samples: usize,
    pub tokens: usize,
    pub trained: usize,
    pub longest: usize,
}

/// How many samples have `from` to `to` tokens; those that would be left out as too long are among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bin {
    pub from: usize,
    pub to: usize,
    pub samples: usize,
}

/// A sample as the model sees it.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub name: String,
    pub tokens: usize,
    pub trained: usize,
    pub pieces: Vec<Stretch>,
}

/// Some text of a sample, all of it trained or none.
#[derive(Debug, Serialize)]
pub struct Stretch {
    pub text: String,
    pub trained: bool,
}

impl Report {
    pub fn new(
        section: &SampleSection,
        (set, bad): &(SampleSet, Vec<BadLine>),
        files: &ModelFiles,
        shown: usize,
    ) -> Result<Self, CliError> {
        let (template, tokenizer) = (files.chat_template()?, &files.tokenizer);
        let context = files.config.context_length;
        let limits = section.limits(context);
        let is_preference = |sample: &Sample| matches!(sample.content, Content::Preference { .. });
        let preferences = set.train.first().is_some_and(is_preference) && set.all().all(is_preference);
        let stops = &files.stop_tokens(template.as_ref());
        let (parts, summary, samples): ([Vec<_>; 3], _, Result<_, DataError>) = if preferences {
            let pairs = set.tokenize_pairs(tokenizer, template.as_ref(), stops, limits)?;
            let sides =
                |pair: &TokenizedPair| [(pair.chosen.clone(), ", chosen"), (pair.rejected.clone(), ", rejected")];
            let samples = pairs.train.iter().take(shown).flat_map(sides);
            let samples = samples.map(|(sample, side)| Shown::new(&sample, side, tokenizer)).collect();
            let parts = [&pairs.train, &pairs.valid, &pairs.test];
            (parts.map(|part| part.iter().flat_map(sides).map(|(sample, _)| sample).collect()), pairs.summary, samples)
        } else {
            let tokenized = set.tokenize(tokenizer, template.as_ref(), stops, limits)?;
            let samples = tokenized.train.iter().take(shown).map(|one| Shown::new(one, "", tokenizer)).collect();
            ([tokenized.train, tokenized.valid, tokenized.test], tokenized.summary, samples)
        };
        let findings = check_samples(set, bad, &summary, tokenizer.eos_ids());
        let histogram = histogram(parts.iter().flatten().map(|sample| sample.ids.len()).chain(too_long(&summary)));
        let [train, valid, test] = parts.map(|part| Part::of(&part));
        Ok(Self {
            data: names(&section.paths),
            rendering: summary.rendering,
            end_of_turn: summary.end_of_turn.and_then(|id| tokenizer.token(id)),
            preferences,
            context,
            max_length: limits.max_length,
            train,
            valid,
            test,
            histogram,
            findings,
            samples: samples?,
        })
    }

    /// Findings that make training wrong.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// How conversations are written, as a person says it.
    pub fn template(&self) -> String {
        let template = match self.rendering {
            Rendering::Template => "the model's chat template",
            Rendering::ChatMl => "the model has no chat template, so ChatML, whose tokens it has",
            Rendering::Plain => "the model has no chat template, so \"User: …\" and \"Assistant: …\"",
        };
        match &self.end_of_turn {
            Some(end) => format!("{template}; answers end with {end}"),
            None => format!("{template}; no token ends an answer"),
        }
    }
}

impl Part {
    fn of(samples: &[TokenizedSample]) -> Self {
        Self {
            samples: samples.len(),
            tokens: samples.iter().map(|sample| sample.ids.len()).sum(),
            trained: samples.iter().map(TokenizedSample::targets).sum(),
            longest: samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0),
        }
    }

    /// In a sentence.
    pub fn text(&self) -> String {
        let share = 100.0 * self.trained as f64 / self.tokens.max(1) as f64;
        let numbers = [self.samples, self.tokens, self.trained, self.longest];
        let [samples, tokens, trained, longest] = numbers.map(|n| crate::numbers::grouped(n as u64));
        let unit = if self.samples == 1 { "sample" } else { "samples" };
        format!(
            "{samples} {unit}, {tokens} tokens, {trained} of them trained ({share:.0} %); the longest has {longest}"
        )
    }
}

impl Shown {
    fn new(sample: &TokenizedSample, side: &str, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let mut pieces = Vec::new();
        let mut place = 0;
        for stretch in sample.trained.chunk_by(|one, other| one == other) {
            let end = place + stretch.len();
            let text = text_of(&sample.ids[..place], &sample.ids[place..end], tokenizer)?;
            pieces.push(Stretch { text, trained: stretch[0] });
            place = end;
        }
        let name = format!("{}{side}", place_name(&sample.origin));
        Ok(Self { name, tokens: sample.ids.len(), trained: sample.targets(), pieces })
    }
}

/// A place as it is shown: all files are in the folder that was given.
pub fn place_name(origin: &Origin) -> String {
    let name = origin.file.file_name().unwrap_or(origin.file.as_os_str());
    format!("{}:{}", name.display(), origin.line)
}

/// The text of some ids behind others, special tokens included.
fn text_of(before: &[u32], ids: &[u32], tokenizer: &Tokenizer) -> Result<String, DataError> {
    let mut text = String::new();
    let mut stream = tokenizer.decode_stream_after(before);
    for &id in ids {
        if tokenizer.is_special(id) {
            text.extend(stream.finish()?);
            text.extend(tokenizer.token(id));
        } else {
            text.extend(stream.push(id)?);
        }
    }
    text.extend(stream.finish()?);
    Ok(text)
}

fn too_long(summary: &SampleSummary) -> impl Iterator<Item = usize> {
    summary.left_out.iter().filter_map(|one| match one.reason {
        LeftOutReason::TooLong { tokens, .. } => Some(tokens),
        _ => None,
    })
}

/// Bins of doubling width, from the first to the last that has samples.
fn histogram(lengths: impl Iterator<Item = usize>) -> Vec<Bin> {
    const FIRST: usize = 8;
    let mut bins = vec![Bin { from: 1, to: FIRST, samples: 0 }];
    for length in lengths {
        while bins.last().is_some_and(|last| last.to < length) {
            let to = FIRST << bins.len();
            bins.push(Bin { from: to / 2 + 1, to, samples: 0 });
        }
        if let Some(bin) = bins.iter_mut().find(|bin| length <= bin.to) {
            bin.samples += 1;
        }
    }
    let empty = bins.iter().take_while(|bin| bin.samples == 0).count();
    bins.split_off(empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_in_its_bin() {
        let bins = histogram([9, 16, 17, 70].into_iter());
        let found: Vec<_> = bins.iter().map(|bin| (bin.from, bin.to, bin.samples)).collect();
        assert_eq!(found, [(9, 16, 2), (17, 32, 1), (33, 64, 0), (65, 128, 1)]);
        assert_eq!(histogram([].into_iter()), []);
    }
}

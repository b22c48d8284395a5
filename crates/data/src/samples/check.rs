//! What is wrong with samples, or may be.

use std::collections::HashMap;

use serde::Serialize;

use super::duplicates::{prompt_key, sample_key};
use super::{BadLine, LeftOutReason, Origin, RemarkKind, Sample, SampleSet, SampleSummary};

/// One kind of thing that was found, with all the places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was found.
    pub kind: FindingKind,
    /// Whether training would be wrong.
    pub severity: Severity,
    /// What it means, in a sentence.
    pub message: String,
    /// Where; empty if it is about all samples.
    pub places: Vec<Place>,
}

/// A sample that something is to be said of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Where it stands.
    pub origin: Origin,
    /// What is to be said; may be empty.
    pub note: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// Training would be wrong, or leave samples out.
    Error,
}

/// What can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A line that cannot be used.
    BadLine,
    /// No sample to train on.
    NoSamples,
    /// A sample with more tokens than a row.
    TooLong,
    /// A sample that was cut.
    Truncated,
    /// A sample with nothing to train on.
    NothingToTrain,
    /// A sample that is marked as not to be learned.
    Unlearned,
    /// A sample with an empty answer.
    EmptyAnswer,
    /// Tools, calls or results that the chat template does not write.
    NotWritten,
    /// Something else that it does not write.
    PartNotWritten,
    /// A special token written out in a message.
    ControlToken,
    /// A token that belongs to a prompt and its answer.
    SharedToken,
    /// A question that is marked as learned.
    MarkedQuestion,
    /// A key that other programs act on.
    UnusedKey,
    /// A preference whose sides are the same.
    SameAnswers,
    /// A sample that the chat template does not take.
    Refused,
    /// A sample whose answers cannot be found again.
    NotFound,
    /// Answers that end with no token that generation stops at.
    NoEndOfTurn,
    /// A token ends the answers that the model's files do not name.
    UnnamedEndOfTurn,
    /// A sample that stands both in training and in validation or test.
    Overlap,
    /// A question of validation or test that is asked in training as well.
    SamePrompt,
    /// A sample that comes twice.
    Duplicate,
    /// No sample to validate on.
    NoValidation,
    /// Preferences among other samples: their rejected sides are not used.
    ChosenOnly,
}

/// Everything that is to be said about samples, errors first. `eos_ids` are the tokens that the model's files name as
/// ends of a text.
pub fn check_samples(set: &SampleSet, bad: &[BadLine], summary: &SampleSummary, eos_ids: &[u32]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |kind, severity, message: &str, places: Places| {
        if !places.is_empty() {
            let places = places.into_iter().map(|(origin, note)| Place { origin, note }).collect();
            findings.push(Finding { kind, severity, message: message.to_owned(), places });
        }
    };
    let lines =
        bad.iter().map(|line| (line.origin.clone(), format!("expected {}, found {}", line.expected, line.found)));
    add(FindingKind::BadLine, Severity::Error, "lines that cannot be used", lines.collect());
    for (kind, message) in LEFT_OUT {
        let left_out = summary.left_out.iter().filter(|one| kind_of(&one.reason) == kind);
        let places = left_out.map(|one| (one.origin.clone(), one.reason.to_string())).collect();
        let severity = if kind == FindingKind::Unlearned { Severity::Warning } else { Severity::Error };
        add(kind, severity, message, places);
    }
    for (kind, message) in REMARKS {
        let remarks = summary.remarks.iter().filter(|remark| remark.kind.finding() == kind);
        let places = remarks.map(|remark| (remark.origin.clone(), remark.kind.to_string())).collect();
        add(kind, Severity::Warning, message, places);
    }
    let places = summary.endless.iter().map(|origin| (origin.clone(), String::new())).collect();
    let message = "samples whose answers end with no token that generation stops at: the model would not learn to stop";
    add(FindingKind::NoEndOfTurn, Severity::Error, message, places);
    let (overlaps, same_prompts) = overlaps(set);
    add(FindingKind::Overlap, Severity::Error, "samples of validation or test that training has as well", overlaps);
    let places =
        summary.truncated.iter().map(|one| (one.origin.clone(), format!("{} of {} tokens kept", one.kept, one.tokens)));
    add(FindingKind::Truncated, Severity::Warning, "samples that are truncated", places.collect());
    let message = "questions of validation or test that training asks as well, but for case and punctuation, and answers otherwise";
    add(FindingKind::SamePrompt, Severity::Warning, message, same_prompts);
    add(FindingKind::Duplicate, Severity::Warning, "samples that training has twice", duplicates(&set.train));
    let mut say = |kind, severity, message: &str| {
        findings.push(Finding { kind, severity, message: message.to_owned(), places: Vec::new() });
    };
    if let Some(end) = summary.end_of_turn.filter(|end| !eos_ids.contains(end)) {
        let message = format!(
            "the chat template ends answers with token {end}, which generation_config.json does not name as an \
             eos_token_id: other programs may not stop at it"
        );
        say(FindingKind::UnnamedEndOfTurn, Severity::Warning, &message);
    }
    if summary.chosen_only > 0 {
        let message =
            format!("{} preferences among other samples: only their chosen sides are used", summary.chosen_only);
        say(FindingKind::ChosenOnly, Severity::Warning, &message);
    }
    let [train, valid, _] = summary.samples;
    if valid == 0 {
        say(
            FindingKind::NoValidation,
            Severity::Warning,
            "no sample to validate on: the last weights will be the result",
        );
    }
    if train == 0 {
        say(FindingKind::NoSamples, Severity::Error, "no samples left to train on");
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Where samples stand, with what is to be said of each.
type Places = Vec<(Origin, String)>;

const LEFT_OUT: [(FindingKind, &str); 8] = [
    (FindingKind::TooLong, "samples that are too long and are skipped"),
    (FindingKind::NothingToTrain, "samples with nothing to train on"),
    (FindingKind::Unlearned, "samples marked as not to be trained on"),
    (FindingKind::EmptyAnswer, "samples with an empty answer"),
    (FindingKind::NotWritten, "samples with tools or calls that the chat template does not write"),
    (FindingKind::SameAnswers, "preferences whose sides are the same"),
    (FindingKind::Refused, "samples that the chat template rejects"),
    (FindingKind::NotFound, "samples whose answers cannot be found in the chat template's output"),
];

/// What is said of each kind of [`RemarkKind`].
const REMARKS: [(FindingKind, &str); 5] = [
    (FindingKind::PartNotWritten, "samples with a part that the chat template does not write"),
    (FindingKind::ControlToken, "samples with a special token written out in a message: it becomes that token"),
    (
        FindingKind::SharedToken,
        "samples whose answer begins within a token of the prompt: the model never sees a prompt that ends so",
    ),
    (
        FindingKind::MarkedQuestion,
        "samples with a question marked to be trained on: this takes train_on = \"everything\"",
    ),
    (FindingKind::UnusedKey, "samples with a key that other programs act on and this one does not"),
];

impl RemarkKind {
    /// The finding that it belongs to.
    fn finding(&self) -> FindingKind {
        match self {
            Self::ControlToken { .. } => FindingKind::ControlToken,
            Self::SharedToken { .. } => FindingKind::SharedToken,
            Self::NotWritten { .. } => FindingKind::PartNotWritten,
            Self::MarkedQuestion { .. } => FindingKind::MarkedQuestion,
            Self::UnusedKey { .. } => FindingKind::UnusedKey,
        }
    }
}

fn kind_of(reason: &LeftOutReason) -> FindingKind {
    match reason {
        LeftOutReason::TooLong { .. } => FindingKind::TooLong,
        LeftOutReason::NothingToTrain => FindingKind::NothingToTrain,
        LeftOutReason::Unlearned => FindingKind::Unlearned,
        LeftOutReason::EmptyAnswer => FindingKind::EmptyAnswer,
        LeftOutReason::NotWritten { .. } => FindingKind::NotWritten,
        LeftOutReason::SameAnswers => FindingKind::SameAnswers,
        LeftOutReason::Refused { .. } => FindingKind::Refused,
        LeftOutReason::NotFound { .. } => FindingKind::NotFound,
    }
}

/// `as train.jsonl:3`
fn same_as(origin: &Origin) -> String {
    format!("as {}:{}", origin.file.file_name().unwrap_or(origin.file.as_os_str()).display(), origin.line)
}

/// Samples that come again, with where they came first.
fn duplicates(samples: &[Sample]) -> Places {
    let mut first: HashMap<u64, &Origin> = HashMap::new();
    let mut again = Vec::new();
    for sample in samples {
        let origin = *first.entry(sample_key(&sample.content)).or_insert(&sample.origin);
        if origin != &sample.origin {
            again.push((sample.origin.clone(), same_as(origin)));
        }
    }
    again
}

/// Samples of validation and test that are equal to one of training, and those that only ask the same.
fn overlaps(set: &SampleSet) -> (Places, Places) {
    let (mut samples, mut prompts) = (HashMap::new(), HashMap::new());
    for sample in &set.train {
        samples.entry(sample_key(&sample.content)).or_insert(&sample.origin);
        prompt_key(&sample.content).map(|key| prompts.entry(key).or_insert(&sample.origin));
    }
    let (mut equal, mut asking) = (Vec::new(), Vec::new());
    for sample in set.valid.iter().chain(&set.test) {
        let place = |origin: &&Origin| (sample.origin.clone(), same_as(origin));
        let same = samples.get(&sample_key(&sample.content));
        let asked = prompt_key(&sample.content).and_then(|key| prompts.get(&key));
        match (same, asked) {
            (Some(origin), _) => equal.push(place(origin)),
            (None, Some(origin)) => asking.push(place(origin)),
            (None, None) => {}
        }
    }
    (equal, asking)
}

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::super::{Content, LeftOut, Rendering, Truncated};
use super::*;

fn origin(line: u64) -> Origin {
    Origin { file: Arc::from(Path::new("a")), line }
}

fn set(train: &[(&str, &str)], valid: &[(&str, &str)]) -> SampleSet {
    let mut line = 0;
    let mut part = |samples: &[(&str, &str)]| {
        let sample = |(prompt, completion): &(&str, &str)| {
            line += 1;
            let content = Content::Completion { prompt: (*prompt).into(), completion: (*completion).into() };
            Sample { origin: origin(line), content, learned: true, unused: Vec::new() }
        };
        samples.iter().map(sample).collect()
    };
    SampleSet { train: part(train), valid: part(valid), ..SampleSet::default() }
}

fn summary() -> SampleSummary {
    SampleSummary {
        rendering: Rendering::Template,
        end_of_turn: Some(3),
        left_out: Vec::new(),
        truncated: Vec::new(),
        endless: Vec::new(),
        chosen_only: 0,
        remarks: Vec::new(),
        samples: [2, 1, 0],
    }
}

/// Kinds with the lines that they are about.
fn kinds(findings: &[Finding]) -> Vec<(FindingKind, Vec<u64>)> {
    let lines = |finding: &Finding| finding.places.iter().map(|place| place.origin.line).collect();
    findings.iter().map(|finding| (finding.kind, lines(finding))).collect()
}

#[test]
fn good_samples_have_no_findings() {
    let set = set(&[("q", "a"), ("r", "b")], &[("s", "c")]);
    assert_eq!(check_samples(&set, &[], &summary(), &[3]), []);
}

#[test]
fn duplicates_and_overlaps_are_found() {
    let set = set(&[("Who?", "a"), ("Why?", "b"), ("Who?", "a")], &[("Who?", "a"), (" why", "c"), ("How?", "a")]);
    let findings = check_samples(&set, &[], &summary(), &[3]);
    let found =
        [(FindingKind::Overlap, vec![4]), (FindingKind::SamePrompt, vec![5]), (FindingKind::Duplicate, vec![3])];
    assert_eq!(kinds(&findings), found);
    let severities = [Severity::Error, Severity::Warning, Severity::Warning];
    assert_eq!(findings.iter().map(|finding| finding.severity).collect::<Vec<_>>(), severities);
    assert_eq!(findings[1].places[0].note, "as a:2");
}

#[test]
fn what_training_would_leave_out_comes_first() {
    let set = set(&[("q", "a"), ("r", "")], &[]);
    let left_out = |line, reason| LeftOut { origin: origin(line), reason };
    let summary = SampleSummary {
        left_out: vec![
            left_out(1, LeftOutReason::TooLong { tokens: 9, max_length: 8 }),
            left_out(2, LeftOutReason::EmptyAnswer),
        ],
        truncated: vec![Truncated { origin: origin(7), tokens: 9, kept: 8 }],
        endless: vec![origin(8)],
        chosen_only: 2,
        samples: [0; 3],
        ..summary()
    };
    let bad = BadLine { origin: origin(9), expected: "this".into(), found: "that".into() };
    let findings = check_samples(&set, &[bad], &summary, &[4]);
    assert_eq!(
        kinds(&findings),
        [
            (FindingKind::BadLine, vec![9]),
            (FindingKind::TooLong, vec![1]),
            (FindingKind::EmptyAnswer, vec![2]),
            (FindingKind::NoEndOfTurn, vec![8]),
            (FindingKind::NoSamples, vec![]),
            (FindingKind::Truncated, vec![7]),
            (FindingKind::UnnamedEndOfTurn, vec![]),
            (FindingKind::ChosenOnly, vec![]),
            (FindingKind::NoValidation, vec![]),
        ]
    );
    assert_eq!(findings[1].places[0].note, "9 tokens, but the maximum is 8");
    assert_eq!(findings[0].places[0].note, "expected this, found that");
}

//! The report in a terminal.

use std::io::{self, Write};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use llm_data::{Finding, Severity};

use super::report::{Bin, Report, Shown, place_name};
use crate::numbers::grouped;

const TITLE: Style = Style::new().bold();
const TRAINED: Style = AnsiColor::Green.on_default().bold();
const OTHER: Style = Style::new().dimmed();
const BAR: Style = AnsiColor::Cyan.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Places of a finding that are shown.
const PLACES: usize = 10;
/// Characters of a stretch that are shown: its beginning and its end.
const STRETCH: usize = 1200;
const BAR_WIDTH: usize = 40;

pub fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let unit = if report.preferences { ": preferences, each counted as two samples" } else { "" };
    writeln!(out, "{TITLE}{}{TITLE:#}{unit}", report.data)?;
    for (name, part) in [("train", &report.train), ("valid", &report.valid), ("test", &report.test)] {
        if part.samples > 0 {
            writeln!(out, "{name:<9} {}", part.text())?;
        }
    }
    writeln!(out, "template  {}", report.template())?;
    let [limit, context] = [report.max_length, report.context].map(|n| grouped(n as u64));
    writeln!(out, "limit     {limit} tokens per sample; the model has {context} positions")?;
    histogram(&report.histogram, out)?;
    for sample in &report.samples {
        show(sample, out)?;
    }
    if report.findings.is_empty() {
        return writeln!(out, "\nno problems found");
    }
    report.findings.iter().try_for_each(|finding| tell(finding, out))
}

fn histogram(bins: &[Bin], out: &mut impl Write) -> io::Result<()> {
    if bins.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{TITLE}Tokens per sample{TITLE:#}")?;
    let most = bins.iter().map(|bin| bin.samples).max().unwrap_or(0).max(1);
    for bin in bins {
        let bar = "█".repeat((bin.samples * BAR_WIDTH).div_ceil(most));
        let range = format!("{}–{}", grouped(bin.from as u64), grouped(bin.to as u64));
        writeln!(out, "{range:>15}  {BAR}{bar}{BAR:#} {}", grouped(bin.samples as u64))?;
    }
    Ok(())
}

/// The sample with what is trained in colour, or else between brackets that hardly any data has.
fn show(sample: &Shown, out: &mut impl Write) -> io::Result<()> {
    let coloured = anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    let (open, close) = if coloured { ("", "") } else { ("⟦", "⟧") };
    let Shown { name, tokens, trained, pieces } = sample;
    writeln!(out, "\n{TITLE}{name}{TITLE:#}: {tokens} tokens, {trained} {open}{TRAINED}trained{TRAINED:#}{close}")?;
    for stretch in pieces {
        let text = shortened(&printable(&stretch.text));
        if stretch.trained {
            write!(out, "{open}{TRAINED}{text}{TRAINED:#}{close}")?;
        } else {
            write!(out, "{OTHER}{text}{OTHER:#}")?;
        }
    }
    let ends = pieces.last().is_some_and(|stretch| !stretch.trained && stretch.text.ends_with('\n'));
    if ends { Ok(()) } else { writeln!(out) }
}

fn tell(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let (style, name) = match finding.severity {
        Severity::Error => (ERROR, "wrong"),
        Severity::Warning => (WARNING, "look at"),
    };
    let places = &finding.places;
    let count = if places.is_empty() { String::new() } else { format!(": {}", grouped(places.len() as u64)) };
    writeln!(out, "\n{style}{name}{style:#}: {}{count}", finding.message)?;
    for place in places.iter().take(PLACES) {
        let line = format!("  {}  {}", place_name(&place.origin), printable(&place.note));
        writeln!(out, "{}", line.trim_end())?;
    }
    if places.len() > PLACES {
        writeln!(out, "  and {} more; --json has all", grouped((places.len() - PLACES) as u64))?;
    }
    Ok(())
}

/// Text without characters that would move the cursor or change colours.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// The beginning and the end of a long text.
pub fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= STRETCH {
        return text.to_owned();
    }
    let half = STRETCH / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(count - half).collect();
    format!("{start} … {} characters … {end}", grouped((count - 2 * half) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_stretches_keep_both_ends_and_nothing_moves_the_cursor() {
        assert_eq!(shortened("äö"), "äö");
        let text = shortened(&format!("a{}z", "ö".repeat(2000)));
        assert!(text.starts_with("aö") && text.ends_with("öz") && text.contains(" … 802 characters … "), "{text}");
        assert_eq!(printable("a\n\u{1b}[2Jb"), "a\n\\u{1b}[2Jb");
    }
}

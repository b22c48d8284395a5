//! The report as one page that needs nothing else.

use std::fmt::Write;

use llm_data::{Finding, Severity};

use super::report::{Bin, Report, Shown, place_name};
use super::text::shortened;
use crate::numbers::grouped;

const STYLE: &str = "
:root { color-scheme: light dark; --soft: #8882; --good: #1a7f37; --bad: #cf222e; --mind: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --good: #57ab5a; --bad: #f47067; --mind: #d4a72c } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse } td, th { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top }
th { opacity: .7; font-weight: normal } .number { text-align: right; white-space: nowrap }
.bars { width: 100% } .bars td:nth-child(2) { width: 100% }
.bar { background: #4c8dd6; height: 1rem; border-radius: 2px; margin-top: .25rem }
.finding { border-left: 4px solid var(--mind); padding: .1rem 0 .1rem .9rem; margin: 1rem 0 }
.finding.error { border-color: var(--bad) } .finding b { color: var(--mind) } .finding.error b { color: var(--bad) }
.finding ul { margin: .3rem 0; padding-left: 1.2rem } li { overflow-wrap: anywhere } .fine { color: var(--good) }
code, pre { font: 14px/1.55 ui-monospace, monospace } .name { opacity: .75; margin: 1.4rem 0 0 }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); border-radius: 6px; padding: .8rem 1rem;
margin: .4rem 0 } mark { background: #2da44e40; color: inherit; border-radius: 2px; box-shadow: 0 1px 0 var(--good) }
";
/// Places of a finding that are listed.
const PLACES: usize = 1000;

pub fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write(report, &mut page);
    page
}

fn write(report: &Report, page: &mut String) -> std::fmt::Result {
    let title = escaped(&report.data);
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Check of {title}</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n<table>\n"
    )?;
    let parts = [("Train", &report.train), ("Validation", &report.valid), ("Test", &report.test)];
    for (name, part) in parts.iter().filter(|(_, part)| part.samples > 0) {
        writeln!(page, "<tr><th>{name}<td>{}", escaped(&part.text()))?;
    }
    writeln!(page, "<tr><th>Template<td>{}", escaped(&report.template()))?;
    let [limit, context] = [report.max_length, report.context].map(|n| grouped(n as u64));
    writeln!(page, "<tr><th>Limit<td>{limit} tokens per sample; the model has {context} positions\n</table>")?;
    writeln!(page, "<h2>Findings</h2>")?;
    if report.findings.is_empty() {
        writeln!(page, "<p class=\"fine\">No problems found.")?;
    }
    report.findings.iter().try_for_each(|finding| tell(finding, page))?;
    histogram(&report.histogram, page)?;
    if !report.samples.is_empty() {
        writeln!(page, "<h2>Samples as the model sees them</h2>\n<p><mark>Marked</mark> is what is trained.")?;
    }
    report.samples.iter().try_for_each(|sample| show(sample, page))
}

fn tell(finding: &Finding, page: &mut String) -> std::fmt::Result {
    let (class, name) = match finding.severity {
        Severity::Error => ("finding error", "Wrong"),
        Severity::Warning => ("finding", "Look at"),
    };
    let places = &finding.places;
    let count = if places.is_empty() { String::new() } else { format!(": {}", grouped(places.len() as u64)) };
    writeln!(page, "<div class=\"{class}\"><b>{name}:</b> {}{count}", escaped(&finding.message))?;
    if !places.is_empty() {
        let open = if places.len() <= 10 { " open" } else { "" };
        writeln!(page, "<details{open}><summary>Where</summary><ul>")?;
        for place in places.iter().take(PLACES) {
            let origin = escaped(&place_name(&place.origin));
            writeln!(page, "<li><code>{origin}</code> {}", escaped(&place.note))?;
        }
        if places.len() > PLACES {
            writeln!(page, "<li>and {} more; --json has all", grouped((places.len() - PLACES) as u64))?;
        }
        writeln!(page, "</ul></details>")?;
    }
    writeln!(page, "</div>")
}

fn histogram(bins: &[Bin], page: &mut String) -> std::fmt::Result {
    let most = bins.iter().map(|bin| bin.samples).max().unwrap_or(0).max(1);
    writeln!(page, "<h2>Tokens of a sample</h2>\n<table class=\"bars\">")?;
    for bin in bins {
        let width = 100.0 * bin.samples as f64 / most as f64;
        let [from, to, samples] = [bin.from, bin.to, bin.samples].map(|n| grouped(n as u64));
        writeln!(
            page,
            "<tr><td class=\"number\">{from}–{to}<td><div class=\"bar\" style=\"width: {width:.1}%\"></div>\
             <td class=\"number\">{samples}"
        )?;
    }
    writeln!(page, "</table>")
}

fn show(sample: &Shown, page: &mut String) -> std::fmt::Result {
    let Shown { name, tokens, trained, pieces } = sample;
    let name = escaped(name);
    write!(page, "<p class=\"name\"><code>{name}</code>: {tokens} tokens, {trained} trained</p>\n<pre>")?;
    for stretch in pieces {
        let text = escaped(&shortened(&stretch.text));
        if stretch.trained {
            write!(page, "<mark>{text}</mark>")?;
        } else {
            page.push_str(&text);
        }
    }
    writeln!(page, "</pre>")
}

/// Text that means nothing to a browser, wherever it stands.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            // HTML has no way to write these.
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_reaches_the_browser_as_code() {
        assert_eq!(
            escaped("<script>\"a\" & 'b'</script>\u{0}"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;\\u{0}"
        );
    }
}

//! The report as Markdown, to be kept beside other notes. Texts of other people are escaped: none of their signs means anything.

use super::document::{Document, Step};
use super::envelope::{Signed, page_signature};
use super::tables::{facts, left_out, objects_in_words, origins, processes, remarks, title};
use super::words::{answer, ended, first, headline, looked, next, rows, seen, sentence, standing_of, when};
use crate::base::html::is_hidden;
use crate::crypto::report_key::ReportKey;

/// The page, signed.
#[must_use]
pub fn markdown(document: &Document, signed: &Signed, key: &ReportKey) -> String {
    let mut out = vec![
        format!("# Report of run {}: {}", plain(&document.run), plain(&document.runbook.title)),
        String::new(),
        format!("**{}**: {}", headline(document), plain(&sentence(document))),
        String::new(),
    ];
    if let Some(next) = next(document) {
        out.extend([format!("It goes on with {}", code(&next)), String::new()]);
    }
    let mut known: Vec<Vec<String>> =
        facts(document).into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    known.extend(document.values.iter().map(|(name, value)| vec![format!("Parameter {name}"), value.clone()]));
    table(&mut out, &["What", "Which"], &known);
    out.extend(["## Objectives".to_owned(), String::new()]);
    let objectives: Vec<Vec<String>> =
        rows(document).into_iter().map(|row| vec![row.what, row.wanted, row.came, row.word]).collect();
    table(&mut out, &["Objective", "Wanted", "Measured", "Verdict"], &objectives);
    out.extend(["## Steps".to_owned(), String::new()]);
    document.steps.iter().for_each(|one| step(&mut out, one));
    if !document.snapshots.is_empty() || !document.volumes.is_empty() {
        out.extend(["## What came from where".to_owned(), String::new()]);
        let (head, rows) = origins(document);
        table(&mut out, &head, &rows);
    }
    let (head, rows) = left_out(document);
    if !rows.is_empty() {
        out.extend(["## Not rehearsed".to_owned(), String::new()]);
        table(&mut out, &head, &rows);
    }
    out.extend(["## Who carried it out".to_owned(), String::new()]);
    let (head, rows) = processes(document);
    table(&mut out, &head, &rows);
    out.extend([
        "## How to verify this page".to_owned(),
        String::new(),
        format!("Its last line is a signature over everything before it: `homelab-dr report verify FILE --key {}`.", document.key),
        format!(
            "The report as JSON, whose BLAKE3 is `{}`, is written by `homelab-dr report show {} --format json --out FILE`.",
            signed.digest(),
            plain(&document.run)
        ),
        String::new(),
        format!(
            "Written by homelab-dr {} from the journal of the run.",
            plain(&document.version)
        ),
        String::new(),
    ]);
    let page = out.join("\n") + "\n";
    let line = page_signature(&page, key);
    page + &line
}

fn step(out: &mut Vec<String>, step: &Step) {
    out.push(format!("### {} ({})", plain(&title(step)), plain(&step.id)));
    out.push(String::new());
    out.push(format!("**{}**. {}", plain(&standing_of(step)), code(&step.does)));
    out.push(String::new());
    let before = out.len();
    out.extend(remarks(step).iter().map(|remark| format!("- {}", plain(remark))));
    out.extend(step.objects.iter().map(|objects| format!("- {}", plain(&objects_in_words(objects)))));
    for one in &step.tries {
        out.push(format!("- {}: {}", when(one.begun), plain(&ended(one))));
        lines(out, &one.said);
        if !one.why.is_empty() {
            out.push(format!("  - {}", plain(&one.why)));
        }
        if !one.help.is_empty() {
            out.push(format!("  - What to do: {}", plain(&one.help)));
        }
    }
    for check in &step.checks {
        let word = looked(check.outcome);
        let seen = seen(check).map(|seen| format!(": {}", plain(&seen))).unwrap_or_default();
        out.push(format!("- Check **{word}**: {}{seen}", code(&check.asked)));
    }
    out.extend(step.answers.iter().map(|said| format!("- {}: {}", when(said.at), plain(&answer(said)))));
    for let_go in &step.let_go {
        let word = if let_go.is_well { "let go what it held" } else { "could NOT let go everything that it held" };
        out.push(format!("- {}: {word}", when(let_go.at)));
        lines(out, &let_go.said);
    }
    if out.len() > before {
        out.push(String::new());
    }
}

fn lines(out: &mut Vec<String>, all: &[String]) {
    let (shown, more) = first(all);
    out.extend(shown.iter().map(|line| format!("  - {}", plain(line))));
    if more > 0 {
        out.push(format!("  - … and {more} more, which the JSON has"));
    }
}

fn table(out: &mut Vec<String>, head: &[&str], rows: &[Vec<String>]) {
    let row = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    out.push(row(head.iter().map(|name| (*name).to_owned()).collect()));
    out.push(row(head.iter().map(|_| "---".to_owned()).collect()));
    out.extend(rows.iter().map(|cells| row(cells.iter().map(|cell| plain(cell)).collect())));
    out.push(String::new());
}

/// A text in which no sign means anything to Markdown, on one line. Nor do some readers see an address in it.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut is_start, mut is_number) = (true, false);
    for (at, c) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        let always = matches!(
            c,
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '$' | '@' | '^'
        );
        // What begins a list or underlines a heading only does so at the beginning, or behind a number there.
        let at_start = (is_start && matches!(c, '-' | '+' | '=' | ':')) || (is_number && matches!(c, '.' | ')'));
        let in_address = rest.starts_with("://") || (c == '.' && ends_with_www(text.get(..at).unwrap_or_default()));
        if is_hidden(c) {
            let shown: String = c.escape_unicode().collect();
            out.push_str(&shown.replace('\\', "\\\\").replace('{', "\\{").replace('}', "\\}"));
        } else {
            if always || at_start || in_address || (c == '!' && rest.starts_with("![")) {
                out.push('\\');
            }
            out.push(c);
        }
        is_number = (is_start || is_number) && c.is_ascii_digit();
        is_start &= c == ' ';
    }
    out.trim().to_owned()
}

fn ends_with_www(before: &str) -> bool {
    before.get(before.len().saturating_sub(3)..).is_some_and(|end| end.eq_ignore_ascii_case("www"))
}

/// A text as code: within backticks nothing means anything, and there is one more of them than in the text.
fn code(text: &str) -> String {
    let shown: String = text
        .chars()
        .flat_map(|c| if is_hidden(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let space = if shown.starts_with('`') || shown.ends_with('`') { " " } else { "" };
    if shown.is_empty() { String::new() } else { format!("{fence}{space}{shown}{space}{fence}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_harmless_is_still_to_be_read() {
        assert_eq!(plain("1. The page answers"), "1\\. The page answers");
        assert_eq!([plain("2026-11-21 18:00"), plain("- - x"), plain(" = ")], ["2026-11-21 18:00", "\\- - x", "\\="]);
        assert_eq!(plain("media/postgres filled: 2.0 GiB (100 %)"), "media/postgres filled: 2.0 GiB (100 %)");
        assert_eq!(plain("a\nb_c"), "a\\\\u\\{a\\}b\\_c");
        assert_eq!(plain("see https://x and WWW.x"), "see https\\://x and WWW\\.x");
        assert_eq!((code("a`b"), code("`"), code("")), ("``a`b``".into(), "`` ` ``".into(), String::new()));
    }
}

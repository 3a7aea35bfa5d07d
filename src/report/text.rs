//! The report for a terminal: short, and every name escaped.

use super::document::{Document, Looked, State};
use super::tables::{facts, title};
use super::words::{answer, headline, looked, next, rows, sentence, standing_of, when};
use crate::format::entry::escape;

/// The lines, without line ends.
#[must_use]
pub fn text(document: &Document) -> Vec<String> {
    let mut lines = vec![
        format!("{}, run {}", shown(&document.runbook.title), shown(&document.run)),
        format!("{}: {}", headline(document), shown(&sentence(document))),
    ];
    lines.extend(next(document).map(|next| format!("it goes on with: {}", shown(&next))));
    lines.push(String::new());
    let width = facts(document).iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines.extend(facts(document).iter().map(|(name, value)| format!("{name:width$}  {}", shown(value))));
    for (name, value) in &document.values {
        lines.push(format!("{:width$}  {} = {}", "Parameter", shown(name), shown(value)));
    }
    lines.push(String::new());
    for row in rows(document) {
        let verdict = match row.verdict {
            Some(_) => format!("(wanted {}): {}", row.wanted, row.word),
            None => format!("({})", row.word),
        };
        lines.push(format!("{}: {} {verdict}", shown(&row.what), shown(&row.came)));
    }
    for one in document.drill.iter().flat_map(|drill| &drill.left_out) {
        lines.push(format!("not rehearsed: [{}] {}: {}", shown(&one.step), shown(&one.what), shown(&one.why)));
    }
    lines.push(String::new());
    let width = document.steps.iter().map(|step| step.id.len()).max().unwrap_or_default();
    for step in document.steps.iter().filter(|step| step.state != State::NotNeeded) {
        lines.push(format!("{:width$}  {}: {}", shown(&step.id), standing_of(step), shown(&title(step))));
        let why = step.tries.last().filter(|one| one.state == State::Failed).map(|one| &one.why);
        lines.extend(why.map(|why| format!("{:width$}  {}", "", shown(why))));
        let unseen = step.checks.iter().filter(|_| !step.tries.is_empty());
        let unseen = unseen.filter(|check| matches!(check.outcome, Looked::NotHeld | Looked::NotLookedAt));
        lines.extend(unseen.map(|check| format!("{:width$}  {}: {}", "", looked(check.outcome), shown(&check.asked))));
        lines.extend(
            step.answers.iter().map(|said| format!("{:width$}  {}: {}", "", when(said.at), shown(&answer(said)))),
        );
    }
    lines
}

fn shown(text: &str) -> String {
    escape(text.as_bytes())
}

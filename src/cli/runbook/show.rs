//! A runbook on a terminal: what is promised, what has to be given, in which order, and every step with its prose.

use std::time::Duration;

use crate::base::units;
use crate::format::entry::escape;
use crate::runbook::{OnFailure, Parameter, Prose, Runbook, Step, longest, waves};

/// Where nothing says how wide it is.
const WIDTH: usize = 80;
/// Lines that are longer are hard to read, lines that are shorter are no lines.
const WIDTH_MAX: usize = 100;
const WIDTH_MIN: usize = 30;

/// Columns of the terminal that standard output is.
pub(super) fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { WIDTH } else { columns.clamp(WIDTH_MIN, WIDTH_MAX) }
}

/// Lines that are no longer than `width`, where their words allow it.
struct Lines {
    width: usize,
    lines: Vec<String>,
}

impl Lines {
    fn blank(&mut self) {
        if self.lines.last().is_some_and(|line| !line.is_empty()) {
            self.lines.push(String::new());
        }
    }

    /// Words behind `first`, further lines behind as many blanks as `rest` has signs.
    fn words(&mut self, first: &str, rest: &str, text: &str) {
        for (number, part) in text.split('\n').enumerate() {
            let mut line = if number == 0 { first.to_owned() } else { rest.to_owned() };
            let mut is_begun = false;
            for word in part.split_whitespace() {
                let word = escape(word.as_bytes());
                if is_begun && line.chars().count() + 1 + word.chars().count() > self.width {
                    self.lines.push(std::mem::replace(&mut line, rest.to_owned()));
                    is_begun = false;
                }
                if is_begun {
                    line.push(' ');
                }
                line.push_str(&word);
                is_begun = true;
            }
            self.lines.push(line.trim_end().to_owned());
        }
    }

    fn prose(&mut self, prose: &[Prose]) {
        let mut was_item = false;
        for piece in prose {
            let is_item = matches!(piece, Prose::Item { .. });
            if !(is_item && was_item) {
                self.blank();
            }
            was_item = is_item;
            match piece {
                Prose::Paragraph(text) => self.words("", "", text),
                Prose::Item { depth, mark, text } => {
                    let indent = "  ".repeat(depth + 1);
                    let first = format!("{indent}{mark:<2} ");
                    let rest = " ".repeat(first.chars().count());
                    self.words(&first, &rest, text);
                }
                Prose::Code(code) => {
                    self.lines.extend(
                        code.iter().map(|line| format!("    {}", escape(line.as_bytes())).trim_end().to_owned()),
                    );
                }
            }
        }
    }
}

/// A length of time, shorter than [`units::duration`] writes it where that is in minutes only.
pub(crate) fn time(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    if time.as_secs().is_multiple_of(60) && minutes > 60 && !minutes.is_multiple_of(60) {
        return format!("{}h {}m", minutes / 60, minutes % 60);
    }
    units::duration(time)
}

/// The prose of one step.
pub(super) fn prose(runbook: &Runbook, id: &str, width: usize) -> Vec<String> {
    let mut out = Lines { width, lines: Vec::new() };
    out.prose(runbook.prose_of(id));
    out.lines
}

/// The whole runbook.
pub(super) fn lines(runbook: &Runbook, steps: &[Step], width: usize) -> Vec<String> {
    let mut out = Lines { width, lines: Vec::new() };
    out.words("", "", &format!("{} ({})", runbook.title, runbook.id));
    objectives(&mut out, runbook, steps);
    parameters(&mut out, &runbook.parameters);
    order(&mut out, runbook, steps);
    for section in &runbook.sections {
        if let Some(title) = &section.title {
            out.blank();
            out.words("## ", "   ", title);
        }
        out.prose(&section.before);
        if let Some((index, step)) = section.step.and_then(|index| Some((index, steps.get(index)?))) {
            out.blank();
            one(&mut out, runbook, index, step);
        }
        out.prose(&section.after);
    }
    out.lines
}

fn objectives(out: &mut Lines, runbook: &Runbook, steps: &[Step]) {
    let (limits, way) = longest(steps);
    if let Some(rpo) = runbook.objectives.rpo {
        out.words("", "", &format!("rpo {}: the data that comes back may be so old", time(rpo)));
    }
    let limits = format!("the time limits add up to {} at most, along {}", time(limits), way.join(" → "));
    match runbook.objectives.rto {
        Some(rto) => out.words("", "", &format!("rto {}: {limits}", time(rto))),
        None => out.words("", "", &limits),
    }
}

fn parameters(out: &mut Lines, parameters: &[Parameter]) {
    if parameters.is_empty() {
        return;
    }
    out.blank();
    out.words("", "", "Parameters");
    for parameter in parameters {
        let values = parameter.values.join(" | ");
        let takes = if values.is_empty() { parameter.kind.word() } else { &values };
        let given = match (&parameter.default, &parameter.example) {
            (Some(default), _) => format!("{default:?} if it is not given"),
            (None, Some(example)) => format!("has to be given, such as {example:?}"),
            (None, None) => "has to be given".to_owned(),
        };
        out.words("  ", "    ", &format!("{} ({takes}): {given}", parameter.name));
        out.words("    ", "    ", &parameter.description);
    }
}

fn order(out: &mut Lines, runbook: &Runbook, steps: &[Step]) {
    out.blank();
    out.words("", "", "Order");
    for (number, wave) in waves(steps).iter().enumerate() {
        let ids: Vec<&str> = wave.iter().filter_map(|index| steps.get(*index)).map(|step| step.id.as_str()).collect();
        let at_once = ids.len().min(runbook.parallel);
        let note = if at_once > 1 { format!(" ({at_once} at once)") } else { String::new() };
        out.words(&format!("  {:>2}. ", number + 1), "      ", &format!("{}{note}", ids.join(", ")));
    }
}

fn one(out: &mut Lines, runbook: &Runbook, index: usize, step: &Step) {
    let (does, verify) = runbook.line(index);
    out.words("  ", "      ", &format!("[{}] {does}", step.id));
    let mut facts = Vec::new();
    if step.is_compensation {
        facts.push("only if another step fails".to_owned());
    } else if step.needs.is_empty() {
        facts.push("needs nothing".to_owned());
    } else {
        facts.push(format!("needs {}", step.needs.join(", ")));
    }
    facts.push(format!("at most {}", time(step.timeout)));
    if step.is_destructive {
        facts.push("destroys something: asks first".to_owned());
    }
    out.words("    ", "      ", &facts.join("; "));
    for check in verify {
        out.words("    verify ", "      ", &check);
    }
    match &step.on_failure {
        OnFailure::Stop => {}
        OnFailure::Continue => out.words("    ", "      ", "if it fails, the others go on"),
        OnFailure::Ask => out.words("    ", "      ", "if it fails, a person decides"),
        OnFailure::Run(ids) => out.words("    ", "      ", &format!("if it fails: {}", ids.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::configuration::JUDGES;

    const TEXT: &str = "---\nid: t\ntitle: A title\nobjectives: {rto: 2h, rpo: 1d}\nparallel: 2\nparameters:\n  which: {type: snapshot, description: Which snapshot it is., default: latest}\n---\nIntroduction.\n\n## One\n\nText with more words than a narrow line can take,\u{1b}[31m at once.\n\n1. first\n   - inner\n2. second\n\n```yaml step\nid: one\nneeds: []\nrestore.files: {source: x, snapshot: \"${which}\", target: /t, delete: true}\nverify: [no-empty: {}]\ntimeout: 90m\non_failure: {run: [undo]}\n```\n\n## Two\n\nAlso.\n\n```yaml step\nid: two\nneeds: []\nmanual: {}\n```\n\n    as it is\n\n## Undo\n\nBack.\n\n```yaml step\nid: undo\nnotify: {message: back}\n```\n";

    fn shown(width: usize) -> String {
        let read = crate::runbook::read(TEXT.as_bytes(), &JUDGES);
        assert!(read.findings.is_empty(), "{:?}", read.findings);
        let runbook = read.runbook.expect("right");
        let steps = runbook.sampled(&JUDGES).expect("right");
        lines(&runbook, &steps, width).join("\n")
    }

    #[test]
    fn a_runbook_is_shown_at_the_width_there_is() {
        let wide = shown(80);
        let expected = "A title (t)\nrpo 1d: the data that comes back may be so old\nrto 2h: the time limits add up to 1h 30m at most, along one\n\nParameters\n  which (snapshot): \"latest\" if it is not given\n    Which snapshot it is.\n\nOrder\n   1. one, two (2 at once)\n\nIntroduction.\n\n## One\n\nText with more words than a narrow line can take,\\x1b[31m at once.\n\n  1. first\n    -  inner\n  2. second\n\n  [one] restore.files source: x, snapshot: ${which}, target: /t, delete: true\n    needs nothing; at most 1h 30m; destroys something: asks first\n    verify no-empty\n    if it fails: undo\n\n## Two\n\nAlso.\n\n  [two] manual\n    needs nothing; at most 10m\n\n    as it is\n\n## Undo\n\nBack.\n\n  [undo] notify message: back\n    only if another step fails; at most 10m";
        assert_eq!(wide, expected, "{wide}");
        let narrow = shown(40);
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&narrow), words(&wide), "nothing is lost on a narrow line");
    }
}

//! The proposal as Markdown.

use std::fmt::Write as _;

use super::About;
use super::steps::{Step, rto};
use super::survey::Survey;
use crate::base::units;

/// Columns of prose.
const WIDTH: usize = 160;

/// A paragraph in lines of a width that a terminal can show; what begins with `- ` is an item and stays one line.
fn wrapped(text: &str) -> String {
    if text.starts_with("- ") {
        return text.to_owned();
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= WIDTH) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn front(survey: &Survey, about: &About<'_>, steps: &[Step]) -> String {
    let (id, title) = match about.namespaces.as_slice() {
        [] => ("recover-cluster".to_owned(), "The whole cluster is lost".to_owned()),
        [one] => (format!("recover-{one}"), format!("The namespace {one} is lost")),
        _ => ("recover-namespaces".to_owned(), format!("{} namespaces are lost", survey.spaces.len())),
    };
    let id: String = id.chars().take(63).collect();
    format!(
        "---\nid: {id}\ntitle: {title}\nobjectives:\n  rto: {}\n  rpo: 26h\nparallel: 2\nparameters:\n  snapshot:\n    type: snapshot\n    \
         description: Which snapshot of the cluster's objects; a time before the loss if the last one is suspect.\n    default: latest\n  \
         cluster_source:\n    type: string\n    description: The source of the cluster's objects, as `snapshots` lists it.\n    default: {:?}\n---\n",
        units::duration(rto(steps)),
        about.source
    )
}

fn introduction(survey: &Survey, about: &About<'_>) -> String {
    let claims: usize = survey.spaces.values().map(|space| space.claims.len()).sum();
    let bytes: u64 = survey.spaces.values().map(super::survey::Space::bytes).sum();
    let objects: u64 = survey.spaces.values().map(|space| space.objects).sum();
    let seen = wrapped(&format!(
        "Proposed by `homelab-dr runbook new` from {}: {} with {objects} objects, and {} with {}. What is written here is what could be seen there: read all of it, correct what you know better, keep it where it can be read \
         when the cluster is gone, and try it with `homelab-dr recover FILE --plan`.",
        about.seen,
        counted(survey.spaces.len(), "namespace"),
        counted(claims, "claim"),
        units::bytes(bytes)
    ));
    let objectives = wrapped(
        "The objective `rto` is the sum of the time limits, `rpo` a night and two hours: write down what you need in their place, and `homelab-dr runbook lint` says whether the steps keep to it.",
    );
    format!("{seen}\n\n{objectives}\n")
}

fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn section(number: usize, step: &Step) -> String {
    let mut text = format!("\n## {number}. {}\n", step.title);
    let mut was_item = false;
    for paragraph in &step.prose {
        let is_item = paragraph.starts_with("- ");
        let _ = writeln!(text, "{}{}", if is_item && was_item { "" } else { "\n" }, wrapped(paragraph));
        was_item = is_item;
    }
    let _ = write!(text, "\n```yaml step\nid: {}\n", step.id);
    if let Some(needs) = &step.needs {
        let _ = writeln!(text, "needs: [{}]", needs.join(", "));
    }
    for line in &step.does {
        let _ = writeln!(text, "{line}");
    }
    if step.minutes > 0 {
        let _ = writeln!(text, "timeout: {}m", step.minutes);
    }
    if !step.verify.is_empty() {
        let _ = writeln!(text, "verify:");
        for check in &step.verify {
            let _ = writeln!(text, "  - {check}");
        }
    }
    if let Some(what) = step.on_failure {
        let _ = writeln!(text, "on_failure: {what}");
    }
    text.push_str("```\n");
    text
}

/// See the module.
pub(super) fn markdown(survey: &Survey, about: &About<'_>, steps: &[Step]) -> String {
    let mut text = front(survey, about, steps);
    text.push_str(&introduction(survey, about));
    for (number, step) in steps.iter().enumerate() {
        text.push_str(&section(number + 1, step));
    }
    text
}

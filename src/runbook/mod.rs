//! Runbooks: recovery as a Markdown file that a person can follow and a program can carry out. This module reads, judges and orders one; it carries out nothing.
//!
//! Everything wrong is found at once, each with its line and column in the file. Pure: text in, a [`Runbook`] or findings out.
//!
//! ```text
//! bytes ─ markdown (front matter, sections, blocks) ─ language::read (YAML, places of the file) ─ variables (samples) ─ judge ─ understand ─ lint ─ Runbook
//!                                                                             Runbook::steps(values) ─ variables ─ judge ─ understand ─ [Step]
//! ```
//!
//! What a plan is made of is [`Runbook::steps`]: the same way through the same judge, with the values of a run in the place of samples.

mod graph;
mod judge;
mod language;
mod lines;
mod lint;
mod markdown;
mod order;
mod step;
#[cfg(test)]
mod tests;
mod understand;
mod variables;

use std::time::Duration;

pub use language::{schema, tables};
pub use markdown::Prose;
pub use order::{longest, waves};
pub use step::{
    Action, Answer, Check, Claim, InPod, Object, OnFailure, Origin, Overwrite, Probe, Query, Quiet, RestoreFiles,
    RestoreResources, RestoreVolume, Step,
};
pub use variables::{Parameter, Type, Values};

use crate::language::{self as fields, Finding, Judges, Node, Place, Severity, Subject, show};
use graph::Graph;
use lines::Lines;
use markdown::{Block, Page};

/// Longest file. Real ones have some KiB.
pub const TEXT_BYTES_MAX: usize = 256 << 10;
/// Most steps of a runbook; nobody can follow more.
const STEPS_MAX: usize = 500;

const FRONT: Subject = Subject {
    name: "the front matter",
    bytes_max: 32 << 10,
    empty: "write id: and title: between the lines ---",
    long: "what steps do stands in their blocks",
};
const STEP: Subject = Subject {
    name: "the step",
    bytes_max: 32 << 10,
    empty: "write id: and one kind, such as check:",
    long: "make several steps of it",
};

/// What has to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Objectives {
    /// How long it may take until everything is back.
    pub rto: Option<Duration>,
    /// How old the data may be.
    pub rpo: Option<Duration>,
}

/// A runbook that was judged right.
#[derive(Debug, Clone)]
pub struct Runbook {
    /// What it is called in reports and journals.
    pub id: String,
    /// What it is for.
    pub title: String,
    /// What has to be reached.
    pub objectives: Objectives,
    /// How many steps are carried out at once.
    pub parallel: usize,
    /// What differs from one use to the next, in the order of the file.
    pub parameters: Vec<Parameter>,
    /// Everything below the front matter, in the order of the file.
    pub sections: Vec<Section>,
    front: Node,
    written: Vec<Written>,
    graph: Graph,
}

/// What stands below a heading, or before the first.
#[derive(Debug, Clone)]
pub struct Section {
    /// The heading; `None` before the first.
    pub title: Option<String>,
    /// Prose before the step: it says what the step does and why.
    pub before: Vec<Prose>,
    /// Which step, counted from 0.
    pub step: Option<usize>,
    /// Prose after the step.
    pub after: Vec<Prose>,
}

/// A step as it is written.
#[derive(Debug, Clone)]
struct Written {
    /// Its heading.
    title: String,
    /// Where its block begins.
    place: Place,
    /// Its fields, variables in them.
    node: Node,
    /// Whether there is prose before it.
    has_prose: bool,
}

/// What reading a runbook came to: the runbook, unless a finding is an error, and all findings in the order of the file.
#[derive(Debug)]
pub struct Read {
    /// The runbook.
    pub runbook: Option<Runbook>,
    /// The runbook, where all that is wrong is that its time limits break its own objective: it can be read, and not promised.
    pub overdue: Option<Runbook>,
    /// What is wrong or doubtful.
    pub findings: Vec<Finding>,
}

/// Reads a runbook. Any bytes give a value; it holds a runbook or at least one error.
#[must_use]
pub fn read(bytes: &[u8], judges: &Judges<'_>) -> Read {
    let mut findings = Vec::new();
    let runbook = match text(bytes) {
        Ok(text) => understood(text, judges, &mut findings),
        Err(fatal) => {
            findings.push(fatal);
            None
        }
    };
    let has_errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    if runbook.is_none() && !has_errors {
        let help = "this is a bug in homelab-dr: please report it with the file";
        findings.push(Finding::error(Place::START, "the runbook passed the check and was not understood", help));
    }
    findings.sort_by_key(|finding| (finding.place, finding.severity));
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    match runbook {
        Some((runbook, false)) if errors == 0 => Read { runbook: Some(runbook), overdue: None, findings },
        Some((runbook, true)) if errors == 1 => Read { runbook: None, overdue: Some(runbook), findings },
        _ => Read { runbook: None, overdue: None, findings },
    }
}

/// The text of a file, without a byte order mark, which is no column of anything.
fn text(bytes: &[u8]) -> Result<&str, Finding> {
    if bytes.len() > TEXT_BYTES_MAX {
        let what = format!("the file is longer than {} KiB", TEXT_BYTES_MAX >> 10);
        return Err(Finding::error(Place::START, what, "is it the right file? a runbook has some KiB"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default()).into_owned();
        let before = before.trim_start_matches('\u{feff}');
        let place = Lines::of(before).place(before.len());
        Finding::error(place, "this is no text in UTF-8", "save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The runbook, and whether its time limits break its objective, which is one of the findings then.
fn understood(text: &str, judges: &Judges<'_>, findings: &mut Vec<Finding>) -> Option<(Runbook, bool)> {
    let lines = Lines::of(text);
    let Page { front, sections } = markdown::page(text, &lines, findings);
    let front = front.and_then(|block| yaml(&block, FRONT, &lines, findings));
    let parameters = front.as_ref().and_then(|front| judge::front(front, judges, findings));
    let (sections, written) = written(sections, &lines, findings);
    if written.is_empty() && findings.is_empty() {
        let help = "put a heading, a sentence and a block marked `yaml step` below the front matter";
        findings.push(Finding::error(Place::START, "the runbook has no step", help));
    }
    if written.len() > STEPS_MAX {
        let what = format!("the runbook has more than {STEPS_MAX} steps");
        findings.push(Finding::error(Place::START, what, "make several runbooks of it"));
        return None;
    }
    let nodes: Vec<&Node> = written.iter().map(|written| &written.node).collect();
    let graph = Graph::of(&nodes, findings);
    lint::secrets(&lines, &nodes, findings);
    let (front, parameters) = front.zip(parameters)?;
    lint::variables(&front, &parameters, &nodes, (text, &lines), findings);
    let objectives = understand::objectives(&front)?;
    let mut filled = front.clone();
    fields::fill(&mut filled, &language::FRONT);
    let runbook = Runbook {
        id: fields::take::text(&front, "id")?,
        title: fields::take::text(&front, "title")?,
        objectives,
        parallel: understand::parallel(&filled)?,
        parameters,
        sections,
        front,
        written,
        graph,
    };
    let steps = runbook.judged(&Values::samples(&runbook.parameters), true, judges, findings)?;
    let is_overdue = lint::whole(&runbook, &steps, findings);
    Some((runbook, is_overdue))
}

/// The tree of a block, with places of the file.
fn yaml(block: &Block, subject: Subject, lines: &Lines<'_>, findings: &mut Vec<Finding>) -> Option<Node> {
    let own = Lines::of(&block.text);
    let place = |place: Place| block.place(lines, &own, place);
    let mut found = Vec::new();
    let node = fields::read(block.text.as_bytes(), subject, &mut found);
    let node = node.map_err(|fatal| found.push(fatal)).ok().map(|node| node.moved(&place));
    findings.extend(found.into_iter().map(|mut finding| {
        let is_whole = finding.place == Place::START && node.is_none();
        finding.place = if is_whole { block.place } else { place(finding.place) };
        if finding.what.contains("no YAML") && block.text.contains("${") {
            finding.help.push_str("; within { } a text with ${…} stands in quotes");
        }
        finding
    }));
    node
}

fn written(
    sections: Vec<markdown::Section>,
    lines: &Lines<'_>,
    findings: &mut Vec<Finding>,
) -> (Vec<Section>, Vec<Written>) {
    let mut steps = Vec::new();
    let sections = sections.into_iter().map(|section| {
        let node = section.step.and_then(|block| yaml(&block, STEP, lines, findings).map(|node| (block.place, node)));
        let step = node.map(|(place, node)| {
            let title = section.title.clone().unwrap_or_default();
            steps.push(Written { title, place, node, has_prose: !section.before.is_empty() });
            steps.len() - 1
        });
        Section { title: section.title, before: section.before, step, after: section.after }
    });
    let sections = sections.collect();
    (sections, steps)
}

impl Written {
    /// What it does, by the name of the kind, and its fields.
    fn kind(&self) -> Option<(&'static str, &Node)> {
        language::kinds().find_map(|kind| self.node.field(kind).map(|node| (kind, node)))
    }
}

/// A name and its fields on one line.
fn said(name: &str, node: &Node) -> String {
    format!("{name} {}", show::inline(node)).trim_end().to_owned()
}

/// Checks as they are written, one a line.
fn checks(list: &Node) -> Vec<String> {
    let check = |node: &Node| {
        let fields: Vec<String> = node.entries().iter().map(|(name, node)| said(&name.text, node)).collect();
        fields.join(", ")
    };
    list.elements().iter().map(check).collect()
}

/// What a step does, its kind and fields on one line, and its checks.
fn line(written: &Written) -> (String, Vec<String>) {
    let verify = written.node.field("verify").map(checks).unwrap_or_default();
    match written.kind() {
        Some((kind, node)) if node.entries().is_empty() => {
            (format!("{kind} {}", checks(node).join("; ")).trim_end().to_owned(), verify)
        }
        Some((kind, node)) => (said(kind, node), verify),
        None => (String::new(), verify),
    }
}

impl Runbook {
    /// The steps, in the order of the file, with every variable replaced.
    ///
    /// # Errors
    /// What the values make wrong, with its place in the file.
    pub fn steps(&self, values: &Values, judges: &Judges<'_>) -> Result<Vec<Step>, Vec<Finding>> {
        let mut findings = Vec::new();
        let steps = self.judged(values, false, judges, &mut findings);
        findings.retain(|finding| finding.severity == Severity::Error);
        steps.filter(|_| findings.is_empty()).ok_or(findings)
    }

    /// The steps with defaults, examples and samples in the place of values: what does not hang on values is right in them.
    ///
    /// # Errors
    /// None but by a bug: they were read before.
    pub fn sampled(&self, judges: &Judges<'_>) -> Result<Vec<Step>, Vec<Finding>> {
        self.steps(&Values::samples(&self.parameters), judges)
    }

    /// The front matter and the steps as they are written, as [`schema`] describes them.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let steps: Vec<_> = self.written.iter().map(|written| show::json(&written.node)).collect();
        serde_json::json!({ "front": show::json(&self.front), "steps": steps })
    }

    /// What a step does and what is verified, as it is written: the kind and its fields on one line, and the checks.
    #[must_use]
    pub fn line(&self, step: usize) -> (String, Vec<String>) {
        self.written.get(step).map(line).unwrap_or_default()
    }

    /// The same of the step of this id.
    #[must_use]
    pub fn line_of(&self, id: &str) -> (String, Vec<String>) {
        self.index(id).map(|index| self.line(index)).unwrap_or_default()
    }

    /// The same with the values of a run in the place of variables.
    #[must_use]
    pub fn line_with(&self, id: &str, values: &Values) -> (String, Vec<String>) {
        let expanded = |written: &Written| Written { node: values.expand(&written.node), ..written.clone() };
        self.written_of(id).map(|written| line(&expanded(written))).unwrap_or_default()
    }

    /// The kind of the step of this id, such as `restore.volume`.
    #[must_use]
    pub fn kind_of(&self, id: &str) -> &'static str {
        self.written_of(id).and_then(Written::kind).map_or("", |(kind, _)| kind)
    }

    /// Every check of the step of this id as it is written, in the order in which they are looked at: its own, if looking is what it does, then those of `verify`.
    #[must_use]
    pub fn checks_of(&self, id: &str) -> Vec<String> {
        let Some(written) = self.written_of(id) else { return Vec::new() };
        let own = match written.kind() {
            Some(("check", node)) => checks(node),
            Some(("wait", node)) => node.field("until").map(checks).unwrap_or_default(),
            _ => Vec::new(),
        };
        [own, written.node.field("verify").map(checks).unwrap_or_default()].concat()
    }

    fn written_of(&self, id: &str) -> Option<&Written> {
        self.index(id).and_then(|index| self.written.get(index))
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.written.iter().position(|written| fields::take::text(&written.node, "id").as_deref() == Some(id))
    }

    /// The heading of the step of this id.
    #[must_use]
    pub fn title_of(&self, id: &str) -> &str {
        self.written_of(id).map_or("", |written| &written.title)
    }

    /// The prose of the step of this id: what a person would do.
    #[must_use]
    pub fn prose_of(&self, id: &str) -> &[Prose] {
        let index = self.index(id);
        let section = self.sections.iter().find(|section| index.is_some() && section.step == index);
        section.map_or(&[], |section| &section.before)
    }

    /// Every step that can be understood; `None` if one cannot.
    fn judged(
        &self,
        values: &Values,
        are_samples: bool,
        judges: &Judges<'_>,
        findings: &mut Vec<Finding>,
    ) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        for (index, written) in self.written.iter().enumerate() {
            let step = judge::step(written, values, are_samples, judges, findings);
            steps.push(step.map(|step| self.graph.place(index, step)));
        }
        steps.into_iter().collect()
    }
}

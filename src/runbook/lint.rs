//! What is wrong with a runbook as a whole: variables, secrets, prose, and objectives that its own time limits break.

use std::collections::BTreeSet;

use super::Runbook;
use super::lines::Lines;
use super::order::longest;
use super::step::{Action, Step};
use super::variables::{self, BUILT_IN, Parameter, Part};
use crate::base::units::duration;
use crate::language::{Finding, Node, Place, Value, holds_password, short, suggest};

/// Variables that nobody has, and parameters that nobody uses.
pub(super) fn variables(
    front: &Node,
    parameters: &[Parameter],
    steps: &[&Node],
    (text, lines): (&str, &Lines<'_>),
    findings: &mut Vec<Finding>,
) {
    let own = parameters.iter().map(|parameter| parameter.name.as_str());
    let known: Vec<&str> = own.chain(BUILT_IN.iter().map(|(name, _)| *name)).collect();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for step in steps {
        variables::texts(step, &mut |value, begins| {
            for (before, part) in variables::uses(value) {
                let place = || mark(text, lines, begins, before);
                match part {
                    Part::Variable(name) if known.contains(&name) => drop(used.insert(name.to_owned())),
                    Part::Variable(name) => {
                        let what = format!("there is no parameter {:?}", short(name));
                        let help = suggest(name, &known, "parameters are");
                        findings.push(Finding::error(place(), what, format!("{help}; $${{ stands for ${{ itself")));
                    }
                    _ => {
                        let help = "write ${NAME}, or $${ for the two signs themselves";
                        findings.push(Finding::error(place(), "a ${ has no }", help));
                    }
                }
            }
        });
    }
    for (name, _) in front.field("parameters").map(Node::entries).unwrap_or_default() {
        if !used.contains(&name.text) {
            let what = format!("no step uses the parameter {:?}", short(&name.text));
            findings.push(Finding::warning(name.place, what, "leave it out, or use ${NAME} in a step"));
        }
    }
}

/// The place of the n-th `${` behind the beginning of a value; its beginning, if it is written in another way.
fn mark(text: &str, lines: &Lines<'_>, begins: Place, before: usize) -> Place {
    let start = lines.offset(begins);
    let rest = text.get(start..).unwrap_or_default();
    rest.match_indices("${").nth(before).map_or(begins, |(at, _)| lines.place(start + at))
}

/// Secrets in clear, as far as they can be told by their form. They are not repeated.
pub(super) fn secrets(lines: &Lines<'_>, steps: &[&Node], findings: &mut Vec<Finding>) {
    let help = "name the file that it lies in; this one has been seen by now: make another";
    for (number, line) in lines.numbered() {
        if let Some(at) = secret(line) {
            let column = line.get(..at).unwrap_or_default().chars().count() + 1;
            findings.push(Finding::error(Place { line: number, column }, "a secret stands here in clear", help));
        }
    }
    for step in steps {
        passwords(step, "", findings);
    }
}

/// Where a line holds a key of age or of ours, or begins a private key.
fn secret(line: &str) -> Option<usize> {
    const LEAST: usize = 20;
    let upper = line.to_ascii_uppercase();
    let keys = ["AGE-SECRET-KEY-1", "HOMELAB-DR-WRITER-1-"].into_iter().find_map(|mark| {
        let (at, _) = upper.match_indices(mark).next()?;
        let rest = upper.get(at + mark.len()..)?;
        (rest.chars().take_while(char::is_ascii_alphanumeric).count() >= LEAST).then_some(at)
    });
    let pem = || upper.find("-----BEGIN ").filter(|_| upper.contains("PRIVATE KEY-----"));
    keys.or_else(pem)
}

fn passwords(node: &Node, name: &str, findings: &mut Vec<Finding>) {
    match &node.value {
        Value::Text(text) if holds_password(text) && !text.contains("${") => {
            let what = if name.is_empty() {
                "a password stands here in clear".to_owned()
            } else {
                format!("{name}: a password stands here in clear")
            };
            let help = "have the program read it from a file or a variable of its own, such as PGPASSFILE";
            findings.push(Finding::error(node.place, what, help));
        }
        Value::List(elements) => elements.iter().for_each(|element| passwords(element, name, findings)),
        Value::Map(entries) => entries.iter().for_each(|(name, node)| passwords(node, &short(&name.text), findings)),
        _ => {}
    }
}

/// A datastore brings back every object as it was, with its uid, and so does whoever restores objects: what the one has, the other finds to differ, or makes a second time.
fn twice(runbook: &Runbook, steps: &[Step], findings: &mut Vec<Finding>) {
    let steps = || steps.iter().filter(|step| !step.is_compensation);
    let datastore = steps().find(|step| matches!(step.action, Action::RestoreDatastore { .. }));
    let objects = steps().find(|step| matches!(step.action, Action::RestoreResources(_)));
    if let (Some(datastore), Some(objects)) = (datastore, objects)
        && let Some(written) = runbook.written_of(&objects.id)
    {
        let what = format!(
            "step {} restores the datastore of a cluster, with all its objects, and step {} restores objects",
            short(&datastore.id),
            short(&objects.id)
        );
        let help =
            "a cluster comes back in one of the two ways: have a runbook for each; right only if they are two clusters";
        findings.push(Finding::warning(written.place, what, help));
    }
}

/// Prose that is missing, and an objective that cannot be met; whether that is so.
pub(super) fn whole(runbook: &Runbook, steps: &[Step], findings: &mut Vec<Finding>) -> bool {
    for written in runbook.written.iter().filter(|written| !written.has_prose) {
        let help = "say below the heading what it does and why: a person may have to do it by hand";
        findings.push(Finding::warning(written.place, "nothing is said about this step", help));
    }
    twice(runbook, steps, findings);
    let objective = runbook.front.field("objectives").and_then(|node| node.field("rto"));
    let (longest, way) = longest(steps);
    if let (Some(rto), Some(node)) = (runbook.objectives.rto, objective)
        && longest > rto
    {
        let way: Vec<_> = way.iter().map(|id| short(id)).collect();
        let what = format!(
            "the time limits along {} add up to {}, and rto is {}",
            way.join(" → "),
            duration(longest),
            duration(rto)
        );
        let help = "give these steps shorter timeouts (10m if none is written), let some be carried out at once by `needs`, or promise less";
        findings.push(Finding::error(node.place, what, help));
        return true;
    }
    false
}

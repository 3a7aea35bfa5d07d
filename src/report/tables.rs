//! What renderings put into lists and tables, in the same words.

use super::document::{Check, Document, Looked, Objects, State, Step, TakenUp, Target};
use super::words::{short, span, when};
use crate::base::id::short_hex;
use crate::base::units;

/// What is told of a run before anything else, in this order.
pub(super) fn facts(document: &Document) -> Vec<(&'static str, String)> {
    let (time, totals) = (&document.time, &document.totals);
    let target = match &document.target {
        Target::Machine => "this machine".to_owned(),
        Target::Cluster { uid, shown, version } => {
            let uid = Some(format!("cluster {uid}")).filter(|_| !uid.is_empty());
            let version = version.as_ref().map(|version| format!("Kubernetes {version}"));
            let known: Vec<String> = uid.into_iter().chain(version).collect();
            if known.is_empty() { shown.clone() } else { format!("{shown} ({})", known.join(", ")) }
        }
    };
    let mut facts = vec![("Runbook", format!("{} (BLAKE3 {}…)", document.runbook.id, short(&document.runbook.digest)))];
    let drill = document.drill.as_ref();
    facts.push((if drill.is_some() { "Drilled in" } else { "Recovered into" }, target));
    if let Some(drill) = drill {
        facts.extend(drill.prepared.iter().map(|line| ("Throw-away target", line.clone())));
        facts.push((
            "Not rehearsed",
            match drill.left_out.len() {
                1 => "1 thing".to_owned(),
                many => format!("{many} things"),
            },
        ));
        facts.extend(drill.not_verified.iter().map(|line| ("Not verified", line.clone())));
        let cleared = drill.cleared.iter();
        facts.extend(cleared.clone().flat_map(|cleared| &cleared.said).map(|line| ("Afterwards", line.clone())));
        facts.extend(cleared.flat_map(|cleared| &cleared.left).map(|line| ("LEFT BEHIND", line.clone())));
    }
    facts.extend(document.repository.clone().map(|repository| ("From the repository", repository)));
    let mut recipients: Vec<&str> = document.taken_up.iter().filter_map(|one| one.recipient.as_deref()).collect();
    recipients.dedup();
    facts.extend(recipients.into_iter().map(|recipient| ("Opened by the identity of", recipient.to_owned())));
    if let Some((begun, last)) = time.begun.zip(time.last) {
        facts.push(("Begun", when(begun)));
        facts.push((if document.stand.standing.is_over() { "Ended" } else { "Last seen" }, when(last)));
    }
    let left_out = if totals.left_out > 0 { format!(", {} left out", totals.left_out) } else { String::new() };
    facts.push(("Steps", format!("{} of {} done, {} failed{left_out}", totals.done, totals.steps, totals.failed)));
    facts.push(("Checks", format!("{} of {} seen to hold", totals.checks_held, totals.checks)));
    facts.push(("Brought back", brought_back(document)));
    facts
}

/// Bytes of steps that are done, and what others wrote that is not verified.
fn brought_back(document: &Document) -> String {
    let done =
        format!("{} of {}", units::bytes(document.totals.bytes_done), units::bytes(document.totals.bytes_planned));
    // What it did is told before it is looked at.
    let is_looked_at = |check: &Check| matches!(check.outcome, Looked::Held | Looked::NotHeld);
    let has_acted = |step: &&Step| {
        step.tries.last().is_some_and(|one| !one.said.is_empty()) || step.checks.iter().any(is_looked_at)
    };
    let bytes = |step: &Step| -> u64 {
        let (snapshots, volumes) = (&document.snapshots, &document.volumes);
        match step.objects {
            Some(_) => volumes.iter().filter(|one| one.step == step.id).map(|one| one.bytes).sum(),
            None => snapshots.iter().filter(|one| one.step == step.id).map(|one| one.bytes).sum(),
        }
    };
    let undone = document.steps.iter().filter(|step| step.state != State::Done).filter(has_acted);
    match undone.map(bytes).sum() {
        0 => done,
        more => format!("{done} by steps that are done; {} more came back and are not verified", units::bytes(more)),
    }
}

/// The heading of a step, or its id where it has none.
pub(super) fn title(step: &Step) -> String {
    if step.title.is_empty() { step.id.clone() } else { step.title.clone() }
}

/// What is worth knowing of a step beside what it does.
pub(super) fn remarks(step: &Step) -> Vec<String> {
    let mut remarks = Vec::new();
    if !step.needs.is_empty() {
        remarks.push(format!("after {}", step.needs.join(", ")));
    }
    if step.is_destructive {
        remarks.push("replaces or removes what is there".to_owned());
    }
    if step.is_compensation {
        remarks.push("only if another fails".to_owned());
    }
    remarks
}

/// What the plan made of objects.
pub(super) fn objects_in_words(objects: &Objects) -> String {
    format!(
        "Planned: {} objects created, {} replaced, {} differ and stay, {} there already, {} cannot be restored, {} are not restored by their kind.",
        objects.create, objects.replace, objects.keep, objects.same, objects.conflict, objects.skipped
    )
}

/// Snapshots and volumes as a table.
pub(super) fn origins(document: &Document) -> ([&'static str; 5], Vec<Vec<String>>) {
    let mut rows = Vec::new();
    for one in &document.snapshots {
        let begun = format!("{}, {} before the plan", when(one.started), span(one.age_seconds));
        let plural = if one.files == 1 { "" } else { "s" };
        let size = format!("{} file{plural}, {}", one.files, units::bytes(one.bytes));
        rows.push(vec![one.source.clone(), one.step.clone(), short_hex(&one.id).to_owned(), begun, size]);
    }
    for one in &document.volumes {
        let size = units::bytes(one.bytes);
        let claim = format!("volume {}", one.claim);
        rows.push(vec![
            claim,
            one.step.clone(),
            short_hex(&one.snapshot).to_owned(),
            one.started.zip(one.age_seconds).map_or_else(
                || "not in the plan".to_owned(),
                |(started, age)| format!("{}, {} before the plan", when(started), span(age)),
            ),
            size,
        ]);
    }
    (["Source", "Step", "Snapshot", "Begun", "Size"], rows)
}

/// What a drill did not rehearse, as a table.
pub(super) fn left_out(document: &Document) -> ([&'static str; 3], Vec<Vec<String>>) {
    let all = document.drill.iter().flat_map(|drill| &drill.left_out);
    (["Step", "What", "Why"], all.map(|one| vec![one.step.clone(), one.what.clone(), one.why.clone()]).collect())
}

/// Each time that the run was taken up, as a table.
pub(super) fn processes(document: &Document) -> ([&'static str; 5], Vec<Vec<String>>) {
    let row =
        |one: &TakenUp| vec![when(one.at), when(one.until), one.by.clone(), one.host.clone(), one.version.clone()];
    (["Taken up", "Last seen", "Account", "Machine", "homelab-dr"], document.taken_up.iter().map(row).collect())
}

//! The plan and the report as text. Names, fields and the words of servers and webhooks are other people's: each line is escaped as a whole, so that it stays
//! one line and means nothing to a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::by_kind;
use crate::base::units;
use crate::cli::context::{Context, local};
use crate::cli::failure::Failure;
use crate::cli::hints::ABSENT_WEBHOOK;
use crate::cli::movers;
use crate::cli::output::count;
use crate::cluster::error::names_absent_webhook;
use crate::cluster::rewrite::skip::Skip;
use crate::format::entry::escape;
use crate::recover::cluster::data::Data;
use crate::recover::cluster::fate::{Fate, Trial};
use crate::recover::cluster::plan::{ClusterPlan, Step};
use crate::recover::cluster::ready::{NotReady, Waited};
use crate::recover::cluster::report::{Outcome, Report, Row};
use crate::recover::cluster::volumes::{Filled, Outcome as VolumeOutcome};
use crate::repo::snapshots::Snapshot;

/// Names that a note shows.
const SHOWN: usize = 20;
/// Objects that a question shows: as many as a screen has lines.
const LINES: usize = 40;

/// What has to be known whatever is done.
pub(super) fn warn_of(plan: &ClusterPlan, context: &Context) {
    if context.out.json {
        return;
    }
    for missing in &plan.missing {
        let missing = escape(missing.as_bytes());
        context.talk.warn(&format!("the snapshot lacks what could not be read when it was made: {missing}"));
    }
    for pattern in &plan.unmatched {
        let pattern = escape(pattern.as_bytes());
        context.talk.warn(&format!(
            "--include {pattern} means nothing in this snapshot; `homelab-dr ls -R SNAPSHOT` has the names"
        ));
    }
    for skipped in plan.skipped.iter().filter(|skipped| skipped.why == Skip::RecoveredByItsOperator) {
        let object = escape(skipped.object.to_string().as_bytes());
        context.talk.warn(&format!("the database {object} is not restored: {}", skipped.why));
    }
    for (step, why) in plan.steps.iter().filter_map(|step| Some((step, step.doubt()?))) {
        let (object, why) = (escape(step.object.to_string().as_bytes()), escape(why.as_bytes()));
        context.talk.warn(&format!("{object}: {why}; see what it has to be, and set that when it is restored"));
    }
    for unreadable in &plan.unreadable {
        let why = escape(unreadable.why.as_bytes());
        context.talk.warn(&format!("{} cannot be restored: {why}", escape(unreadable.path.as_bytes())));
    }
}

/// What will be gone for a moment, before the first of it is: whoever kills the run then has read it. Beside a document too, which such a run never prints.
pub(super) fn deletions(plan: &ClusterPlan, context: &Context) {
    let is_one = |step: &&Step| matches!(step.fate, Fate::Recreate { .. });
    let all: Vec<String> =
        plan.steps.iter().filter(is_one).map(|step| escape(step.object.to_string().as_bytes())).collect();
    if all.is_empty() {
        return;
    }
    let more = all.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more (--plan shows all)") } else { String::new() };
    let names = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    context.talk.warn(&format!(
        "to be DELETED and made anew: {names}{more}; if this run is cut off in between, one may be gone: the same restore again makes it"
    ));
}

fn word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Undecided => "undecided",
        Fate::Create { .. } => "create",
        Fate::Finish => "finish",
        Fate::Fill => "fill",
        Fate::Replace { .. } => "replace",
        Fate::Recreate { .. } => "RECREATE",
        Fate::Same => "same",
        Fate::Keep { .. } => "keep",
        Fate::Conflict { .. } => "CONFLICT",
    }
}

fn note(step: &Step) -> String {
    let mut notes = Vec::new();
    if step.empty && step.fate.creates() {
        notes.push("EMPTY: there is no data for its volume".to_owned());
    }
    if step.fate.creates() {
        notes.extend(step.lost.iter().cloned());
    }
    match &step.fill {
        Some(data) if data.proven_empty => notes.push(format!("empty, as in {}", origin(data))),
        Some(data) => notes.push(format!("filled from {}", origin(data))),
        None if step.never_bound => notes.push("it never had a volume".to_owned()),
        None => {}
    }
    notes.extend(step.fill.as_ref().and_then(Data::doubt));
    notes.extend(step.notes.iter().cloned());
    notes.extend(step.doubt().map(str::to_owned));
    if step.needed {
        notes.push("needed by what was chosen".to_owned());
    }
    match &step.fate {
        Fate::Replace { differs } | Fate::Keep { differs } => notes.push(format!("differs in {}", differs.join(", "))),
        Fate::Recreate { differs, because } => notes.push(format!(
            "DELETED and made anew: it differs in {}, and cannot be changed to that: {because}",
            differs.join(", ")
        )),
        Fate::Create { trial: Trial::Later(why) } | Fate::Conflict { why } => notes.push(why.clone()),
        Fate::Finish => notes.push("an earlier run did not come to its end".to_owned()),
        Fate::Fill => notes.push("as the cluster made it".to_owned()),
        _ => {}
    }
    notes.join("; ")
}

/// What a volume is filled from.
pub(in crate::cli::restore) fn origin(data: &Data) -> String {
    let snapshot = data.snapshot.short();
    let (files, bytes) = (count(data.files, "file"), units::bytes(data.bytes));
    let apart = data.distance().map(|apart| format!(", {apart}")).unwrap_or_default();
    format!("{snapshot} of {} ({files}, {bytes}; {}{apart})", data.source, local(data.started))
}

/// What became of a volume, and what is wrong with single files of it.
pub(in crate::cli::restore) fn volume(volume: &Filled, context: &mut Context) -> Result<(), Failure> {
    let name = escape(format!("{}", volume.claim).as_bytes());
    let restored = &volume.restored;
    let text = match &volume.outcome {
        VolumeOutcome::Restored if restored.files == 0 && restored.unchanged > 0 => {
            format!("restored; {} there already", count(restored.unchanged, "entry"))
        }
        VolumeOutcome::Restored => {
            format!("restored: {} ({})", count(restored.files, "file"), units::bytes(restored.bytes))
        }
        VolumeOutcome::ProvenEmpty => "proven empty".to_owned(),
        VolumeOutcome::Kept { why } => format!("NOT RESTORED: {why}. --existing update writes over it"),
        VolumeOutcome::Unknown { why, mend, .. } => format!("UNKNOWN: {why}. {mend}"),
    };
    let from = format!(", from {} of {}", volume.data.snapshot.short(), volume.data.source);
    context.line(&format!("{name}: {}", escape(format!("{text}{from}").as_bytes())))?;
    for seen in movers::evidence(&volume.mover) {
        context.out.line(&seen)?;
    }
    context.out.flush()?;
    if let Some(doubt) = volume.data.doubt() {
        context.talk.warn(&format!("{name}: {}", escape(doubt.as_bytes())));
    }
    for problem in &volume.problems {
        context.talk.warn(&format!("{name}: {}", escape(problem.message.as_bytes())));
    }
    let untold = restored.problems.saturating_sub(volume.problems.len() as u64);
    if untold > 0 {
        context.talk.warn(&format!("{name}: {untold} more problems are not told one by one"));
    }
    for left in &volume.left {
        context
            .talk
            .warn(&format!("this could not be removed, and a later run tries again: {}", escape(left.as_bytes())));
    }
    Ok(())
}

fn line(step: &Step) -> String {
    let note = escape(note(step).as_bytes());
    let text = format!("  {:<9} {}", word(&step.fate), escape(step.object.to_string().as_bytes()));
    if note.is_empty() { text } else { format!("{text}: {note}") }
}

/// All of it.
pub(super) fn plan(plan: &ClusterPlan, snapshot: &Snapshot, context: &mut Context) -> Result<(), Failure> {
    let record = &snapshot.record;
    context.out.line(&format!(
        "plan: snapshot {} of {}, {}, into {}",
        snapshot.id.short(),
        escape(record.source.as_bytes()),
        local(record.started),
        escape(plan.target.as_bytes())
    ))?;
    let mut stage = None;
    for step in &plan.steps {
        if stage != Some(step.stage) {
            stage = Some(step.stage);
            context.out.line(step.stage.title())?;
        }
        context.line(&line(step))?;
    }
    if !plan.skipped.is_empty() {
        context.out.line("not restored")?;
    }
    for skipped in &plan.skipped {
        context.out.line(&format!(
            "  {}: {}",
            escape(skipped.object.to_string().as_bytes()),
            escape(skipped.why.to_string().as_bytes())
        ))?;
    }
    if !plan.empty_volumes.is_empty() {
        context.out.line("without data (a run needs --empty-volumes)")?;
    }
    for claim in &plan.empty_volumes {
        context.out.line(&format!("  {}", escape(claim.as_bytes())))?;
    }
    context.out.line(&counts(plan))?;
    note_of_claims(plan, context)
}

/// A manifest of a claim is no volume.
fn note_of_claims(plan: &ClusterPlan, context: &mut Context) -> Result<(), Failure> {
    if plan.claims_only.is_empty() {
        return Ok(());
    }
    let mut names: Vec<String> = plan.claims_only.iter().take(SHOWN).map(|claim| escape(claim.as_bytes())).collect();
    if plan.claims_only.len() > SHOWN {
        names.push(format!("and {} more", plan.claims_only.len() - SHOWN));
    }
    let number = count(plan.claims_only.len() as u64, "volume");
    context.say(&format!(
        "note: there is no data of {number}, of which the folder has the manifest only: {}",
        names.join(", ")
    ))
}

fn counts(plan: &ClusterPlan) -> String {
    let mut words: Vec<(&str, usize)> = Vec::new();
    for step in &plan.steps {
        match words.iter_mut().find(|(known, _)| *known == word(&step.fate)) {
            Some((_, number)) => *number += 1,
            None => words.push((word(&step.fate), 1)),
        }
    }
    words.sort_by_key(|(word, number)| (std::cmp::Reverse(*number), *word));
    let mut parts: Vec<String> = words.iter().map(|(word, number)| format!("{number} {word}")).collect();
    parts.push(format!("{} not restored", plan.skipped.len()));
    format!("{}: {}", count(plan.steps.len() as u64 + plan.skipped.len() as u64, "object"), parts.join(", "))
}

/// What a person has to know before they say yes.
pub(super) fn summary_of(plan: &ClusterPlan, snapshot: &Snapshot, context: &Context) {
    let record = &snapshot.record;
    let source = escape(record.source.as_bytes());
    let talk = &context.talk;
    talk.put(&format!("restore {source} of {} into {}", local(record.started), plan.target));
    // What has to be looked at first, then what else is written.
    let has_to_be_seen = |step: &Step| {
        let is_about_data = step.empty
            || step.fill.is_some()
            || !step.notes.is_empty()
            || !step.lost.is_empty()
            || step.doubt().is_some();
        matches!(step.fate, Fate::Replace { .. } | Fate::Recreate { .. } | Fate::Conflict { .. }) || is_about_data
    };
    let mut steps: Vec<&Step> = plan.steps.iter().filter(|step| step.fate.acts() || has_to_be_seen(step)).collect();
    steps.sort_by_key(|step| !has_to_be_seen(step));
    for step in steps.iter().take(LINES) {
        talk.put(&line(step));
    }
    if steps.len() > LINES {
        talk.put(&format!("  … and {} more (--plan shows all)", steps.len() - LINES));
    }
    talk.put(&counts(plan));
}

/// In which column of the table an object counts.
const fn column(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Restored { .. } | Outcome::ProvenEmpty => 0,
        Outcome::Empty => 1,
        Outcome::Same => 2,
        Outcome::Kept { .. } => 3,
        Outcome::Different { .. }
        | Outcome::Unknown { .. }
        | Outcome::Refused { .. }
        | Outcome::Held { .. }
        | Outcome::Conflict { .. } => 4,
        Outcome::NotReached => 5,
    }
}

/// What is told of a single object.
fn told(row: &Row) -> Option<String> {
    let text = match &row.outcome {
        Outcome::Restored { without_owners } if without_owners.is_empty() => return None,
        Outcome::Same | Outcome::NotReached => return None,
        Outcome::ProvenEmpty => "proven empty".to_owned(),
        Outcome::Held { why } => format!("HELD BACK: {why}"),
        Outcome::Restored { without_owners } => format!("restored, without its owner {}", without_owners.join(", ")),
        Outcome::Empty => "EMPTY: created, and there is no data in its volume".to_owned(),
        Outcome::Kept { differs } => format!("kept as it was; differs in {}", differs.join(", ")),
        Outcome::Different { differs } => format!("DIFFERENT from what was written in {}", differs.join(", ")),
        Outcome::Unknown { why } => format!("UNKNOWN: {why}"),
        Outcome::Refused { why } => format!("REFUSED: {why}"),
        Outcome::Conflict { why } => format!("CONFLICT: {why}"),
    };
    Some(format!("{}: {}", escape(row.object.to_string().as_bytes()), escape(text.as_bytes())))
}

/// A table by kinds, then every object of which something is to be said.
pub(super) fn report(plan: &ClusterPlan, report: &Report, context: &mut Context) -> Result<(), Failure> {
    let mut kinds: BTreeMap<String, [usize; by_kind::COUNTS]> = BTreeMap::new();
    for row in &report.rows {
        let counts = kinds.entry(escape(row.object.kind.as_bytes())).or_default();
        if let Some(number) = counts.get_mut(column(&row.outcome)) {
            *number += 1;
        }
    }
    for line in by_kind::lines(&kinds, by_kind::width()) {
        context.out.line(&line)?;
    }
    // A volume has its own line, which says nothing of a claim that is there and differs.
    let is_told = |row: &&Row| {
        let volume = report.volumes.iter().find(|volume| volume.claim == row.object);
        volume.is_some_and(|volume| !(volume.outcome.is_well() && matches!(row.outcome, Outcome::Kept { .. })))
    };
    for line in report.rows.iter().filter(|row| !is_told(row)).filter_map(told) {
        context.line(&line)?;
    }
    for filled in &report.volumes {
        volume(filled, context)?;
    }
    context.out.flush()?;
    let is_webhook = |row: &&Row| matches!(&row.outcome, Outcome::Refused { why } if names_absent_webhook(why));
    if report.rows.iter().any(|row| is_webhook(&row)) {
        context.talk.warn(ABSENT_WEBHOOK);
    }
    for waited in &report.waited_in_vain {
        context.talk.warn(&escape(waited.as_bytes()));
    }
    if let Some(stopped) = &report.stopped {
        context.talk.warn(&format!(
            "STOPPED at {}: {}. What was done stays; run it again, with a new plan",
            escape(stopped.at.to_string().as_bytes()),
            escape(stopped.why.as_bytes())
        ));
    }
    if report.interrupted {
        context.talk.warn("interrupted: what was done stays; run it again and it goes on");
    }
    let of = |is: fn(&Outcome) -> bool| report.count(is);
    let restored = of(|outcome| column(outcome) == 0);
    let mut text = format!("restored {} into {}", count(restored as u64, "object"), plan.target);
    let rest: [(&str, usize); 5] = [
        ("created EMPTY", of(|outcome| matches!(outcome, Outcome::Empty))),
        ("there already", of(|outcome| matches!(outcome, Outcome::Same))),
        ("kept as they were", of(|outcome| matches!(outcome, Outcome::Kept { .. }))),
        ("with problems", of(|outcome| column(outcome) == 4)),
        ("not reached", of(|outcome| matches!(outcome, Outcome::NotReached))),
    ];
    for (what, number) in rest.into_iter().filter(|(_, number)| *number > 0) {
        let _ = write!(text, "; {number} {what}");
    }
    context.summary(!report.is_well(), &text)?;
    note_of_claims(plan, context)
}

/// What came to life, and what did not, with what keeps it.
pub(super) fn waited(waited: &Waited, context: &mut Context) -> Result<(), Failure> {
    let shown = |text: &str| escape(text.as_bytes());
    for NotReady { object, why, pods, events } in &waited.not_ready {
        context.out.line(&format!("NOT READY {}: {}", shown(&object.to_string()), shown(why)))?;
        for pod in pods {
            context.out.line(&format!("  pod {}", shown(pod)))?;
        }
        for event in events {
            context.out.line(&format!("  event {}", shown(event)))?;
        }
    }
    let ready = count(waited.ready as u64, "object");
    let text = match waited.not_ready.len() {
        0 => format!("ready: {ready}"),
        number => format!("ready: {ready}; NOT ready after {} s at most: {number}", waited.limit_seconds),
    };
    context.summary(!waited.not_ready.is_empty(), &text)
}

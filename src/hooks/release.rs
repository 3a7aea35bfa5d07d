//! Undoing what a run has held, by its journal: the last first; what keeps data safe after everything else.

use std::time::Duration;

use serde::Serialize;

use super::hold::{Hold, Released, Target};
use super::journal::{Entry, Journal, journals};
use super::{Acting, HookError, command};
use crate::base::cancel::Cancel;
use crate::base::clock::Time;
use crate::cluster::object::{at, is_dying, uid_of};

/// A run that said less than this ago that it is alive is left alone by a sweep.
pub const ALIVE: Duration = Duration::from_mins(10);

/// One thing that was held and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The object, or where the command runs.
    pub what: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Released,
    /// The object that was held.
    #[serde(skip)]
    pub(crate) target: Option<Target>,
}

/// What became of what a run held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The run.
    pub run: String,
    /// In the order in which it was released.
    pub rows: Vec<Row>,
    /// What kept the journal from being brought up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
}

impl Report {
    /// Whether everything is as it was before the run.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.journal.is_none() && self.rows.iter().all(|row| row.outcome.is_well())
    }
}

/// Releases all that a journal has. What cannot be released stays in it; and so does everything that would start on a volume which a restore has not done.
pub async fn release(acting: &Acting<'_>, journal: &mut Journal) -> Report {
    if let Some(unfinished) = &journal.unfinished {
        let why = unfinished.told(&journal.run);
        let row = |what: String| Row { what, outcome: Released::Failed { why: why.clone() }, target: None };
        let mut rows: Vec<Row> = journal.entries.iter().rev().map(|entry| row(name(entry))).collect();
        if rows.is_empty() {
            rows.push(row(format!("PersistentVolumeClaim {}/{}", unfinished.namespace, unfinished.claim)));
        }
        return Report { run: journal.run.clone(), rows, journal: None };
    }
    // Whoever stops a run wants this to be done.
    let going_on = Cancel::default();
    let acting = &Acting { cancel: &going_on, ..*acting };
    let mut outcomes: Vec<(Entry, Released)> = Vec::new();
    for entry in journal.entries.iter().rev() {
        let outcome = match entry {
            Entry::Hold(hold) => hold.release_early(acting.cluster, &journal.run).await,
            Entry::Command(release) => command::release(acting, release).await,
        };
        outcomes.push((entry.clone(), outcome));
    }
    // While a workload is not back its volumes stay safe.
    let all_back = outcomes.iter().all(|(_, outcome)| outcome.is_over());
    // A set that has fewer replicas than before would have the claims of the others deleted, and their volumes with them.
    let others = outcomes.iter().any(|(_, outcome)| matches!(outcome, Released::Except { .. }));
    let unsafe_why = others.then_some("a workload has not the replicas that it had, and claims could be deleted");
    for (entry, outcome) in &mut outcomes {
        let Entry::Hold(hold) = entry else { continue };
        if all_back {
            let late = release_late(acting, hold, &journal.run, unsafe_why).await;
            *outcome = both(outcome.clone(), late);
        } else if !matches!(outcome, Released::Failed { .. }) {
            *outcome = Released::Failed { why: "it is kept safe until everything else is released".to_owned() };
        }
    }
    let mut left: Vec<Entry> =
        outcomes.iter().filter(|(_, outcome)| !outcome.is_over()).map(|(entry, _)| entry.clone()).collect();
    left.reverse();
    let written = journal.leave(acting.cluster, left, acting.clock.now()).await;
    let row = |(entry, outcome): (Entry, Released)| {
        let what = name(&entry);
        let target = match entry {
            Entry::Hold(hold) => Some(hold.target),
            Entry::Command(_) => None,
        };
        Row { what, outcome, target }
    };
    Report {
        run: journal.run.clone(),
        rows: outcomes.into_iter().map(row).collect(),
        journal: written.err().map(|error| crate::base::causes::in_one_line(&error)),
    }
}

/// What is held, or where the command runs, for people.
#[must_use]
pub fn name(entry: &Entry) -> String {
    match entry {
        Entry::Hold(hold) => hold.target.to_string(),
        Entry::Command(release) => release.name(),
    }
}

fn both(early: Released, late: Released) -> Released {
    match (early, late) {
        (Released::Except { why: early }, Released::Except { why: late }) => {
            Released::Except { why: [early, late].concat() }
        }
        (_, late @ (Released::Failed { .. } | Released::Gone)) => late,
        (early, Released::NotHeld) | (early @ Released::Except { .. }, _) => early,
        (_, late) => late,
    }
}

async fn release_late(acting: &Acting<'_>, hold: &Hold, run: &str, unsafe_why: Option<&str>) -> Released {
    if let Err(error) = observed(acting, hold).await {
        return Released::Failed { why: crate::base::causes::in_one_line(&error) };
    }
    let why = match claim_is_there(acting, hold).await {
        Ok(true) => unsafe_why,
        Ok(false) => Some("its claim is gone, and the volume would go too"),
        Err(error) => return Released::Failed { why: crate::base::causes::in_one_line(&error) },
    };
    hold.release_late(acting.cluster, run, why).await
}

/// Waits until the controller of a workload has seen that it has its replicas again: before, a set that deletes the claims of missing replicas would take all for missing.
async fn observed(acting: &Acting<'_>, hold: &Hold) -> Result<(), HookError> {
    if hold.early.is_empty() || hold.late.is_empty() {
        return Ok(());
    }
    let kind = hold.target.kind();
    let what = || format!("the controller has seen that {} has its replicas again", hold.target);
    let mut waited = Duration::ZERO;
    loop {
        let found = acting.cluster.get(&kind, hold.target.namespace.as_deref(), &hold.target.name).await;
        let found = found.map_err(|error| HookError::of(format!("read {}", hold.target), error))?;
        let Some(object) = found else { return Ok(()) };
        let generation = at(&object, &["metadata", "generation"]).as_u64();
        if at(&object, &["status", "observedGeneration"]).as_u64() >= generation {
            return Ok(());
        }
        acting.wait(&mut waited, acting.waits.observed, what).await?;
    }
}

async fn claim_is_there(acting: &Acting<'_>, hold: &Hold) -> Result<bool, HookError> {
    let Some(claim) = &hold.claim else { return Ok(true) };
    let found = acting.cluster.get(&claim.kind(), claim.namespace.as_deref(), &claim.name).await;
    let found = found.map_err(|error| HookError::of(format!("read {claim}"), error))?;
    Ok(found.is_some_and(|object| uid_of(&object) == claim.uid && !is_dying(&object)))
}

/// Waits until workloads that were let go have their pods again, and no longer than a minute: who looks for pods before takes a volume for one that nobody uses.
pub async fn back(acting: &Acting<'_>, reports: &[Report]) {
    let rows = reports.iter().flat_map(|report| &report.rows).filter(|row| row.outcome == Released::Done);
    let mut waited = Duration::ZERO;
    for target in rows.filter_map(|row| row.target.as_ref()) {
        loop {
            let found = acting.cluster.get(&target.kind(), target.namespace.as_deref(), &target.name).await;
            let Ok(Some(object)) = found else { break };
            let replicas = at(&object, &["spec", "replicas"]).as_u64().unwrap_or(0);
            let there = at(&object, &["status", "replicas"]).as_u64().unwrap_or(0);
            if there >= replicas || acting.wait(&mut waited, acting.waits.observed, String::new).await.is_err() {
                break;
            }
        }
    }
}

/// Whether a run may still be alive. A time to come is one of a wrong clock, and says nothing: then it may be.
#[must_use]
pub fn may_live(journal: &Journal, now: Time) -> bool {
    now.since(journal.renewed()) < ALIVE
}

/// What was found of runs, and what became of what the dead ones have left.
#[derive(Debug, Default)]
pub struct Swept {
    /// Of each dead run.
    pub reports: Vec<Report>,
    /// Runs that may be alive: also one that was killed a moment ago is among them.
    pub alive: Vec<Journal>,
    /// Journals that cannot be understood: what they hold nobody knows.
    pub unreadable: Vec<HookError>,
}

/// Releases what dead runs have left. Journals that cannot be understood, and runs that may be alive, are left and given.
pub async fn sweep(acting: &Acting<'_>, namespace: Option<&str>) -> Result<Swept, HookError> {
    let mut swept = Swept::default();
    for journal in journals(acting.cluster, namespace).await? {
        match journal {
            Err(error) => swept.unreadable.push(error),
            Ok(journal) if may_live(&journal, acting.clock.now()) => swept.alive.push(journal),
            Ok(mut journal) => swept.reports.push(release(acting, &mut journal).await),
        }
    }
    Ok(swept)
}

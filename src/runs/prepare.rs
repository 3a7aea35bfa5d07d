//! From a runbook to a plan: which snapshot each step takes, whether it can be read, what becomes of every object, and what stands in the way. Nothing is changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::FixedOffset;
use serde::Serialize;

use super::ages;
use super::ahead::{Ahead, Filling, changes, comes_before, is_unforeseen, preflight, settings};
use super::drive::Undone;
use super::estimate::{Estimate, Known, estimate};
use super::fills::of_opened;
use super::hands::datadir;
use super::hands::{Before, Source, Target, failed, fates_of, look, read, restore_plan};
use super::measured::{Measured, Place};
use super::one_volume;
use super::plan::{Chosen, ClusterName, Fates, OfFiles, RunPlan};
use crate::backup::Context;
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::base::clock::Clock;
use crate::base::progress::Progress;
use crate::base::units;
use crate::base::when::{Selector, select};
use crate::cluster::object::uid_of;
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::drill::folder::free;
use crate::drill::found::{Found, Wants, found};
use crate::drill::part;
use crate::drill::{cluster as place, storage};
use crate::format::entry::TreePath;
use crate::recover::cluster::plan::Step as ClusterStep;
use crate::recover::opens::opens;
use crate::recover::{RestoreError, RestorePlan, base_of, run_restore};
use crate::repo::snapshots::Snapshot;
use crate::runbook::{Action, Check, Objectives, Origin, Probe, RestoreFiles, Step, longest};
use crate::tree::live::scratch::usual;
use crate::verify::describe;

/// Files of a snapshot that are compared with what is in a directory to say what becomes of them: some seconds' worth.
const FILES_LOOKED_AT_MAX: u64 = 100_000;

/// Resources of which a check waits until their pods run.
const WORKLOADS: [&str; 6] = ["deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "pods"];

/// Something that a person should know before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// Whether the run is not begun because of it.
    pub blocks: bool,
    /// At which step; `None` if it is about the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

/// What the steps of a runbook need.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// A repository that is opened with an identity.
    pub repository: bool,
    /// A cluster, or a folder that stands for one.
    pub cluster: bool,
    /// A cluster in which something runs.
    pub living: bool,
}

fn probes(step: &Step) -> impl Iterator<Item = &Probe> {
    let looked: &[Check] = match &step.action {
        Action::Check(checks) | Action::WaitUntil { checks, .. } => checks,
        _ => &[],
    };
    looked.iter().chain(&step.verify).map(|check| &check.probe)
}

impl Needs {
    /// Of steps that are carried out.
    #[must_use]
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Self {
        let mut needs = Self::default();
        for step in steps {
            needs.repository |= step.restores();
            needs.cluster |= matches!(
                step.action,
                Action::RestoreVolume(_) | Action::RestoreResources(_) | Action::Gitops { .. } | Action::Scale { .. }
            );
            needs.living |= matches!(step.action, Action::Quiesce { .. } | Action::Exec(_));
            for probe in probes(step) {
                needs.living |= probe.is_of_cluster();
            }
        }
        needs.cluster |= needs.living;
        needs
    }
}

/// What a plan is made by.
pub struct Preparing<'a> {
    /// The repository, if a step needs one.
    pub source: Option<&'a Source>,
    /// Where to.
    pub target: &'a Target,
    /// How volumes would be filled, where something runs.
    pub filling: Option<Filling>,
    /// How long steps took before.
    pub measured: Measured,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What a restore into a directory neither writes over nor removes.
    pub spared: &'a [PathBuf],
    /// Times without an offset are meant in it.
    pub zone: FixedOffset,
    /// Moved by looking.
    pub progress: Arc<Progress>,
    /// Whether to go on.
    pub cancel: Arc<Cancel>,
}

/// Which snapshot of which source a step takes.
pub(super) fn origin(action: &Action) -> Option<&Origin> {
    match action {
        Action::RestoreVolume(volume) => Some(&volume.from),
        Action::RestoreResources(resources) => Some(&resources.from),
        Action::RestoreFiles(files) => Some(&files.from),
        Action::RestoreDatastore { from, .. } => Some(from),
        _ => None,
    }
}

/// The uid of a cluster, which is that of its namespace `kube-system`, and what it runs.
pub async fn name_of_cluster(cluster: &dyn Cluster) -> Result<ClusterName, ClusterError> {
    let kind = Kind::known("", "v1", "namespaces", "Namespace", false);
    let found = cluster.get(&kind, None, "kube-system").await?;
    let uid = found.as_ref().map(uid_of).unwrap_or_default().to_owned();
    // Only for people who read the report.
    let version = if cluster.lives() { cluster.version().await.unwrap_or_default() } else { String::new() };
    Ok(ClusterName { uid, shown: cluster.name(), version, folder: None })
}

impl Preparing<'_> {
    /// Fills a plan in, and says what stands in its way.
    pub async fn fill_in(&self, plan: &mut RunPlan, steps: &[Step], objectives: Objectives) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(cluster) = self.target.cluster() {
            match name_of_cluster(cluster).await {
                Ok(name) => plan.cluster = Some(name),
                Err(error) => {
                    let help = "see the kubeconfig and its context, and whether the API server answers";
                    notices.push(blocks(None, format!("the cluster cannot be asked: {}", in_one_line(&error)), help));
                    return notices;
                }
            }
        }
        if let Some(source) = self.source {
            plan.repository = Some(source.repository.fingerprint().to_string());
        }
        let carried_out: Vec<&Step> = steps.iter().filter(|step| !plan.skipped.contains(&step.id)).collect();
        let mut made: Vec<(&Step, Vec<ClusterStep>)> = Vec::new();
        let mut read_before = None;
        for step in carried_out.iter().filter(|step| origin(&step.action).is_some()) {
            let before = |other: &Step| comes_before(other, step, steps);
            let is_first = !carried_out.iter().any(|other| changes(other) && before(other));
            let is_unforeseen = carried_out.iter().any(|other| is_unforeseen(other) && before(other));
            let coming = made.iter().filter(|(other, _)| before(other)).flat_map(|(_, made)| made.clone()).collect();
            let mut ahead = Ahead { is_first, is_unforeseen, coming, read: read_before, ..Ahead::default() };
            self.step(plan, step, &mut ahead, (objectives.rpo, &mut notices)).await;
            read_before = ahead.read;
            made.push((step, ahead.creates));
        }
        notices.extend(self.volumes(plan, objectives.rpo).await);
        let fills = |step: &&Step| matches!(step.action, Action::RestoreVolume(_));
        if let (Some(filling), true) =
            (&self.filling, carried_out.iter().any(fills) || plan.fates.values().any(|fates| !fates.fill.is_empty()))
        {
            notices.extend(settings(filling));
        }
        for step in &carried_out {
            if let Some(what) = not_possible(step, self.target) {
                notices.push(blocks(
                    Some(&step.id),
                    what,
                    "take it out of the runbook, or leave it out with --skip and do it by hand",
                ));
            }
        }
        notices.extend(carried_out.iter().filter_map(|step| no_room_for_a_server(plan, step, self.target)));
        if matches!(self.target, Target::Folder(..)) {
            notices.extend(carried_out.iter().filter_map(|step| nothing_runs(step)));
        }
        notices.extend(self.place_of_drill(plan, &carried_out).await);
        let place = match self.target {
            Target::Machine => Place::Machine,
            Target::Folder(..) => Place::Folder,
            Target::Api(_) => Place::Cluster,
        };
        let movers = self.filling.as_ref().map(|filling| filling.movers);
        let estimated = estimate(plan, steps, &Known { measured: &self.measured, place, movers });
        notices.extend(objectives.rto.and_then(|rto| too_long(plan, steps, &estimated, rto)));
        plan.estimate = Some(estimated);
        notices
    }

    /// Of a drill in a cluster: whether its namespaces are free, and its claims get volumes that are made for them.
    async fn place_of_drill(&self, plan: &mut RunPlan, steps: &[&Step]) -> Vec<Notice> {
        let (Some(part), Some(cluster)) = (&mut plan.drill, self.target.cluster()) else { return Vec::new() };
        if part.into != part::Into::Cluster {
            return Vec::new();
        }
        for step in steps {
            let Action::RestoreVolume(volume) = &step.action else { continue };
            let bytes = plan.chosen.get(&step.id).map_or(0, |chosen| chosen.bytes);
            part.namespaces.insert(volume.into.namespace.clone());
            part.wants.push(Wants {
                claim: format!("{}/{}", volume.into.namespace, volume.into.name),
                class: volume.storage_class.clone(),
                bytes: volume.size.unwrap_or_default().max(bytes),
            });
        }
        let mut notices = Vec::new();
        let unseen = |error: &ClusterError| {
            blocks(
                None,
                format!("the cluster cannot be looked at: {}", in_one_line(error)),
                "see the rights of the account (docs/drill.md)",
            )
        };
        match storage::look(cluster, &part.wants).await {
            Ok(troubles) => notices.extend(troubles.into_iter().map(|what| {
                blocks(None, what, "a drill writes into volumes of its own: name a class that makes them with storage_class or storage_classes")
            })),
            Err(error) => notices.push(unseen(&error)),
        }
        if let Err(error) = place::refuse_taken(cluster, &part.namespaces).await {
            notices.push(blocks(None, in_one_line(&error), error.mend()));
        }
        notices
    }

    async fn step(
        &self,
        plan: &mut RunPlan,
        step: &Step,
        ahead: &mut Ahead,
        (rpo, notices): (Option<Duration>, &mut Vec<Notice>),
    ) {
        let (Some(origin), Some(source)) = (origin(&step.action), self.source) else {
            notices.push(blocks(
                Some(&step.id),
                "it needs a repository, and none was opened".to_owned(),
                "give --repo URL and --identity FILE",
            ));
            return;
        };
        let snapshot = match choose(origin, source, self.zone) {
            Ok(snapshot) => snapshot,
            Err((what, help)) => return notices.push(blocks(Some(&step.id), what, help)),
        };
        let (record, now) = (&snapshot.record, self.clock.now());
        let name = format!("snapshot {} of {}", snapshot.id.short(), origin.source);
        let opened = opens(&source.reader, record.root, &self.cancel).await;
        notices.extend(of_opened(Some(&step.id), &name, opened));
        notices.extend(ages::of_chosen(&step.id, snapshot, &source.chain, (now, rpo)));
        plan.chosen.insert(
            step.id.clone(),
            Chosen {
                snapshot: snapshot.id.hex(),
                source: record.source.clone(),
                started: record.started.to_string(),
                age: now.since(record.started).as_secs(),
                files: record.statistics.files,
                bytes: record.statistics.bytes,
            },
        );
        let lack = source
            .chain
            .lack(snapshot)
            .map(|lack| format!("snapshot {} of {} {lack}", snapshot.id.short(), record.source));
        let mut doubts: Vec<String> = lack.into_iter().collect();
        if let Action::RestoreFiles(files) = &step.action {
            match self.files(files, source, snapshot).await {
                Ok(found) => plan.files.extend(found.map(|found| (step.id.clone(), found))),
                Err(notice) => notices.push(Notice { step: Some(step.id.clone()), ..notice }),
            }
        }
        match self.fates(step, (source, snapshot), plan.drill.is_some(), ahead).await {
            Ok(Some((fates, found))) => {
                if let (Some(part), Some(found)) = (&mut plan.drill, found) {
                    part.add(&step.id, found);
                }
                if let Some(part) = plan.drill.as_mut().filter(|part| part.into == part::Into::Folder)
                    && fates.fill.is_empty()
                {
                    part.objects_alone.insert(step.id.clone());
                }
                let of_volumes = fates
                    .fill
                    .iter()
                    .filter_map(|fill| fill.doubt.as_ref().map(|doubt| format!("{}: {doubt}", fill.claim)));
                doubts.extend(of_volumes);
                if let Some(conflict) = fates.conflict.first() {
                    let what = format!("{} objects cannot be restored, the first: {conflict}", fates.conflict.len());
                    notices.push(blocks(Some(&step.id), what, "leave them out with exclude, or mend what it says"));
                }
                plan.fates.insert(step.id.clone(), fates);
            }
            Err(Undone::Failed { why, help, .. }) => notices.push(blocks(Some(&step.id), why, &help)),
            Ok(None) | Err(Undone::Stopped) => {}
        }
        if let Some(looked) = ahead.volume.take() {
            notices.extend(looked.notices(&step.id, ahead.is_first));
            plan.in_place.extend(looked.in_place.map(|in_place| (step.id.clone(), in_place)));
        }
        notices.extend(ahead.groups.iter().map(|group| group.notice(step, ahead.is_first)));
        notices.extend(ahead.unmatched.iter().map(|pattern| {
            let what = format!("include {pattern} means nothing in the snapshot: nothing is restored for it");
            warns(
                Some(&step.id),
                what,
                "see the names (`homelab-dr ls -R`); a kind comes with its group, such as deployments.apps, unless that is the core's",
            )
        }));
        if !doubts.is_empty() {
            let help = if plan.drill.is_some() {
                "the drill takes it all the same, and says so in its record"
            } else {
                "the step asks before it takes it; name another snapshot if there is one (`homelab-dr snapshots`)"
            };
            notices.push(warns(Some(&step.id), doubts.join("; "), help));
            plan.doubts.insert(step.id.clone(), doubts);
        }
    }

    /// What becomes of files, where that is known soon; or why nothing can.
    async fn files(
        &self,
        files: &RestoreFiles,
        source: &Source,
        snapshot: &Snapshot,
    ) -> Result<Option<OfFiles>, Notice> {
        let record = &snapshot.record;
        let wrong = |error: &(dyn std::error::Error + 'static), help: &str| blocks(None, in_one_line(error), help);
        let Ok(restore) = restore_plan(files, record.root, self.spared) else { return Ok(None) };
        let restore = RestorePlan { dry_run: true, ..restore };
        match base_of(&source.reader, restore.root, &restore.within, restore.delete).await {
            Ok(_) => {}
            Err(error @ (RestoreError::NoSuchPath(_) | RestoreError::DeleteBesideFile(_))) => {
                return Err(wrong(&error, "see path in the step; `homelab-dr ls` shows what is in the snapshot"));
            }
            // Whether the snapshot can be read is told by itself.
            Err(_) => return Ok(None),
        }
        let is_whole = restore.within == TreePath::root() && files.include.is_empty() && files.exclude.is_empty();
        if is_whole && !restore.target.exists() {
            let statistics = record.statistics;
            return Ok(Some(OfFiles { written: statistics.files, bytes: statistics.bytes, ..OfFiles::default() }));
        }
        if record.statistics.files > FILES_LOOKED_AT_MAX {
            return Ok(None);
        }
        let operation = self.operation(source);
        match run_restore(&operation, &source.reader, &restore).await {
            Ok(report) => Ok(Some(OfFiles {
                written: report.files,
                replaced: report.replaced,
                bytes: report.bytes,
                unchanged: report.unchanged,
                removed: report.deleted.len() as u64,
            })),
            Err(error) => {
                let what =
                    format!("what becomes of {} cannot be seen: {}", files.target.display(), in_one_line(&error));
                Err(warns(None, what, "see the directory, and whether it may be read"))
            }
        }
    }

    fn operation(&self, source: &Source) -> Context {
        Context {
            repository: source.repository.clone(),
            clock: self.clock.clone(),
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
        }
    }

    async fn fates(
        &self,
        step: &Step,
        (source, snapshot): (&Source, &Snapshot),
        is_drill: bool,
        ahead: &mut Ahead,
    ) -> Result<Option<(Fates, Option<Found>)>, Undone> {
        let Some(cluster) = self.target.cluster() else { return Ok(None) };
        let operation = self.operation(source);
        match &step.action {
            Action::RestoreResources(resources) => {
                let before = Before { creates: std::mem::take(&mut ahead.coming), unforeseen: ahead.is_unforeseen };
                // Most steps are about one snapshot, which is read once.
                let manifests = match ahead.read.take().filter(|(id, _)| *id == snapshot.id) {
                    Some((_, manifests)) => manifests,
                    None => read(source, snapshot, &operation).await?,
                };
                ahead.read = Some((snapshot.id, manifests.clone()));
                let looked = look(resources, (source, snapshot), manifests, None, cluster, before).await?;
                if !looked.empty_volumes.is_empty() && !resources.empty_volumes {
                    let what = format!(
                        "claims would be made EMPTY, since there is no data of them: {}",
                        looked.empty_volumes.join(", ")
                    );
                    let help =
                        "name them under may_be_empty in the step if they may be, or say empty_volumes: true for all"
                            .to_owned();
                    return Err(failed(what, help));
                }
                if let Some(filling) = self.filling.as_ref().filter(|_| cluster.lives()) {
                    ahead.groups = preflight(cluster, &looked, filling).await;
                }
                let found = resources.drill.is_some().then(|| found(&step.id, &looked));
                let fates = fates_of(&looked);
                ahead.unmatched.clone_from(&looked.unmatched);
                ahead.creates = looked.steps.into_iter().filter(|step| step.fate.creates()).collect();
                Ok(Some((fates, found)))
            }
            // What a drill needs it makes itself; whether its claims get volumes is looked at as a whole.
            Action::RestoreVolume(volume) if cluster.lives() && !is_drill => {
                let found = one_volume::look(cluster, volume, (source, snapshot), self.filling.as_ref(), ahead).await?;
                ahead.volume = Some(found);
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

pub(super) fn blocks(step: Option<&str>, what: impl Into<String>, help: &str) -> Notice {
    Notice { blocks: true, step: step.map(str::to_owned), what: what.into(), help: help.to_owned() }
}

pub(super) fn warns(step: Option<&str>, what: impl Into<String>, help: &str) -> Notice {
    Notice { blocks: false, ..blocks(step, what, help) }
}

/// That an objective cannot be met, or need not be.
fn too_long(plan: &RunPlan, steps: &[Step], estimated: &Estimate, rto: Duration) -> Option<Notice> {
    let guess = Duration::from_secs(estimated.seconds);
    let (limits, way) = longest(steps);
    if guess > rto {
        let what = format!(
            "to bring back {} takes about {} at {}/s, and {} is all there is",
            units::bytes(plan.bytes()),
            units::span(guess),
            units::bytes(estimated.bytes_a_second),
            units::duration(rto)
        );
        return Some(warns(None, what, "begin with what is needed first (--only), or have a faster line"));
    }
    if let Some(drilled) = estimated.drilled.as_ref().filter(|drilled| drilled.seconds > rto.as_secs()) {
        let what = format!(
            "drill {} of {} took {}, and {} is all there is",
            drilled.ran.run,
            drilled.ran.day(),
            units::span(Duration::from_secs(drilled.seconds)),
            units::duration(rto)
        );
        return Some(warns(None, what, "see which steps took so long: `homelab-dr report show` of that drill"));
    }
    (limits > rto).then(|| {
        let what = format!(
            "the time limits along {} add up to {}, more than the objective",
            way.join(" → "),
            units::duration(limits)
        );
        warns(None, what, "shorten them, or raise rto")
    })
}

/// The snapshot that a step means, and why there is none.
fn choose<'a>(origin: &Origin, source: &'a Source, zone: FixedOffset) -> Result<&'a Snapshot, (String, &'static str)> {
    let help = "`homelab-dr snapshots` lists what there is";
    let all = &source.chain.snapshots;
    let selector = Selector::parse(&origin.snapshot, zone).map_err(|error| (error.to_string(), help))?;
    let of_source: Vec<Snapshot> = all.iter().filter(|one| one.record.source == origin.source).cloned().collect();
    if of_source.is_empty() {
        return Err((format!("there is no snapshot of {}", origin.source), help));
    }
    let selector = match selector {
        Selector::Latest { .. } => Selector::Latest { source: Some(origin.source.clone()) },
        other => other,
    };
    let id = select(&selector, &of_source).map_err(|error| (format!("of {}: {error}", origin.source), help))?.id;
    all.iter().find(|one| one.id == id).ok_or_else(|| (format!("there is no snapshot of {}", origin.source), help))
}

/// That checks of a step look at what runs, which in a folder nothing does.
fn nothing_runs(step: &Step) -> Option<Notice> {
    let runs = |probe: &&Probe| match probe {
        Probe::Ready(objects) => objects.iter().any(|object| WORKLOADS.contains(&object.resource.as_str())),
        probe => probe.is_of_cluster(),
    };
    let checks: Vec<String> = probes(step).filter(runs).map(describe).collect();
    let help = "the step fails there: leave the check out of the runbook, or go on past the step with --resume RUN --confirm STEP";
    let what = || format!("in a folder nothing runs, so this is not seen to hold: {}", checks.join("; "));
    (!checks.is_empty()).then(|| warns(Some(&step.id), what(), help))
}

/// Why a step cannot be carried out at all.
fn not_possible(step: &Step, target: &Target) -> Option<String> {
    match &step.action {
        Action::Quiesce { .. } | Action::Exec(_) if matches!(target, Target::Folder(..)) => {
            Some("in a folder nothing runs that could hold still or carry out commands".to_owned())
        }
        _ => None,
    }
}

/// That a server cannot be started on what a step brings back into a claim of a cluster: there is no room for it here.
fn no_room_for_a_server(plan: &RunPlan, step: &Step, target: &Target) -> Option<Notice> {
    let Action::RestoreVolume(_) = &step.action else { return None };
    let is_asked = matches!(target, Target::Api(_)) && step.verify.iter().any(datadir::starts_a_server);
    let bytes = plan.chosen.get(&step.id).filter(|_| is_asked)?.bytes;
    let what = datadir::lacks_room(plan, (bytes, &usual()), free)?;
    let help = "set TMPDIR to a directory with more room, or ask the database in the cluster (postgres with an address, or exec)";
    Some(blocks(Some(&step.id), what, help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::measured::{Ran, Whole};
    use crate::runs::tests::plan;

    #[test]
    fn an_objective_is_judged_by_what_is_reckoned_and_by_what_a_drill_took() {
        let ran = Ran { run: "5f0c1d2e".into(), made: "2026-11-01T03:00:00Z".into(), drill: true };
        let drilled = Some(Whole { ran, seconds: 100 });
        let told = |seconds, rto| {
            let estimated = Estimate { seconds, drilled: drilled.clone(), ..Estimate::default() };
            too_long(&plan(), &[], &estimated, Duration::from_secs(rto)).map(|notice| (notice.blocks, notice.what))
        };
        assert_eq!(told(100, 100), None);
        let by_drill = told(10, 60).expect("told");
        assert_eq!(
            by_drill,
            (false, "drill 5f0c1d2e of 2026-11-01 took 1 min 40 s, and 1m is all there is".to_owned())
        );
        let by_rates = told(600, 60).expect("told");
        assert!(!by_rates.0 && by_rates.1.contains("takes about 10 min"), "{}", by_rates.1);
    }
}

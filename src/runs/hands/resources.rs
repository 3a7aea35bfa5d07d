//! `restore.resources`: objects of a cluster, with the data of their claims.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::volume::with_evidence;
use super::{Source, Target, World, because, failed};
use crate::backup::Context;
use crate::base::cancel::Cancel;
use crate::base::clock::Time;
use crate::base::id::short_hex;
use crate::base::units;
use crate::cluster::Cluster;
use crate::cluster::rewrite::namespaces::Namespaces;
use crate::format::entry::TreePath;
use crate::recover::cluster::data::{At, Data, choose, claim_of_source};
use crate::recover::cluster::fate::{Fate, Trial};
use crate::recover::cluster::manifests::{self, Manifests};
use crate::recover::cluster::plan::{ClusterPlan, Skipped, Step as ClusterStep, plan};
use crate::recover::cluster::report::{Outcome, Report};
use crate::recover::cluster::run::{Running, Waits, run};
use crate::recover::cluster::select::Selection;
use crate::recover::cluster::unpack::IntoFolder;
use crate::recover::cluster::volumes::Volumes;
use crate::recover::cluster::{Existing, Options, RecoverError};
use crate::repo::snapshots::Snapshot;
use crate::runbook::{RestoreResources, Step};
use crate::runs::drive::Undone;
use crate::runs::fates::{Because, Fates, Fill};

/// Objects and volumes that a failure names.
const TOLD_MAX: usize = 10;

fn options(resources: &RestoreResources, source: &Source, snapshot: &Snapshot) -> Result<Options, Undone> {
    let selection = Selection::new(&resources.include, &resources.exclude);
    let at = if resources.latest_volumes { At::Latest } else { At::Objects };
    Ok(Options {
        selection: selection.map_err(|error| because(&error, "see the patterns in the runbook"))?,
        namespaces: match &resources.drill {
            Some(run) => resources.namespaces.clone().into_iter().collect::<Namespaces>().of_drill(run),
            None => resources.namespaces.clone().into_iter().collect(),
        },
        drill: resources.drill.clone(),
        nodes: resources.nodes.clone().into_iter().collect(),
        existing: if resources.update { Existing::Update } else { Existing::Skip },
        derived_secrets: resources.with_derived_secrets,
        data: choose(&source.chain, &snapshot.record, at),
        storage_classes: resources.storage_classes.clone(),
        may_be_empty: resources.may_be_empty.clone(),
        coming: Vec::new(),
        unforeseen: false,
    })
}

/// Reads the manifests of a snapshot.
pub async fn read(source: &Source, snapshot: &Snapshot, operation: &Context) -> Result<Manifests, Undone> {
    let help = "see the snapshot: `homelab-dr ls` and `homelab-dr check`";
    let manifests = manifests::read(operation, &source.reader, snapshot.record.root).await;
    let manifests = manifests.map_err(|error| because(&error, help))?;
    if !manifests.is_cluster && manifests.unreadable.is_empty() {
        let error = RecoverError::NoCluster { snapshot: snapshot.id.short() };
        return Err(because(&error, "name a source that has objects of a cluster; `homelab-dr snapshots` lists them"));
    }
    Ok(manifests)
}

/// What steps do that are carried out before.
#[derive(Default)]
pub struct Before {
    /// The objects that they create.
    pub creates: Vec<ClusterStep>,
    /// Of some nobody knows that.
    pub unforeseen: bool,
}

/// Looks at the target, and decides. Nothing is written.
pub async fn look(
    resources: &RestoreResources,
    (source, snapshot): (&Source, &Snapshot),
    manifests: Manifests,
    planned: Option<&Fates>,
    cluster: &dyn Cluster,
    before: Before,
) -> Result<ClusterPlan, Undone> {
    let (coming, unforeseen) = (before.creates, before.unforeseen);
    let mut options = Options { coming, unforeseen, ..options(resources, source, snapshot)? };
    if let Some(planned) = planned {
        as_planned(&mut options, planned, source, snapshot.record.started);
    }
    let planned = plan(cluster, manifests, &options).await;
    planned.map_err(|error| because(&error, "see what the runbook asks for, and whether the cluster answers"))
}

/// What becomes of everything in a plan.
#[must_use]
pub fn fates_of(plan: &ClusterPlan) -> Fates {
    let mut fates = Fates { skipped: plan.skipped.len() as u64, ..Fates::default() };
    let not = |skipped: &Skipped| Because { object: skipped.object.to_string(), why: skipped.why.to_string() };
    fates.not_restored = plan.skipped.iter().map(not).collect();
    for step in &plan.steps {
        let object = step.object.to_string();
        match &step.fate {
            Fate::Create { trial: Trial::Later(why) } => {
                fates.unvalidated.push(Because { object: object.clone(), why: why.clone() });
                fates.create.push(object);
            }
            Fate::Create { .. } | Fate::Finish | Fate::Fill => fates.create.push(object),
            Fate::Replace { differs } | Fate::Recreate { differs, .. } => {
                fates.differs.insert(object.clone(), differs.clone());
                fates.replace.push(object);
            }
            Fate::Keep { differs } => {
                fates.differs.insert(object.clone(), differs.clone());
                fates.keep.push(object);
            }
            Fate::Same => {
                fates.same += 1;
                fates.equal.push(object);
            }
            Fate::Conflict { why } => fates.conflict.push(format!("{object}: {why}")),
            Fate::Undecided => {}
        }
    }
    fates.conflict.extend(plan.unreadable.iter().map(|one| format!("{}: {}", one.path, one.why)));
    fates.fill = plan
        .fills()
        .map(|(step, data)| Fill {
            claim: format!("{}/{}", step.object.namespace.as_deref().unwrap_or_default(), step.object.name),
            snapshot: data.snapshot.hex(),
            source: data.source.clone(),
            started: data.started.to_string(),
            bytes: data.bytes,
            files: data.files,
            doubt: data.doubt(),
        })
        .collect();
    fates
}

/// What has become different since the plan was made. `again`: an earlier try of the step may have made what is there. `others`: what other steps of the run create.
fn beyond(planned: &Fates, now: &Fates, again: bool, others: &BTreeSet<&String>) -> Vec<String> {
    let was_there: BTreeSet<&String> =
        planned.replace.iter().chain(&planned.keep).chain(others.iter().copied()).collect();
    let is_new = |object: &&String| !was_there.contains(object);
    let is_ours = |object: &String| again && planned.create.contains(object);
    let replaced = now.replace.iter().filter(|object| !planned.replace.contains(object) && !is_ours(object));
    let replaced = replaced.map(|object| format!("{object} would be replaced"));
    let kept = now.keep.iter().filter(is_new).filter(|object| !is_ours(object));
    let kept = kept.map(|object| format!("{object} is there by now, and differs"));
    let filled =
        |fills: &[Fill], fill: &Fill| fills.iter().any(|one| one.claim == fill.claim && one.snapshot == fill.snapshot);
    let more = now.fill.iter().filter(|fill| !filled(&planned.fill, fill));
    let more = more.map(|fill| format!("{} would be filled from snapshot {}", fill.claim, short_hex(&fill.snapshot)));
    let fewer = planned.fill.iter().filter(|fill| !again && !filled(&now.fill, fill));
    let fewer = fewer.map(|fill| format!("{} is there by now, and would NOT be filled", fill.claim));
    replaced.chain(kept).chain(more).chain(fewer).collect()
}

/// Has volumes filled from the snapshots of a plan, whatever came to be since.
fn as_planned(options: &mut Options, planned: &Fates, source: &Source, objects: Time) {
    for fill in &planned.fill {
        let snapshot = source.chain.snapshots.iter().find(|snapshot| snapshot.id.hex() == fill.snapshot);
        let named = snapshot.and_then(|snapshot| Some((snapshot, claim_of_source(&snapshot.record.source)?)));
        if let Some((snapshot, key)) = named {
            options.data.insert(key, Data::of(&source.chain, snapshot, objects));
        }
    }
}

fn told(list: &[String]) -> String {
    let first: Vec<&str> = list.iter().take(TOLD_MAX).map(String::as_str).collect();
    let more = list.len().saturating_sub(TOLD_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", first.join("; "))
}

/// What is not as it should be, in words.
fn wrong(report: &Report) -> Vec<String> {
    let mut wrong: Vec<String> =
        report.stopped.iter().map(|stopped| format!("it ended at {}: {}", stopped.at, stopped.why)).collect();
    for volume in report.volumes.iter().filter(|volume| !volume.outcome.is_well() || volume.restored.problems > 0) {
        use crate::recover::cluster::volumes::Outcome as Of;
        wrong.push(match &volume.outcome {
            Of::Unknown { why, mend, .. } => {
                format!("volume {}: {}; {mend}", volume.claim, with_evidence(why, &volume.mover))
            }
            Of::Kept { why } => format!("volume {}: {why}", volume.claim),
            _ => format!("volume {}: {} problems with single files", volume.claim, volume.restored.problems),
        });
    }
    for row in report.rows.iter().filter(|row| !row.outcome.is_well()) {
        wrong.push(match &row.outcome {
            Outcome::Different { differs } => format!("{} came to be different: {}", row.object, differs.join(", ")),
            Outcome::Unknown { why } | Outcome::Refused { why } | Outcome::Conflict { why } | Outcome::Held { why } => {
                format!("{}: {why}", row.object)
            }
            _ => format!("{}: not reached", row.object),
        });
    }
    wrong.extend(report.unknown_before.iter().cloned());
    wrong.extend(report.waited_in_vain.iter().map(|what| format!("waited in vain for {what}")));
    wrong
}

impl World<'_> {
    pub(super) async fn restore_resources(
        &self,
        step: &Step,
        resources: &RestoreResources,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let (source, cluster) = (self.source()?, self.cluster()?);
        let (chosen, snapshot) = self.snapshot(step)?;
        let operation = self.operation(step, cancel)?;
        let planned = self.plan.fates.get(&step.id);
        let looking = async {
            let manifests = read(source, snapshot, &operation).await?;
            look(resources, (source, snapshot), manifests, planned, cluster, Before::default()).await
        };
        let looked = tokio::select! {
            looked = looking => looked?,
            () = cancel.cancelled() => return Err(Undone::Stopped),
        };
        let now = fates_of(&looked);
        if let Some(planned) = planned {
            let others = self.plan.fates.iter().filter(|(id, _)| **id != step.id);
            let others: BTreeSet<&String> = others.flat_map(|(_, fates)| &fates.create).collect();
            let beyond = beyond(planned, &now, self.begun_before.contains(&step.id), &others);
            if !beyond.is_empty() {
                let why = format!("the target has changed since the plan was made: {}", told(&beyond));
                return Err(failed(why, "look at it, and make the plan anew"));
            }
        }
        if !looked.empty_volumes.is_empty() && !resources.empty_volumes {
            let error = RecoverError::EmptyVolumes { claims: looked.empty_volumes.clone() };
            return Err(because(
                &error,
                "name them under may_be_empty in the step if they may be empty, or say empty_volumes: true for all",
            ));
        }
        let volumes: Option<Box<dyn Volumes + '_>> = match &self.target {
            Target::Folder(_, root) => {
                let existing = if resources.update { Existing::Update } else { Existing::Skip };
                let (root, reader) = (root.clone(), source.reader.clone());
                Some(Box::new(IntoFolder { root, reader, context: &operation, existing }))
            }
            _ if now.fill.is_empty() => None,
            _ => Some(Box::new(self.filling(TreePath::root(), (&operation.progress, cancel))?)),
        };
        // Bytes are most of it, where there are any: files and objects are not counted together.
        let bytes: u64 = now.fill.iter().map(|fill| fill.bytes).sum();
        operation.progress.begin("restoring", if bytes > 0 { "" } else { "object" });
        operation.progress.expect(if bytes > 0 { 0 } else { looked.steps.len() as u64 }, bytes, false);
        let running = Running {
            cluster,
            empty_volumes: resources.empty_volumes,
            volumes: volumes.as_deref(),
            waits: Waits::default(),
            progress: &operation.progress,
            cancel,
        };
        let report = run(&looked, &running).await;
        let report =
            report.map_err(|error| because(&error, "see the cluster; what was written is not written again"))?;
        if report.interrupted {
            return Err(Undone::Stopped);
        }
        let wrong = wrong(&report);
        if !wrong.is_empty() {
            return Err(failed(told(&wrong), "mend what it says; what is there already is not written again"));
        }
        let count = |is: fn(&Outcome) -> bool| report.count(is);
        let restored =
            count(|outcome| matches!(outcome, Outcome::Restored { .. } | Outcome::Empty | Outcome::ProvenEmpty));
        let (same, kept) =
            (count(|outcome| *outcome == Outcome::Same), count(|outcome| matches!(outcome, Outcome::Kept { .. })));
        let mut counted = vec![format!(
            "{restored} {} restored from snapshot {}",
            if restored == 1 { "object" } else { "objects" },
            short_hex(&chosen.snapshot)
        )];
        let there = if same == 1 { "was there" } else { "were there" };
        let stays = if kept == 1 { "differs and stays" } else { "differ and stay" };
        let rest = [(same, there), (kept, stays)].into_iter().filter(|(some, _)| *some > 0);
        counted.extend(rest.map(|(some, what)| format!("{some} {what}")));
        let mut said = vec![counted.join(", ")];
        if !now.keep.is_empty() {
            said.push(format!("differ and stay, with what is in their volumes: {}", told(&now.keep)));
        }
        said.extend(report.volumes.iter().map(|volume| {
            let from = volume.data.snapshot.short();
            let restored = &volume.restored;
            if restored.files == 0 && restored.unchanged > 0 {
                let bytes = units::bytes(volume.data.bytes);
                return format!("volume {}: {bytes} from snapshot {from}, all there already", volume.claim);
            }
            format!("volume {}: {} from snapshot {from}", volume.claim, units::bytes(restored.bytes))
        }));
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates() -> Fates {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Fates {
            create: names(&["secrets a/new"]),
            replace: names(&["secrets a/old"]),
            keep: names(&["secrets a/mine"]),
            fill: vec![fill("a/data", "11")],
            ..Fates::default()
        }
    }

    fn fill(claim: &str, snapshot: &str) -> Fill {
        let (claim, snapshot) = (claim.to_owned(), snapshot.to_owned());
        Fill { claim, snapshot, source: String::new(), started: String::new(), bytes: 1, files: 1, doubt: None }
    }

    fn told(now: &Fates, again: bool, others: &[String]) -> Vec<String> {
        beyond(&fates(), now, again, &others.iter().collect())
    }

    fn with(change: impl FnOnce(&mut Fates)) -> Fates {
        let mut now = fates();
        change(&mut now);
        now
    }

    #[test]
    fn as_planned_nothing_is_beyond_the_plan() {
        assert_eq!(told(&fates(), false, &[]), Vec::<String>::new());
        // What is there by now and equal is well, and so is what is gone and would be created.
        let now = with(|now| (now.create, now.replace, now.same) = (Vec::new(), Vec::new(), 2));
        assert_eq!(told(&now, false, &[]), Vec::<String>::new());
        assert_eq!(told(&with(|now| now.create.push("secrets a/old".into())), false, &[]), Vec::<String>::new());
    }

    #[test]
    fn what_would_be_replaced_and_was_not_to_be_is_told() {
        for object in ["secrets a/new", "secrets a/mine", "secrets b/strange"] {
            let now = with(|now| now.replace.push(object.into()));
            assert_eq!(told(&now, false, &[]), [format!("{object} would be replaced")]);
        }
        // An earlier try of the step has made it.
        assert_eq!(told(&with(|now| now.replace.push("secrets a/new".into())), true, &[]), Vec::<String>::new());
        assert_eq!(told(&with(|now| now.replace.push("secrets a/mine".into())), true, &[]).len(), 1);
    }

    #[test]
    fn what_is_there_by_now_and_differs_is_told() {
        let now = with(|now| now.keep.push("secrets a/new".into()));
        assert_eq!(told(&now, false, &[]), ["secrets a/new is there by now, and differs"]);
        assert_eq!(told(&now, true, &[]), Vec::<String>::new());
        assert_eq!(
            told(&now, false, &["secrets a/new".into()]),
            Vec::<String>::new(),
            "another step of the run made it"
        );
        // What was to be replaced and stays is no harm.
        assert_eq!(told(&with(|now| now.keep.push("secrets a/old".into())), false, &[]), Vec::<String>::new());
    }

    #[test]
    fn another_filling_is_told_both_ways() {
        let more = with(|now| now.fill.push(fill("a/other", "22")));
        assert_eq!(told(&more, false, &[]), ["a/other would be filled from snapshot 22"]);
        assert_eq!(told(&more, true, &[]).len(), 1, "no try of before could have meant it");
        let fewer = with(|now| now.fill.clear());
        assert_eq!(told(&fewer, false, &[]), ["a/data is there by now, and would NOT be filled"]);
        assert_eq!(told(&fewer, true, &[]), Vec::<String>::new());
        // From another snapshot is both.
        let other = with(|now| now.fill = vec![fill("a/data", "33")]);
        assert_eq!(told(&other, false, &[]).len(), 2);
    }
}

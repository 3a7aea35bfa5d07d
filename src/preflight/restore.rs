//! Before a restore of a cluster's objects: what its plan says, and what the plan cannot see.

use std::collections::{BTreeMap, BTreeSet};

use super::filling::{self, Foreseen};
use super::needs::OfVolumes;
use super::rights::{self, Need, Right};
use super::webhooks::Write;
use super::{Check, Finding, Findings, PreflightError, Severity, backup, nodes, space, webhooks};
use crate::cluster::Cluster;
use crate::recover::cluster::fate::Fate;
use crate::recover::cluster::plan::{ClusterPlan, Step};
use crate::volumes::pod::PodPlan;

pub use super::filling::{MOVERS, Movers, one};

/// Objects that a finding names.
const SHOWN: usize = 5;

/// Looks at everything that carrying out this plan would need; with `movers` where it fills volumes. Gives the movers' pods whose namespaces are there, for a probe.
pub async fn look(
    cluster: &dyn Cluster,
    plan: &ClusterPlan,
    movers: Option<&Movers<'_>>,
    findings: &mut Findings,
) -> Result<Vec<(PodPlan, String)>, PreflightError> {
    said(findings, plan);
    beyond(cluster, plan, movers, findings).await
}

/// The same without what the plan says itself.
pub async fn beyond(
    cluster: &dyn Cluster,
    plan: &ClusterPlan,
    movers: Option<&Movers<'_>>,
    findings: &mut Findings,
) -> Result<Vec<(PodPlan, String)>, PreflightError> {
    let needs = needs(&plan.steps);
    let missing = rights::missing(cluster, &needs).await?;
    rights::judge(findings, needs.len(), &missing, "");
    let foreseen = match movers {
        Some(movers) => filling::look(cluster, plan, movers, findings).await?,
        None => Foreseen::default(),
    };
    space::look(cluster, findings, &plan.steps, &foreseen.fillings).await?;
    let labels = backup::labels(cluster, findings).await?;
    let writes: Vec<Write> = writes(&plan.steps).into_iter().chain(foreseen.writes).collect();
    webhooks::look(cluster, findings, &writes, &labels, None).await?;
    nodes::look(cluster, findings).await?;
    Ok(foreseen.pods)
}

/// Resource and group of a step's kind, as `kubectl` names it.
fn resource_of(step: &Step) -> (&str, &str) {
    step.object.kind.split_once('.').unwrap_or((&step.object.kind, ""))
}

/// Created, given back its owners of fields, and read back; replaced with the version that is there.
fn needs(steps: &[Step]) -> Vec<Need> {
    let mut needs = BTreeSet::new();
    // What is in conflict may be so for want of a right.
    for step in steps.iter().filter(|step| step.fate.acts() || matches!(step.fate, Fate::Conflict { .. })) {
        let verbs: &[&str] = match step.fate {
            Fate::Create { .. } | Fate::Conflict { .. } => &["get", "create", "patch"],
            Fate::Recreate { .. } => &["get", "create", "patch", "update", "delete"],
            _ => &["get", "update", "patch"],
        };
        let (resource, group) = resource_of(step);
        for verb in verbs {
            let right = Right { verb: (*verb).to_owned(), group: group.to_owned(), resource: resource.to_owned() };
            needs.insert(Need { right, namespace: step.object.namespace.clone(), for_words: false });
        }
    }
    if !needs.is_empty() {
        needs.extend(OfVolumes::needs_of_lease());
    }
    needs.into_iter().collect()
}

fn writes(steps: &[Step]) -> BTreeSet<Write> {
    let mut writes = BTreeSet::new();
    for step in steps.iter().filter(|step| step.fate.acts()) {
        let (resource, group) = resource_of(step);
        // Owners of fields are given back by a change.
        let operations: &[&'static str] = match step.fate {
            Fate::Create { .. } => &["CREATE", "UPDATE"],
            Fate::Recreate { .. } => &["DELETE", "CREATE", "UPDATE"],
            _ => &["UPDATE"],
        };
        for operation in operations {
            let (group, resource) = (group.to_owned(), resource.to_owned());
            writes.insert(Write { group, resource, operation, namespace: step.object.namespace.clone() });
        }
    }
    writes
}

/// What the plan says itself: conflicts by their reasons, manifests that cannot be read, kinds that were not captured.
fn said(findings: &mut Findings, plan: &ClusterPlan) {
    let mut conflicts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for step in &plan.steps {
        if let Fate::Conflict { why } = &step.fate {
            conflicts.entry(why).or_default().push(step.object.to_string());
        }
    }
    for (why, objects) in &conflicts {
        let shown = objects.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let more = if objects.len() > SHOWN { format!(" and {} more", objects.len() - SHOWN) } else { String::new() };
        let mend = if why.contains("no chosen definition brings it") {
            "install what brings it, or choose its definition as well: --include customresourcedefinitions.apiextensions.k8s.io"
        } else if why.contains("there is no namespace") {
            "choose the namespace as well, or make it: kubectl create namespace NAME"
        } else {
            "restore --cluster --plan shows each; leave out with --exclude what should not come"
        };
        let finding = Finding::new(Severity::Blocks, Check::Plan, format!("{shown}{more}"), "cannot be restored");
        findings.add(finding.because(*why).mended_by(mend));
    }
    for unreadable in &plan.unreadable {
        let finding =
            Finding::new(Severity::Blocks, Check::Plan, unreadable.path.clone(), "cannot be read from the snapshot");
        findings.add(
            finding
                .because(&unreadable.why)
                .mended_by("`homelab-dr check --read-data`; an earlier snapshot may have it"),
        );
    }
    for step in plan.steps.iter().filter(|step| step.fate.creates()) {
        for lost in &step.lost {
            let finding =
                Finding::new(Severity::Doubtful, Check::Plan, step.object.to_string(), "will not be as it was");
            findings.add(finding.because(lost));
        }
    }
    for (step, data) in plan.fills() {
        if let Some(doubt) = data.doubt() {
            let what = "is perhaps not filled with all that it held";
            let finding = Finding::new(Severity::Doubtful, Check::Plan, step.object.to_string(), what);
            findings.add(
                finding.because(doubt).mended_by("--volumes-at TIME takes another; `homelab-dr snapshots` lists them"),
            );
        }
    }
    for missing in &plan.missing {
        let (on, why) = missing.split_once(": ").unwrap_or((missing, ""));
        let finding = Finding::new(
            Severity::Doubtful,
            Check::Plan,
            on,
            "is not in the snapshot: it could not be read when that was made",
        );
        findings.add(finding.because(why));
    }
    if conflicts.is_empty() && plan.unreadable.is_empty() {
        let acts = plan.steps.iter().filter(|step| step.fate.acts()).count();
        findings.fine(Check::Plan, "the plan", format!("has {acts} objects to write, and no conflict"));
    }
}

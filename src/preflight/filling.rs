//! The movers that would fill volumes: rights, nodes, Pod Security, limits, and policies between them and the store. Where a namespace is there the server is asked by a dry
//! run of the very pods; where the restore makes it, it is judged by its manifest, as far as that says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::needs::OfVolumes;
use super::rights;
use super::trial::{self, Network};
use super::webhooks::Write;
use super::{Check, Direction, Finding, Findings, PreflightError, Severity, backup, image, limits, network};
use crate::backup::volumes::VolumesError;
use crate::backup::volumes::claims::{ENFORCE, Namespace};
use crate::cluster::object::{label, name_of};
use crate::cluster::{Cluster, ClusterError};
use crate::recover::cluster::filling::foreseen;
use crate::recover::cluster::movers::rights_of;
use crate::recover::cluster::plan::{ClusterPlan, Step};
use crate::recover::cluster::volumes::Filling;
use crate::volumes::pod::{PodPlan, Rights};
use crate::volumes::policy::Reach;
use crate::volumes::{VolumesError as FactsError, cilium, facts, kinds};

/// What a finding is about that is about all movers: settings of this machine, which nothing in the cluster changes.
pub const MOVERS: &str = "the movers that fill volumes";

/// What movers would need that no plan says.
#[derive(Debug)]
pub struct Movers<'a> {
    /// Their image; `None` if nothing names one.
    pub image: Option<&'a str>,
    /// Where the store is.
    pub reach: &'a Reach,
}

/// What was found out about them.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    /// Those whose namespaces are there, each with its claim.
    pub(super) pods: Vec<PodOf>,
    /// What is filled, with nodes.
    pub(super) fillings: Vec<Filling>,
    /// What webhooks are asked about.
    pub(super) writes: BTreeSet<Write>,
}

/// A namespace as it is, or as the restore will make it.
struct Space {
    object: Value,
    is_there: bool,
}

async fn spaces(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    plan: &ClusterPlan,
) -> Result<BTreeMap<String, Space>, ClusterError> {
    let planned = plan.steps.iter().filter(|step| step.object.kind == "namespaces");
    let planned = planned.map(|step| Space { object: step.manifest().clone(), is_there: false });
    let found = findings.read(cluster, Check::Namespace, &kinds::namespaces(), Some).await?;
    let found = found.into_iter().flatten().map(|object| Space { object, is_there: true });
    // What is there counts, whatever the manifest says.
    Ok(planned.chain(found).map(|space| (name_of(&space.object).to_owned(), space)).collect())
}

/// Looks at everything that filling the plan's volumes would need.
pub(super) async fn look(
    cluster: &dyn Cluster,
    plan: &ClusterPlan,
    movers: &Movers<'_>,
    findings: &mut Findings,
) -> Result<Foreseen, PreflightError> {
    image(findings, movers);
    let brings = |name: &str| plan.steps.iter().any(|step| defines(step, name) && step.fate.acts());
    let [own, clusterwide] = [cilium::kind(), cilium::clusterwide()].map(|kind| kind.to_string());
    let has_cilium = cilium::is_there(cluster).await? || brings(&own);
    let namespaces: BTreeSet<String> = plan.fills().filter_map(|(step, _)| step.object.namespace.clone()).collect();
    let of = OfVolumes {
        cilium: has_cilium,
        snapshots: cluster.serves(&kinds::snapshot_classes()).await?,
        movers: namespaces.clone(),
        ..OfVolumes::default()
    };
    let needs = of.needs_to_fill();
    let missing = rights::missing(cluster, &needs).await?;
    rights::judge(findings, needs.len(), &missing, "recover-cluster.md");
    let facts = match facts::read(cluster).await {
        Ok(facts) => facts,
        // Which right is missing was told just now.
        Err(FactsError::Cluster { source, .. }) if source.is_denied() => return Ok(Foreseen::default()),
        Err(error) => return Err(VolumesError::from(error).into()),
    };
    let (fillings, nowhere) = foreseen(plan, &facts);
    for (claim, why) in &nowhere {
        let finding = Finding::new(Severity::Blocks, Check::Nodes, claim.to_string(), "would not be filled");
        findings.add(finding.because(why).mended_by(
            "see the nodeSelector, affinity and tolerations of what uses it, and the nodes; --node OLD=NEW maps names",
        ));
    }
    let spaces = spaces(cluster, findings, plan).await?;
    let (there, later) = pods(findings, movers, &fillings, &spaces);
    let network = Network { reach: movers.reach, cilium: has_cilium };
    if movers.image.is_some() {
        trial::look(cluster, findings, &there, &network, Direction::Restore).await?;
    }
    let levels: BTreeMap<&str, &str> =
        spaces.iter().map(|(name, space)| (name.as_str(), label(&space.object, ENFORCE))).collect();
    security(findings, &later, &levels);
    owners(findings, &there, true);
    owners(findings, &later, false);
    let all: Vec<PodOf> = there.iter().chain(&later).cloned().collect();
    limits::look(findings, &plan.steps, &all);
    if has_cilium {
        let kinds = [own, clusterwide];
        let planned = plan.steps.iter().filter(|step| step.fate.creates() && kinds.contains(&step.object.kind));
        let planned: Vec<&Value> = planned.map(Step::manifest).collect();
        network::look(cluster, findings, &all, movers.reach, &planned).await?;
    }
    Ok(Foreseen { pods: there, fillings, writes: backup::of_movers(&namespaces, has_cilium) })
}

/// The same of one volume alone, whose namespace is there.
pub async fn one(
    cluster: &dyn Cluster,
    filling: Filling,
    movers: &Movers<'_>,
    findings: &mut Findings,
) -> Result<(), PreflightError> {
    image(findings, movers);
    let namespace = filling.claim.namespace.clone().unwrap_or_default();
    let has_cilium = cilium::is_there(cluster).await?;
    let snapshots = cluster.serves(&kinds::snapshot_classes()).await?;
    let of = OfVolumes { cilium: has_cilium, snapshots, movers: [namespace.clone()].into(), ..OfVolumes::default() };
    let needs = of.needs_to_fill();
    let missing = rights::missing(cluster, &needs).await?;
    rights::judge(findings, needs.len(), &missing, "recover-cluster.md");
    let found = cluster.get(&kinds::namespaces(), None, &namespace).await?;
    let space = found.map(|object| (namespace, Space { object, is_there: true }));
    let (there, _) = pods(findings, movers, &[filling], &space.into_iter().collect());
    if movers.image.is_some() {
        let network = Network { reach: movers.reach, cilium: has_cilium };
        trial::look(cluster, findings, &there, &network, Direction::Restore).await?;
    }
    owners(findings, &there, true);
    limits::look(findings, &[], &there);
    if has_cilium {
        network::look(cluster, findings, &there, movers.reach, &[]).await?;
    }
    Ok(())
}

/// Whether a step makes the definition of a kind.
fn defines(step: &Step, kind: &str) -> bool {
    step.object.kind.starts_with("customresourcedefinitions.") && step.object.name == kind
}

fn image(findings: &mut Findings, movers: &Movers<'_>) {
    if let Some(image) = movers.image {
        image::look(findings, image);
    } else {
        let what = "nothing says which image they run, which is this program";
        let finding = Finding::new(Severity::Blocks, Check::Plan, MOVERS, what);
        findings.add(
            finding.mended_by(
                "give --mover-image IMAGE, or have it in homelab-dr.yaml as the image of a source of volumes",
            ),
        );
    }
}

/// A mover's pod and its claim, for people.
type PodOf = (PodPlan, String);

/// The movers in namespaces that are there, and in those that come with the restore. What has none for want of a privilege is told.
fn pods(
    findings: &mut Findings,
    movers: &Movers<'_>,
    fillings: &[Filling],
    spaces: &BTreeMap<String, Space>,
) -> (Vec<PodOf>, Vec<PodOf>) {
    let (mut there, mut later) = (Vec::new(), Vec::new());
    let nothing = Space { object: Value::Null, is_there: false };
    for filling in fillings {
        let space = spaces.get(filling.claim.namespace.as_deref().unwrap_or_default()).unwrap_or(&nothing);
        let claim = filling.claim.to_string();
        match rights_of(filling, &Namespace::of(&space.object)) {
            Err((why, mend)) => {
                let finding = Finding::new(Severity::Blocks, Check::Plan, claim, "would not be filled");
                findings.add(finding.because(why).mended_by(mend));
            }
            Ok(rights) => {
                let pod = trial::filling(filling, rights, movers.image.unwrap_or_default());
                if space.is_there { &mut there } else { &mut later }.push((pod, claim));
            }
        }
    }
    (there, later)
}

/// What Pod Security at a level says to a mover's pod; `None` if nobody knows.
fn takes(level: &str, rights: &Rights) -> Option<bool> {
    match (level, rights) {
        // One that runs as the application passes everywhere.
        ("privileged", _) | ("baseline", Rights::Root) | (_, Rights::Application { .. }) => Some(true),
        ("baseline" | "restricted", _) => Some(false),
        _ => None,
    }
}

/// Movers in namespaces that the restore makes, by the labels in their manifests.
fn security(findings: &mut Findings, pods: &[PodOf], levels: &BTreeMap<&str, &str>) {
    let mut told: BTreeSet<(&str, Option<bool>)> = BTreeSet::new();
    for (pod, claim) in pods {
        let level = levels.get(pod.namespace.as_str()).copied().unwrap_or_default();
        let verdict = takes(level, &pod.rights);
        // Of a refusal every claim is told, since each can be mended.
        if !told.insert((&pod.namespace, verdict)) && verdict != Some(false) {
            continue;
        }
        let on = format!("namespace {}", pod.namespace);
        match verdict {
            Some(true) => {
                let said = if level.is_empty() { "at any level" } else { level };
                let what = format!("comes with the restore, and its Pod Security ({said}) takes a mover's pod");
                findings.fine(Check::Trial, on, what);
            }
            Some(false) => {
                let what = format!("comes with the restore, and its Pod Security refuses the mover for {claim}");
                let why = format!("its label {ENFORCE} is {level}, and the claim asks for more by its annotation");
                let mend = trial::of_security((&pod.namespace, false), &pod.rights, Direction::Restore);
                findings.add(Finding::new(Severity::Blocks, Check::Trial, on, what).because(why).mended_by(mend));
            }
            None => {
                let what = "comes with the restore, and nobody can know yet whether it takes a mover's pod";
                let why = "its manifest enforces no level of Pod Security: the cluster's own default decides";
                let mend = format!(
                    "make it now, and look again, so that the server is asked: kubectl create namespace {}",
                    pod.namespace
                );
                findings.add(Finding::new(Severity::Doubtful, Check::Trial, on, what).because(why).mended_by(mend));
            }
        }
    }
}

/// Who is not root cannot give files to others. `is_there`: their namespaces are.
fn owners(findings: &mut Findings, pods: &[PodOf], is_there: bool) {
    for (pod, claim) in pods {
        if let Rights::Application { user, .. } = &pod.rights {
            let what = format!("is filled as user {user}: other owners of files cannot be set, and will be listed");
            let finding = Finding::new(Severity::Doubtful, Check::Plan, claim.clone(), what);
            let mend = format!("if it matters: {}", trial::let_in((&pod.namespace, is_there), "baseline"));
            findings.add(finding.because("Pod Security restricted, or the claim's annotation").mended_by(mend));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pod_security_says_is_known_where_a_manifest_says_its_level() {
        let app = Rights::Application { user: 1, group: None, groups: Vec::new() };
        for (level, of_app, of_root, of_privileged) in [
            ("restricted", Some(true), Some(false), Some(false)),
            ("baseline", Some(true), Some(true), Some(false)),
            ("privileged", Some(true), Some(true), Some(true)),
            ("", Some(true), None, None),
        ] {
            let found = [&app, &Rights::Root, &Rights::Privileged].map(|rights| takes(level, rights));
            assert_eq!(found, [of_app, of_root, of_privileged], "{level}");
        }
    }
}

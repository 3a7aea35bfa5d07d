//! Before a backup of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::needs::{OfHooks, OfVolumes};
use super::rights::{self, Need, Right};
use super::webhooks::Write;
use super::{
    Check, Direction, Finding, Findings, PreflightError, Severity, claims, commands, hooks, image, network, nodes,
    trial, webhooks,
};
use crate::backup::coverage::{self, Said, Taken};
use crate::backup::volumes::claims::{Claim, Fate};
use crate::backup::volumes::{VolumesError, find, hold};
use crate::cluster::choice::Choice;
use crate::cluster::object::{at, name_of};
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::config::{ContainerPlace, ResourcesSource, VolumesSource};
use crate::volumes::choose::Way;
use crate::volumes::policy::Reach;
use crate::volumes::{self as ways, cilium, facts, kinds};

/// What is backed up of one cluster.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Volumes, each with the other sources of the same cluster: what those take is no concern of this one.
    pub volumes: Vec<(&'a VolumesSource, Vec<VolumesSource>)>,
    /// Objects.
    pub resources: Vec<&'a ResourcesSource>,
    /// Containers in which programs run whose output is backed up, each with its source.
    pub commands: Vec<(&'a str, &'a ContainerPlace)>,
    /// Where the store is, for policies.
    pub reach: &'a Reach,
    /// Whether these are all sources of the cluster: what none of them takes is not covered.
    pub whole: bool,
}

/// The claims of each source, as its backup would see them.
pub type Planned<'a> = Vec<(&'a VolumesSource, Vec<Claim>)>;

/// Looks at everything that a backup of this cluster would need. Also what becomes of the claims, for a probe.
pub async fn look<'a>(
    cluster: &dyn Cluster,
    wanted: &Wanted<'a>,
    findings: &mut Findings,
) -> Result<Planned<'a>, PreflightError> {
    let mut planned = Planned::new();
    let mut choices = Vec::new();
    for source in &wanted.resources {
        let choice = coverage::choice(cluster, source).await;
        listing(cluster, findings, &choice).await?;
        choices.push(choice);
    }
    let labels = labels(cluster, findings).await?;
    let mut writes = BTreeSet::new();
    if !wanted.volumes.is_empty() {
        planned = volumes(cluster, wanted, findings, &labels, &mut writes).await?;
    }
    commands::look(cluster, findings, &wanted.commands).await?;
    writes.extend(wanted.commands.iter().map(|(_, place)| Write::exec(&place.namespace)));
    let writes: Vec<Write> = writes.into_iter().collect();
    webhooks::look(cluster, findings, &writes, &labels, choices.first()).await?;
    // Objects are read wherever nodes are.
    if !wanted.volumes.is_empty() {
        nodes::look(cluster, findings).await?;
    }
    // As a backup does: where it is only asked for dumps nobody expects the rest.
    if wanted.whole && !(wanted.volumes.is_empty() && wanted.resources.is_empty()) {
        covered(cluster, wanted, &choices, &planned, findings).await?;
    }
    Ok(planned)
}

/// The labels of all namespaces, by name.
pub(super) async fn labels(
    cluster: &dyn Cluster,
    findings: &mut Findings,
) -> Result<BTreeMap<String, Value>, ClusterError> {
    let of = |namespace: Value| Some((name_of(&namespace).to_owned(), at(&namespace, &["metadata", "labels"]).clone()));
    let found = findings.read(cluster, Check::Namespace, &kinds::namespaces(), of).await?;
    Ok(found.unwrap_or_default().into_iter().collect())
}

/// Whether everything that is captured may be listed.
async fn listing(cluster: &dyn Cluster, findings: &mut Findings, choice: &Choice) -> Result<(), ClusterError> {
    let need = |group: &str, resource: &str| Need {
        right: Right { verb: "list".to_owned(), group: group.to_owned(), resource: resource.to_owned() },
        namespace: None,
        for_words: false,
    };
    if rights::missing(cluster, &[need("*", "*")]).await?.is_empty() {
        findings.fine(Check::Rights, "the account", "may list all kinds");
        return Ok(());
    }
    let found = cluster.kinds().await?;
    let kinds = found.kinds.iter().filter(|kind| choice.takes(kind));
    let needs: Vec<Need> = kinds.map(|kind| need(&kind.group, &kind.resource)).collect();
    let missing = rights::missing(cluster, &needs).await?;
    rights::judge(findings, needs.len(), &missing, "cluster.md");
    Ok(())
}

async fn volumes<'a>(
    cluster: &dyn Cluster,
    wanted: &Wanted<'a>,
    findings: &mut Findings,
    labels: &BTreeMap<String, Value>,
    writes: &mut BTreeSet<Write>,
) -> Result<Planned<'a>, PreflightError> {
    let has_cilium = cilium::is_there(cluster).await?;
    let snapshots = cluster.serves(&kinds::snapshot_classes()).await?;
    let mut planned = Planned::new();
    let mut held: Vec<Option<OfHooks>> = Vec::new();
    for (source, others) in &wanted.volumes {
        match find(cluster, source, others).await {
            Ok(mut claims) => {
                let asked = hooks::asked(&claims);
                hold::resolve(cluster, &mut claims).await.map_err(VolumesError::from)?;
                held.push(hooks::needed(cluster, &asked, &claims).await?);
                planned.push((*source, claims));
            }
            // Which, is told below.
            Err(VolumesError::Look(ways::VolumesError::Cluster { source: error, .. })) if error.is_denied() => {
                let of = OfVolumes {
                    anywhere: true,
                    home: source.namespace.clone(),
                    cilium: has_cilium,
                    snapshots,
                    ..OfVolumes::default()
                };
                let needs = of.needs();
                let missing = rights::missing(cluster, &needs).await?;
                rights::judge(findings, needs.len(), &missing, "volumes.md");
                return Ok(Planned::new());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let facts = facts::read(cluster).await.map_err(VolumesError::from)?;
    for ((source, claims), hooks) in planned.iter().zip(held) {
        let of = OfVolumes { hooks, ..needed(source, claims, has_cilium, snapshots) };
        let needs = of.needs();
        let missing = rights::missing(cluster, &needs).await?;
        rights::judge(findings, needs.len(), &missing, "volumes.md");
        if let Some(home) = source.namespace.as_ref().filter(|home| !labels.is_empty() && !labels.contains_key(*home)) {
            let finding = Finding::new(Severity::Blocks, Check::Namespace, format!("namespace {home}"), "is not there");
            let why = "snapshots are handed over to it, and what was made is written down there";
            findings.add(finding.because(why).mended_by(format!("kubectl create namespace {home}")));
        }
        image::look(findings, &source.image);
        claims::look(findings, claims);
        hooks::look(findings, claims);
        claims::snapshots(cluster, findings, &facts, source.namespace.is_some()).await?;
        writes.extend(written(&of));
        writes.extend(of.hooks.iter().flat_map(|hooks| hooks::written(hooks, of.home.as_ref())));
        let pods = trial::pods(source, claims);
        let network = trial::Network { reach: wanted.reach, cilium: has_cilium };
        trial::look(cluster, findings, &pods, &network, Direction::Backup).await?;
        if has_cilium {
            network::look(cluster, findings, &pods, wanted.reach, &[]).await?;
        }
    }
    Ok(planned)
}

/// Which claims and namespaces no source takes, and nobody leaves out; and which namespaces are left out. Claims that a source looks at are told there.
async fn covered(
    cluster: &dyn Cluster,
    wanted: &Wanted<'_>,
    choices: &[Choice],
    planned: &Planned<'_>,
    findings: &mut Findings,
) -> Result<(), PreflightError> {
    let seen = match coverage::look(cluster).await {
        Ok(seen) => seen,
        // What may not be listed is told as a right that is missing.
        Err(error) if error.is_denied() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (mut said, mut taken) = (Said::default(), Taken::default());
    for source in &wanted.resources {
        said.add_resources(source);
    }
    for (source, _) in &wanted.volumes {
        said.add_volumes(source);
    }
    let claims = planned.iter().flat_map(|(_, claims)| claims);
    taken.claims = claims.map(|claim| (claim.namespace.clone(), claim.name.clone())).collect();
    taken.namespaces = seen.taken_by(choices);
    for (what, fate) in coverage::judge(&seen, &said, &taken) {
        match fate {
            coverage::Fate::Taken => {}
            coverage::Fate::LeftOut { by, .. } => {
                findings.fine(Check::Coverage, what.name(), format!("left out by {by}"));
            }
            coverage::Fate::Not { why, mend } => {
                let finding = Finding::new(Severity::Blocks, Check::Coverage, what.name(), "is in no snapshot");
                findings.add(finding.because(why).mended_by(mend));
            }
        }
    }
    Ok(())
}

/// Where movers run and copies are made.
fn needed(source: &VolumesSource, claims: &[Claim], cilium: bool, snapshots: bool) -> OfVolumes {
    let mut of = OfVolumes { home: source.namespace.clone(), cilium, snapshots, ..OfVolumes::default() };
    for claim in claims {
        let Fate::Read(read) = &claim.fate else { continue };
        of.movers.insert(trial::place(source, claim, read).0);
        if matches!(read.choice.way, Way::Snapshot { .. } | Way::Clone { .. }) {
            of.copies.insert(claim.namespace.clone());
        }
    }
    of
}

const ALL: [&str; 3] = ["CREATE", "UPDATE", "DELETE"];
const MADE: [&str; 2] = ["CREATE", "DELETE"];

/// What webhooks may be asked about movers in these namespaces.
pub(super) fn of_movers(namespaces: &BTreeSet<String>, cilium: bool) -> BTreeSet<Write> {
    let (pods, policies) = (kinds::pods(), crate::volumes::policy::kind());
    let write = |kind: &Kind, sub: &str, operation, namespace: &String| {
        let (group, resource) = (kind.group.clone(), format!("{}{sub}", kind.resource));
        Write { group, resource, operation, namespace: Some(namespace.clone()) }
    };
    let mut writes = BTreeSet::new();
    for namespace in namespaces {
        writes.extend(ALL.map(|operation| write(&pods, "", operation, namespace)));
        writes.insert(write(&pods, "/attach", "CONNECT", namespace));
        writes.extend(MADE.map(|operation| write(&policies, "", operation, namespace)));
        if cilium {
            writes.extend(MADE.map(|operation| write(&cilium::kind(), "", operation, namespace)));
        }
    }
    writes
}

/// What webhooks may be asked about.
fn written(of: &OfVolumes) -> BTreeSet<Write> {
    let mut writes = of_movers(&of.movers, of.cilium);
    let mut add = |kind: &Kind, operations: &[&'static str], namespace: Option<&String>| {
        for operation in operations {
            let (group, resource) = (kind.group.clone(), kind.resource.clone());
            writes.insert(Write { group, resource, operation, namespace: namespace.cloned() });
        }
    };
    if of.copies.is_empty() {
        return writes;
    }
    for namespace in of.copies.iter().chain(&of.home) {
        add(&kinds::claims(), &ALL, Some(namespace));
        if of.snapshots {
            add(&kinds::snapshots(), &MADE, Some(namespace));
        }
    }
    add(&kinds::config_maps(), &["CREATE", "UPDATE"], of.home.as_ref());
    if of.snapshots {
        add(&kinds::contents(), &ALL, None);
    }
    writes
}

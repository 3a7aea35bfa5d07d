//! `restore.volume` in a cluster, looked at before anything is begun: whether the claim could be made, or what it costs whoever uses it to have it written in place; and the mover's pod.

use super::ahead::{Ahead, Filling as Known, Group};
use super::drive::Undone;
use super::hands::{Source, failed};
use super::plan::InPlace;
use super::prepare::Notice;
use crate::base::causes::in_one_line;
use crate::cluster::{Cluster, ClusterError, How};
use crate::format::entry::TreePath;
use crate::preflight::restore::{Movers, one};
use crate::preflight::{Check, Finding, Findings, Severity};
use crate::recover::cluster::Identity;
use crate::recover::cluster::beside::{self, Made, Wanted};
use crate::recover::cluster::data::Data;
use crate::recover::cluster::in_place::{self, InPlaceError};
use crate::recover::cluster::volumes::Filling;
use crate::repo::snapshots::Snapshot;
use crate::runbook::RestoreVolume;
use crate::volumes::kinds;

/// What looking at a volume came to.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What it does to what uses it; only in place.
    pub(super) in_place: Option<InPlace>,
    /// What would keep it from working: what, and what to do about it. A step before it may change that.
    pub(super) obstacles: Vec<(String, String)>,
}

impl Looked {
    fn stopped_by(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { in_place: None, obstacles: vec![(what.into(), help.into())] }
    }

    /// It keeps the run from being begun where no step before can change it.
    pub(super) fn notices(&self, step: &str, is_first: bool) -> Vec<Notice> {
        let notice = |(what, help): &(String, String)| {
            let (step, what, help) = (Some(step.to_owned()), what.clone(), help.clone());
            Notice { blocks: is_first, step, what, help }
        };
        self.obstacles.iter().map(notice).collect()
    }
}

/// Looks. Nothing is changed: what would be created is tried without being kept. `known`: how movers would run; none in a drill, which makes what is missing itself.
pub(super) async fn look(
    cluster: &dyn Cluster,
    volume: &RestoreVolume,
    (source, snapshot): (&Source, &Snapshot),
    known: Option<&Known>,
    ahead: &mut Ahead,
) -> Result<Looked, Undone> {
    let data = Data::of(&source.chain, snapshot, snapshot.record.started);
    let unseen = |error: ClusterError| {
        failed(
            format!("the cluster cannot be looked at: {}", in_one_line(&error)),
            "see the kubeconfig and its context, and the rights of the account",
        )
    };
    let (looked, claim) = if volume.in_place {
        in_its_place(cluster, volume, data.clone()).await.map_err(unseen)?
    } else {
        new(cluster, volume, &data, ahead).await.map_err(unseen)?
    };
    if let (Some(object), Some(known), true) = (claim, known, looked.obstacles.is_empty()) {
        let filling = Filling { claim: identity(volume), object, data, consumers: Vec::new(), node: None };
        let mut findings = Findings::default();
        let movers = Movers { image: known.image.as_deref(), reach: &known.reach };
        if let Err(error) = one(cluster, filling, &movers, &mut findings).await {
            let finding = Finding::new(Severity::Doubtful, Check::Plan, cluster.name(), "could not be looked at ahead");
            findings.add(finding.because(in_one_line(&error)));
        }
        ahead.groups = Group::of_steps(&findings);
    }
    Ok(looked)
}

fn identity(volume: &RestoreVolume) -> Identity {
    Identity {
        kind: "persistentvolumeclaims".to_owned(),
        namespace: Some(volume.into.namespace.clone()),
        name: volume.into.name.clone(),
    }
}

type Claim = Option<serde_json::Value>;

/// Also the claim that is there, if it could be written.
async fn in_its_place(
    cluster: &dyn Cluster,
    volume: &RestoreVolume,
    data: Data,
) -> Result<(Looked, Claim), ClusterError> {
    let claim = format!("{}/{}", volume.into.namespace, volume.into.name);
    let planned = match in_place::plan(cluster, identity(volume), data, &TreePath::root()).await {
        Ok(planned) => planned,
        Err(InPlaceError::Refused { why, mend, .. }) => {
            return Ok((Looked::stopped_by(format!("{claim} would not be restored in place: {why}"), mend), None));
        }
        Err(InPlaceError::Cluster(error)) if error.is_of_the_cluster() => return Err(error),
        Err(error) => {
            let help = "see the rights of the account (docs/recover-cluster.md)";
            return Ok((Looked::stopped_by(format!("{claim}: {}", in_one_line(&error)), help), None));
        }
    };
    let object = cluster.get(&kinds::claims(), Some(&volume.into.namespace), &volume.into.name).await?;
    let in_place = InPlace {
        claim,
        stops: planned.scale.workloads.clone(),
        pauses: planned.paused,
        autoscalers: planned.autoscalers,
        goes_on: planned.goes_on,
    };
    Ok((Looked { in_place: Some(in_place), obstacles: Vec::new() }, object))
}

/// Also the claim as it would be made, where its namespace is there.
async fn new(
    cluster: &dyn Cluster,
    volume: &RestoreVolume,
    data: &Data,
    ahead: &Ahead,
) -> Result<(Looked, Claim), ClusterError> {
    let (namespace, name) = (&volume.into.namespace, &volume.into.name);
    let comes = |kind: &str, of: Option<&String>, name: &String| {
        let is = |object: &Identity| object.kind == kind && object.namespace.as_ref() == of && object.name == *name;
        ahead.coming.iter().any(|step| is(&step.object))
    };
    if comes("persistentvolumeclaims", Some(namespace), name) {
        let what = format!("a step before it restores the claim {namespace}/{name}, and it is not filled twice");
        let looked = Looked::stopped_by(what, "leave the claim out there with exclude, or name another one with into");
        return Ok((looked, None));
    }
    if cluster.get(&kinds::namespaces(), None, namespace).await?.is_none() {
        if comes("namespaces", None, namespace) {
            return Ok((Looked::default(), None));
        }
        let what = format!("there is no namespace {namespace} for the claim {name}");
        let help =
            format!("have a step before it restore the namespace, or make it: kubectl create namespace {namespace}");
        return Ok((Looked::stopped_by(what, help), None));
    }
    let like = beside::original(cluster, &data.source).await;
    let wanted = Wanted {
        namespace,
        name,
        class: volume.storage_class.as_deref(),
        bytes: volume.size.unwrap_or(0),
        like: like.as_ref(),
        data,
        by: None,
    };
    match beside::make(cluster, &wanted, How::Trial).await {
        Ok(Made::Claim(object)) => Ok((Looked::default(), Some(object))),
        Ok(Made::Full) => Ok((Looked::default(), None)),
        Err(beside::BesideError::Cluster(error)) if error.is_of_the_cluster() => Err(error),
        Err(error @ beside::BesideError::Classless { .. }) => {
            Ok((Looked::stopped_by(in_one_line(&error), "say storage_class in the step"), None))
        }
        Err(error) => Ok((Looked::stopped_by(in_one_line(&error), error.mend()), None)),
    }
}

//! A volume that is there, with data in it, is brought to a snapshot: what uses it goes to zero, what is in it is backed up, then it is written, then what used it
//! comes back.
//!
//! ```text
//! plan (what holds still, who keeps it as it is in Git) ─ journal ─ Git's keeper paused, volumes to Retain, workloads to zero ─ safety copy ─┬─ written down ─ fill ─┬─ done ─ let go
//!                                                                                                            fails: let go ┘                       └─ not done: stays at zero
//! ```
//! From the first byte that is written until the last one is, nothing is let go: what would start then would start on half of something. Another run of the same goes on.

mod run;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::Identity;
use super::data::{Data, unlike};
use super::filling::{Held, uses_held};
use super::volumes::{Filling, consumers_of};
use crate::backup::volumes::claims::is_device;
use crate::backup::volumes::keepers::{self, BY_HAND, KeeperError, is_workload};
use crate::base::causes::in_one_line;
use crate::base::shell::quoted;
use crate::cluster::object::{annotation, is_dying, name_of, text};
use crate::cluster::rewrite::FILLING;
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::format::entry::TreePath;
use crate::gitops::GitopsError;
use crate::hooks::HookError;
use crate::hooks::hold::Hold;
use crate::hooks::journal::{Entry, Journal, journals};
use crate::hooks::scale::{self, ScalePlan, consumers};
use crate::tree::device::NAME as DEVICE_NAME;
use crate::volumes::kinds;

pub use run::{InPlace, NotWritten, Report};

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum InPlaceError {
    /// The cluster cannot be looked at.
    #[error("cannot look at what is to be restored in place")]
    Cluster(#[from] ClusterError),
    /// It cannot be found out what uses the claim, or what other runs hold.
    #[error(transparent)]
    Hook(HookError),
    /// It cannot be found out who keeps a workload as it is in Git.
    #[error("{workloads} may be kept as they are in Git, and by whom cannot be seen")]
    Gitops {
        /// The workloads.
        workloads: String,
        /// Why not.
        #[source]
        source: GitopsError,
    },
    /// It would not go well, or would cost somebody something.
    #[error("the claim {claim} is not restored in place: {why}")]
    Refused {
        /// Namespace and name.
        claim: String,
        /// Why.
        why: String,
        /// What to do about it.
        mend: String,
    },
}

/// What would be done, and on what.
#[derive(Debug, Clone, Serialize)]
pub struct InPlacePlan {
    /// The cluster, for people.
    pub cluster: String,
    /// The claim.
    pub claim: Identity,
    /// How large it says that it is, as Kubernetes writes it; empty if it does not say.
    pub capacity: String,
    /// What it is restored from.
    pub data: Data,
    /// The directory of that which becomes the top of the volume; empty for all of it.
    pub within: String,
    /// What holds still.
    pub scale: ScalePlan,
    /// Which objects of Flux and ArgoCD are paused for it, parents first.
    pub paused: Vec<String>,
    /// Autoscalers of the workloads, which leave alone what is at zero.
    pub autoscalers: Vec<String>,
    /// The run that was cut off while it wrote, and is gone on with.
    pub goes_on: Option<String>,
    /// The snapshot that that one made before.
    pub safety_copy: Option<String>,
    #[serde(skip)]
    object: Value,
    #[serde(skip)]
    pods: Vec<Value>,
    #[serde(skip)]
    journal: Option<Journal>,
}

/// `NAMESPACE/NAME`.
fn shown(claim: &Identity) -> String {
    format!("{}/{}", claim.namespace.as_deref().unwrap_or_default(), claim.name)
}

fn refused(claim: &Identity, why: impl Into<String>, mend: impl Into<String>) -> InPlaceError {
    InPlaceError::Refused { claim: shown(claim), why: why.into(), mend: mend.into() }
}

fn not_paused(claim: &Identity, error: KeeperError) -> InPlaceError {
    match error {
        KeeperError::Unseen { workloads, source } => InPlaceError::Gitops { workloads, source },
        error => refused(claim, in_one_line(&error), BY_HAND),
    }
}

impl InPlacePlan {
    fn namespace(&self) -> &str {
        self.claim.namespace.as_deref().unwrap_or_default()
    }

    /// The snapshot, with the path in it, as a command takes it.
    #[must_use]
    pub fn origin(&self) -> String {
        let path = if self.within.is_empty() { String::new() } else { format!(":{}", self.within) };
        format!("{}{path}", self.data.snapshot.hex())
    }

    /// The command that carries this plan out, or goes on with it.
    #[must_use]
    pub fn command(&self) -> String {
        format!("homelab-dr restore {} --into-claim {} --in-place", quoted(&self.origin()), shown(&self.claim))
    }

    fn filling(&self) -> Filling {
        let (claim, object, data) = (self.claim.clone(), self.object.clone(), self.data.clone());
        Filling { claim, object, data, consumers: self.pods.clone(), node: None }
    }
}

/// Looks what would have to be done. Nothing is changed.
pub async fn plan(
    cluster: &dyn Cluster,
    claim: Identity,
    data: Data,
    within: &TreePath,
) -> Result<InPlacePlan, InPlaceError> {
    let namespace = claim.namespace.clone().unwrap_or_default();
    let found = cluster.get(&kinds::claims(), Some(&namespace), &claim.name).await?;
    let Some(object) = found else {
        return Err(refused(&claim, "there is no such claim", "without --in-place it is created and filled"));
    };
    obstacle(&claim, &object)?;
    if let Some((why, mend)) = unlike(&object, &data).or_else(|| no_device(&object, &data, within)) {
        return Err(refused(&claim, why, mend));
    }
    let own = left_unfinished(cluster, &claim).await?;
    let scale = match &own {
        Some(journal) => gone_on_with(cluster, &claim, journal).await?,
        None => scale::plan(cluster, &namespace, std::slice::from_ref(&claim.name))
            .await
            .map_err(|error| not_held(&claim, error))?,
    };
    let workloads = keepers::workloads(cluster, &scale).await?;
    let pods = workloads.iter().flat_map(|(_, object)| consumers_of(object, &[claim.name.clone()].into()));
    let mut plan = InPlacePlan {
        cluster: cluster.name(),
        within: within.display(),
        scale,
        paused: Vec::new(),
        autoscalers: autoscalers(cluster, &namespace, &workloads).await,
        capacity: text(&object, &["status", "capacity", "storage"]).to_owned(),
        goes_on: own.as_ref().map(|journal| journal.run.clone()),
        safety_copy: own.as_ref().and_then(|journal| journal.unfinished.clone()?.safety_copy),
        object,
        pods: pods.collect(),
        journal: own,
        claim,
        data,
    };
    if plan.journal.is_none() {
        let keepers = keepers::holds(cluster, &plan.scale, &workloads).await;
        let mut keepers = keepers.map_err(|error| not_paused(&plan.claim, error))?.unwrap_or_default();
        plan.paused = keepers.iter().map(|hold| hold.target.to_string()).collect();
        // They are paused first and go on last.
        keepers.append(&mut plan.scale.holds);
        plan.scale.holds = keepers;
        plan.scale.notes.clear();
    }
    Ok(plan)
}

/// Why it cannot be restored in place by what the claim says itself.
fn obstacle(claim: &Identity, object: &Value) -> Result<(), InPlaceError> {
    let (why, mend) = match text(object, &["status", "phase"]) {
        _ if is_dying(object) => {
            ("it is being deleted", "wait until it is gone: without --in-place it is created anew")
        }
        _ if !annotation(object, FILLING).is_empty() => {
            ("another restore has begun to fill it, and has not ended", "run that again until it is done")
        }
        "Bound" => return Ok(()),
        _ => ("it has no volume", "bind it first, or delete it: without --in-place it is created anew"),
    };
    Err(refused(claim, why, mend))
}

/// Why a snapshot, or the part of it that is named, does not go onto the device of a claim. How long that is only its mover sees: a claim says at least what it has.
fn no_device(object: &Value, data: &Data, within: &TreePath) -> Option<(&'static str, &'static str)> {
    let is_all = *within == TreePath::root() || within.as_bytes() == DEVICE_NAME.as_bytes();
    match is_device(object) {
        true if !data.device => Some((
            "the claim is a block device (volumeMode: Block), and nothing in the snapshot was on one",
            "restore it into a new claim, without --in-place",
        )),
        true if !is_all => {
            Some(("the snapshot of a block device has no such path", "name the snapshot alone: all of it is written"))
        }
        _ => None,
    }
}

fn not_held(claim: &Identity, error: HookError) -> InPlaceError {
    match error {
        HookError::Refused { .. } => refused(
            claim,
            in_one_line(&error),
            "stop what uses it by its own means and run this again; or restore into a new claim, without --in-place",
        ),
        error => InPlaceError::Hook(error),
    }
}

/// The journal of a run that was cut off while it wrote to this volume. Refuses where another run holds what uses the claim: it would let it go in the middle.
async fn left_unfinished(cluster: &dyn Cluster, claim: &Identity) -> Result<Option<Journal>, InPlaceError> {
    let namespace = claim.namespace.clone().unwrap_or_default();
    let found = journals(cluster, None).await.map_err(InPlaceError::Hook)?;
    let journals: Vec<Journal> = found.into_iter().filter_map(Result::ok).collect();
    let is_own = |journal: &&Journal| {
        journal.unfinished.as_ref().is_some_and(|one| one.namespace == namespace && one.claim == claim.name)
    };
    if let Some(own) = journals.iter().find(is_own) {
        return Ok(Some(own.clone()));
    }
    let held: Held = BTreeSet::from([(namespace.clone(), claim.name.clone())]);
    for journal in &journals {
        for hold in holds_of(journal).filter(|hold| hold.target.namespace.as_deref() == Some(&namespace)) {
            let object = cluster.get(&hold.target.kind(), Some(&namespace), &hold.target.name).await?;
            if object.is_some_and(|object| !uses_held(&object, Some(&namespace), &held).is_empty()) {
                let why = format!("run {} of {} holds {}", journal.run, journal.host, hold.target);
                let mend = format!(
                    "wait for it; if it is dead, `homelab-dr release --run {}`, then run this again",
                    journal.run
                );
                return Err(refused(claim, why, mend));
            }
        }
    }
    Ok(None)
}

fn holds_of(journal: &Journal) -> impl Iterator<Item = &Hold> {
    journal.entries.iter().filter_map(|entry| if let Entry::Hold(hold) = entry { Some(hold) } else { None })
}

/// What the run before holds: this one goes on in its place.
async fn gone_on_with(cluster: &dyn Cluster, claim: &Identity, journal: &Journal) -> Result<ScalePlan, InPlaceError> {
    let namespace = claim.namespace.clone().unwrap_or_default();
    let claims: BTreeSet<String> = [claim.name.clone()].into();
    let users = consumers(cluster, &namespace, &claims).await.map_err(InPlaceError::Hook)?;
    if let Some(pod) = users.first() {
        let why = format!("pod {} uses it, although a restore of it has not ended", name_of(pod));
        return Err(refused(claim, why, "scale what made that pod to zero, and run this again"));
    }
    let holds: Vec<Hold> = holds_of(journal).cloned().collect();
    let workloads = holds.iter().filter(|hold| is_workload(&hold.target.kind())).map(|hold| hold.target.to_string());
    let workloads = workloads.collect();
    Ok(ScalePlan { namespace, claims, holds, workloads, pods: BTreeSet::new(), notes: Vec::new() })
}

/// For people only: who may not list them is not told of them.
async fn autoscalers(cluster: &dyn Cluster, namespace: &str, workloads: &[(Kind, Value)]) -> Vec<String> {
    // Of both versions the one that every server has.
    let kind = Kind::known("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", true);
    if workloads.is_empty() {
        return Vec::new();
    }
    let is_of = |object: &Value| {
        let of = |field| text(object, &["spec", "scaleTargetRef", field]);
        workloads.iter().any(|(kind, workload)| kind.name == of("kind") && name_of(workload) == of("name"))
    };
    let all = crate::hooks::all(cluster, &kind, Some(namespace)).await.unwrap_or_default();
    all.iter()
        .filter(|object| is_of(object))
        .map(|object| format!("HorizontalPodAutoscaler {namespace}/{}", name_of(object)))
        .collect()
}

//! A workload at zero: its pods have ended and nobody starts others, so that its volumes are nobody's.
//!
//! Going to zero can delete volumes (a stateful set with `whenScaled: Delete`, a volume with the reclaim policy `Delete`). So volumes are kept first (`Retain`), the set is told to retain its claims by the
//! same write that scales it, and both come back last. An autoscaler leaves a workload alone that is at zero; KEDA is told to by its annotation.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::hold::{Hold, Target};
use super::journal::{Entry, Journal};
use super::owner::{Top, top};
use super::plan::Seen;
use super::{Acting, HookError, all, pods};
use crate::cluster::change::Change;
use crate::cluster::object::{annotation, items, label, name_of, namespace_of, text};
use crate::cluster::ours::is_ours;
use crate::cluster::{Cluster, Kind};

const KEDA: &str = "keda.sh";
/// KEDA leaves what it scales as it is while this is `"true"`.
pub(super) const KEDA_PAUSED: &str = "autoscaling.keda.sh/paused";

/// The fields that are held, besides KEDA's annotation.
pub(super) const REPLICAS: [&str; 2] = ["spec", "replicas"];
pub(super) const WHEN_SCALED: [&str; 3] = ["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"];
pub(super) const RECLAIM: [&str; 2] = ["spec", "persistentVolumeReclaimPolicy"];

/// What is held so that claims are nobody's.
#[derive(Debug, Clone, Serialize)]
pub struct ScalePlan {
    /// The claims' namespace.
    pub namespace: String,
    /// The claims that were asked for.
    pub claims: BTreeSet<String>,
    /// What is held, in order: volumes, autoscalers, workloads.
    pub holds: Vec<Hold>,
    /// The workloads, for people.
    pub workloads: Vec<String>,
    /// The pods that end, by name.
    pub pods: BTreeSet<String>,
    /// What a person should know, such as that Flux looks after a workload.
    pub notes: Vec<String>,
}

fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    let named = |volume| text(volume, &["persistentVolumeClaim", "claimName"]);
    items(pod, &["spec", "volumes"]).iter().map(named).filter(|name| !name.is_empty())
}

/// The pods of a namespace that refer to some claims, also those that are ending; not those that have ended, and not those that a run has made for itself.
pub(crate) fn using<'a>(
    pods: &'a [Value],
    namespace: &'a str,
    claims: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a Value> {
    let has_ended = |pod: &Value| matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed");
    let is_one = move |pod: &&Value| namespace_of(pod) == Some(namespace) && !is_ours(pod) && !has_ended(pod);
    pods.iter().filter(is_one).filter(|pod| claims_of(pod).any(|name| claims.contains(name)))
}

/// The same as they are now.
pub async fn consumers(
    cluster: &dyn Cluster,
    namespace: &str,
    claims: &BTreeSet<String>,
) -> Result<Vec<Value>, HookError> {
    let found = all(cluster, &pods(), Some(namespace)).await;
    let found = found.map_err(|error| HookError::of(format!("list pods of {namespace}"), error))?;
    Ok(using(&found, namespace, claims).cloned().collect())
}

/// Decides what has to be held so that no pod uses these claims. Refuses what would not stay at zero, or would not come back.
pub async fn plan(cluster: &dyn Cluster, namespace: &str, claims: &[String]) -> Result<ScalePlan, HookError> {
    plan_by(cluster, &Seen::read(cluster).await?, namespace, claims).await
}

/// The same by what was seen a moment ago.
pub(crate) async fn plan_by(
    cluster: &dyn Cluster,
    seen: &Seen,
    namespace: &str,
    claims: &[String],
) -> Result<ScalePlan, HookError> {
    let Seen { kinds, pods } = seen;
    let claims: BTreeSet<String> = claims.iter().cloned().collect();
    let mut tops: Vec<Top> = Vec::new();
    let (mut volumes, mut stopped) = (claims.clone(), BTreeSet::new());
    for pod in using(pods, namespace, &claims) {
        let top = top(cluster, kinds, pod).await?;
        if let Err(why) = top.replicas() {
            return Err(HookError::Refused { what: format!("pod {namespace}/{}", name_of(pod)), why });
        }
        if !tops.iter().any(|known| known.name() == top.name()) {
            tops.push(top);
        }
    }
    for pod in pods.iter().filter(|pod| !tops.is_empty() && namespace_of(pod) == Some(namespace)) {
        // Everything that goes to zero with it, such as the claims of the other replicas.
        let mine = match top(cluster, kinds, pod).await {
            Ok(top) => tops.iter().any(|known| known.name() == top.name()),
            // Nobody's whom we could scale.
            Err(HookError::Refused { .. }) => false,
            // It may well be one of theirs, whose volumes must not go with it.
            Err(error) => return Err(error),
        };
        if mine {
            stopped.insert(name_of(pod).to_owned());
            volumes.extend(claims_of(pod).map(str::to_owned));
        }
    }
    if tops.is_empty() {
        // Nobody uses them: there is nothing to stop, and nothing that could go with it.
        volumes.clear();
    }
    let mut holds = volumes_of(cluster, namespace, &volumes).await?;
    holds.extend(keda(cluster, kinds, namespace, &tops).await?);
    let mut notes = Vec::new();
    for top in &tops {
        holds.push(at_zero(top));
        notes.extend(
            kept_by(&top.object)
                .map(|who| format!("{} is kept as it is in Git by {who}: pause that first", top.name())),
        );
    }
    holds.retain(|hold| !hold.is_empty());
    Ok(ScalePlan {
        namespace: namespace.to_owned(),
        claims,
        holds,
        workloads: tops.iter().map(Top::name).collect(),
        pods: stopped,
        notes,
    })
}

/// The volumes of some claims are kept whatever becomes of the claims.
async fn volumes_of(cluster: &dyn Cluster, namespace: &str, claims: &BTreeSet<String>) -> Result<Vec<Hold>, HookError> {
    let (claim_kind, volume_kind) = (crate::cluster::kinds::claims(), crate::cluster::kinds::volumes());
    let mut holds = Vec::new();
    for name in claims {
        let claim = cluster.get(&claim_kind, Some(namespace), name).await;
        let claim = claim.map_err(|error| HookError::of(format!("read claim {namespace}/{name}"), error))?;
        let Some(claim) = claim else { continue };
        let volume_name = text(&claim, &["spec", "volumeName"]);
        if volume_name.is_empty() {
            continue;
        }
        let volume = cluster.get(&volume_kind, None, volume_name).await;
        let volume = volume.map_err(|error| HookError::of(format!("read volume {volume_name}"), error))?;
        let Some(volume) = volume else { continue };
        let policy = Change::of(&volume, &RECLAIM, Some(json!("Retain")));
        holds.push(Hold {
            target: Target::of(&volume_kind, &volume),
            early: Vec::new(),
            late: policy.into_iter().collect(),
            claim: Some(Target::of(&claim_kind, &claim)),
        });
    }
    Ok(holds)
}

/// What scales a workload by events is told to leave it.
async fn keda(cluster: &dyn Cluster, kinds: &[Kind], namespace: &str, tops: &[Top]) -> Result<Vec<Hold>, HookError> {
    let Some(kind) = kinds.iter().find(|kind| kind.is(KEDA, "ScaledObject")) else { return Ok(Vec::new()) };
    let scaled = all(cluster, kind, Some(namespace)).await;
    let scaled = scaled.map_err(|error| HookError::of(format!("list {kind} of {namespace}"), error))?;
    let is_of = |object: &&Value| {
        let of = text(object, &["spec", "scaleTargetRef", "kind"]);
        let of = if of.is_empty() { "Deployment" } else { of };
        let name = text(object, &["spec", "scaleTargetRef", "name"]);
        tops.iter().any(|top| top.kind.name == of && name_of(&top.object) == name)
    };
    let paused = |object: &Value| {
        Change::of(object, &["metadata", "annotations", KEDA_PAUSED], Some(json!("true"))).into_iter().collect()
    };
    let hold = |object: &Value| Hold {
        target: Target::of(kind, object),
        early: paused(object),
        late: Vec::new(),
        claim: None,
    };
    Ok(scaled.iter().filter(is_of).map(hold).collect())
}

/// Whether a set deletes the claims of replicas that go.
pub(crate) fn deletes_claims_at_scale_down(set: &Value) -> bool {
    text(set, &WHEN_SCALED) == "Delete"
}

fn at_zero(top: &Top) -> Hold {
    let replicas = Change::of(&top.object, &REPLICAS, Some(json!(0)));
    let deletes = deletes_claims_at_scale_down(&top.object);
    let retain = deletes.then(|| Change::of(&top.object, &WHEN_SCALED, Some(json!("Retain")))).flatten();
    Hold {
        target: Target::of(&top.kind, &top.object),
        early: replicas.into_iter().collect(),
        late: retain.into_iter().collect(),
        claim: None,
    }
}

/// Who would scale a workload up again because Git says so.
pub(crate) fn kept_by(object: &Value) -> Option<&'static str> {
    const FLUX: [&str; 2] = ["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"];
    if FLUX.iter().any(|name| !label(object, name).is_empty()) {
        return Some("Flux");
    }
    (!annotation(object, "argocd.argoproj.io/tracking-id").is_empty()).then_some("ArgoCD")
}

impl ScalePlan {
    /// Nobody uses the claims.
    pub(crate) async fn look(&self, acting: &Acting<'_>) -> Result<(), HookError> {
        let pods = consumers(acting.cluster, &self.namespace, &self.claims).await?;
        let Some(pod) = pods.first() else { return Ok(()) };
        let why = format!("pod {} uses it again", name_of(pod));
        let what = if self.workloads.is_empty() { "what uses it".to_owned() } else { self.workloads.join(", ") };
        Err(HookError::Stirred { what, why })
    }
}

/// Goes to zero and waits until no pod refers to the claims. After an error the journal says what is to be released.
pub async fn begin(acting: &Acting<'_>, plan: &ScalePlan, journal: &mut Journal) -> Result<(), HookError> {
    let cluster = acting.cluster;
    journal.add(cluster, plan.holds.iter().cloned().map(Entry::Hold), acting.clock.now()).await?;
    for hold in &plan.holds {
        hold.begin(cluster, &journal.run).await?;
    }
    let mut waited = Duration::ZERO;
    loop {
        let pods = consumers(cluster, &plan.namespace, &plan.claims).await?;
        if pods.is_empty() {
            return Ok(());
        }
        journal.renew_if_old(cluster, acting.clock.now()).await;
        let names = || pods.iter().map(|pod| name_of(pod).to_owned()).collect::<Vec<_>>().join(", ");
        let what = || format!("the pods {} of {} have ended", names(), plan.namespace);
        acting.wait(&mut waited, acting.waits.empty, what).await?;
    }
}

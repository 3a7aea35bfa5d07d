//! After a restore: whether what was restored came to life, by its own status, and what keeps from it what did not.
//!
//! Looked at again and again until all was ready twice in a row or the time is over; what fails for good is waited for no more. A claim that waits for its first pod, and has none, is
//! as it should be. Only at the end, and only for what is not ready, pods and events are read.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::Identity;
use super::plan::{ClusterPlan, Step};
use super::report::{Outcome, Report};
use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::cluster::event::Event;
use crate::cluster::list::{collect, whole};
use crate::cluster::object::{at, items, label, name_of, namespace_of, text, uid_of};
use crate::cluster::ready::{Readiness, obstacles, readiness};
use crate::cluster::{Cluster, ClusterError, Kind, kinds, selector};

/// Between two looks at everything that is not ready yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Pods of an object that are told of, and reasons and events of each object.
const PODS_TOLD: usize = 3;
const EVENTS_TOLD: usize = 3;

/// What is not ready, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Which.
    pub object: Identity,
    /// By its own status.
    pub why: String,
    /// What its pods say, each with its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<String>,
    /// The last events about it and its pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

/// What waiting came to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Waited {
    /// Objects that are ready.
    pub ready: usize,
    /// Those that are not.
    pub not_ready: Vec<NotReady>,
    /// How long was waited at most, in seconds.
    pub limit_seconds: u64,
    /// Somebody wanted it to stop.
    pub interrupted: bool,
}

/// Kinds that come to life: workloads, claims, and what is not Kubernetes' own.
fn lives(kind: &Kind) -> bool {
    match (kind.group.as_str(), kind.name.as_str()) {
        ("", "Pod" | "PersistentVolumeClaim")
        | ("apps", _)
        | ("batch", "Job")
        | ("apiregistration.k8s.io", "APIService") => true,
        _ => !kind.is_built_in(),
    }
}

/// One that is waited for.
struct Pending<'a> {
    step: &'a Step,
    why: String,
    live: Option<Value>,
    is_final: bool,
    /// It was ready at the look before: what ends again and again is ready for a moment each time.
    once: bool,
}

/// Waits until everything that was restored, or was there already, is ready.
pub async fn wait(
    cluster: &dyn Cluster,
    (plan, report): (&ClusterPlan, &Report),
    limit: Duration,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Waited, ClusterError> {
    let restored: BTreeSet<&Identity> = report
        .rows
        .iter()
        .filter(|row| {
            matches!(row.outcome, Outcome::Restored { .. } | Outcome::Empty | Outcome::ProvenEmpty | Outcome::Same)
        })
        .map(|row| &row.object)
        .collect();
    let steps = plan.steps.iter().filter(|step| lives(&step.kind) && restored.contains(&step.object));
    let pending =
        |step| Pending { step, why: "it was not looked at".to_owned(), live: None, is_final: false, once: false };
    let mut pending: Vec<Pending<'_>> = steps.map(pending).collect();
    let mut waited = Waited { limit_seconds: limit.as_secs(), ..Waited::default() };
    progress.expect(pending.len() as u64, 0, false);
    let (begun, mut was_over) = (Instant::now(), false);
    loop {
        let mut left = Vec::new();
        for mut one in pending {
            let is_ready = !one.is_final && look(cluster, &mut one).await?;
            if is_ready && one.once {
                waited.ready += 1;
                progress.add_file(0);
                continue;
            }
            if is_ready {
                "it was ready, and was not seen so twice in a row".clone_into(&mut one.why);
            }
            one.once = is_ready;
            left.push(one);
        }
        pending = left;
        let is_over = begun.elapsed() >= limit;
        // What was just seen ready is looked at once more, also when the time is over.
        if pending.iter().all(|one| one.is_final) || (is_over && (was_over || !pending.iter().any(|one| one.once))) {
            break;
        }
        was_over = is_over;
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = cancel.cancelled() => {
                waited.interrupted = true;
                break;
            }
        }
    }
    if !pending.is_empty() {
        waited.not_ready = explain(cluster, pending).await?;
    }
    Ok(waited)
}

/// Whether it is ready by now. What may not be read is not ready, and says so; only a cluster that is away is an error.
async fn look(cluster: &dyn Cluster, one: &mut Pending<'_>) -> Result<bool, ClusterError> {
    let Step { kind, object, .. } = one.step;
    match cluster.get(kind, object.namespace.as_deref(), &object.name).await {
        Ok(Some(live)) => {
            let found = readiness(kind, &live);
            let is_idle =
                kind.is("", "PersistentVolumeClaim") && found != Readiness::Ready && is_unused(cluster, &live).await;
            one.live = Some(live);
            match found {
                Readiness::Ready => return Ok(true),
                _ if is_idle => return Ok(true),
                Readiness::Waiting(why) => one.why = why,
                Readiness::Failed(why) => (one.why, one.is_final) = (why, true),
            }
        }
        Ok(None) => (one.why, one.live) = ("it is not there any more".to_owned(), None),
        Err(error) if error.is_of_the_cluster() => return Err(error),
        Err(error) => one.why = crate::base::causes::in_one_line(&error),
    }
    Ok(false)
}

/// Whether a claim waits for its first pod, and there is none.
pub(crate) async fn is_unused(cluster: &dyn Cluster, claim: &Value) -> bool {
    let class = text(claim, &["spec", "storageClassName"]);
    let classes = Kind::known("storage.k8s.io", "v1", "storageclasses", "StorageClass", false);
    let class = cluster.get(&classes, None, class).await.ok().flatten();
    if class.is_none_or(|class| text(&class, &["volumeBindingMode"]) != "WaitForFirstConsumer") {
        return false;
    }
    let uses = |pod: Value| (namespace_of(&pod) == namespace_of(claim) && mounts(&pod, name_of(claim))).then_some(());
    collect(cluster, &kinds::pods(), 0, uses).await.is_ok_and(|users| users.is_empty())
}

/// The kind of pods.
fn mounts(pod: &Value, claim: &str) -> bool {
    items(pod, &["spec", "volumes"]).iter().any(|volume| text(volume, &["persistentVolumeClaim", "claimName"]) == claim)
}

/// Whether a pod is of an object: chosen by its selector, made by it, or the pod that mounts the claim.
pub(crate) fn is_of(pod: &Value, kind: &Kind, live: &Value) -> bool {
    if namespace_of(pod) != namespace_of(live) {
        return false;
    }
    if kind.is("", "PersistentVolumeClaim") {
        return mounts(pod, name_of(live));
    }
    if kind.is("", "Pod") {
        return uid_of(pod) == uid_of(live);
    }
    let owned = items(pod, &["metadata", "ownerReferences"]).iter().any(|owner| text(owner, &["uid"]) == uid_of(live));
    let chosen = at(live, &["spec", "selector"]);
    let by_labels = matches!(kind.group.as_str(), "apps" | "batch")
        && chosen.is_object()
        && selector::takes(chosen, at(pod, &["metadata", "labels"]));
    // Operators mark what they made with the name of the object, in a label of theirs.
    let by_operator = !kind.is_built_in()
        && at(pod, &["metadata", "labels"]).as_object().is_some_and(|labels| {
            labels.iter().any(|(key, value)| key.contains(&kind.group) && value.as_str() == Some(name_of(live)))
        });
    owned
        || by_labels
        || by_operator
        || label(pod, "app.kubernetes.io/instance") == name_of(live) && !kind.is_built_in()
}

/// Why each is not ready, in the words of its pods and of the last events. What may not be read is left out.
async fn explain(cluster: &dyn Cluster, pending: Vec<Pending<'_>>) -> Result<Vec<NotReady>, ClusterError> {
    let namespaces: BTreeSet<Option<String>> = pending.iter().map(|one| one.step.object.namespace.clone()).collect();
    let near = |object: Value| namespaces.contains(&namespace_of(&object).map(str::to_owned)).then_some(object);
    let unless_away = |error: ClusterError| if error.is_of_the_cluster() { Err(error) } else { Ok(Vec::new()) };
    let all = whole(cluster, &kinds::pods(), near).await.or_else(unless_away)?;
    let events = whole(cluster, &kinds::events(), |object| near(object).map(|object| Event::of(&object))).await;
    let mut events = events.or_else(|error| if error.is_of_the_cluster() { Err(error) } else { Ok(Vec::new()) })?;
    events.sort_by(|a, b| b.cmp(a));
    let explained = pending.into_iter().map(|Pending { step, why, live, .. }| {
        let mut told = NotReady { object: step.object.clone(), why, pods: Vec::new(), events: Vec::new() };
        let Some(live) = live else { return told };
        let own: Vec<&Value> = all.iter().filter(|pod| is_of(pod, &step.kind, &live)).collect();
        let mut about: BTreeSet<&str> = own.iter().map(|pod| uid_of(pod)).collect();
        about.insert(uid_of(&live));
        for pod in &own {
            let reasons = obstacles(pod);
            // What it says itself needs no repetition.
            if !reasons.is_empty() && told.pods.len() < PODS_TOLD && !step.kind.is("", "Pod") {
                told.pods.push(format!("{}: {}", name_of(pod), reasons.join("; ")));
            }
        }
        let mut seen = BTreeSet::new();
        let last =
            events.iter().filter(|event| about.contains(event.about.as_str()) && seen.insert(event.words.clone()));
        told.events = last.take(EVENTS_TOLD).map(|event| event.words.clone()).collect();
        told
    });
    Ok(explained.collect())
}

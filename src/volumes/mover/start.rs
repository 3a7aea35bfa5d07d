//! Waiting for a mover's pod, and saying why it does not start.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Crew, MoverError, away, evidence};
use crate::cluster::object::{at, items, namespace_of, text, uid_of};
use crate::cluster::{Cluster, ClusterError};
use crate::volumes::kinds::pods;

/// From when on a start is told to take long: most images are pulled by then. As often, what keeps it is looked at again.
const LONG: Duration = Duration::from_secs(20);
/// Events that are told, the last ones.
const EVENTS_TOLD: usize = 4;

/// Whether its container has begun, or has ended already.
fn has_begun(pod: &Value) -> bool {
    let state = |field: &str| {
        !at(pod, &["status"]).is_null() && statuses(pod).any(|status| !at(status, &["state", field]).is_null())
    };
    state("running") || state("terminated") || has_ended(pod)
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    items(pod, &["status", "containerStatuses"]).iter()
}

pub(super) fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// Why the cluster takes a pod away, if it does: an eviction, a node that is drained or away.
pub(super) fn disruption(pod: &Value) -> Option<&Value> {
    items(pod, &["status", "conditions"]).iter().find(|it| text(it, &["type"]) == "DisruptionTarget")
}

/// How a container ended, in the cluster's words.
pub(super) fn ending(pod: &Value) -> String {
    let mut parts = vec![text(pod, &["status", "reason"]).to_owned(), text(pod, &["status", "message"]).to_owned()];
    // Some kubelets lose the reason of an eviction, and not this.
    if let Some(disrupted) = disruption(pod)
        && !parts.iter().any(|part| part == text(disrupted, &["message"]))
    {
        parts.extend(["reason", "message"].map(|field| text(disrupted, &[field]).to_owned()));
    }
    for status in statuses(pod) {
        let ended = at(status, &["state", "terminated"]);
        if !ended.is_null() {
            let code = at(ended, &["exitCode"]).as_i64().map(|code| format!("exit code {code}"));
            parts.extend([text(ended, &["reason"]).to_owned(), text(ended, &["message"]).to_owned()]);
            parts.extend(code);
        }
    }
    parts.retain(|part| !part.is_empty());
    if parts.is_empty() { "the cluster says nothing of it".to_owned() } else { parts.join(", ") }
}

/// A mover's pod. By its uid too: another pod that somebody gave its name is told nothing, least of all credentials.
#[derive(Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
}

impl Pod<'_> {
    /// As it is now; `None` when it is gone, or another has its name.
    pub(super) async fn look(self, cluster: &dyn Cluster) -> Result<Option<Value>, ClusterError> {
        let found = cluster.get(&pods(), Some(self.namespace), self.name).await?;
        Ok(found.filter(|pod| uid_of(pod) == self.uid))
    }
}

/// Waits until the container runs, or has run; when that takes long, the reason is shown meanwhile.
pub(super) async fn started(crew: &Crew<'_>, pod: Pod<'_>) -> Result<(), MoverError> {
    let waits = format!("pod {}/{} to start", pod.namespace, pod.name);
    let started = until_started(crew, pod, &waits).await;
    crew.progress.waits_for(&waits, None);
    started
}

async fn until_started(crew: &Crew<'_>, pod: Pod<'_>, waits: &str) -> Result<(), MoverError> {
    let (limit, begun) = (crew.start_timeout, Instant::now());
    let mut tell = begun + LONG;
    loop {
        let pod = match pod.look(crew.cluster).await {
            Ok(pod) => pod.ok_or(MoverError::Vanished)?,
            // The API server is away, and the pod may well be starting.
            Err(error) if !error.is_denied() && begun.elapsed() < limit => {
                sleep(crew.limits.poll).await;
                continue;
            }
            Err(error) => return Err(MoverError::Unreachable(error)),
        };
        if has_begun(&pod) {
            return Ok(());
        }
        if begun.elapsed() >= limit {
            return Err(MoverError::NeverStarted { limit, why: obstacles(crew.cluster, &pod).await });
        }
        if Instant::now() >= tell {
            crew.progress.waits_for(waits, Some(obstacles(crew.cluster, &pod).await));
            tell = Instant::now() + LONG;
        }
        sleep(crew.limits.poll).await;
    }
}

/// Everything that the cluster says about why a pod does not run.
async fn obstacles(cluster: &dyn Cluster, pod: &Value) -> String {
    let said = |reason: &str, message: &str| {
        let parts: Vec<&str> = [reason, message].into_iter().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join(": "))
    };
    let mut told: Vec<String> = Vec::new();
    if let Some(away) = away::node(cluster, pod).await {
        told.push(format!("its node {} does not answer: {}", away.node, away.why));
    }
    for condition in items(pod, &["status", "conditions"]) {
        if at(condition, &["status"]) == "False" {
            told.extend(said(text(condition, &["reason"]), text(condition, &["message"])));
        }
    }
    for status in statuses(pod) {
        let waiting = at(status, &["state", "waiting"]);
        told.extend(said(text(waiting, &["reason"]), text(waiting, &["message"])));
    }
    let events = evidence::of_pod(cluster, namespace_of(pod).unwrap_or_default(), uid_of(pod)).await;
    told.extend(events.into_iter().rev().take(EVENTS_TOLD));
    let mut seen = Vec::new();
    told.retain(|text| {
        !seen.contains(text) && {
            seen.push(text.clone());
            true
        }
    });
    if told.is_empty() { "the cluster says nothing of it".to_owned() } else { told.join("; ") }
}

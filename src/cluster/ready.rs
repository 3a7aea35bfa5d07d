//! Whether an object has become what it says: by its own status, with the rules that `kstatus` (sigs.k8s.io/cli-utils) has made common.
//!
//! Pure: an object in, an answer out. Where a rule differs from `kstatus` it says so: that asks whether a change has arrived, and this whether something is alive.

use std::fmt::Write as _;

use serde_json::Value;

use super::Kind;
use super::object::{at, is_dying, items, text};

/// How an object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// As it should be.
    Ready,
    /// Not yet, and why; waiting may help.
    Waiting(String),
    /// It will not become so by itself, and why.
    Failed(String),
}

use Readiness::{Failed, Ready, Waiting};

fn number(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).as_i64()
}

fn status(object: &Value, field: &str) -> i64 {
    number(object, &["status", field]).unwrap_or(0)
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, &["status", "conditions"]).iter().find(|condition| text(condition, &["type"]) == kind)
}

/// A condition in words: its type and value, reason and message.
fn said(condition: &Value) -> String {
    let mut words = format!("{} is {}", text(condition, &["type"]), text(condition, &["status"]));
    for (before, field) in [(" (", "reason"), (": ", "message")] {
        let more = text(condition, &[field]);
        if !more.is_empty() {
            words.push_str(before);
            words.push_str(more);
            if field == "reason" {
                words.push(')');
            }
        }
    }
    words
}

fn is(condition: Option<&Value>, wanted: &str) -> bool {
    condition.is_some_and(|condition| text(condition, &["status"]) == wanted)
}

/// The first of the numbers that is not reached, as `what have/wanted`.
fn reached(pairs: &[(&str, i64, i64)]) -> Readiness {
    match pairs.iter().find(|(_, have, wanted)| have < wanted) {
        Some((what, have, wanted)) => Waiting(format!("{what} {have}/{wanted}")),
        None => Ready,
    }
}

/// Whether an object is ready. Of kinds without rules of their own the conditions `Ready` and `Available` count; what has no status is ready.
#[must_use]
pub fn readiness(kind: &Kind, object: &Value) -> Readiness {
    if is_dying(object) {
        return Waiting("it is being deleted".to_owned());
    }
    let seen = number(object, &["status", "observedGeneration"]);
    if let (Some(seen), Some(now)) = (seen, number(object, &["metadata", "generation"]))
        && seen < now
    {
        return Waiting("its controller has not seen it yet".to_owned());
    }
    if let Some(stalled) = condition(object, "Stalled").filter(|stalled| is(Some(stalled), "True")) {
        return Failed(said(stalled));
    }
    if let Some(moving) = condition(object, "Reconciling").filter(|moving| is(Some(moving), "True")) {
        return Waiting(said(moving));
    }
    match (kind.group.as_str(), kind.name.as_str()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") => replica_set(object),
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("policy", "PodDisruptionBudget") => {
            reached(&[("healthy", status(object, "currentHealthy"), status(object, "desiredHealthy"))])
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("", "Service") => service(object),
        _ => general(object),
    }
}

fn replicas(object: &Value) -> i64 {
    number(object, &["spec", "replicas"]).unwrap_or(1)
}

fn deployment(object: &Value) -> Readiness {
    let wanted = replicas(object);
    let progressing = condition(object, "Progressing");
    let is_late = progressing.is_some_and(|it| text(it, &["reason"]) == "ProgressDeadlineExceeded");
    let (all, updated) = (status(object, "replicas"), status(object, "updatedReplicas"));
    let found = reached(&[
        ("replicas", all, wanted),
        ("updated", updated, wanted),
        ("available", status(object, "availableReplicas"), updated.max(wanted)),
        ("ready", status(object, "readyReplicas"), wanted),
    ]);
    match found {
        // The deadline is over, and what it waits for may come all the same.
        Waiting(why) if is_late => Waiting(format!("{why}: {}", progressing.map(said).unwrap_or_default())),
        Ready if all > wanted => Waiting(format!("{} old replicas are to end", all - wanted)),
        // Nothing has acted on it yet, or it has too few.
        Ready if !is(condition(object, "Available"), "True") => Waiting(
            condition(object, "Available").map_or_else(|| "its controller says nothing of it yet".to_owned(), said),
        ),
        found => found,
    }
}

fn stateful_set(object: &Value) -> Readiness {
    let wanted = replicas(object);
    if at(object, &["status", "observedGeneration"]).is_null() {
        return Waiting("its controller says nothing of it yet".to_owned());
    }
    let all = status(object, "replicas");
    let found = reached(&[("replicas", all, wanted), ("ready", status(object, "readyReplicas"), wanted)]);
    if found != Ready {
        return found;
    }
    if all > wanted {
        return Waiting(format!("{} replicas are to end", all - wanted));
    }
    // Which revision pods have is their owner's affair then.
    if text(object, &["spec", "updateStrategy", "type"]) == "OnDelete" {
        return Ready;
    }
    if let Some(partition) =
        number(object, &["spec", "updateStrategy", "rollingUpdate", "partition"]).filter(|it| *it > 0)
    {
        return reached(&[("updated", status(object, "updatedReplicas"), wanted - partition)]);
    }
    let [current, update] = ["currentRevision", "updateRevision"].map(|field| text(object, &["status", field]));
    if current == update { Ready } else { Waiting("pods of an earlier revision are to be replaced".to_owned()) }
}

fn daemon_set(object: &Value) -> Readiness {
    let wanted = number(object, &["status", "desiredNumberScheduled"]);
    let Some(wanted) = wanted.filter(|_| !at(object, &["status", "observedGeneration"]).is_null()) else {
        return Waiting("its controller says nothing of it yet".to_owned());
    };
    let mut pairs = vec![("placed", status(object, "currentNumberScheduled"), wanted)];
    if text(object, &["spec", "updateStrategy", "type"]) != "OnDelete" {
        pairs.push(("updated", status(object, "updatedNumberScheduled"), wanted));
    }
    pairs.push(("available", status(object, "numberAvailable"), wanted));
    pairs.push(("ready", status(object, "numberReady"), wanted));
    reached(&pairs)
}

fn replica_set(object: &Value) -> Readiness {
    if let Some(failure) = condition(object, "ReplicaFailure").filter(|it| is(Some(it), "True")) {
        return Waiting(said(failure));
    }
    let wanted = replicas(object);
    let all = status(object, "replicas");
    match reached(&[
        ("replicas", all, wanted),
        ("available", status(object, "availableReplicas"), wanted),
        ("ready", status(object, "readyReplicas"), wanted),
    ]) {
        Ready if all > wanted => Waiting(format!("{} replicas are to end", all - wanted)),
        found => found,
    }
}

/// A job that runs is as it should be; how long it takes is its own affair.
fn job(object: &Value) -> Readiness {
    if let Some(failed) = condition(object, "Failed").filter(|it| is(Some(it), "True")) {
        return Failed(said(failed));
    }
    let done = ["Complete", "SuccessCriteriaMet", "Suspended"].iter().any(|kind| is(condition(object, kind), "True"));
    if done || at(object, &["spec", "suspend"]) == true {
        return Ready;
    }
    if text(object, &["status", "startTime"]).is_empty() {
        return Waiting("it has not started".to_owned());
    }
    Ready
}

/// Why a container does not run, in the cluster's words.
fn obstacle(container: &Value) -> Option<String> {
    let waiting = at(container, &["state", "waiting"]);
    let reason = text(waiting, &["reason"]);
    // On its way.
    if reason.is_empty() || matches!(reason, "ContainerCreating" | "PodInitializing") {
        return None;
    }
    let mut words = format!("container {}: {reason}", text(container, &["name"]));
    let message = text(waiting, &["message"]);
    if !message.is_empty() {
        words.push_str(": ");
        words.push_str(message);
    }
    let last = at(container, &["lastState", "terminated"]);
    if let Some(code) = number(last, &["exitCode"]) {
        let _ = write!(words, " (it ended with {code}, {})", text(last, &["reason"]));
    }
    Some(words)
}

/// Everything that a pod says about why it is not ready; empty if nothing.
#[must_use]
pub fn obstacles(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let placed = condition(pod, "PodScheduled").filter(|it| is(Some(it), "False"));
    found.extend(placed.map(|placed| format!("{}: {}", text(placed, &["reason"]), text(placed, &["message"]))));
    for list in ["initContainerStatuses", "containerStatuses"] {
        found.extend(items(pod, &["status", list]).iter().filter_map(obstacle));
    }
    let own = [text(pod, &["status", "reason"]), text(pod, &["status", "message"])];
    let own: Vec<&str> = own.into_iter().filter(|words| !words.is_empty()).collect();
    if !own.is_empty() {
        found.push(own.join(": "));
    }
    let unready = condition(pod, "ContainersReady").filter(|it| is(Some(it), "False"));
    if let Some(unready) = unready.filter(|_| found.is_empty() && text(pod, &["status", "phase"]) == "Running") {
        found.push(said(unready));
    }
    found
}

fn pod(object: &Value) -> Readiness {
    let why = || {
        let all = obstacles(object);
        if all.is_empty() { text(object, &["status", "phase"]).to_owned() } else { all.join("; ") }
    };
    match text(object, &["status", "phase"]) {
        "Succeeded" => Ready,
        // `kstatus` takes this for done; whoever restored it would not.
        "Failed" => Failed(why()),
        "Running" if is(condition(object, "Ready"), "True") => Ready,
        "" => Waiting("nothing is known of it yet".to_owned()),
        _ => Waiting(why()),
    }
}

fn claim(object: &Value) -> Readiness {
    match text(object, &["status", "phase"]) {
        "Bound" => Ready,
        "Lost" => Failed("its volume is gone".to_owned()),
        "" => Waiting("nothing is known of it yet".to_owned()),
        phase => Waiting(format!("it is {phase}, and has no volume")),
    }
}

fn definition(object: &Value) -> Readiness {
    if let Some(refused) = condition(object, "NamesAccepted").filter(|it| is(Some(it), "False")) {
        return Failed(said(refused));
    }
    match condition(object, "Established") {
        Some(established) if is(Some(established), "True") => Ready,
        Some(established) if text(established, &["reason"]) != "Installing" => Failed(said(established)),
        _ => Waiting("it is not established".to_owned()),
    }
}

fn service(object: &Value) -> Readiness {
    let no_address = text(object, &["spec", "clusterIP"]).is_empty();
    let needs = text(object, &["spec", "type"]) == "LoadBalancer";
    if needs && no_address { Waiting("it has no address".to_owned()) } else { Ready }
}

fn general(object: &Value) -> Readiness {
    for kind in ["Ready", "Available"] {
        match condition(object, kind) {
            Some(found) if is(Some(found), "True") => return Ready,
            Some(found) => return Waiting(said(found)),
            None => {}
        }
    }
    Ready
}

#[cfg(test)]
mod tests;

//! Deployments, their replica sets, and daemon sets: enough to go to zero and back and to say so in their status.
//!
//! A changed template makes a new replica set and takes the old one to zero at once; there is no gradual rollout.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::kube::controllers::{MANAGER, controller_reference, is_controlled_by, is_dying};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::state::{State, now, text};

pub(crate) fn step(state: &mut State) {
    for set in state.objects("replicasets.apps") {
        if !is_dying(&set) {
            replicas(state, &set);
        }
        replica_status(state, &set);
    }
    for deployment in state.objects("deployments.apps") {
        if is_dying(&deployment) {
            observe(state, &deployment);
        } else {
            roll(state, &deployment);
        }
    }
    for set in state.objects("daemonsets.apps") {
        if !is_dying(&set) {
            daemons(state, &set);
        }
    }
}

/// Pods that a controller made.
pub(crate) fn pods_of(state: &State, owner: &Value) -> Vec<Arc<Value>> {
    state.objects("pods").into_iter().filter(|pod| is_controlled_by(pod, owner)).collect()
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    !is_dying(pod)
        && conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

pub(crate) fn has_ended(pod: &Value) -> bool {
    matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed")
}

/// A pod from a template, owned by its controller.
pub(crate) fn pod_from(owner: &Value, template: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": template["spec"]});
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            pod["metadata"][field] = template["metadata"][field].clone();
        }
    }
    pod["metadata"]["ownerReferences"] = json!([controller_reference(owner)]);
    pod
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn replicas(state: &mut State, set: &Value) {
    let namespace = text(&set["metadata"]["namespace"]).to_owned();
    let wanted = number(&set["spec"]["replicas"]);
    let pods: Vec<_> = pods_of(state, set).into_iter().filter(|pod| !is_dying(pod) && !has_ended(pod)).collect();
    let have = pods.len() as u64;
    for _ in have..wanted {
        let mut pod = pod_from(set, &set["spec"]["template"]);
        pod["metadata"]["generateName"] = format!("{}-", text(&set["metadata"]["name"])).into();
        let Some(pod) = state.make(MANAGER, &namespace, pod) else { break };
        let told = format!("Created pod: {}", text(&pod["metadata"]["name"]));
        state.event(set, "replicaset-controller", "Normal", "SuccessfulCreate", &told);
    }
    for pod in pods.iter().take(usize::try_from(have.saturating_sub(wanted)).unwrap_or(0)) {
        state.remove(MANAGER, pod, &DeleteOptions::default());
        let told = format!("Deleted pod: {}", text(&pod["metadata"]["name"]));
        state.event(set, "replicaset-controller", "Normal", "SuccessfulDelete", &told);
    }
}

fn replica_status(state: &mut State, set: &Value) {
    let pods: Vec<_> = pods_of(state, set).into_iter().filter(|pod| !has_ended(pod)).collect();
    let alive = pods.iter().filter(|pod| !is_dying(pod)).count();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let dying = pods.len() - alive;
    let mut status =
        json!({"replicas": alive, "observedGeneration": set["metadata"]["generation"], "terminatingReplicas": dying});
    if alive > 0 {
        status["fullyLabeledReplicas"] = alive.into();
    }
    if ready > 0 {
        status["readyReplicas"] = ready.into();
        status["availableReplicas"] = ready.into();
    }
    if set["status"] != status {
        state.change(MANAGER, set, "status", |object| object["status"] = status);
    }
}

/// Ten characters for a template, of the letters Kubernetes uses.
fn template_hash(template: &Value) -> String {
    const LETTERS: &[u8] = b"bcdf2456789";
    let digest = Sha256::digest(template.to_string());
    digest.iter().take(10).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

fn observe(state: &mut State, deployment: &Value) {
    state.change(MANAGER, deployment, "status", |object| {
        object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
    });
}

fn roll(state: &mut State, deployment: &Value) {
    let namespace = text(&deployment["metadata"]["namespace"]).to_owned();
    let name = text(&deployment["metadata"]["name"]).to_owned();
    let hash = template_hash(&deployment["spec"]["template"]);
    let set_name = format!("{name}-{hash}");
    let wanted = number(&deployment["spec"]["replicas"]);
    let sets: Vec<_> =
        state.objects("replicasets.apps").into_iter().filter(|set| is_controlled_by(set, deployment)).collect();
    for old in
        sets.iter().filter(|set| set["metadata"]["name"] != set_name.as_str() && number(&set["spec"]["replicas"]) > 0)
    {
        scale(state, deployment, old, 0);
    }
    let Some(set) = sets.iter().find(|set| set["metadata"]["name"] == set_name.as_str()) else {
        let revision = sets.len() + 1;
        let set = replica_set(deployment, &set_name, &hash, wanted, revision);
        if deployment["status"]["conditions"].as_array().is_none_or(Vec::is_empty) {
            let told = format!("Created new replica set \"{set_name}\"");
            let conditions = json!([progress("True", "NewReplicaSetCreated", &told)]);
            state.change(MANAGER, deployment, "status", |object| {
                object["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = revision.to_string().into();
                object["status"]["conditions"] = conditions;
            });
        }
        if state.make(MANAGER, &namespace, set).is_some() && wanted > 0 {
            let told = format!("Scaled up replica set {set_name} from 0 to {wanted}");
            state.event(deployment, "deployment-controller", "Normal", "ScalingReplicaSet", &told);
        }
        return;
    };
    if number(&set["spec"]["replicas"]) != wanted {
        scale(state, deployment, set, wanted);
    }
    status(state, deployment, set);
}

fn scale(state: &mut State, deployment: &Value, set: &Value, wanted: u64) {
    let had = number(&set["spec"]["replicas"]);
    let name = text(&set["metadata"]["name"]);
    state.change(MANAGER, set, "", |object| {
        object["spec"]["replicas"] = wanted.into();
        object["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"] = wanted.to_string().into();
    });
    let way = if wanted > had { "up" } else { "down" };
    let told = format!("Scaled {way} replica set {name} from {had} to {wanted}");
    state.event(deployment, "deployment-controller", "Normal", "ScalingReplicaSet", &told);
}

fn replica_set(deployment: &Value, name: &str, hash: &str, replicas: u64, revision: usize) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    let mut labels = template["metadata"]["labels"].clone();
    labels["pod-template-hash"] = hash.into();
    template["metadata"]["labels"] = labels.clone();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = hash.into();
    // A quarter more, rounded up, may be there during a rollout.
    let most = replicas + replicas.div_ceil(4);
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "labels": labels, "ownerReferences": [controller_reference(deployment)],
            "annotations": {
                "deployment.kubernetes.io/desired-replicas": replicas.to_string(),
                "deployment.kubernetes.io/max-replicas": most.to_string(),
                "deployment.kubernetes.io/revision": revision.to_string(),
            },
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    })
}

fn progress(status: &str, reason: &str, message: &str) -> Value {
    dated("Progressing", status, reason, message)
}

fn dated(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let now = now();
    json!({
        "type": kind, "status": status, "lastUpdateTime": now, "lastTransitionTime": now, "reason": reason, "message": message,
    })
}

fn status(state: &mut State, deployment: &Value, set: &Value) {
    let counts = &set["status"];
    let wanted = number(&deployment["spec"]["replicas"]);
    let (replicas, ready) = (number(&counts["replicas"]), number(&counts["readyReplicas"]));
    let name = text(&set["metadata"]["name"]);
    let mut status = json!({
        "observedGeneration": deployment["metadata"]["generation"],
        "terminatingReplicas": number(&counts["terminatingReplicas"]),
    });
    let mut set_count = |field: &str, value: u64| {
        if value > 0 {
            status[field] = value.into();
        }
    };
    set_count("replicas", replicas);
    set_count("updatedReplicas", replicas);
    set_count("readyReplicas", ready);
    set_count("availableReplicas", ready);
    set_count("unavailableReplicas", wanted.saturating_sub(ready));
    let available = if ready >= wanted {
        dated("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        dated("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let before = deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let old = |kind: &str| before.iter().find(|condition| condition["type"] == kind);
    let was_progressing = old("Progressing").map_or("", |condition| text(&condition["reason"]));
    let complete = ready >= wanted && replicas >= wanted;
    let progressing = if was_progressing == "NewReplicaSetAvailable" || complete {
        progress("True", "NewReplicaSetAvailable", &format!("ReplicaSet \"{name}\" has successfully progressed."))
    } else {
        progress("True", "ReplicaSetUpdated", &format!("ReplicaSet \"{name}\" is progressing."))
    };
    let kept = |new: Value| {
        let same = |old: &&Value| {
            old["type"] == new["type"] && old["status"] == new["status"] && old["reason"] == new["reason"]
        };
        before.iter().find(same).cloned().unwrap_or(new)
    };
    status["conditions"] = json!([kept(available), kept(progressing)]);
    if deployment["status"] != status {
        state.change(MANAGER, deployment, "status", |object| object["status"] = status);
    }
}

/// One pod a node.
fn daemons(state: &mut State, set: &Value) {
    let namespace = text(&set["metadata"]["namespace"]).to_owned();
    let pods = pods_of(state, set);
    let nodes = state.objects("nodes");
    for node in &nodes {
        let name = text(&node["metadata"]["name"]);
        let there = pods.iter().any(|pod| {
            let terms = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
            terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0] == name && !is_dying(pod)
        });
        if !there {
            let mut pod = pod_from(set, &set["spec"]["template"]);
            pod["metadata"]["generateName"] = format!("{}-", text(&set["metadata"]["name"])).into();
            let field = json!({"key": "metadata.name", "operator": "In", "values": [name]});
            pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
                json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
            state.make(MANAGER, &namespace, pod);
        }
    }
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let status = json!({
        "currentNumberScheduled": pods.len(), "numberMisscheduled": 0, "desiredNumberScheduled": nodes.len(),
        "numberReady": ready, "updatedNumberScheduled": pods.len(), "numberAvailable": ready,
        "observedGeneration": set["metadata"]["generation"],
    });
    if set["status"] != status {
        state.change(MANAGER, set, "status", |object| object["status"] = status);
    }
}

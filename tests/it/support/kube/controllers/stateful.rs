//! Stateful sets: pods with names that stay and claims of their own, and what the retention policy says of those claims.

use serde_json::{Value, json};

use crate::support::kube::controllers::workloads::{is_ready, pod_from, pods_of};
use crate::support::kube::controllers::{MANAGER, controller_reference, is_dying};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::state::{State, text};

pub(crate) fn step(state: &mut State) {
    for set in state.objects("statefulsets.apps") {
        if !is_dying(&set) {
            run(state, &set);
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn run(state: &mut State, set: &Value) {
    let namespace = text(&set["metadata"]["namespace"]).to_owned();
    let name = text(&set["metadata"]["name"]).to_owned();
    let wanted = number(&set["spec"]["replicas"]);
    let parallel = set["spec"]["podManagementPolicy"] == "Parallel";
    let first = number(&set["spec"]["ordinals"]["start"]);
    own_claims(state, set);
    for ordinal in first..first + wanted {
        let pod_name = format!("{name}-{ordinal}");
        let Some(pod) = state.object("pods", &namespace, &pod_name) else {
            create(state, set, &pod_name, ordinal);
            if parallel {
                continue;
            }
            break;
        };
        // The next one waits for this one.
        if !parallel && !is_ready(&pod) {
            break;
        }
    }
    let pods = pods_of(state, set);
    let ordinal_of = |pod: &Value| {
        text(&pod["metadata"]["name"]).rsplit('-').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut surplus: Vec<_> = pods.iter().filter(|pod| ordinal_of(pod) >= first + wanted).collect();
    surplus.sort_by_key(|pod| std::cmp::Reverse(ordinal_of(pod)));
    let busy = surplus.iter().any(|pod| is_dying(pod));
    if !busy && let Some(last) = surplus.first() {
        state.remove(MANAGER, last, &DeleteOptions::default());
        let told = format!("delete Pod {} in StatefulSet {name} successful", text(&last["metadata"]["name"]));
        state.event(set, "statefulset-controller", "Normal", "SuccessfulDelete", &told);
    }
    let alive = pods.iter().filter(|pod| !is_dying(pod)).count();
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let mut status = json!({
        "observedGeneration": set["metadata"]["generation"], "replicas": alive, "availableReplicas": ready,
        "currentRevision": format!("{name}-1"), "updateRevision": format!("{name}-1"), "collisionCount": 0,
    });
    for (field, count) in [("readyReplicas", ready), ("currentReplicas", alive), ("updatedReplicas", alive)] {
        if count > 0 {
            status[field] = count.into();
        }
    }
    if set["status"] != status {
        state.change(MANAGER, set, "status", |object| object["status"] = status);
    }
}

fn claim_name(template: &Value, pod: &str) -> String {
    format!("{}-{pod}", text(&template["metadata"]["name"]))
}

fn templates(set: &Value) -> Vec<Value> {
    set["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default()
}

fn create(state: &mut State, set: &Value, pod_name: &str, ordinal: u64) {
    let namespace = text(&set["metadata"]["namespace"]).to_owned();
    let mut pod = pod_from(set, &set["spec"]["template"]);
    pod["metadata"]["name"] = pod_name.into();
    pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] = pod_name.into();
    pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = ordinal.to_string().into();
    pod["spec"]["hostname"] = pod_name.into();
    for template in templates(set) {
        let claim = claim_name(&template, pod_name);
        if state.object("persistentvolumeclaims", &namespace, &claim).is_none() {
            let mut metadata = json!({"name": claim, "labels": set["spec"]["selector"]["matchLabels"]});
            if template["metadata"]["annotations"].is_object() {
                metadata["annotations"] = template["metadata"]["annotations"].clone();
            }
            let object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]});
            state.make(MANAGER, &namespace, object);
        }
        let name = &template["metadata"]["name"];
        let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": claim}});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => pod["spec"]["volumes"] = json!([volume]),
        }
    }
    if state.make(MANAGER, &namespace, pod).is_some() {
        let told = format!("create Pod {pod_name} in StatefulSet {} successful", text(&set["metadata"]["name"]));
        state.event(set, "statefulset-controller", "Normal", "SuccessfulCreate", &told);
    }
}

/// With `whenScaled: Delete` a claim whose pod is too many belongs to that pod, and goes with it; with `whenDeleted: Delete` claims
/// belong to the set.
fn own_claims(state: &mut State, set: &Value) {
    let namespace = text(&set["metadata"]["namespace"]).to_owned();
    let name = text(&set["metadata"]["name"]);
    let policy = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
    let (scaled, deleted) = (policy["whenScaled"] == "Delete", policy["whenDeleted"] == "Delete");
    let end = number(&set["spec"]["ordinals"]["start"]) + number(&set["spec"]["replicas"]);
    for template in templates(set) {
        let prefix = format!("{}-{name}-", text(&template["metadata"]["name"]));
        for claim in state.objects("persistentvolumeclaims") {
            let Some(ordinal) =
                text(&claim["metadata"]["name"]).strip_prefix(&prefix).and_then(|n| n.parse::<u64>().ok())
            else {
                continue;
            };
            if claim["metadata"]["namespace"] != namespace.as_str() || is_dying(&claim) {
                continue;
            }
            let pod = state.object("pods", &namespace, &format!("{name}-{ordinal}"));
            let mut owners = Vec::new();
            if deleted {
                let mut reference = controller_reference(set);
                reference["controller"] = false.into();
                reference["blockOwnerDeletion"] = false.into();
                owners.push(reference);
            }
            if scaled && ordinal >= end {
                let Some(pod) = pod else { continue };
                owners.clear();
                owners.push(json!({
                    "apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
                }));
            }
            let before = claim["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            if before != owners {
                state.change(MANAGER, &claim, "", |object| {
                    if let Some(metadata) = object["metadata"].as_object_mut() {
                        metadata.remove("ownerReferences");
                        if !owners.is_empty() {
                            metadata.insert("ownerReferences".into(), Value::Array(owners));
                        }
                    }
                });
            }
        }
    }
}

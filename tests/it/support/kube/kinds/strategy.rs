//! What creation and replacement do to an object besides storing it: which part is whose, generation, first status.

use serde_json::{Value, json};

use crate::support::kube::registry::Resource;

/// Whether the server counts changes of the specification.
pub(crate) fn counts_generations(resource: &Resource) -> bool {
    resource.custom.is_some()
        || matches!(
            (resource.group.as_str(), resource.kind.as_str()),
            ("", "Pod")
                | ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
                | ("batch", "Job" | "CronJob")
                | ("networking.k8s.io", "Ingress" | "IngressClass" | "NetworkPolicy")
                | ("policy", "PodDisruptionBudget")
                | ("apiextensions.k8s.io", "CustomResourceDefinition")
                | ("admissionregistration.k8s.io" | "flowcontrol.apiserver.k8s.io", _)
        )
}

/// Whether DELETE answers with the object where others say `Success`.
pub(crate) fn returns_deleted(resource: &Resource) -> bool {
    matches!(
        resource.kind.as_str(),
        "Pod"
            | "PodTemplate"
            | "ResourceQuota"
            | "ServiceAccount"
            | "PersistentVolume"
            | "PersistentVolumeClaim"
            | "Service"
    ) && resource.group.is_empty()
        || resource.group == "storage.k8s.io" && matches!(resource.kind.as_str(), "StorageClass" | "VolumeAttachment")
}

/// Top fields that a write through the main resource, or through a subresource, cannot change and so does not own.
pub(crate) fn reset_fields(resource: &Resource, subresource: &str) -> &'static [&'static str] {
    match subresource {
        "status" if resource.custom.is_some() => &["metadata", "spec"],
        "status" => &["spec"],
        _ if resource.has("status") => &["status"],
        _ => &[],
    }
}

pub(crate) fn prepare_create(resource: &Resource, object: &mut Value, now: &str) {
    let metadata = &object["metadata"];
    let (name, uid) = (metadata["name"].clone(), metadata["uid"].clone());
    if resource.custom.is_some() {
        if resource.has("status")
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
    } else {
        let status = match (resource.group.as_str(), resource.kind.as_str()) {
            ("", "Pod") => None,
            ("", "Namespace") => {
                object["spec"]["finalizers"] = json!(["kubernetes"]);
                Some(json!({"phase": "Active"}))
            }
            ("", "PersistentVolumeClaim") => Some(json!({"phase": "Pending"})),
            ("", "PersistentVolume") => Some(json!({"phase": "Pending", "lastPhaseTransitionTime": now})),
            ("", "Service") | ("networking.k8s.io", "Ingress") => Some(json!({"loadBalancer": {}})),
            ("policy", "PodDisruptionBudget") => {
                Some(json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}))
            }
            ("apps", "DaemonSet") => Some(json!({
                "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
            })),
            ("apps", "StatefulSet") => Some(json!({"replicas": 0, "availableReplicas": 0})),
            ("apps", "ReplicaSet") => Some(json!({"replicas": 0})),
            ("autoscaling", _) => Some(json!({"currentMetrics": null, "desiredReplicas": 0})),
            ("apiextensions.k8s.io", _) => {
                let stored: Vec<&Value> = object["spec"]["versions"].as_array().map_or_else(Vec::new, |versions| {
                    versions.iter().filter(|v| v["storage"] == true).map(|v| &v["name"]).collect()
                });
                Some(json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}))
            }
            _ if resource.has("status") => Some(json!({})),
            _ => None,
        };
        if let Some(status) = status {
            object["status"] = status;
        }
    }
    if resource.kind == "Job" && resource.group == "batch" && object["spec"]["manualSelector"] != true {
        job_labels(object, &name, &uid);
    }
    if resource.kind == "PersistentVolumeClaim" {
        mirror_data_source(&mut object["spec"]);
    }
}

fn job_labels(job: &mut Value, name: &Value, uid: &Value) {
    let labels = json!({
        "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name, "controller-uid": uid, "job-name": name,
    });
    job["spec"]["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    let no_labels = job["metadata"]["labels"].is_null();
    for (key, value) in labels.as_object().into_iter().flatten() {
        job["spec"]["template"]["metadata"]["labels"][key] = value.clone();
        if no_labels {
            job["metadata"]["labels"][key] = value.clone();
        }
    }
}

/// `dataSource` and `dataSourceRef` say the same, whichever was given.
fn mirror_data_source(spec: &mut Value) {
    let within_namespace = spec["dataSourceRef"]["namespace"].is_null();
    if spec["dataSource"].is_object() && spec["dataSourceRef"].is_null() {
        spec["dataSourceRef"] = spec["dataSource"].clone();
    } else if spec["dataSourceRef"].is_object() && spec["dataSource"].is_null() && within_namespace {
        let reference = &spec["dataSourceRef"];
        spec["dataSource"] =
            json!({"apiGroup": reference["apiGroup"], "kind": reference["kind"], "name": reference["name"]});
    }
    if spec["dataSourceRef"].is_object() && spec["dataSourceRef"].get("apiGroup").is_none() {
        spec["dataSourceRef"]["apiGroup"] = Value::Null;
    }
}

/// Keeps from the old state what this way of writing may not touch, and counts the generation.
pub(crate) fn prepare_update(resource: &Resource, subresource: &str, old: &Value, new: &mut Value) {
    const KEPT: [&str; 6] =
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"];
    for field in KEPT {
        keep(&mut new["metadata"], &old["metadata"], field);
    }
    if subresource == "status" {
        let status = new.as_object_mut().and_then(|new| new.remove("status"));
        let managed = new["metadata"].get("managedFields").cloned();
        let labels = (new["metadata"]["labels"].clone(), new["metadata"]["annotations"].clone());
        let version = new["metadata"]["resourceVersion"].clone();
        *new = old.clone();
        if let Some(status) = status {
            new["status"] = status;
        } else if let Some(map) = new.as_object_mut() {
            map.remove("status");
        }
        if resource.custom.is_none() {
            put(&mut new["metadata"], "labels", labels.0);
            put(&mut new["metadata"], "annotations", labels.1);
        }
        put(&mut new["metadata"], "resourceVersion", version);
        put(&mut new["metadata"], "managedFields", managed.unwrap_or_default());
        return;
    }
    if resource.has("status") {
        keep(new, old, "status");
    }
    if resource.kind == "PersistentVolumeClaim" {
        for field in ["volumeName", "dataSource", "dataSourceRef"] {
            if new["spec"].get(field).is_none_or(Value::is_null) {
                keep(&mut new["spec"], &old["spec"], field);
            }
        }
    }
    if resource.group.is_empty() && resource.kind == "Service" {
        keep_allocated(old, new);
    }
    if counts_generations(resource) && changes_generation(resource, old, new) {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
        new["metadata"]["generation"] = generation.into();
    }
}

/// What the server gave out stays, if a replacement leaves it out.
fn keep_allocated(old: &Value, new: &mut Value) {
    if old["spec"]["type"] == "ExternalName" || new["spec"]["type"] == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"] {
        if new["spec"].get(field).is_none_or(|value| value.is_null() || value == "") {
            keep(&mut new["spec"], &old["spec"], field);
        }
    }
    if new["spec"]["type"] == "ClusterIP" {
        return;
    }
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let before = old_ports.iter().find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"]);
        if let Some(before) = before.filter(|_| port.get("nodePort").is_none()) {
            keep(port, before, "nodePort");
        }
    }
}

fn changes_generation(resource: &Resource, old: &Value, new: &Value) -> bool {
    if resource.custom.is_none() && resource.group != "admissionregistration.k8s.io" {
        return old["spec"] != new["spec"];
    }
    let content = |object: &Value| {
        let mut object = object.clone();
        if let Some(map) = object.as_object_mut() {
            map.remove("metadata");
            if resource.has("status") {
                map.remove("status");
            }
        }
        object
    };
    content(old) != content(new)
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    put(new, field, old[field].clone());
}

fn put(object: &mut Value, field: &str, value: Value) {
    if value.is_null() {
        object.as_object_mut().and_then(|object| object.remove(field));
    } else {
        object[field] = value;
    }
}

//! The defaults of the built-in kinds: what the writer gets to own although it did not say it.

use serde_json::{Map, Value, json};

use crate::support::kube::kinds::pod;

/// Sets a field that is absent or null.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if object[field].is_null() {
        object[field] = value.into();
    }
}

/// Calls for each item of a list, if the list is there.
pub(crate) fn each(object: &mut Value, list: &str, mut run: impl FnMut(&mut Value)) {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(&mut run);
}

pub(crate) fn apply(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("", "Pod") => {
            pod::spec(&mut object["spec"]);
            set(&mut object["spec"], "enableServiceLinks", true);
            requests_from_limits(&mut object["spec"]);
        }
        ("", "Secret") => secret(object),
        ("", "Service") => service(&mut object["spec"]),
        ("", "PersistentVolumeClaim") => {
            claim(&mut object["spec"]);
            set(object, "status", json!({}));
            set(&mut object["status"], "phase", "Pending");
        }
        ("", "PersistentVolume") => {
            set(&mut object["spec"], "persistentVolumeReclaimPolicy", "Retain");
            set(&mut object["spec"], "volumeMode", "Filesystem");
            if object["spec"]["hostPath"].is_object() {
                set(&mut object["spec"]["hostPath"], "type", "");
            }
        }
        ("", "Namespace") => {
            let name = object["metadata"]["name"].clone();
            if name.is_string() {
                set(&mut object["metadata"], "labels", json!({}));
                object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            }
        }
        ("apps", "Deployment") => deployment(&mut object["spec"]),
        ("apps", "ReplicaSet") => {
            set(&mut object["spec"], "replicas", 1);
            pod::spec(&mut object["spec"]["template"]["spec"]);
        }
        ("apps", "StatefulSet") => stateful_set(&mut object["spec"]),
        ("apps", "DaemonSet") => {
            let spec = &mut object["spec"];
            pod::spec(&mut spec["template"]["spec"]);
            set(spec, "revisionHistoryLimit", 10);
            set(spec, "updateStrategy", json!({}));
            set(&mut spec["updateStrategy"], "type", "RollingUpdate");
            if spec["updateStrategy"]["type"] == "RollingUpdate" {
                set(&mut spec["updateStrategy"], "rollingUpdate", json!({"maxUnavailable": 1, "maxSurge": 0}));
            }
        }
        ("batch", "Job") => job(&mut object["spec"]),
        ("batch", "CronJob") => {
            let spec = &mut object["spec"];
            set(spec, "concurrencyPolicy", "Allow");
            set(spec, "suspend", false);
            set(spec, "successfulJobsHistoryLimit", 3);
            set(spec, "failedJobsHistoryLimit", 1);
            pod::spec(&mut spec["jobTemplate"]["spec"]["template"]["spec"]);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(&mut object["spec"]),
        ("storage.k8s.io", "StorageClass") => {
            set(object, "reclaimPolicy", "Delete");
            set(object, "volumeBindingMode", "Immediate");
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            set(&mut object["roleRef"], "apiGroup", "rbac.authorization.k8s.io");
            each(object, "subjects", |subject| {
                if subject["kind"] != "ServiceAccount" {
                    set(subject, "apiGroup", "rbac.authorization.k8s.io");
                }
            });
        }
        ("networking.k8s.io", "NetworkPolicy") => network_policy(&mut object["spec"]),
        ("autoscaling", "HorizontalPodAutoscaler") => set(&mut object["spec"], "minReplicas", 1),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            each(object, "webhooks", |hook| {
                set(hook, "failurePolicy", "Fail");
                set(hook, "matchPolicy", "Equivalent");
                set(hook, "namespaceSelector", json!({}));
                set(hook, "objectSelector", json!({}));
                set(hook, "timeoutSeconds", 10);
                if kind.starts_with("Mutating") {
                    set(hook, "reinvocationPolicy", "Never");
                }
                each(hook, "rules", |rule| set(rule, "scope", "*"));
                if hook["clientConfig"]["service"].is_object() {
                    set(&mut hook["clientConfig"]["service"], "port", 443);
                }
            });
        }
        _ => {}
    }
}

fn requests_from_limits(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        each(spec, list, |container| {
            let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
            for (name, limit) in limits {
                set(&mut container["resources"]["requests"], &name, limit);
            }
        });
        if spec[list].is_null() {
            spec.as_object_mut().and_then(|spec| spec.remove(list));
        }
    }
}

fn secret(object: &mut Value) {
    let plain = object.as_object_mut().and_then(|object| object.remove("stringData"));
    for (key, value) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let bytes = value.as_str().unwrap_or_default().as_bytes();
        object["data"][key] = data_encoding::BASE64.encode(bytes).into();
    }
    set(object, "type", "Opaque");
}

fn service(spec: &mut Value) {
    set(spec, "type", "ClusterIP");
    set(spec, "sessionAffinity", "None");
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    each(spec, "ports", |port| {
        set(port, "protocol", "TCP");
        let same = port["port"].clone();
        set(port, "targetPort", same);
    });
}

pub(crate) fn claim(spec: &mut Value) {
    set(spec, "volumeMode", "Filesystem");
    // A claim as source has no group, and a real server writes that down for both.
    for field in ["dataSource", "dataSourceRef"] {
        if spec[field].is_object() {
            set(&mut spec[field], "apiGroup", Value::Null);
        }
    }
}

fn deployment(spec: &mut Value) {
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    set(spec, "strategy", json!({}));
    set(&mut spec["strategy"], "type", "RollingUpdate");
    if spec["strategy"]["type"] == "RollingUpdate" {
        set(&mut spec["strategy"], "rollingUpdate", json!({}));
        set(&mut spec["strategy"]["rollingUpdate"], "maxUnavailable", "25%");
        set(&mut spec["strategy"]["rollingUpdate"], "maxSurge", "25%");
    }
    pod::spec(&mut spec["template"]["spec"]);
}

fn stateful_set(spec: &mut Value) {
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "podManagementPolicy", "OrderedReady");
    set(spec, "updateStrategy", json!({}));
    set(&mut spec["updateStrategy"], "type", "RollingUpdate");
    if spec["updateStrategy"]["type"] == "RollingUpdate" {
        set(&mut spec["updateStrategy"], "rollingUpdate", json!({}));
        set(&mut spec["updateStrategy"]["rollingUpdate"], "partition", 0);
    }
    set(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    set(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenDeleted", "Retain");
    set(&mut spec["persistentVolumeClaimRetentionPolicy"], "whenScaled", "Retain");
    each(spec, "volumeClaimTemplates", |template| {
        set(template, "apiVersion", "v1");
        set(template, "kind", "PersistentVolumeClaim");
        set(template, "status", json!({"phase": "Pending"}));
        claim(&mut template["spec"]);
    });
    pod::spec(&mut spec["template"]["spec"]);
}

fn job(spec: &mut Value) {
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        set(spec, "completions", 1);
    }
    set(spec, "parallelism", 1);
    set(spec, "backoffLimit", 6);
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    set(spec, "manualSelector", false);
    set(spec, "podReplacementPolicy", "TerminatingOrFailed");
    pod::spec(&mut spec["template"]["spec"]);
}

fn definition(spec: &mut Value) {
    set(spec, "conversion", json!({"strategy": "None"}));
    let kind = spec["names"]["kind"].as_str().unwrap_or_default().to_owned();
    set(&mut spec["names"], "listKind", format!("{kind}List"));
    set(&mut spec["names"], "singular", kind.to_lowercase());
}

fn network_policy(spec: &mut Value) {
    set(spec, "podSelector", Value::Object(Map::new()));
    if spec["policyTypes"].is_null() {
        let egress = spec["egress"].is_array();
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
    for side in ["ingress", "egress"] {
        each(spec, side, |rule| each(rule, "ports", |port| set(port, "protocol", "TCP")));
    }
    if let Some(map) = spec.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

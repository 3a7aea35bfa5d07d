//! What is in a cluster before anybody uses it: namespaces, a node, storage classes with a CSI driver and local volumes, snapshots.

use serde_json::{Value, json};

use crate::support::kube::controllers;
use crate::support::kube::state::State;

pub(crate) const CSI_DRIVER: &str = "hostpath.csi.k8s.io";
pub(crate) const LOCAL_PATH: &str = "rancher.io/local-path";
pub(crate) const NODE: &str = "lab-node";

pub(crate) fn fill(state: &mut State) {
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        state.make("kube-apiserver", "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }
    controllers::accounts::step(state);
    if let Some(service) = state.make("kube-apiserver", "default", kubernetes()) {
        state.edit(&service, |service| {
            service["spec"]["clusterIP"] = "10.96.0.1".into();
            service["spec"]["clusterIPs"] = json!(["10.96.0.1"]);
        });
    }
    node(state, NODE);
    let class = |name: &str, provisioner: &str, mode: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}, "provisioner": provisioner,
            "reclaimPolicy": "Delete", "volumeBindingMode": mode,
        })
    };
    state.make("kubectl", "", class("csi-hostpath-sc", CSI_DRIVER, "Immediate"));
    state.make("kubectl", "", class("local-path", LOCAL_PATH, "WaitForFirstConsumer"));
    let driver = json!({
        "attachRequired": true, "podInfoOnMount": true, "volumeLifecycleModes": ["Persistent"], "fsGroupPolicy": "File",
    });
    let driver = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": CSI_DRIVER}, "spec": driver});
    state.make("kubectl", "", driver);
    for definition in snapshot_definitions() {
        state.make("kubectl", "", definition);
    }
    // Names accepted, established.
    for _ in 0..2 {
        controllers::definitions::step(state);
    }
    state.make(
        "kubectl",
        "",
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": {"name": "csi-hostpath-snapclass"}, "driver": CSI_DRIVER, "deletionPolicy": "Delete",
        }),
    );
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)] {
        state.make("kube-apiserver", "", json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
        }));
    }
    let rule = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    state.make("kube-apiserver", "", json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "cluster-admin"}, "rules": [rule],
    }));
}

fn kubernetes() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
    })
}

/// A node that is ready and takes pods.
pub(crate) fn node(state: &mut State, name: &str) {
    let labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64",
    });
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}});
    let Some(node) = state.make("kubelet", "", node) else { return };
    state.change("kubelet", &node, "status", |object| {
        let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        object["status"] = json!({
            "capacity": capacity, "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": "192.0.2.10"}, {"type": "Hostname", "address": name}],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
                "lastHeartbeatTime": crate::support::kube::state::now(),
                "lastTransitionTime": crate::support::kube::state::now(),
            }],
            "nodeInfo": {"kubeletVersion": "v1.36.2", "operatingSystem": "linux", "architecture": "amd64"},
        });
    });
}

/// The definitions of CSI snapshots, as far as they are used: what is required, what has a status, what is kept.
fn snapshot_definitions() -> Vec<Value> {
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let string = || json!({"type": "string"});
    let free = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let error = object(json!({"message": string(), "time": string()}));
    let snapshot = json!({
        "type": "object", "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["source"],
                "properties": {
                    "source": object(json!({"persistentVolumeClaimName": string(), "volumeSnapshotContentName": string()})),
                    "volumeSnapshotClassName": string(),
                },
            },
            "status": object(json!({
                "boundVolumeSnapshotContentName": string(), "creationTime": string(), "readyToUse": {"type": "boolean"},
                "restoreSize": {"type": "string"}, "error": error,
            })),
        },
    });
    let content = json!({
        "type": "object", "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object", "required": ["deletionPolicy", "driver", "source", "volumeSnapshotRef"],
                "properties": {
                    "deletionPolicy": {"type": "string", "enum": ["Delete", "Retain"]}, "driver": string(),
                    "source": object(json!({"snapshotHandle": string(), "volumeHandle": string()})),
                    "sourceVolumeMode": string(), "volumeSnapshotClassName": string(),
                    "volumeSnapshotRef": json!({"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
                        "apiVersion": string(), "fieldPath": string(), "kind": string(), "name": string(), "namespace": string(),
                        "resourceVersion": string(), "uid": string(),
                    }}),
                },
            },
            "status": object(json!({
                "creationTime": {"type": "integer"}, "readyToUse": {"type": "boolean"}, "restoreSize": {"type": "integer"},
                "snapshotHandle": string(), "error": error,
            })),
        },
    });
    let class = json!({
        "type": "object", "required": ["deletionPolicy", "driver"],
        "properties": {"deletionPolicy": {"type": "string", "enum": ["Delete", "Retain"]}, "driver": string(), "parameters": free()},
    });
    vec![
        definition("VolumeSnapshot", &["vs"], "Namespaced", &snapshot, true),
        definition("VolumeSnapshotClass", &["vsclass", "vsclasses"], "Cluster", &class, false),
        definition("VolumeSnapshotContent", &["vsc", "vscs"], "Cluster", &content, true),
    ]
}

fn definition(kind: &str, short: &[&str], scope: &str, schema: &Value, status: bool) -> Value {
    const GROUP: &str = "snapshot.storage.k8s.io";
    let singular = kind.to_lowercase();
    let plural = if singular.ends_with("ss") { format!("{singular}es") } else { format!("{singular}s") };
    let mut version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    if status {
        version["subresources"] = json!({"status": {}});
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP, "scope": scope, "versions": [version],
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": singular, "shortNames": short},
        },
    })
}

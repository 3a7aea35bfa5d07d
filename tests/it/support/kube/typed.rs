//! What a built-in kind knows: unknown fields, wrong types, what an empty object of the kind has.
//!
//! The types are k8s-openapi's for 1.33; a field that came later is unknown here.

use k8s_openapi::api::{
    admissionregistration, apps, autoscaling, batch, coordination, core, discovery, networking, node, policy, rbac,
    scheduling, storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

type RoundTrip = fn(&Value) -> Result<Value, String>;

fn round_trip<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(&typed).map_err(|error| error.to_string())
}

fn of(group: &str, kind: &str) -> Option<RoundTrip> {
    Some(match (group, kind) {
        ("", "ConfigMap") => round_trip::<core::v1::ConfigMap>,
        ("", "Secret") => round_trip::<core::v1::Secret>,
        ("", "Namespace") => round_trip::<core::v1::Namespace>,
        ("", "Node") => round_trip::<core::v1::Node>,
        ("", "PersistentVolume") => round_trip::<core::v1::PersistentVolume>,
        ("", "PersistentVolumeClaim") => round_trip::<core::v1::PersistentVolumeClaim>,
        ("", "Pod") => round_trip::<core::v1::Pod>,
        ("", "Service") => round_trip::<core::v1::Service>,
        ("", "ServiceAccount") => round_trip::<core::v1::ServiceAccount>,
        ("", "LimitRange") => round_trip::<core::v1::LimitRange>,
        ("", "ResourceQuota") => round_trip::<core::v1::ResourceQuota>,
        ("", "Endpoints") => round_trip::<core::v1::Endpoints>,
        ("apps", "Deployment") => round_trip::<apps::v1::Deployment>,
        ("apps", "StatefulSet") => round_trip::<apps::v1::StatefulSet>,
        ("apps", "DaemonSet") => round_trip::<apps::v1::DaemonSet>,
        ("apps", "ReplicaSet") => round_trip::<apps::v1::ReplicaSet>,
        ("batch", "Job") => round_trip::<batch::v1::Job>,
        ("batch", "CronJob") => round_trip::<batch::v1::CronJob>,
        ("autoscaling", "HorizontalPodAutoscaler") => round_trip::<autoscaling::v2::HorizontalPodAutoscaler>,
        ("coordination.k8s.io", "Lease") => round_trip::<coordination::v1::Lease>,
        ("discovery.k8s.io", "EndpointSlice") => round_trip::<discovery::v1::EndpointSlice>,
        ("networking.k8s.io", "Ingress") => round_trip::<networking::v1::Ingress>,
        ("networking.k8s.io", "IngressClass") => round_trip::<networking::v1::IngressClass>,
        ("networking.k8s.io", "NetworkPolicy") => round_trip::<networking::v1::NetworkPolicy>,
        ("node.k8s.io", "RuntimeClass") => round_trip::<node::v1::RuntimeClass>,
        ("policy", "PodDisruptionBudget") => round_trip::<policy::v1::PodDisruptionBudget>,
        ("rbac.authorization.k8s.io", "Role") => round_trip::<rbac::v1::Role>,
        ("rbac.authorization.k8s.io", "RoleBinding") => round_trip::<rbac::v1::RoleBinding>,
        ("rbac.authorization.k8s.io", "ClusterRole") => round_trip::<rbac::v1::ClusterRole>,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => round_trip::<rbac::v1::ClusterRoleBinding>,
        ("scheduling.k8s.io", "PriorityClass") => round_trip::<scheduling::v1::PriorityClass>,
        ("storage.k8s.io", "StorageClass") => round_trip::<storage::v1::StorageClass>,
        ("storage.k8s.io", "CSIDriver") => round_trip::<storage::v1::CSIDriver>,
        ("storage.k8s.io", "VolumeAttachment") => round_trip::<storage::v1::VolumeAttachment>,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            round_trip::<admissionregistration::v1::ValidatingWebhookConfiguration>
        }
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => {
            round_trip::<admissionregistration::v1::MutatingWebhookConfiguration>
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            round_trip::<apiextensions::v1::CustomResourceDefinition>
        }
        ("apiregistration.k8s.io", "APIService") => round_trip::<apiregistration::v1::APIService>,
        _ => return None,
    })
}

/// Takes out what the kind does not have, and names it; an error says what has the wrong type.
pub(crate) fn prune(group: &str, kind: &str, object: &mut Value) -> Result<Vec<String>, String> {
    let Some(round_trip) = of(group, kind) else { return Ok(Vec::new()) };
    // `managedFields: [{}]` says something (see managed.rs) that the types cannot hold.
    let managed = object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
    let known = round_trip(object)?;
    let mut unknown = Vec::new();
    keep_known(object, &known, "", &mut unknown);
    if let Some(managed) = managed {
        object["metadata"]["managedFields"] = managed;
    }
    drop_empty(object, "");
    Ok(unknown)
}

fn keep_known(value: &mut Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(map), Value::Object(known)) => {
            map.retain(|key, value| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let Some(known) = known.get(key) else {
                    if !value.is_null() {
                        unknown.push(path);
                    }
                    return false;
                };
                keep_known(value, known, &path, unknown);
                true
            });
        }
        (Value::Array(list), Value::Array(known)) => {
            for (at, (value, known)) in list.iter_mut().zip(known).enumerate() {
                keep_known(value, known, &format!("{path}[{at}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Go leaves out lists and maps without members, but not structs without fields.
const MAPS: [&str; 12] = [
    "labels",
    "annotations",
    "data",
    "binaryData",
    "stringData",
    "matchLabels",
    "nodeSelector",
    "limits",
    "requests",
    "parameters",
    "capacity",
    "hard",
];

pub(crate) fn drop_empty(value: &mut Value, parent: &str) {
    match value {
        // A schema in a definition is data, not structure.
        Value::Object(map) if parent != "openAPIV3Schema" => {
            map.retain(|key, value| {
                drop_empty(value, key);
                let empty_map = MAPS.contains(&key.as_str()) && value.as_object().is_some_and(Map::is_empty);
                !(empty_map || value.as_array().is_some_and(Vec::is_empty))
            });
        }
        Value::Array(list) => list.iter_mut().for_each(|value| drop_empty(value, parent)),
        _ => {}
    }
}

/// What a new object of the kind has before anybody sets anything: the fields Go writes even when empty. A field that is here is
/// not owned as a whole by whoever fills it.
pub(crate) fn zero(group: &str, kind: &str) -> Value {
    let template = json!({"metadata": {}, "spec": {"containers": null}});
    let mut zero = match (group, kind) {
        ("apps", "Deployment") => {
            json!({"spec": {"selector": null, "template": template, "strategy": {}}, "status": {}})
        }
        ("apps", "DaemonSet") => {
            json!({"spec": {"selector": null, "template": template, "updateStrategy": {}}, "status": {}})
        }
        ("apps", "StatefulSet") => {
            json!({"spec": {"selector": null, "template": template, "updateStrategy": {}}, "status": {}})
        }
        ("apps", "ReplicaSet") => json!({"spec": {"selector": null, "template": template}, "status": {}}),
        ("batch", "Job") => json!({"spec": {"template": template}, "status": {}}),
        ("batch", "CronJob") => {
            json!({"spec": {"schedule": "", "jobTemplate": {"metadata": {}, "spec": {"template": template}}}, "status": {}})
        }
        ("", "Pod") => json!({"spec": {"containers": null}, "status": {}}),
        ("", "Service") => json!({"spec": {}, "status": {"loadBalancer": {}}}),
        ("", "PersistentVolumeClaim") => json!({"spec": {"resources": {}}, "status": {}}),
        ("", "LimitRange") => json!({"spec": {"limits": null}}),
        ("", "Event") => json!({"involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null}),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => json!({
            "spec": {"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": null},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null},
        }),
        ("networking.k8s.io", "NetworkPolicy") => json!({"spec": {"podSelector": {}}}),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => json!({"rules": null}),
        ("rbac.authorization.k8s.io", _) => json!({"roleRef": {"apiGroup": "", "kind": "", "name": ""}}),
        ("autoscaling", _) => {
            json!({"spec": {"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0}, "status": {}})
        }
        ("discovery.k8s.io", _) => json!({"addressType": "", "endpoints": null, "ports": null}),
        ("storage.k8s.io", "StorageClass") => json!({"provisioner": ""}),
        (
            "" | "policy" | "networking.k8s.io" | "coordination.k8s.io" | "authentication.k8s.io" | "storage.k8s.io",
            _,
        )
        | ("authorization.k8s.io" | "apiregistration.k8s.io" | "certificates.k8s.io" | "resource.k8s.io", _) => {
            json!({"spec": {}, "status": {}})
        }
        _ => json!({}),
    };
    zero["metadata"] = json!({});
    zero
}

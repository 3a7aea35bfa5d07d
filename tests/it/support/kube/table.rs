//! Other shapes of an answer: a table for people, metadata only.

use serde_json::{Value, json};

use crate::support::kube::registry::Resource;
use crate::support::kube::state::{parse_time, text};

/// What a client wants to see, by its `Accept` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Whole,
    Table,
    Metadata,
}

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a \
    client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and \
    configuration definition. Cannot be updated. More info: \
    https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to \
    be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and \
    is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const DATA: &str = "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values \
    with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the \
    BinaryData field, this is enforced during validation process.";

/// How a kind fills one cell.
type Cell = (&'static str, &'static str, fn(&Value) -> Value);

fn string(object: &Value, pointer: &str) -> Value {
    match object.pointer(pointer) {
        None | Some(Value::Null) => "".into(),
        Some(Value::String(text)) => text.as_str().into(),
        Some(other) => other.to_string().into(),
    }
}

fn ready(object: &Value) -> Value {
    let count = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    format!("{}/{}", count("/status/readyReplicas"), count("/spec/replicas")).into()
}

fn columns(resource: &Resource) -> Vec<Cell> {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "ConfigMap") => vec![("Data", DATA, |object| {
            let count = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
            (count("data") + count("binaryData")).into()
        })],
        ("", "Secret") => vec![
            ("Type", "", |object| string(object, "/type")),
            ("Data", "", |object| object["data"].as_object().map_or(0, serde_json::Map::len).into()),
        ],
        ("", "Namespace") => vec![("Status", "", |object| string(object, "/status/phase"))],
        ("", "Pod") => vec![
            ("Ready", "", |object| {
                let statuses = object["status"]["containerStatuses"].as_array().into_iter().flatten();
                let ready = statuses.filter(|status| status["ready"] == true).count();
                format!("{ready}/{}", object["spec"]["containers"].as_array().map_or(0, Vec::len)).into()
            }),
            ("Status", "", pod_status),
            ("Restarts", "", |object| {
                let statuses = object["status"]["containerStatuses"].as_array().into_iter().flatten();
                statuses.filter_map(|status| status["restartCount"].as_u64()).sum::<u64>().to_string().into()
            }),
        ],
        ("", "PersistentVolumeClaim") => vec![
            ("Status", "", |object| string(object, "/status/phase")),
            ("Volume", "", |object| string(object, "/spec/volumeName")),
            ("Capacity", "", |object| string(object, "/status/capacity/storage")),
            ("StorageClass", "", |object| string(object, "/spec/storageClassName")),
        ],
        ("", "PersistentVolume") => vec![
            ("Capacity", "", |object| string(object, "/spec/capacity/storage")),
            ("Reclaim Policy", "", |object| string(object, "/spec/persistentVolumeReclaimPolicy")),
            ("Status", "", |object| string(object, "/status/phase")),
            ("Claim", "", |object| {
                let claim = &object["spec"]["claimRef"];
                if claim.is_null() {
                    "".into()
                } else {
                    format!("{}/{}", text(&claim["namespace"]), text(&claim["name"])).into()
                }
            }),
        ],
        ("apps", "Deployment" | "StatefulSet") => vec![("Ready", "", ready)],
        ("", "Service") => vec![
            ("Type", "", |object| string(object, "/spec/type")),
            ("Cluster-IP", "", |object| string(object, "/spec/clusterIP")),
        ],
        _ => Vec::new(),
    }
}

fn pod_status(pod: &Value) -> Value {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".into();
    }
    let state = &pod["status"]["containerStatuses"][0]["state"];
    for kind in ["waiting", "terminated"] {
        if let Some(reason) = state[kind]["reason"].as_str() {
            return reason.into();
        }
    }
    string(pod, "/status/phase")
}

/// Time since creation, as short as kubectl shows it.
fn age(object: &Value) -> Value {
    let Some(created) = parse_time(&object["metadata"]["creationTimestamp"]) else { return "<unknown>".into() };
    let seconds = (chrono::Utc::now() - created).num_seconds().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0..=1) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h"),
        _ => format!("{days}d"),
    }
    .into()
}

/// A column of a custom resource's own making; plain paths only.
fn printer_cell(column: &Value, object: &Value) -> Value {
    let path = text(&column["jsonPath"]).trim_start_matches('.').replace('.', "/");
    object.pointer(&format!("/{path}")).cloned().unwrap_or_default()
}

pub(crate) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// A table of objects; `metadata` is the list's.
pub(crate) fn table(resource: &Resource, objects: &[Value], metadata: Value, definitions: bool) -> Value {
    let define = |name: &str, format: &str, kind: &str, description: &str| json!({"name": name, "type": kind, "format": format, "description": description, "priority": 0});
    let own = columns(resource);
    let printed: Vec<Value> = resource
        .custom
        .as_ref()
        .and_then(|custom| custom.version["additionalPrinterColumns"].as_array().cloned())
        .unwrap_or_default();
    let mut columns = vec![define("Name", "name", "string", NAME)];
    columns.extend(own.iter().map(|(name, description, _)| define(name, "", "string", description)));
    columns.extend(printed.iter().map(|column| define(text(&column["name"]), "", text(&column["type"]), "")));
    let has_age = printed.is_empty();
    if has_age {
        let (kind, description) = if resource.custom.is_some() { ("date", "") } else { ("string", AGE) };
        columns.push(define("Age", "", kind, description));
    }
    let row = |object: &Value| {
        let mut cells = vec![object["metadata"]["name"].clone()];
        cells.extend(own.iter().map(|(_, _, cell)| cell(object)));
        cells.extend(printed.iter().map(|column| printer_cell(column, object)));
        if has_age {
            cells.push(age(object));
        }
        json!({"cells": cells, "object": partial(object)})
    };
    let mut table = json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    });
    table["columnDefinitions"] = if definitions { Value::Array(columns) } else { Value::Null };
    table
}

/// One object in the shape that was asked for.
pub(crate) fn shaped(shape: Shape, resource: &Resource, object: Value, definitions: bool) -> Value {
    match shape {
        Shape::Whole => object,
        Shape::Metadata => partial(&object),
        Shape::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            table(resource, &[object], metadata, definitions)
        }
    }
}

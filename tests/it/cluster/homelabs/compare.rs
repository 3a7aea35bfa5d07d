//! Two clusters, object by object and field by field: what differs has a reason that the documentation gives, or the test fails. Knows nothing of how the
//! program decides: the reasons are written here once more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::kube::server::KubeServer;

/// Table, namespace, name.
pub(super) type Key = (String, String, String);
pub(super) type Objects = BTreeMap<Key, Value>;

pub(super) fn key_of(table: &str, object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (table.to_owned(), text("namespace"), text("name"))
}

pub(super) fn named((table, namespace, name): &Key) -> String {
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    format!("{table} {place}{name}")
}

/// All objects of a server but events.
pub(super) fn everything(server: &KubeServer) -> Objects {
    server.shared.with(|state| {
        let tables: BTreeSet<String> = state.resources.iter().map(|resource| resource.table()).collect();
        let tables = tables.into_iter().filter(|table| table != "events");
        let of = |table: String| {
            let objects = state.objects(&table);
            objects.into_iter().map(|object| (key_of(&table, &object), (*object).clone())).collect::<Vec<_>>()
        };
        tables.flat_map(of).collect()
    })
}

/// Owners by their names in the place of their uids, which are others in another cluster; and without what controllers wrote into the status, and when.
fn settle(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(name) = names.get(text) {
                *text = name.clone();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| settle(item, names)),
        Value::Object(map) => {
            let renamed: Vec<(String, Value)> = std::mem::take(map)
                .into_iter()
                .map(|(key, mut value)| {
                    settle(&mut value, names);
                    let uid = key.strip_prefix("k:{\"uid\":\"").and_then(|rest| rest.strip_suffix("\"}"));
                    let name = uid.and_then(|uid| names.get(uid)).cloned();
                    (name.unwrap_or(key), value)
                })
                .collect();
            map.extend(renamed);
        }
        _ => {}
    }
}

fn settled(objects: &Objects) -> Objects {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> = objects.iter().map(|(key, object)| (uid(object), named(key))).collect();
    let settle_one = |object: &Value| {
        let mut object = object.clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        for field in UNIVERSAL {
            metadata.remove(field);
        }
        if let Some(fields) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            // What controllers note when they bind or schedule, sooner or later.
            let is_of_a_controller = |entry: &Value| {
                ["kube-controller-manager", "kube-scheduler"].iter().any(|name| entry["manager"] == *name)
            };
            fields.retain(|entry| entry["subresource"].is_null() && !is_of_a_controller(entry));
        }
        object.as_object_mut().unwrap().remove("status");
        uncount(&mut object);
        settle(&mut object, &names);
        object
    };
    objects.iter().map(|(key, object)| (key.clone(), settle_one(object))).collect()
}

/// Numbers by which controllers count revisions, and who owns what controllers note: they begin anew, sooner or later.
fn uncount(value: &mut Value) {
    const COUNTED: [&str; 2] = ["deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"];
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                uncount(value);
                let is_empty = value.as_object().is_some_and(|fields| fields.keys().all(|name| name == "."));
                let of_a_field = key.strip_prefix("f:");
                let is_counted = COUNTED.contains(&of_a_field.unwrap_or(key));
                let is_bound = of_a_field.is_some_and(|name| BINDING.contains(&name) || BOUND.contains(&name));
                let is_left_empty = is_empty && matches!(key.as_str(), "annotations" | "f:annotations");
                !(is_counted || is_bound || is_left_empty)
            });
        }
        Value::Array(list) => list.iter_mut().for_each(uncount),
        _ => {}
    }
}

/// What every object has of its own in another cluster, beside its status.
pub(super) const UNIVERSAL: [&str; 4] = ["uid", "resourceVersion", "creationTimestamp", "generation"];

fn differences(path: &str, one: &Value, other: &Value, found: &mut BTreeSet<String>) {
    match (one, other) {
        _ if one == other => {}
        (Value::Object(ones), Value::Object(others)) => {
            let names: BTreeSet<&String> = ones.keys().chain(others.keys()).collect();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let none = Value::Null;
                differences(&path, ones.get(name).unwrap_or(&none), others.get(name).unwrap_or(&none), found);
            }
        }
        // Annotations and such as a whole: told by their names all the same.
        (Value::Object(fields), Value::Null) | (Value::Null, Value::Object(fields))
            if path.ends_with(".annotations") || path.ends_with(".labels") =>
        {
            found.extend(fields.keys().map(|name| format!("{path}.{name}")));
        }
        (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => {
            for (one, other) in ones.iter().zip(others) {
                differences(&format!("{path}[]"), one, other, found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// What binding notes.
const BINDING: [&str; 5] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
];

/// Fields that whoever binds comes to own.
const BOUND: [&str; 3] = ["volumeName", "uid", "resourceVersion"];

/// Why a field of a restored object may differ.
fn reason(table: &str, field: &str, was: &Value) -> Option<&'static str> {
    let annotation = field.strip_prefix("metadata.annotations.").unwrap_or_default();
    Some(match (table, field) {
        ("services", "spec.clusterIP" | "spec.clusterIPs" | "spec.clusterIPs[]") => "addresses are given out anew",
        ("services", "spec.ports[].nodePort" | "spec.healthCheckNodePort") => {
            "node ports that nobody chose are given out anew"
        }
        ("persistentvolumeclaims", "spec.volumeName") => "a claim is bound anew",
        ("persistentvolumeclaims" | "persistentvolumes", _) if BINDING.contains(&annotation) => "a claim is bound anew",
        ("persistentvolumes", "spec.claimRef.uid" | "spec.claimRef.resourceVersion") => {
            "a volume waits for the claim of that name"
        }
        ("persistentvolumeclaims", "metadata.ownerReferences")
            if was["metadata"]["ownerReferences"][0]["kind"] == "Pod" =>
        {
            "a claim never belongs to a pod"
        }
        (_, "metadata.ownerReferences") => "its owner is not restored",
        ("jobs.batch", "spec.selector") => "a job selects by its own uid",
        ("jobs.batch", field) if field.contains("controller-uid") || field.contains("job-name") => {
            "a job selects by its own uid"
        }
        ("statefulsets.apps", "spec.volumeClaimTemplates[].status") => "the state of a template means nothing",
        (
            "pods",
            "spec.nodeName"
            | "spec.priority"
            | "spec.tolerations"
            | "spec.volumes"
            | "spec.volumes[].name"
            | "spec.containers[].volumeMounts"
            | "spec.containers[].volumeMounts[].name",
        ) => "a bare pod gets a node, a token and tolerations of its cluster",
        ("namespaces", "spec" | "metadata.labels.kubernetes.io/metadata.name") => "every server gives it anew",
        ("persistentvolumeclaims" | "persistentvolumes", "metadata.finalizers") => "every server gives it anew",
        ("secrets", "data" | "data.token" | "data.ca.crt" | "data.namespace")
            if was["type"] == "kubernetes.io/service-account-token" =>
        {
            "a token is filled by this cluster"
        }
        ("secrets", "metadata.annotations.kubernetes.io/service-account.uid") => "a token is filled by this cluster",
        _ => return None,
    })
}

/// What came of a restore: a table, reviewed like code.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) equal: usize,
    /// By reason, then by kind: fields and the objects that they differ in.
    differs: BTreeMap<String, BTreeMap<(String, String), Vec<String>>>,
    /// By reason: the objects that did not come back.
    pub(super) absent: BTreeMap<String, Vec<Key>>,
    /// What nobody expected.
    pub(super) wrong: Vec<String>,
}

/// Compares what was with what is. `absent` says why an object may be missing.
pub(super) fn compare(was: &Objects, is: &Objects, absent: &dyn Fn(&Key) -> Option<String>) -> Table {
    let (was, is) = (settled(was), settled(is));
    let mut table = Table::default();
    for (key, one) in &was {
        let (other, why) = (is.get(key), absent(key));
        if let Some(why) = why {
            let again = if other.is_some() { ", and it was made again" } else { "" };
            table.absent.entry(why + again).or_default().push(key.clone());
            continue;
        }
        let Some(other) = other else {
            table.wrong.push(format!("{} did not come back", named(key)));
            continue;
        };
        let mut found = BTreeSet::new();
        differences("", one, other, &mut found);
        if found.is_empty() {
            table.equal += 1;
            continue;
        }
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for field in &found {
            match reason(&key.0, field, one) {
                Some(why) => by_reason.entry(why).or_default().push(field),
                None => table.wrong.push(format!("{} differs in {field}", named(key))),
            }
        }
        for (why, fields) in by_reason {
            let objects = table.differs.entry(why.to_owned()).or_default();
            let place = if key.1.is_empty() { key.2.clone() } else { format!("{}/{}", key.1, key.2) };
            objects.entry((key.0.clone(), fields.join(", "))).or_default().push(place);
        }
    }
    table
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let differing: BTreeSet<(&String, &String)> = self
            .differs
            .values()
            .flat_map(|kinds| kinds.iter().flat_map(|((kind, _), names)| names.iter().map(move |name| (kind, name))))
            .collect();
        let absent: usize = self.absent.values().map(Vec::len).sum();
        writeln!(f, "{} equal, {} differ, {absent} not restored", self.equal, differing.len())?;
        writeln!(f, "(beside metadata.{}, status and counts of revisions)", UNIVERSAL.join(", metadata."))?;
        for (why, kinds) in &self.differs {
            writeln!(f, "\ndiffers: {why}")?;
            for ((kind, fields), names) in kinds {
                writeln!(f, "  {kind} {fields}\n    {}", names.join(" "))?;
            }
        }
        for (why, keys) in &self.absent {
            writeln!(f, "\nnot restored: {why}")?;
            for key in keys {
                writeln!(f, "  {}", named(key))?;
            }
        }
        Ok(())
    }
}

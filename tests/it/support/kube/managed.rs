//! Who owns which field: `managedFields` after an update and after an apply, with conflicts.

use serde_json::{Value, json};

use crate::support::kube::fields::{self, Fields};
use crate::support::kube::schema::Schema;
use crate::support::kube::status::{Cause, Result, Status};

/// Who writes, and how.
#[derive(Debug, Clone)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) api_version: &'a str,
    pub(crate) subresource: &'a str,
    /// RFC 3339, whole seconds.
    pub(crate) now: &'a str,
}

#[derive(Debug, Clone)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: Fields,
}

fn parse(object: &Value) -> Vec<Entry> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array();
    entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["operation"].is_string())
        .map(|entry| Entry {
            manager: text(&entry["manager"]),
            operation: text(&entry["operation"]),
            api_version: text(&entry["apiVersion"]),
            subresource: text(&entry["subresource"]),
            time: text(&entry["time"]),
            fields: Fields::parse(&entry["fieldsV1"]),
        })
        .collect()
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    let order = |e: &Entry| {
        (e.operation.clone(), e.time.clone(), e.manager.clone(), e.api_version.clone(), e.subresource.clone())
    };
    entries.sort_by_key(order);
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let entry = |entry: &Entry| {
        let mut value = json!({
            "manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version,
            "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": entry.fields.json(),
        });
        if !entry.subresource.is_empty() {
            value["subresource"] = entry.subresource.as_str().into();
        }
        value
    };
    metadata.insert("managedFields".into(), entries.iter().map(entry).collect());
}

/// `managedFields: [{}]` is how a client says: forget who owned what.
fn is_reset(object: &Value) -> bool {
    object["metadata"]["managedFields"] == json!([{}])
}

/// What the server itself owns is nobody's.
fn stripped(mut fields: Fields, reset: &[&str]) -> Fields {
    for path in ["apiVersion", "kind"].iter().chain(reset) {
        fields.forget(&[&format!("f:{path}")]);
    }
    for name in SYSTEM_METADATA {
        fields.forget(&["f:metadata", &format!("f:{name}")]);
    }
    if let Some(metadata) = fields.below.get_mut("f:metadata") {
        metadata.member = false;
    }
    fields.pruned()
}

const SYSTEM_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
    "deletionTimestamp",
];

fn is_self(entry: &Entry, writer: &Writer<'_>, operation: &str) -> bool {
    entry.manager == writer.manager
        && entry.operation == operation
        && entry.subresource == writer.subresource
        && (operation == "Apply" || entry.api_version == writer.api_version)
}

/// After create, replace or patch: whoever writes owns what it changed. `reset` are the top fields this way of writing cannot change.
pub(crate) fn after_update(live: &Value, new: &mut Value, schema: Schema<'_>, reset: &[&str], writer: &Writer<'_>) {
    let mut entries = parse(new);
    if is_reset(new) {
        entries.clear();
    } else if entries.is_empty() {
        entries = parse(live);
    }
    let difference = fields::compare(live, new, schema);
    let removed = difference.removed;
    let changed = stripped(difference.added.union(&difference.modified), reset);
    for entry in &mut entries {
        if !is_self(entry, writer, "Update") {
            entry.fields = entry.fields.minus(&changed).minus(&removed);
        }
    }
    match entries.iter_mut().find(|entry| is_self(entry, writer, "Update")) {
        Some(own) => {
            own.fields = own.fields.minus(&removed).union(&changed);
            if !changed.is_empty() {
                writer.now.clone_into(&mut own.time);
            }
        }
        None => entries.push(Entry {
            manager: writer.manager.to_owned(),
            operation: "Update".into(),
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: writer.now.to_owned(),
            fields: changed,
        }),
    }
    write(new, entries);
}

/// The live object with `applied` laid over it, or the conflicts. `live` is an empty object where nothing lives yet.
pub(crate) fn apply(
    live: &Value,
    applied: &Value,
    schema: Schema<'_>,
    reset: &[&str],
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value> {
    let mut entries = parse(live);
    if entries.is_empty() && live["metadata"]["uid"].is_string() {
        // Whatever was there before the first apply belongs to somebody.
        entries.push(Entry {
            manager: "before-first-apply".into(),
            operation: "Update".into(),
            api_version: writer.api_version.to_owned(),
            subresource: String::new(),
            time: writer.now.to_owned(),
            fields: stripped(fields::of(live, schema), reset),
        });
    }
    let own = stripped(fields::of(applied, schema), reset);
    let mut merged = fields::merge(Some(live), applied, schema);
    let before = entries.iter().find(|entry| is_self(entry, writer, "Apply")).cloned();
    if let Some(before) = &before {
        let others = entries.iter().filter(|entry| !is_self(entry, writer, "Apply"));
        let keep = others.fold(own.clone(), |all, entry| all.union(&entry.fields));
        fields::remove(&mut merged, &before.fields, &keep, schema);
    }
    let difference = fields::compare(live, &merged, schema);
    let changed = stripped(difference.added.union(&difference.modified), reset);
    let others = || entries.iter().filter(|entry| !is_self(entry, writer, "Apply"));
    let conflicts: Vec<(String, Vec<String>)> = others()
        .map(|entry| (name(entry), entry.fields.common(&changed).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    for entry in &mut entries {
        if !is_self(entry, writer, "Apply") {
            entry.fields = entry.fields.minus(&changed).minus(&difference.removed);
        }
    }
    let nothing_new =
        before.as_ref().is_some_and(|before| before.fields == own) && without_managed(live) == without_managed(&merged);
    let time = before.filter(|_| nothing_new).map_or(writer.now.to_owned(), |before| before.time);
    entries.retain(|entry| !is_self(entry, writer, "Apply"));
    entries.push(Entry {
        manager: writer.manager.to_owned(),
        operation: "Apply".into(),
        api_version: writer.api_version.to_owned(),
        subresource: writer.subresource.to_owned(),
        time,
        fields: own,
    });
    write(&mut merged, entries);
    Ok(merged)
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// Whether two states differ in more than the times in `managedFields`: if not, nothing is written.
pub(crate) fn same(old: &Value, new: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        for entry in object["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            entry["time"] = Value::Null;
        }
        if let Some(list) = object["metadata"]["managedFields"].as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
        object
    };
    timeless(old) == timeless(new)
}

fn name(entry: &Entry) -> String {
    let mut name = format!("\"{}\"", entry.manager);
    if !entry.subresource.is_empty() {
        name = format!("{name} with subresource \"{}\"", entry.subresource);
    }
    if entry.operation == "Update" { format!("{name} using {}", entry.api_version) } else { name }
}

fn conflict(conflicts: &[(String, Vec<String>)]) -> Status {
    let all: Vec<(&String, &String)> =
        conflicts.iter().flat_map(|(manager, paths)| paths.iter().map(move |path| (manager, path))).collect();
    let message = if let [(manager, path)] = all.as_slice() {
        format!("Apply failed with 1 conflict: conflict with {manager}: {path}")
    } else {
        let text: Vec<String> = conflicts
            .iter()
            .map(|(manager, paths)| format!("conflicts with {manager}:\n- {}", paths.join("\n- ")))
            .collect();
        format!("Apply failed with {} conflicts: {}", all.len(), text.join("\n"))
    };
    let cause = |(manager, path): &(&String, &String)| {
        Cause::new("FieldManagerConflict", path.as_str(), format!("conflict with {manager}"))
    };
    let mut status = Status::new(409, "Conflict", message);
    status.body["details"] = json!({});
    status.because(&all.iter().map(cause).collect::<Vec<_>>())
}

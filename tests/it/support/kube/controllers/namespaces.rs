//! The end of a namespace: what is in it goes first, then its finalizer.

use serde_json::{Value, json};

use crate::support::kube::controllers::{MANAGER, is_dying};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::state::{State, condition, text};

pub(crate) fn step(state: &mut State) {
    for namespace in state.objects("namespaces") {
        let uid = text(&namespace["metadata"]["uid"]).to_owned();
        if is_dying(&namespace) && state.waited(format!("namespace {uid}"), state.pace.namespace) {
            empty(state, &namespace);
        }
    }
}

fn empty(state: &mut State, namespace: &Value) {
    let name = text(&namespace["metadata"]["name"]).to_owned();
    let tables: Vec<String> =
        state.resources.iter().filter(|r| r.namespaced && r.can("delete")).map(|resource| resource.table()).collect();
    let inside =
        |state: &State, table: &String| state.store.list_at(table, &format!("{name}/"), state.store.revision());
    for table in &tables {
        for (_, object) in inside(state, table) {
            if !is_dying(&object) {
                state.remove(MANAGER, &object, &DeleteOptions::default());
            }
        }
    }
    let left: Vec<(String, Value)> = tables
        .iter()
        .flat_map(|table| inside(state, table).into_iter().map(|(_, object)| (table.clone(), (*object).clone())))
        .collect();
    let conditions = conditions(&left);
    state.change(MANAGER, namespace, "status", |object| set_conditions(object, &conditions));
    if left.is_empty() {
        state.edit(namespace, |object| {
            object["spec"].as_object_mut().and_then(|spec| spec.remove("finalizers"));
        });
    }
}

/// Keeps the time of a condition that stays as it is.
fn set_conditions(object: &mut Value, conditions: &[Value]) {
    let before = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let kept = conditions.iter().map(|new| {
        let old = before.iter().find(|old| old["type"] == new["type"] && old["status"] == new["status"]);
        let mut new = new.clone();
        if let Some(old) = old {
            new["lastTransitionTime"] = old["lastTransitionTime"].clone();
        }
        new
    });
    object["status"]["conditions"] = kept.collect();
}

fn conditions(left: &[(String, Value)]) -> Vec<Value> {
    let mut counts: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    let mut finalizers: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for (table, object) in left {
        let name = if table.contains('.') { table.clone() } else { format!("{table}.") };
        *counts.entry(name).or_default() += 1;
        for finalizer in object["metadata"]["finalizers"].as_array().into_iter().flatten() {
            *finalizers.entry(text(finalizer).to_owned()).or_default() += 1;
        }
    }
    let told = |counts: &std::collections::BTreeMap<String, usize>, what: &str| {
        counts.iter().map(|(name, count)| format!("{name}{what} {count} ")).collect::<Vec<_>>().join(", ")
    };
    let content = if counts.is_empty() {
        condition("NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed")
    } else {
        let text = format!("Some resources are remaining: {}", told(&counts, " has resource instances:").trim_end());
        condition("NamespaceContentRemaining", "True", "SomeResourcesRemain", &text)
    };
    let held = if finalizers.is_empty() {
        let text = "All content-preserving finalizers finished";
        condition("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", text)
    } else {
        let told = told(&finalizers, " in resource instances:");
        let text = format!("Some content in the namespace has finalizers remaining: {}", told.trim_end());
        condition("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", &text)
    };
    let all = "All content successfully deleted, may be waiting on finalization";
    let found = "All resources successfully discovered";
    let parsed = "All legacy kube types successfully parsed";
    json!([
        condition("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", found),
        condition("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", parsed),
        condition("NamespaceDeletionContentFailure", "False", "ContentDeleted", all),
        content,
        held,
    ])
    .as_array()
    .cloned()
    .unwrap_or_default()
}

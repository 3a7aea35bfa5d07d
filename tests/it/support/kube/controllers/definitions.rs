//! Custom resource definitions: names accepted, then established, then served; and at the end their objects go first.

use serde_json::{Value, json};

use crate::support::kube::controllers::{drop_finalizer, is_dying};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::registry;
use crate::support::kube::state::{State, condition, text};

const MANAGER: &str = "kube-apiserver";
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
const TABLE: &str = "customresourcedefinitions.apiextensions.k8s.io";

pub(crate) fn step(state: &mut State) {
    for definition in state.objects(TABLE) {
        if is_dying(&definition) {
            end(state, &definition);
        } else {
            establish(state, &definition);
        }
    }
    serve(state);
}

fn has(definition: &Value, kind: &str, status: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == status)
}

fn establish(state: &mut State, definition: &Value) {
    if !has(definition, "NamesAccepted", "True") {
        state.change(MANAGER, definition, "status", |object| {
            let names = &object["spec"]["names"];
            object["status"]["acceptedNames"] = names.clone();
            object["status"]["conditions"] = json!([
                condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
                condition("Established", "False", "Installing", "the initial names have been accepted"),
            ]);
        });
    } else if !has(definition, "Established", "True") {
        state.change(MANAGER, definition, "status", |object| {
            let text = "the initial names have been accepted";
            object["status"]["conditions"][1] = condition("Established", "True", "InitialNamesAccepted", text);
        });
    } else if let Some(stored) = storage(definition) {
        let known = definition["status"]["storedVersions"].as_array().is_some_and(|list| list.contains(&stored));
        if !known {
            state.change(MANAGER, definition, "status", |object| {
                if let Some(list) = object["status"]["storedVersions"].as_array_mut() {
                    list.push(stored);
                }
            });
        }
    }
}

fn storage(definition: &Value) -> Option<Value> {
    let versions = definition["spec"]["versions"].as_array()?;
    versions.iter().find(|version| version["storage"] == true).map(|version| version["name"].clone())
}

fn end(state: &mut State, definition: &Value) {
    let spec = &definition["spec"];
    let table = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    for object in state.objects(&table) {
        if !is_dying(&object) {
            state.remove(MANAGER, &object, &DeleteOptions::default());
        }
    }
    if state.objects(&table).is_empty() {
        state.edit(definition, |object| drop_finalizer(object, CLEANUP));
    }
}

/// Serves what is established, and no longer what is gone.
pub(crate) fn serve(state: &mut State) {
    let definitions = state.objects(TABLE);
    let mut resources: Vec<_> = state.resources.iter().filter(|resource| resource.custom.is_none()).cloned().collect();
    for definition in &definitions {
        if has(definition, "Established", "True") {
            resources.extend(registry::custom(definition));
        }
    }
    state.resources = resources;
}

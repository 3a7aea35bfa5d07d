//! The garbage collector: what has only owners that do not exist goes; foreground deletion waits, orphans are let go.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::support::kube::controllers::{drop_finalizer, has_finalizer, is_dying};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::state::{State, text};

const MANAGER: &str = "kube-controller-manager";

struct Found {
    /// `namespace uid` of everything that is there; cluster-scoped things have no namespace.
    present: BTreeSet<(String, String)>,
    owned: Vec<Arc<Value>>,
    ending: Vec<Arc<Value>>,
}

fn look(state: &State) -> Found {
    let mut found = Found { present: BTreeSet::new(), owned: Vec::new(), ending: Vec::new() };
    for table in state.store.tables() {
        for object in state.objects(&table) {
            let metadata = &object["metadata"];
            let namespace = text(&metadata["namespace"]).to_owned();
            found.present.insert((namespace, text(&metadata["uid"]).to_owned()));
            if metadata["ownerReferences"].as_array().is_some_and(|list| !list.is_empty()) {
                found.owned.push(Arc::clone(&object));
            }
            if has_finalizer(&object, "foregroundDeletion") || has_finalizer(&object, "orphan") {
                found.ending.push(object);
            }
        }
    }
    found
}

pub(crate) fn step(state: &mut State) {
    let found = look(state);
    for object in &found.owned {
        let metadata = &object["metadata"];
        let namespace = text(&metadata["namespace"]).to_owned();
        // An owner in another namespace is not looked for there, and so does not exist.
        let exists = |reference: &Value| {
            let uid = text(&reference["uid"]).to_owned();
            found.present.contains(&(namespace.clone(), uid.clone())) || found.present.contains(&(String::new(), uid))
        };
        let orphaned = !metadata["ownerReferences"].as_array().into_iter().flatten().any(exists);
        let uid = text(&metadata["uid"]).to_owned();
        if orphaned && !is_dying(object) && state.waited(format!("collect {uid}"), state.pace.collector) {
            let options = DeleteOptions { uid: Some(uid), ..DeleteOptions::default() };
            state.remove(MANAGER, object, &options);
        }
    }
    for owner in &found.ending {
        end(state, owner, &found.owned);
    }
}

fn end(state: &mut State, owner: &Value, owned: &[Arc<Value>]) {
    if !is_dying(owner) {
        return;
    }
    let uid = &owner["metadata"]["uid"];
    let references = |object: &Value| object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let dependents =
        || owned.iter().filter(|object| references(object).iter().any(|reference| reference["uid"] == *uid));
    if has_finalizer(owner, "orphan") {
        for dependent in dependents() {
            state.edit(dependent, |object| {
                let left: Vec<Value> =
                    references(object).into_iter().filter(|reference| reference["uid"] != *uid).collect();
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.insert("ownerReferences".into(), Value::Array(left));
                }
            });
        }
        state.edit(owner, |object| drop_finalizer(object, "orphan"));
        return;
    }
    let mut blocked = false;
    for dependent in dependents() {
        blocked |= references(dependent)
            .iter()
            .any(|reference| reference["uid"] == *uid && reference["blockOwnerDeletion"] == true);
        if !is_dying(dependent) {
            let options = DeleteOptions { propagation: Some("Foreground".into()), ..DeleteOptions::default() };
            state.remove(MANAGER, dependent, &options);
        }
    }
    if !blocked {
        state.edit(owner, |object| drop_finalizer(object, "foregroundDeletion"));
    }
}

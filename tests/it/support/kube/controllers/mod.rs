//! The cluster's own work: each controller looks at the whole state and makes the next step that is due.
//!
//! They run one after another under the server's lock after every change, and every few milliseconds for what waits for time.

pub(crate) mod accounts;
mod claims;
mod collector;
pub(crate) mod definitions;
mod events;
mod jobs;
mod namespaces;
mod scheduler;
mod snapshots;
mod stateful;
mod volumes;
mod workloads;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::Value;

use crate::support::kube::node;
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::ops::update::Target;
use crate::support::kube::server::Shared;
use crate::support::kube::state::{Caller, How, State, text};

pub(crate) use volumes::{copy_folder, device};

const TICK: Duration = Duration::from_millis(20);
/// The manager of what most controllers write.
pub(crate) const MANAGER: &str = "kube-controller-manager";

pub(crate) async fn run(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    loop {
        let steps: [fn(&mut State); 11] = [
            accounts::step,
            definitions::step,
            claims::step,
            volumes::step,
            snapshots::step,
            workloads::step,
            stateful::step,
            jobs::step,
            collector::step,
            namespaces::step,
            scheduler::step,
        ];
        for step in steps {
            shared.with(|state| {
                if !shared.paused.load(Relaxed) {
                    step(state);
                }
            });
        }
        if !shared.paused.load(Relaxed) {
            node::step(&shared);
        }
        let round = shared.with(|state| state.pace.round);
        if !round.is_zero() {
            tokio::time::sleep(round).await;
        }
        let _ = tokio::time::timeout(TICK, changed.changed()).await;
    }
}

impl State {
    /// Changes an object as a controller does: through the same rules as everybody, owned by its manager. False if nothing changed,
    /// also because the change was refused.
    pub(crate) fn change(
        &mut self,
        manager: &str,
        what: &Value,
        subresource: &str,
        edit: impl FnOnce(&mut Value),
    ) -> bool {
        let Some(resource) = self.kind(text(&what["apiVersion"]), text(&what["kind"])) else { return false };
        let (namespace, name) = (text(&what["metadata"]["namespace"]), text(&what["metadata"]["name"]));
        let target = Target { resource: &resource, namespace, name, subresource };
        let Ok(live) = self.live(target) else { return false };
        let mut object = State::show(&resource, &live);
        edit(&mut object);
        let before = self.store.revision();
        if let Err(status) = self.update(&Caller::system(manager), target, &live, object, &How::default()) {
            eprintln!("kube: {manager} could not change {name}: {}", status.body["message"]);
        }
        self.store.revision() != before
    }

    /// Changes an object without owning what is changed, as some of the machinery does.
    pub(crate) fn edit(&mut self, what: &Value, edit: impl FnOnce(&mut Value)) {
        let Some(resource) = self.kind(text(&what["apiVersion"]), text(&what["kind"])) else { return };
        let key = crate::support::kube::state::key_of(what);
        let Some(live) = self.store.get(&resource.table(), &key) else { return };
        let mut object = (*live).clone();
        edit(&mut object);
        if object == *live {
            return;
        }
        if crate::support::kube::ops::update::gone(&resource, &object) {
            self.store.delete(&resource.table(), &key);
        } else {
            self.store.put(&resource.table(), &key, object);
        }
    }

    pub(crate) fn make(&mut self, manager: &str, namespace: &str, object: Value) -> Option<Value> {
        let resource = self.kind(text(&object["apiVersion"]), text(&object["kind"]))?;
        match self.create(&Caller::system(manager), &resource, namespace, object, &How::default()) {
            Ok((made, _)) => Some(made),
            Err(status) => {
                if status.code != 409 {
                    eprintln!("kube: {manager} could not create: {}", status.body["message"]);
                }
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, manager: &str, what: &Value, options: &DeleteOptions) {
        let Some(resource) = self.kind(text(&what["apiVersion"]), text(&what["kind"])) else { return };
        let (namespace, name) = (text(&what["metadata"]["namespace"]), text(&what["metadata"]["name"]));
        let target = Target { resource: &resource, namespace, name, subresource: "" };
        if let Err(status) = self.delete(&Caller::system(manager), target, options) {
            eprintln!("kube: {manager} could not delete {name}: {}", status.body["message"]);
        }
    }

    /// Whether something has been so for a while; asking begins the time.
    pub(crate) fn waited(&mut self, what: String, long: Duration) -> bool {
        let since = self.since.entry(what).or_insert_with(std::time::Instant::now);
        since.elapsed() >= long
    }
}

/// Whether an object is owned, as its controller, by another.
pub(crate) fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    references
        .into_iter()
        .any(|reference| reference["controller"] == true && reference["uid"] == owner["metadata"]["uid"])
}

/// The reference of a controller to what it made.
pub(crate) fn controller_reference(owner: &Value) -> Value {
    serde_json::json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}

pub(crate) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|list| list.iter().any(|have| have == finalizer))
}

pub(crate) fn drop_finalizer(object: &mut Value, finalizer: &str) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if let Some(list) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        list.retain(|have| have != finalizer);
        if list.is_empty() {
            metadata.remove("finalizers");
        }
    }
}

pub(crate) fn add_finalizer(object: &mut Value, finalizer: &str) {
    if !has_finalizer(object, finalizer) {
        match object["metadata"]["finalizers"].as_array_mut() {
            Some(list) => list.push(finalizer.into()),
            None => object["metadata"]["finalizers"] = serde_json::json!([finalizer]),
        }
    }
}

pub(crate) fn is_dying(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

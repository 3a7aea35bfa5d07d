//! What of a captured object is restored: pure functions from JSON to JSON, a file a topic. Each rule is a test's name.
//!
//! Three things are taken apart: the object as it is created, who owned its fields (`managedFields`, patched back after it is created), and its owners
//! (`ownerReferences`, whose uids are others in another cluster). `skip` decides what is not restored at all, and why.

mod account;
pub mod drill;
mod metadata;
pub mod namespaces;
pub mod nodes;
pub mod operators;
mod service;
pub mod skip;
mod volume;
mod workload;

use serde_json::Value;

pub use account::is_untouched_account;
pub use volume::{FILLING, FILLING_IN_PLACE};

use super::Kind;
use super::object::{items, take, uid_of};
use namespaces::Namespaces;

/// An object as it is restored.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// What is created.
    pub object: Value,
    /// Who owned which field: a list of entries; none if nobody knows.
    pub managed: Option<Value>,
    /// The objects that it belongs to, with the uids they had.
    pub owners: Vec<Value>,
    /// The uid that it had, or the empty text.
    pub uid: String,
    /// What somebody chose and is not kept, for people.
    pub lost: Vec<String>,
}

/// Takes a captured object apart and rewrites it for another cluster, or another namespace of the same.
#[must_use]
pub fn rewrite(kind: &Kind, captured: &Value, namespaces: &Namespaces) -> Rewritten {
    let mut object = captured.clone();
    let owners: Vec<Value> = items(captured, &["metadata", "ownerReferences"])
        .iter()
        .filter(|owner| !volume::is_owner_of_the_moment(kind, owner))
        .cloned()
        .collect();
    let managed = take(&mut object, &["metadata", "managedFields"]);
    let last = managed.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut not_kept = Vec::new();
    if kind.is("", "Service") {
        if let Some(address) = service::chosen_address(captured, last) {
            not_kept.push(format!("its cluster address {address}, which somebody chose, is given out anew"));
        }
        service::strip(&mut object, &service::chosen_ports(captured, last));
    }
    strip(kind, &mut object);
    namespaces.apply(kind, &mut object);
    Rewritten { object, managed, owners, uid: uid_of(captured).to_owned(), lost: not_kept }
}

/// An object of a live cluster without everything that [`rewrite`] takes away, so that it can be compared with what `desired` says.
#[must_use]
pub fn as_restored(kind: &Kind, live: &Value, desired: &Value) -> Value {
    let mut object = live.clone();
    take(&mut object, &["metadata", "managedFields"]);
    if kind.is("", "Service") {
        service::strip(&mut object, &service::ports_of(desired));
    }
    strip(kind, &mut object);
    object
}

/// What depends neither on who owned a field nor on namespaces.
fn strip(kind: &Kind, object: &mut Value) {
    metadata::strip(object);
    match (kind.group.as_str(), kind.name.as_str()) {
        ("", "Namespace") => metadata::namespace(object),
        ("", "PersistentVolumeClaim") => volume::claim(object),
        ("", "PersistentVolume") => volume::volume(object),
        ("", "Pod") => workload::pod(object),
        ("", "ServiceAccount") => account::account(object),
        ("", "Secret") => account::secret(object),
        ("apps", "Deployment" | "DaemonSet") => workload::controller(object),
        ("apps", "StatefulSet") => workload::stateful_set(object),
        ("autoscaling", "HorizontalPodAutoscaler") => workload::autoscaler(object),
        ("batch", "Job") => workload::job(object),
        _ => {}
    }
}

/// What a replacement (PUT) of `live` sends: the restored object with what cannot be changed, what the cluster gave out, and what is the live object's own.
#[must_use]
pub fn replacement(kind: &Kind, desired: &Value, live: &Value) -> Value {
    let mut object = desired.clone();
    metadata::keep_live(&mut object, live);
    match (kind.group.as_str(), kind.name.as_str()) {
        ("", "Service") => service::keep_given(&mut object, live),
        ("", "PersistentVolumeClaim") => volume::keep_binding(&mut object, live),
        ("", "PersistentVolume") => volume::keep_claim(&mut object, live),
        ("", "Namespace") => metadata::keep(&mut object, live, &["spec"]),
        ("batch", "Job") => workload::keep_selector(&mut object, live),
        _ => {}
    }
    object
}

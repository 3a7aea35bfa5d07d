//! Replacement, the patches and apply: one way from a live object to its next state.

use std::sync::Arc;

use serde_json::Value;

use crate::support::kube::kinds::strategy::{prepare_update, reset_fields};
use crate::support::kube::kinds::validate;
use crate::support::kube::managed::{self, Writer};
use crate::support::kube::ops::{create, decode};
use crate::support::kube::registry::Resource;
use crate::support::kube::state::{Caller, How, State, key, now, schema, text};
use crate::support::kube::status::{Cause, Result, Status};
use crate::support::kube::{custom, patch};

/// What a patch is, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// Which object, or which part of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
}

impl State {
    pub(crate) fn live(&self, target: Target<'_>) -> Result<Arc<Value>> {
        let found = self.object(&target.resource.table(), target.namespace, target.name);
        found.ok_or_else(|| Status::not_found(target.resource.about(), target.name))
    }

    /// PUT.
    pub(crate) fn replace(
        &mut self,
        who: &Caller,
        target: Target<'_>,
        mut object: Value,
        how: &How,
    ) -> Result<(Value, Vec<String>)> {
        let Target { resource, namespace, name, .. } = target;
        let warnings = decode::decode(resource, &mut object, how)?;
        let given = text(&object["metadata"]["name"]);
        if given != name {
            let text = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(text));
        }
        let other = text(&object["metadata"]["namespace"]);
        if !other.is_empty() && other != namespace {
            let text = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(text));
        }
        let live = self.live(target)?;
        let updated = self.update(who, target, &live, object, how)?;
        Ok((updated, warnings))
    }

    /// PATCH. Returns the object, the warnings, and whether it is new.
    pub(crate) fn patch(
        &mut self,
        who: &Caller,
        target: Target<'_>,
        kind: PatchKind,
        body: &Value,
        how: &How,
    ) -> Result<(Value, Vec<String>, bool)> {
        let resource = target.resource;
        if kind == PatchKind::Apply {
            return self.apply(who, target, body, how);
        }
        let live = self.live(target)?;
        let mut object = State::show(resource, &live);
        match kind {
            PatchKind::Json => patch::json_patch(&mut object, body)?,
            PatchKind::Strategic => patch::strategic(&mut object, body, schema(resource)),
            _ => patch::merge_patch(&mut object, body),
        }
        let warnings = decode::tidy(resource, &mut object, how)?;
        if object["metadata"]["name"] != live["metadata"]["name"] {
            let text = "the name of the object does not match the name on the URL";
            return Err(Status::bad_request(text));
        }
        Ok((self.update(who, target, &live, object, how)?, warnings, false))
    }

    fn apply(
        &mut self,
        who: &Caller,
        target: Target<'_>,
        body: &Value,
        how: &How,
    ) -> Result<(Value, Vec<String>, bool)> {
        let Target { resource, namespace, name, subresource } = target;
        let Some(manager) = how.manager.as_deref().filter(|manager| !manager.is_empty()) else {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid("PatchOptions", "meta.k8s.io", "", &[cause]));
        };
        if !body["metadata"]["managedFields"].is_null() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if text(&body["apiVersion"]) != resource.api_version() || text(&body["kind"]) != resource.kind {
            let (given, kind) = (text(&body["apiVersion"]), text(&body["kind"]));
            let text = format!(
                "invalid object type: {given}, Kind={kind}, expected {}, Kind={}",
                resource.api_version(),
                resource.kind
            );
            return Err(Status::bad_request(text));
        }
        let live = self.object(&resource.table(), namespace, name);
        let mut applied = body.clone();
        let strict = How { validation: how.validation, ..How::default() };
        let unknown = decode_applied(resource, &mut applied, &strict)?;
        let (now, api_version) = (now(), resource.api_version());
        let writer = Writer { manager, api_version: &api_version, subresource, now: &now };
        let reset = reset_fields(resource, subresource);
        let base = live.as_ref().map_or_else(|| create::empty(resource), |live| State::show(resource, live));
        if let (Some(version), Some(live)) = (applied["metadata"]["resourceVersion"].as_str(), &live)
            && live["metadata"]["resourceVersion"] != version
        {
            return Err(Status::modified(resource.about(), name));
        }
        if let (Some(uid), Some(live)) = (applied["metadata"]["uid"].as_str(), &live)
            && live["metadata"]["uid"] != uid
        {
            return Err(uid_conflict(target, uid, live));
        }
        let mut merged = managed::apply(&base, &applied, schema(resource), reset, &writer, how.force)?;
        let given = text(&merged["metadata"]["name"]).to_owned();
        if !given.is_empty() && given != name {
            let text = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(text));
        }
        merged["metadata"]["name"] = name.into();
        decode::tidy(resource, &mut merged, &How::default())?;
        let Some(live) = live else {
            if !subresource.is_empty() {
                return Err(Status::not_found(resource.about(), name));
            }
            return Ok((self.insert(who, resource, namespace, merged, how)?, unknown, true));
        };
        Ok((self.finish(who, target, &live, merged, how)?, unknown, false))
    }

    /// From here replacement and patch are one: versions, ownership, rules, storage.
    pub(crate) fn update(
        &mut self,
        who: &Caller,
        target: Target<'_>,
        live: &Arc<Value>,
        mut object: Value,
        how: &How,
    ) -> Result<Value> {
        let Target { resource, subresource, name, .. } = target;
        let uid = text(&object["metadata"]["uid"]);
        if !uid.is_empty() && live["metadata"]["uid"] != uid {
            return Err(uid_conflict(target, uid, live));
        }
        let version = text(&object["metadata"]["resourceVersion"]);
        if !version.is_empty() && live["metadata"]["resourceVersion"] != version {
            return Err(Status::modified(resource.about(), name));
        }
        let (now, api_version) = (now(), resource.api_version());
        let manager = how.manager.as_deref().unwrap_or(&who.manager);
        let writer = Writer { manager, api_version: &api_version, subresource, now: &now };
        object["metadata"]["name"] = live["metadata"]["name"].clone();
        let shown = State::show(resource, live);
        // What this way of writing cannot change counts as unchanged.
        let mut compared = object.clone();
        if subresource == "status" {
            prepare_update(resource, subresource, live, &mut compared);
            State::show(resource, &compared).clone_into(&mut compared);
        }
        managed::after_update(&shown, &mut compared, schema(resource), reset_fields(resource, subresource), &writer);
        object["metadata"]["managedFields"] = compared["metadata"]["managedFields"].clone();
        if subresource == "scale" && object["spec"]["replicas"] == 0 {
            // A scale of zero has no replicas to own: Go leaves the number out.
            let entries = object["metadata"]["managedFields"].as_array_mut();
            entries.into_iter().for_each(|list| list.retain(|entry| entry["subresource"] != "scale"));
        }
        if object["metadata"]["managedFields"].is_null() {
            object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
        }
        self.finish(who, target, live, object, how)
    }

    fn finish(
        &mut self,
        who: &Caller,
        target: Target<'_>,
        live: &Arc<Value>,
        mut object: Value,
        how: &How,
    ) -> Result<Value> {
        let Target { resource, namespace, name, subresource } = target;
        prepare_update(resource, subresource, live, &mut object);
        if resource.namespaced {
            object["metadata"]["namespace"] = namespace.into();
        }
        object["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        let mut causes = validate::update(resource, live, &object);
        if let Some(schema) = resource.custom.as_ref().and_then(|custom| custom.schema()) {
            causes.extend(custom::validate(schema, &object, Some(live)));
        }
        if !causes.is_empty() {
            return Err(Status::invalid(&resource.kind, &resource.group, name, &causes));
        }
        if subresource.is_empty() {
            self.validate_admission(who, resource, "UPDATE", namespace, &object, Some(live), how)?;
        }
        object["apiVersion"] = live["apiVersion"].clone();
        object["kind"] = live["kind"].clone();
        if managed::same(live, &object) {
            return Ok(State::show(resource, live));
        }
        if how.dry_run {
            return Ok(State::show(resource, &object));
        }
        let table = resource.table();
        if gone(resource, &object) {
            // The last finalizer went: this update is the end.
            self.store.delete(&table, &key(namespace, name));
            return Ok(State::show(resource, &object));
        }
        let stored = self.store.put(&table, &key(namespace, name), object);
        Ok(State::show(resource, &stored))
    }
}

/// Whether nothing keeps a deleted object any more.
pub(crate) fn gone(resource: &Resource, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let finalizers = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    let kept = resource.table() == "namespaces"
        && object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    let graceful = metadata["deletionGracePeriodSeconds"].as_u64().is_some_and(|seconds| seconds > 0);
    metadata["deletionTimestamp"].is_string() && !finalizers && !graceful && !kept
}

fn uid_conflict(target: Target<'_>, uid: &str, live: &Value) -> Status {
    let Target { resource, namespace, name, .. } = target;
    let folder = if resource.group.is_empty() || resource.custom.is_none() {
        resource.plural.clone()
    } else {
        format!("{}/{}", resource.group, resource.plural)
    };
    let path = format!("/registry/{folder}/{}", key(namespace, name));
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {uid}, UID in object meta: {}",
        text(&live["metadata"]["uid"])
    );
    Status::conflict(resource.about(), name, &why)
}

/// What is applied keeps exactly the fields it names: unknown ones go, defaults do not come.
fn decode_applied(resource: &Resource, applied: &mut Value, how: &How) -> Result<Vec<String>> {
    if resource.table() == "secrets"
        && let Some(plain) = applied.as_object_mut().and_then(|secret| secret.remove("stringData"))
    {
        for (key, value) in plain.as_object().into_iter().flatten() {
            applied["data"][key] = data_encoding::BASE64.encode(text(value).as_bytes()).into();
        }
    }
    let mut pruned = applied.clone();
    let warnings = decode::tidy(resource, &mut pruned, how)?;
    intersect(applied, &pruned);
    Ok(warnings)
}

fn intersect(value: &mut Value, known: &Value) {
    match (value, known) {
        (Value::Object(map), Value::Object(known)) => {
            map.retain(|key, value| {
                let Some(known) = known.get(key) else {
                    return value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                };
                intersect(value, known);
                true
            });
        }
        (Value::Array(list), Value::Array(known)) if list.len() == known.len() => {
            list.iter_mut().zip(known).for_each(|(value, known)| intersect(value, known));
        }
        _ => {}
    }
}

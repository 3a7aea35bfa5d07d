//! Creation.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::kube::kinds::strategy::{counts_generations, prepare_create, reset_fields};
use crate::support::kube::kinds::{allocate, validate};
use crate::support::kube::managed::{self, Writer};
use crate::support::kube::ops::decode;
use crate::support::kube::registry::Resource;
use crate::support::kube::state::{Caller, How, State, key, new_uid, now, schema, suffix, text};
use crate::support::kube::status::{Cause, Result, Status};
use crate::support::kube::{custom, typed};

/// Collisions of generated names are retried by the real server as often.
const GENERATE_TRIES: usize = 8;

impl State {
    /// Creates an object from what a client sent. Returns it with the warnings.
    pub(crate) fn create(
        &mut self,
        who: &Caller,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        how: &How,
    ) -> Result<(Value, Vec<String>)> {
        let warnings = decode::decode(resource, &mut object, how)?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let (now, api_version) = (now(), resource.api_version());
        // A name that is made up is not yet there when ownership is written down.
        let manager = how.manager.as_deref().unwrap_or(&who.manager);
        let writer = Writer { manager, api_version: &api_version, subresource: "", now: &now };
        let empty = empty(resource);
        managed::after_update(&empty, &mut object, schema(resource), reset_fields(resource, ""), &writer);
        let created = self.insert(who, resource, namespace, object, how)?;
        Ok((created, warnings))
    }

    /// The part of creation that comes after ownership; apply comes here too.
    pub(crate) fn insert(
        &mut self,
        who: &Caller,
        resource: &Resource,
        namespace: &str,
        mut object: Value,
        how: &How,
    ) -> Result<Value> {
        let about = resource.about();
        let metadata = &mut object["metadata"];
        if resource.namespaced {
            if metadata["namespace"].is_string() && metadata["namespace"] != namespace {
                let text = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Status::bad_request(text));
            }
            metadata["namespace"] = namespace.into();
        } else if let Some(metadata) = metadata.as_object_mut() {
            metadata.remove("namespace");
        }
        let generate = text(&metadata["generateName"]).to_owned();
        if text(&metadata["name"]).is_empty() {
            if generate.is_empty() {
                let cause = Cause::required("metadata.name", "name or generateName is required");
                return Err(Status::invalid(&resource.kind, &resource.group, "", &[cause]));
            }
            for _ in 0..GENERATE_TRIES {
                let name = format!("{generate}{}", suffix());
                let taken = self.object(&resource.table(), namespace, &name).is_some();
                metadata["name"] = name.into();
                if !taken {
                    break;
                }
            }
        }
        let name = text(&metadata["name"]).to_owned();
        let version_given = !text(&metadata["resourceVersion"]).is_empty();
        metadata["uid"] = new_uid().into();
        metadata["creationTimestamp"] = now().into();
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation", "resourceVersion"] {
            metadata.as_object_mut().and_then(|metadata| metadata.remove(field));
        }
        if counts_generations(resource) {
            metadata["generation"] = 1.into();
        }
        self.admit_create(resource, namespace, &mut object)?;
        let mutated = object["status"].clone();
        prepare_create(resource, &mut object, &now());
        if resource.kind == "Pod" && resource.group.is_empty() {
            object["status"] = mutated;
        }
        let mut causes = validate::create(resource, &object);
        if let Some(schema) = resource.custom.as_ref().and_then(|custom| custom.schema()) {
            causes.extend(custom::validate(schema, &object, None));
        }
        if resource.table() == "customresourcedefinitions.apiextensions.k8s.io" {
            causes.extend(unknown_rules(&object));
        }
        if resource.table() == "services" {
            let services = self.objects("services");
            let taken = allocate::Taken::by(services.iter().map(Arc::as_ref));
            if let Err(cause) = allocate::service(&mut object, taken) {
                causes.push(cause);
            }
        }
        if !causes.is_empty() {
            return Err(Status::invalid(&resource.kind, &resource.group, &name, &causes));
        }
        self.validate_admission(who, resource, "CREATE", namespace, &object, None, how)?;
        if version_given {
            return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        if let Some(existing) = self.object(&resource.table(), namespace, &name) {
            let dying = resource.plural == "namespaces" && !existing["metadata"]["deletionTimestamp"].is_null();
            return Err(Status::already_exists(about, &name, dying));
        }
        if how.dry_run {
            return Ok(State::show(resource, &object));
        }
        let stored = self.store.put(&resource.table(), &key(namespace, &name), object);
        Ok(State::show(resource, &stored))
    }
}

/// What a new object of this kind has before it has anything.
pub(crate) fn empty(resource: &Resource) -> Value {
    let mut empty = match resource.custom {
        Some(_) => json!({"metadata": {}}),
        None => typed::zero(&resource.group, &resource.kind),
    };
    empty["apiVersion"] = resource.api_version().into();
    empty["kind"] = resource.kind.as_str().into();
    empty
}

fn unknown_rules(definition: &Value) -> Vec<Cause> {
    let rules = custom::unknown_rules(&definition["spec"]["versions"]);
    let text = |rule: &String| format!("{rule:?}: this test server cannot evaluate the rule");
    rules.iter().map(|rule| Cause::invalid("spec.versions", text(rule))).collect()
}

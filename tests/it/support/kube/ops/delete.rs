//! Deletion: at once, after finalizers, after a grace period, in the foreground; and of whole collections.

use serde_json::{Value, json};

use crate::support::kube::kinds::strategy::returns_deleted;
use crate::support::kube::ops::update::{Target, gone};
use crate::support::kube::registry::Resource;
use crate::support::kube::select::Selector;
use crate::support::kube::state::{Caller, How, State, condition, key, now, stamp, text};
use crate::support::kube::status::{About, Result, Status};

#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace: Option<u64>,
    pub(crate) propagation: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    pub(crate) fn parse(body: &Value) -> Self {
        let string = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            grace: body["gracePeriodSeconds"].as_u64(),
            propagation: string(&body["propagationPolicy"]),
            uid: string(&body["preconditions"]["uid"]),
            version: string(&body["preconditions"]["resourceVersion"]),
            dry_run: body["dryRun"].as_array().is_some_and(|list| !list.is_empty()),
        }
    }
}

const NEVER_DELETED: [&str; 3] = ["default", "kube-system", "kube-public"];

impl State {
    /// Deletes, or begins to; returns what the server answers.
    pub(crate) fn delete(&mut self, who: &Caller, target: Target<'_>, options: &DeleteOptions) -> Result<Value> {
        let Target { resource, namespace, name, .. } = target;
        let live = self.live(target)?;
        check_preconditions(resource, name, &live, options)?;
        if resource.table() == "namespaces" && NEVER_DELETED.contains(&name) {
            return Err(Status::forbidden(resource.about(), name, "this namespace may not be deleted"));
        }
        let how = How { dry_run: options.dry_run, ..How::default() };
        self.validate_admission(who, resource, "DELETE", namespace, &live, Some(&live), &how)?;
        let mut object = (*live).clone();
        let begun = self.begin(resource, &mut object, options);
        let ended = !begun || gone(resource, &object);
        let (table, key) = (resource.table(), key(namespace, name));
        let shown = if options.dry_run {
            object
        } else if begun {
            let changed = object != *live;
            let stored = if changed { (*self.store.put(&table, &key, object)).clone() } else { object };
            if ended {
                self.store.delete(&table, &key);
            }
            stored
        } else {
            self.store.delete(&table, &key);
            object
        };
        if ended && !returns_deleted(resource) {
            return Ok(success(resource, name, &live["metadata"]["uid"]));
        }
        Ok(State::show(resource, &shown))
    }

    /// Marks an object as being deleted; false if nothing keeps it and it can go as it is.
    fn begin(&self, resource: &Resource, object: &mut Value, options: &DeleteOptions) -> bool {
        match options.propagation.as_deref() {
            Some("Foreground") => add_finalizer(object, "foregroundDeletion"),
            Some("Orphan") => add_finalizer(object, "orphan"),
            _ => {}
        }
        let marked = object["metadata"]["deletionTimestamp"].is_string();
        match resource.table().as_str() {
            "namespaces" => {
                if !marked {
                    object["metadata"]["deletionTimestamp"] = now().into();
                    object["status"]["phase"] = "Terminating".into();
                }
                return true;
            }
            "customresourcedefinitions.apiextensions.k8s.io" => {
                if !marked {
                    add_finalizer(object, "customresourcecleanup.apiextensions.k8s.io");
                    object["metadata"]["deletionTimestamp"] = now().into();
                    let text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
                    let condition = condition("Terminating", "True", "InstanceDeletionPending", text);
                    match object["status"]["conditions"].as_array_mut() {
                        Some(list) => list.push(condition),
                        None => object["status"]["conditions"] = json!([condition]),
                    }
                }
                return true;
            }
            "pods" => {
                begin_pod(object, options.grace);
                return true;
            }
            _ => {}
        }
        if object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            return false;
        }
        if !marked {
            mark(object, 0);
        }
        true
    }

    /// DELETE of a collection; returns what was deleted.
    pub(crate) fn delete_all(
        &mut self,
        who: &Caller,
        resource: &Resource,
        namespace: &str,
        selector: &Selector,
        options: &DeleteOptions,
    ) -> Result<Vec<Value>> {
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let all = self.store.list_at(&resource.table(), &prefix, self.store.revision());
        let mut deleted = Vec::new();
        for (_, object) in all.iter().filter(|(_, object)| selector.matches(object)) {
            let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
            self.delete(who, Target { resource, namespace, name, subresource: "" }, options)?;
            deleted.push(State::show(resource, object));
        }
        Ok(deleted)
    }
}

fn begin_pod(pod: &mut Value, asked: Option<u64>) {
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    let unscheduled = text(&pod["spec"]["nodeName"]).is_empty();
    let ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
    let before = pod["metadata"]["deletionGracePeriodSeconds"].as_u64();
    let grace = if unscheduled || (ended && asked.is_none() && before.is_none()) { 0 } else { asked.unwrap_or(own) };
    match before {
        None => mark(pod, grace),
        // A second deletion can only shorten the time.
        Some(before) if asked.is_some() && grace < before => {
            pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        }
        Some(_) => {}
    }
}

fn mark(object: &mut Value, grace: u64) {
    let end = chrono::Utc::now() + std::time::Duration::from_secs(grace);
    let metadata = &mut object["metadata"];
    metadata["deletionTimestamp"] = stamp(end).into();
    metadata["deletionGracePeriodSeconds"] = grace.into();
    if let Some(generation) = metadata["generation"].as_u64() {
        metadata["generation"] = (generation + 1).into();
    }
}

fn add_finalizer(object: &mut Value, finalizer: &str) {
    let metadata = &mut object["metadata"];
    match metadata["finalizers"].as_array_mut() {
        Some(list) if list.iter().any(|have| have == finalizer) => {}
        Some(list) => list.push(finalizer.into()),
        None => metadata["finalizers"] = json!([finalizer]),
    }
}

fn check_preconditions(resource: &Resource, name: &str, live: &Value, options: &DeleteOptions) -> Result<()> {
    let about = About { resource: &resource.kind, group: &resource.group };
    for (what, wanted, has) in [
        ("UID", &options.uid, text(&live["metadata"]["uid"])),
        ("ResourceVersion", &options.version, text(&live["metadata"]["resourceVersion"])),
    ] {
        if let Some(wanted) = wanted
            && wanted != has
        {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({has}). \
                 The object might have been {}",
                if what == "UID" { "deleted and then recreated" } else { "modified" }
            );
            return Err(Status::conflict(about, name, &why));
        }
    }
    Ok(())
}

fn success(resource: &Resource, name: &str, uid: &Value) -> Value {
    let mut details = json!({"name": name, "kind": resource.plural, "uid": uid});
    if !resource.group.is_empty() {
        details["group"] = resource.group.as_str().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

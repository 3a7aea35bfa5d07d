//! Subresources and the resources that are only asked, never stored.

use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::support::kube::http::{Asked, header, patch_of, target, write_reply};
use crate::support::kube::managed::{self, Writer};
use crate::support::kube::ops::decode;
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::ops::update::{PatchKind, Target};
use crate::support::kube::registry::Resource;
use crate::support::kube::reply::Reply;
use crate::support::kube::schema::Schema;
use crate::support::kube::state::{How, State, now, text};
use crate::support::kube::status::{Result, Status};
use crate::support::kube::table::Shape;
use crate::support::kube::{logs, patch, typed};

/// Whether objects of a resource are answers rather than things.
pub(crate) fn is_virtual(resource: &Resource) -> bool {
    matches!(resource.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io") || resource.plural == "bindings"
}

pub(crate) fn answer(asked: &Asked, resource: &Resource, bytes: &[u8]) -> Result<Reply> {
    let method = &asked.parts.method;
    if is_virtual(resource) {
        return review(asked, resource, bytes);
    }
    let subresource = asked.path.subresource.as_str();
    if let ("nodes", Some(path)) = (resource.plural.as_str(), subresource.strip_prefix("proxy/")) {
        return kubelet(asked, resource, path);
    }
    if !resource.has(subresource) {
        return Err(Status::no_such_resource());
    }
    match (subresource, method) {
        ("status" | "resize" | "approval" | "ephemeralcontainers", &Method::GET) => {
            let object = asked.shared.with(|state| state.live(target(asked, resource)))?;
            Ok(Reply::ok(State::show(resource, &object)))
        }
        ("status", &Method::PUT | &Method::PATCH) => write_reply(asked, resource, bytes, Shape::Whole),
        ("finalize", &Method::PUT) => finalize(asked, bytes),
        ("scale", _) => scale(asked, resource, bytes),
        ("token", &Method::POST) => token(asked, bytes),
        ("eviction", &Method::POST) => evict(asked, resource, bytes),
        ("log", &Method::GET) => logs::answer(asked),
        _ => Err(Status::method_not_allowed()),
    }
}

/// What a node's kubelet answers by way of `nodes/proxy`: of its summary only what its disk and measured volumes have. (`Summary.Node.Fs` of k8s.io/kubelet/pkg/apis/stats/v1alpha1.)
fn kubelet(asked: &Asked, resource: &Resource, path: &str) -> Result<Reply> {
    let name = asked.path.name.as_str();
    let (folder, off, rooms) = asked.shared.with(|state| {
        state.live(Target { subresource: "", ..target(asked, resource) })?;
        Ok::<_, Status>((state.folder.clone(), state.faults.is_off(name), state.faults.rooms()))
    })?;
    if off {
        let text = "error dialing backend: dial tcp 192.0.2.1:10250: connect: no route to host";
        return Err(Status::new(500, "InternalError", text));
    }
    if path != "stats/summary" {
        return Err(Status::page_not_found());
    }
    let disk = rustix::fs::statvfs(&folder).expect("the folder is there");
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let (free, all) = rooms.get(name).copied().unwrap_or((bytes(disk.f_bavail), bytes(disk.f_blocks)));
    let fs = json!({
        "time": now(), "availableBytes": free, "capacityBytes": all, "usedBytes": all.saturating_sub(free),
    });
    let of_claim = |(claim, (free, all)): (&String, &(u64, u64))| {
        let (namespace, claim) = claim.split_once('/')?;
        Some(json!({"podRef": {"namespace": namespace}, "volume": [{
            "time": now(), "name": "data", "availableBytes": free, "capacityBytes": all, "usedBytes": all - free,
            "inodesFree": 1000, "inodes": 2000, "pvcRef": {"name": claim, "namespace": namespace},
        }]}))
    };
    let pods: Vec<Value> = rooms.iter().filter_map(of_claim).collect();
    Ok(Reply::ok(json!({"node": {"nodeName": name, "fs": fs}, "pods": pods})))
}

/// The fields an asked question has, owned by who asked: Kubernetes writes that down even here.
fn own(object: &mut Value, asked: &Asked, group: &str, kind: &str, subresource: &str) {
    let api_version = text(&object["apiVersion"]).to_owned();
    let now = now();
    let writer = Writer { manager: &asked.who.manager, api_version: &api_version, subresource, now: &now };
    let mut empty = typed::zero(group, kind);
    empty["apiVersion"] = object["apiVersion"].clone();
    empty["kind"] = object["kind"].clone();
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    managed::after_update(&empty, object, Schema::built_in(kind), &["status"], &writer);
}

fn review(asked: &Asked, resource: &Resource, bytes: &[u8]) -> Result<Reply> {
    if asked.parts.method != Method::POST {
        return Err(Status::method_not_allowed());
    }
    let mut object = decode::parse(&resource.kind, header(&asked.parts.headers, &CONTENT_TYPE), bytes)?;
    decode::decode(resource, &mut object, &How::default())?;
    own(&mut object, asked, &resource.group, &resource.kind, "");
    if resource.plural == "selfsubjectrulesreviews" {
        object["metadata"] = json!({});
    }
    asked.shared.with(|state| state.review(&asked.who, &resource.plural, &mut object));
    Ok(Reply::Json(201, object, Vec::new()))
}

fn token(asked: &Asked, bytes: &[u8]) -> Result<Reply> {
    let mut body = decode::parse("TokenRequest", header(&asked.parts.headers, &CONTENT_TYPE), bytes)?;
    own(&mut body, asked, "authentication.k8s.io", "TokenRequest", "token");
    let (namespace, name) = (&asked.path.namespace, &asked.path.name);
    let mut made = asked.shared.with(|state| state.token_request(namespace, name, &body))?;
    made["metadata"]["managedFields"] = body["metadata"]["managedFields"].clone();
    Ok(Reply::Json(201, made, Vec::new()))
}

/// Removes `spec.finalizers` of a namespace.
fn finalize(asked: &Asked, bytes: &[u8]) -> Result<Reply> {
    let body = decode::parse("Namespace", header(&asked.parts.headers, &CONTENT_TYPE), bytes)?;
    asked.shared.with(|state| {
        let resource = state.known("namespaces");
        let live = state.live(Target { resource: &resource, ..target(asked, &resource) })?;
        let mut object = (*live).clone();
        object["spec"]["finalizers"] = body["spec"]["finalizers"].clone();
        let name = text(&object["metadata"]["name"]).to_owned();
        let stored = state.store.put("namespaces", &name, object);
        if crate::support::kube::ops::update::gone(&resource, &stored) {
            state.store.delete("namespaces", &name);
        }
        Ok(Reply::ok(State::show(&resource, &stored)))
    })
}

/// Where a resource keeps its number of replicas.
struct ScalePaths {
    spec: String,
    status: String,
    selector: String,
}

fn scale_paths(resource: &Resource) -> ScalePaths {
    let pointer =
        |path: &Value, default: &str| path.as_str().map_or_else(|| default.to_owned(), |path| path.replace('.', "/"));
    let custom =
        resource.custom.as_ref().map(|custom| custom.version["subresources"]["scale"].clone()).unwrap_or_default();
    ScalePaths {
        spec: pointer(&custom["specReplicasPath"], "/spec/replicas"),
        status: pointer(&custom["statusReplicasPath"], "/status/replicas"),
        selector: pointer(&custom["labelSelectorPath"], ""),
    }
}

fn scale_of(resource: &Resource, object: &Value) -> Value {
    let paths = scale_paths(resource);
    let metadata = &object["metadata"];
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let selector = if paths.selector.is_empty() {
        let labels = object["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
        labels.map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(",")
    } else {
        object.pointer(&paths.selector).map(|selector| text(selector).to_owned()).unwrap_or_default()
    };
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {}, "status": {"replicas": number(&paths.status), "selector": selector},
    });
    // Zero is left out, as Go leaves it out.
    if number(&paths.spec) > 0 {
        scale["spec"]["replicas"] = number(&paths.spec).into();
    }
    scale
}

fn scale(asked: &Asked, resource: &Resource, bytes: &[u8]) -> Result<Reply> {
    let kind = header(&asked.parts.headers, &CONTENT_TYPE);
    let main = Target { subresource: "", ..target(asked, resource) };
    let new = |current: &Value| -> Result<Value> {
        let mut scale = current.clone();
        match asked.parts.method {
            Method::PUT => scale = decode::parse("Scale", kind, bytes)?,
            _ => match patch_of(kind, bytes, false)? {
                (PatchKind::Json, body) => patch::json_patch(&mut scale, &body)?,
                (_, body) => patch::merge_patch(&mut scale, &body),
            },
        }
        Ok(scale)
    };
    asked.shared.with(|state| {
        let live = state.live(main)?;
        let current = scale_of(resource, &live);
        if asked.parts.method == Method::GET {
            return Ok(Reply::ok(current));
        }
        let wanted = new(&current)?;
        let version = text(&wanted["metadata"]["resourceVersion"]);
        if !version.is_empty() && live["metadata"]["resourceVersion"] != version {
            return Err(Status::modified(resource.about(), main.name));
        }
        let mut object = State::show(resource, &live);
        let replicas = wanted["spec"]["replicas"].as_u64().unwrap_or(0);
        set_pointer(&mut object, &scale_paths(resource).spec, replicas.into());
        let how = How {
            manager: Some(asked.query.get("fieldManager").to_owned()).filter(|m| !m.is_empty()),
            ..How::default()
        };
        let how = How { dry_run: !asked.query.get("dryRun").is_empty(), ..how };
        let updated = state.update(&asked.who, Target { subresource: "scale", ..main }, &live, object, &how)?;
        Ok(Reply::ok(scale_of(resource, &updated)))
    })
}

fn set_pointer(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for part in pointer.trim_start_matches('/').split('/') {
        at = &mut at[part];
    }
    *at = value;
}

fn evict(asked: &Asked, resource: &Resource, bytes: &[u8]) -> Result<Reply> {
    let body = decode::parse("Eviction", header(&asked.parts.headers, &CONTENT_TYPE), bytes)?;
    let options = DeleteOptions::parse(&body["deleteOptions"]);
    let main = Target { subresource: "", ..target(asked, resource) };
    asked.shared.with(|state| {
        let live = state.live(main)?;
        state.check_budget(&live)?;
        state.mark_disrupted(&live, "EvictionByEvictionAPI", "Eviction API: evicting");
        state.delete(&asked.who, main, &options)
    })?;
    let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Reply::Json(201, success, Vec::new()))
}

//! From a request to an operation and back.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, UPGRADE, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use crate::support::kube::access::Access;
use crate::support::kube::ops::decode;
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::ops::list::ListOptions;
use crate::support::kube::ops::update::{PatchKind, Target};
use crate::support::kube::registry::Resource;
use crate::support::kube::reply::{Body, Reply};
use crate::support::kube::request::{Path, Query, verb};
use crate::support::kube::select::Selector;
use crate::support::kube::server::Shared;
use crate::support::kube::state::{Caller, How, State, Validation};
use crate::support::kube::status::{Result, Status};
use crate::support::kube::table::{Shape, partial, shaped, table};
use crate::support::kube::watch::{self, WatchOptions};
use crate::support::kube::{special, streams};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const WATCH_BUFFER: usize = 16;

/// A request in all its parts.
pub(crate) struct Asked {
    pub(crate) shared: Arc<Shared>,
    pub(crate) parts: Parts,
    pub(crate) path: Path,
    pub(crate) query: Query,
    pub(crate) who: Caller,
}

pub(crate) async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Body>, Infallible> {
    let yaml = header(request.headers(), &ACCEPT).starts_with("application/yaml");
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    hang(&shared, (&method, &uri), false).await;
    let reply = handle(Arc::clone(&shared), request).await.unwrap_or_else(Reply::from);
    hang(&shared, (&method, &uri), true).await;
    let lost = shared.with(|state| state.faults.loses(&method, &uri));
    let reply = lost.map_or(reply, Reply::from);
    Ok(reply.response(yaml))
}

/// Never returns where a test wants no answer; the connection's end ends it.
async fn hang(shared: &Shared, (method, uri): (&str, &str), done: bool) {
    if shared.with(|state| state.faults.hangs(method, uri, done)) {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn header<'a>(headers: &'a hyper::HeaderMap, name: &hyper::header::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply> {
    let uri = request.uri().to_string();
    let method = request.method().clone();
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{method} {uri}"));
    if let Some(status) = shared.with(|state| state.faults.meet(method.as_str(), &uri)) {
        return Err(status);
    }
    let path = request.uri().path().to_owned();
    if let Some(reply) = health(&path) {
        return Ok(reply);
    }
    let manager = header(request.headers(), &USER_AGENT).split('/').next().unwrap_or_default().to_owned();
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let who = shared.with(|state| state.authenticate(token.as_deref(), &manager))?;
    if let Some(reply) = discovery(&shared, &path, header(request.headers(), &ACCEPT)).await? {
        return Ok(reply);
    }
    let parsed = Path::parse(&path).ok_or_else(Status::page_not_found)?;
    remote(&shared, &parsed).await?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let access = Access::of(verb(&method, &parsed, &query), &parsed);
    shared.with(|state| state.authorize(&who, &access))?;
    let upgrade = request.headers().contains_key(UPGRADE);
    if matches!(parsed.subresource.as_str(), "exec" | "attach" | "portforward") {
        if upgrade && method == Method::GET {
            // A WebSocket begins with GET, but lets its user act: the right to create is asked for as well.
            shared.with(|state| state.authorize(&who, &Access { verb: "create".into(), ..access }))?;
        }
        return streams::upgrade(&shared, request, &parsed, &query);
    }
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(|_| Status::bad_request("unexpected EOF"))?.to_bytes();
    let asked = Asked { shared, parts, path: parsed, query, who };
    operate(asked, &bytes)
}

fn health(path: &str) -> Option<Reply> {
    match path {
        "/version" | "/version/" => Some(Reply::ok(State::version())),
        "/healthz" | "/readyz" | "/livez" => Some(Reply::Text(200, "ok".into())),
        _ => None,
    }
}

async fn discovery(shared: &Shared, path: &str, accept: &str) -> Result<Option<Reply>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let aggregated = accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2");
    let value = match parts.as_slice() {
        [root @ ("api" | "apis")] if aggregated => {
            let value = shared.with(|state| state.aggregated(*root == "api"));
            return Ok(Some(Reply::Typed(200, AGGREGATED, value)));
        }
        ["api"] => shared.with(|state| state.api_versions()),
        ["apis"] => shared.with(|state| state.api_groups()),
        ["api", version] => shared.with(|state| state.api_resources("", version))?,
        ["apis", group] => shared.with(|state| state.api_group(group))?,
        ["apis", group, version] => {
            let path = Path { group: (*group).to_owned(), version: (*version).to_owned(), ..Path::default() };
            remote(shared, &path).await?;
            shared.with(|state| state.api_resources(group, version))?
        }
        _ => return Ok(None),
    };
    Ok(Some(Reply::ok(value)))
}

/// An API that another server has: it is unavailable, or takes the request and keeps silent.
async fn remote(shared: &Shared, path: &Path) -> Result<()> {
    let (unavailable, silent) =
        shared.with(|state| (state.unavailable(&path.group, &path.version), state.faults.is_silent(&path.group)));
    if silent {
        // The real server gives up after a minute.
        tokio::time::sleep(Duration::from_secs(60)).await;
        return Err(Status::new(504, "Timeout", "request timed out"));
    }
    if unavailable {
        return Err(Status { code: 503, body: "service unavailable\n".into(), plain: true, retry_after: None });
    }
    Ok(())
}

fn how(query: &Query) -> How {
    How {
        dry_run: !query.get("dryRun").is_empty(),
        validation: match query.get("fieldValidation") {
            "Strict" => Validation::Strict,
            "Ignore" => Validation::Ignore,
            _ => Validation::Warn,
        },
        manager: Some(query.get("fieldManager").to_owned()).filter(|manager| !manager.is_empty()),
        force: query.is("force"),
    }
}

fn shape(accept: &str) -> Shape {
    for wanted in accept.split(',') {
        if wanted.contains("as=Table") {
            return Shape::Table;
        }
        if wanted.contains("as=PartialObjectMetadata") {
            return Shape::Metadata;
        }
        if wanted.trim_start().starts_with("application/json") {
            return Shape::Whole;
        }
    }
    Shape::Whole
}

fn operate(asked: Asked, bytes: &[u8]) -> Result<Reply> {
    let Path { group, version, resource, name, .. } = &asked.path;
    let known = asked.shared.with(|state| {
        // A group that is not there at all is not the API machinery's to refuse.
        let in_group = state.resources.iter().any(|r| r.group == *group && r.version == *version);
        if in_group { state.resource(group, version, resource) } else { Err(Status::page_not_found()) }
    })?;
    if !asked.path.subresource.is_empty() || special::is_virtual(&known) {
        return special::answer(&asked, &known, bytes);
    }
    if known.namespaced && asked.path.namespace.is_empty() && (!name.is_empty() || asked.parts.method == Method::POST) {
        return Err(Status::method_not_allowed());
    }
    let wanted = shape(header(&asked.parts.headers, &ACCEPT));
    match asked.parts.method {
        Method::GET if name.is_empty() && asked.query.is("watch") => watch_reply(asked, known),
        Method::GET if name.is_empty() => list_reply(&asked, &known, wanted),
        Method::GET => {
            let target = target(&asked, &known);
            let object = asked.shared.with(|state| state.live(target))?;
            Ok(Reply::ok(shaped(wanted, &known, State::show(&known, &object), true)))
        }
        Method::DELETE => delete_reply(&asked, &known, bytes),
        Method::POST if name.is_empty() => {
            let object = decode::parse(&known.kind, header(&asked.parts.headers, &CONTENT_TYPE), bytes)?;
            let how = how(&asked.query);
            let namespace = asked.path.namespace.clone();
            let (object, warnings) =
                asked.shared.with(|state| state.create(&asked.who, &known, &namespace, object, &how))?;
            Ok(Reply::Json(201, shaped(wanted, &known, object, true), warnings))
        }
        Method::PUT | Method::PATCH if !name.is_empty() => write_reply(&asked, &known, bytes, wanted),
        _ => Err(Status::method_not_allowed()),
    }
}

pub(crate) fn target<'a>(asked: &'a Asked, resource: &'a Resource) -> Target<'a> {
    Target { resource, namespace: &asked.path.namespace, name: &asked.path.name, subresource: &asked.path.subresource }
}

/// PUT and PATCH, of the main resource and of `status`.
pub(crate) fn write_reply(asked: &Asked, resource: &Resource, bytes: &[u8], wanted: Shape) -> Result<Reply> {
    let kind = header(&asked.parts.headers, &CONTENT_TYPE);
    let how = how(&asked.query);
    let target = target(asked, resource);
    if asked.parts.method == Method::PUT {
        let object = decode::parse(&resource.kind, kind, bytes)?;
        let (object, warnings) = asked.shared.with(|state| state.replace(&asked.who, target, object, &how))?;
        return Ok(Reply::Json(200, shaped(wanted, resource, object, true), warnings));
    }
    let (patch, body) = patch_of(kind, bytes, resource.custom.is_some())?;
    let (object, warnings, new) = asked.shared.with(|state| state.patch(&asked.who, target, patch, &body, &how))?;
    Ok(Reply::Json(if new { 201 } else { 200 }, shaped(wanted, resource, object, true), warnings))
}

pub(crate) fn patch_of(content_type: &str, bytes: &[u8], custom: bool) -> Result<(PatchKind, Value)> {
    let kind = match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" if custom => {
            let text = "the body of the request was in an unknown format - accepted media types include: \
                        application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
            return Err(Status::new(415, "UnsupportedMediaType", text));
        }
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        "application/apply-patch+yaml" => PatchKind::Apply,
        _ => {
            let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
            status.body["details"] = json!({});
            return Err(status);
        }
    };
    let content_type = if kind == PatchKind::Apply { "yaml" } else { "json" };
    Ok((kind, decode::parse("patch", content_type, bytes)?))
}

fn selector(asked: &Asked, resource: &Resource) -> Result<Selector> {
    Selector::parse(resource, asked.query.get("labelSelector"), asked.query.get("fieldSelector"))
}

fn list_reply(asked: &Asked, resource: &Resource, wanted: Shape) -> Result<Reply> {
    if !resource.can("list") {
        return Err(Status::method_not_allowed());
    }
    let selector = selector(asked, resource)?;
    let options = ListOptions {
        limit: asked.query.get("limit").parse().unwrap_or(0),
        token: asked.query.get("continue").to_owned(),
        version: asked.query.get("resourceVersion").to_owned(),
        version_match: asked.query.get("resourceVersionMatch").to_owned(),
    };
    let namespace = &asked.path.namespace;
    let listing = asked.shared.with(|state| state.list(resource, namespace, &selector, &options))?;
    let mut metadata = json!({"resourceVersion": listing.version.to_string()});
    if let Some(token) = listing.token {
        metadata["continue"] = token.into();
    }
    if let Some(remaining) = listing.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    Ok(Reply::ok(match wanted {
        Shape::Table => table(resource, &listing.items, metadata, true),
        Shape::Metadata => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "items": listing.items.iter().map(partial).collect::<Vec<_>>(),
        }),
        Shape::Whole => list_object(resource, listing.items, metadata),
    }))
}

fn list_object(resource: &Resource, mut items: Vec<Value>, metadata: Value) -> Value {
    if resource.custom.is_none() {
        for item in &mut items {
            let map = item.as_object_mut().expect("an object");
            map.remove("kind");
            map.remove("apiVersion");
        }
    }
    json!({"kind": format!("{}List", resource.kind), "apiVersion": resource.api_version(), "metadata": metadata, "items": items})
}

fn watch_reply(asked: Asked, resource: Arc<Resource>) -> Result<Reply> {
    let flag = asked.query.get("sendInitialEvents");
    let options = WatchOptions {
        selector: selector(&asked, &resource)?,
        namespace: asked.path.namespace.clone(),
        version: asked.query.get("resourceVersion").to_owned(),
        bookmarks: asked.query.is("allowWatchBookmarks"),
        initial: (!flag.is_empty()).then(|| asked.query.is("sendInitialEvents")),
        version_match: asked.query.get("resourceVersionMatch").to_owned(),
        timeout: asked.query.get("timeoutSeconds").parse().ok().map(Duration::from_secs),
        shape: shape(header(&asked.parts.headers, &ACCEPT)),
        resource,
    };
    watch::check(&options)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(WATCH_BUFFER);
    tokio::spawn(watch::run(asked.shared, options, sender));
    Ok(Reply::Stream("application/json", receiver))
}

fn delete_reply(asked: &Asked, resource: &Resource, bytes: &[u8]) -> Result<Reply> {
    let body: Value =
        if bytes.is_empty() { Value::Null } else { decode::parse("DeleteOptions", "application/json", bytes)? };
    let mut options = DeleteOptions::parse(&body);
    options.dry_run |= !asked.query.get("dryRun").is_empty();
    options.grace = options.grace.or_else(|| asked.query.get("gracePeriodSeconds").parse().ok());
    let propagation = asked.query.get("propagationPolicy");
    if !propagation.is_empty() {
        options.propagation = Some(propagation.to_owned());
    }
    if !asked.path.name.is_empty() {
        let target = target(asked, resource);
        return Ok(Reply::ok(asked.shared.with(|state| state.delete(&asked.who, target, &options))?));
    }
    if !resource.can("deletecollection") {
        return Err(Status::method_not_allowed());
    }
    let selector = selector(asked, resource)?;
    let namespace = &asked.path.namespace;
    let (deleted, revision) = asked.shared.with(|state| {
        let deleted = state.delete_all(&asked.who, resource, namespace, &selector, &options)?;
        Ok::<_, Status>((deleted, state.store.revision()))
    })?;
    Ok(Reply::ok(list_object(resource, deleted, json!({"resourceVersion": revision.to_string()}))))
}

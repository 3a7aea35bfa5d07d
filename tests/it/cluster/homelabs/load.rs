//! `fixtures/clusters/…` in a test API server: every object is created as a client creates it, so that it is checked and gets its defaults, and then is made
//! what its file says it was: its uid, owners, field owners, addresses and status.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::kube::node::Node;
use crate::support::kube::server::{KubeServer, Options};
use crate::support::kube::state::{Caller, How, Pace, State};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clusters")
}

fn documents(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parse =
        |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", file.display()));
    text.split("\n---\n").map(parse).collect()
}

/// The manifests of `fresh` (what a new cluster of this kind has) or `lab` (what its owner put there).
pub(super) fn files(lab: &str, part: &str) -> Vec<PathBuf> {
    let folder = fixtures().join(lab).join(part);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn objects(lab: &str, part: &str) -> Vec<Value> {
    files(lab, part).iter().flat_map(|file| documents(file)).collect()
}

/// The claims of a homelab, as NAMESPACE/NAME.
pub(super) fn claims(lab: &str) -> Vec<String> {
    let all = objects(lab, "lab");
    let claims = all.iter().filter(|object| object["kind"] == "PersistentVolumeClaim");
    claims.map(|claim| format!("{}/{}", text(claim, "namespace"), text(claim, "name"))).collect()
}

/// The definitions of these groups.
fn definitions(groups: &[String]) -> Vec<Value> {
    let files = groups.iter().map(|group| fixtures().join(format!("definitions/{group}.yaml")));
    files.flat_map(|file| documents(&file)).collect()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// What the server gives and does not take from a client.
const OF_THE_SERVER: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "uid",
];

/// What a client sends to get it.
fn as_sent(object: &Value) -> Value {
    let mut sent = object.clone();
    for field in OF_THE_SERVER {
        sent["metadata"].as_object_mut().unwrap().remove(field);
    }
    sent.as_object_mut().unwrap().remove("status");
    if sent["kind"] == "Service" && sent["spec"]["clusterIP"] != "None" {
        for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
            sent["spec"].as_object_mut().unwrap().remove(field);
        }
        for port in sent["spec"]["ports"].as_array_mut().into_iter().flatten() {
            port.as_object_mut().unwrap().remove("nodePort");
        }
    }
    sent
}

fn create(state: &mut State, object: &Value) -> Value {
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let resource = state.kind(api_version, kind).unwrap_or_else(|| panic!("no kind for {object}"));
    let (namespace, name) = (text(object, "namespace"), text(object, "name"));
    if let Some(there) = state.object(&resource.table(), namespace, name) {
        // What the test server has by itself, such as its storage class.
        let mut there = (*there).clone();
        for (field, value) in object.as_object().unwrap().iter().filter(|(field, _)| *field != "metadata") {
            there[field] = value.clone();
        }
        there["metadata"]["annotations"] = object["metadata"]["annotations"].clone();
        return there;
    }
    let made = state.create(&Caller::system("loader"), &resource, namespace, as_sent(object), &How::default());
    let (made, warnings) = made.unwrap_or_else(|status| panic!("{kind} {namespace}/{name}: {}", status.body));
    assert!(warnings.is_empty(), "{kind} {namespace}/{name} has fields that nobody knows: {warnings:?}");
    made
}

/// As it was in its cluster.
fn as_it_was(made: Value, object: &Value) -> Value {
    let mut made = made;
    for field in OF_THE_SERVER {
        if !object["metadata"][field].is_null() {
            made["metadata"][field] = object["metadata"][field].clone();
        }
    }
    if !object["status"].is_null() && object["kind"] != "CustomResourceDefinition" {
        made["status"] = object["status"].clone();
    }
    if object["kind"] == "Service" {
        for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
            if !object["spec"][field].is_null() {
                made["spec"][field] = object["spec"][field].clone();
            }
        }
        let ports = object["spec"]["ports"].as_array().cloned().unwrap_or_default();
        for (at, port) in ports.iter().enumerate().filter(|(_, port)| port["nodePort"].is_u64()) {
            made["spec"]["ports"][at]["nodePort"] = port["nodePort"].clone();
        }
    }
    made
}

/// Accounts before what runs by them; what could refuse the others last.
fn rank(object: &Value) -> u8 {
    match object["kind"].as_str().unwrap() {
        "CustomResourceDefinition" => 0,
        "Namespace" => 1,
        "ServiceAccount" | "PriorityClass" => 2,
        "Pod" => 4,
        kind if kind.ends_with("WebhookConfiguration") => 5,
        _ => 3,
    }
}

/// Puts objects into a server; with their identity and status, or as new ones.
async fn load(server: &KubeServer, mut all: Vec<Value>, with_identity: bool) {
    all.sort_by_key(rank);
    let put = |object: &Value| {
        server.shared.with(|state| {
            let made = create(state, object);
            let becomes = if with_identity { as_it_was(made.clone(), object) } else { made.clone() };
            state.edit(&made, |live| *live = becomes);
        });
    };
    let (first, rest): (Vec<Value>, Vec<Value>) = all.into_iter().partition(|object| rank(object) < 2);
    first.iter().for_each(put);
    server
        .until("definitions are established and namespaces have their accounts", |state| {
            first.iter().all(|object| match object["kind"].as_str().unwrap() {
                "Namespace" => state.object("serviceaccounts", text(object, "name"), "default").is_some(),
                _ => state
                    .kind(
                        &format!(
                            "{}/{}",
                            object["spec"]["group"].as_str().unwrap(),
                            object["spec"]["versions"][0]["name"].as_str().unwrap()
                        ),
                        object["spec"]["names"]["kind"].as_str().unwrap(),
                    )
                    .is_some(),
            })
        })
        .await;
    if with_identity {
        // From here on nothing moves: it is what it was at one moment.
        server.pause(true);
    }
    rest.iter().for_each(put);
}

async fn server() -> KubeServer {
    let pace = Pace { round: Duration::from_millis(100), ..Pace::default() };
    let server = KubeServer::start(Options { pace, ..Options::default() }).await;
    // No node takes a pod: what is tested are objects.
    server.faults(|faults| faults.hold_pods(""));
    server
}

fn groups_of(objects: &[Value]) -> Vec<String> {
    let group = |object: &Value| object["apiVersion"].as_str()?.split_once('/').map(|(group, _)| group.to_owned());
    let mut groups: Vec<String> = objects.iter().filter_map(group).collect();
    groups.sort();
    groups.dedup();
    groups.retain(|group| fixtures().join(format!("definitions/{group}.yaml")).exists());
    groups
}

/// The cluster that will be lost.
pub(super) async fn old(lab: &str) -> KubeServer {
    let server = server().await;
    let listed = std::fs::read_to_string(fixtures().join(lab).join("definitions.txt")).unwrap();
    let groups: Vec<String> = listed.lines().map(str::to_owned).collect();
    let all = [definitions(&groups), objects(lab, "fresh"), objects(lab, "lab")].concat();
    load(&server, all, true).await;
    server
}

/// An empty cluster of the same kind.
pub(super) async fn fresh(lab: &str) -> KubeServer {
    fresh_in(server().await, lab).await
}

/// The same, with nodes that run pods by these images.
pub(super) async fn fresh_that_runs(lab: &str, node: Node) -> KubeServer {
    fresh_in(KubeServer::start(Options { node, ..Options::default() }).await, lab).await
}

async fn fresh_in(server: KubeServer, lab: &str) -> KubeServer {
    let objects = objects(lab, "fresh");
    load(&server, [definitions(&groups_of(&objects)), objects].concat(), false).await;
    server
}

/// One object of the fixtures.
pub(super) fn object(lab: &str, kind: &str, name: &str) -> Value {
    let all = objects(lab, "lab");
    all.into_iter()
        .find(|object| object["kind"] == kind && text(object, "name") == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Puts one object into a living server, as a client does.
pub(super) fn put(server: &KubeServer, object: &Value) {
    let mut sent = as_sent(object);
    let namespace = text(object, "namespace").to_owned();
    sent["metadata"]["namespace"] = json!(namespace);
    if namespace.is_empty() {
        sent["metadata"].as_object_mut().unwrap().remove("namespace");
    }
    server.make(&namespace, sent);
}

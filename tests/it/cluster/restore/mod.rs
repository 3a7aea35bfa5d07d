//! The restore of a cluster's objects, against test API servers: one that is captured, and another that is restored into.

mod disaster;
mod existing;
mod folder;
mod mapping;
mod plan;
mod trouble;

use serde_json::{Value, json};

use super::{home, map, namespace, run};
use crate::cli::{Home, Ran};
use crate::support::kube::server::{KubeServer, Options};

/// A home that backs up `old`, and whose file `new` is the kubeconfig of `new`.
pub(super) fn between(old: &KubeServer, new: &KubeServer) -> Home {
    let home = home(old, "");
    std::fs::write(home.path("new"), new.kubeconfig()).unwrap();
    home
}

/// `restore --cluster` of the newest snapshot of the cluster into the file's cluster, without a question.
pub(super) async fn restore(home: &Home, kubeconfig: &str, more: &[&str]) -> Ran {
    let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", kubeconfig, "--yes"];
    run(home, &[&args[..], more].concat()).await
}

async fn server() -> KubeServer {
    KubeServer::start(Options::default()).await
}

fn secret(name: &str, password: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}})
}

fn deployment(name: &str, replicas: u64) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "test:1", "command": ["sleep", "600"]}]},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    })
}

fn owner(object: &Value, controller: bool) -> Value {
    json!([{
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": controller,
    }])
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"storageClassName": "csi-hostpath-sc", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    })
}

/// The outcomes of a run by object, as `--json` tells them.
pub(super) fn outcomes(document: &Value) -> Vec<(String, String)> {
    let rows = document["report"]["rows"].as_array().unwrap_or_else(|| panic!("{document}")).iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.map(|row| {
        let object = &row["object"];
        let place = format!("{}/{}/{}", text(&object["namespace"]), text(&object["kind"]), text(&object["name"]));
        (place, text(&row["outcome"]))
    })
    .collect()
}

#[track_caller]
pub(super) fn outcome(document: &Value, object: &str) -> String {
    let found = outcomes(document).into_iter().find(|(place, _)| place == object);
    found.unwrap_or_else(|| panic!("no {object} in {document}")).1
}

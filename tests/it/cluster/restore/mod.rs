//! The restore of a cluster's objects, against test API servers: one that is captured, and another that is restored into.

mod away;
mod by_hand;
mod converted;
mod damage;
mod denied;
mod disaster;
mod escapes;
mod existing;
mod filled;
mod folder;
mod held;
mod left_out;
mod mapping;
mod owners;
mod plan;
mod preflight;
mod ready;
mod recreate;
mod rests;
mod trouble;

use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::progress::Progress;
use homelab_dr::cluster::api::{Api, Limits};
use homelab_dr::cluster::{Cluster, Kind};
use homelab_dr::recover::cluster::Options as Wanted;
use homelab_dr::recover::cluster::manifests::{Captured, Manifests};
use homelab_dr::recover::cluster::plan::{ClusterPlan, plan as make_plan};
use homelab_dr::recover::cluster::report::{Outcome, Report};
use homelab_dr::recover::cluster::run::{Running, Waits, run as run_plan};
use serde_json::{Value, json};

use super::{home, map, namespace, run};
use crate::cli::{Home, Ran};
use crate::support::kube::faults::Webhook;
use crate::support::kube::server::{KubeServer, Options};

/// Has a webhook asked about some writes that has side effects: it cannot be tried beforehand what becomes of them.
fn cannot_be_tried(server: &KubeServer, rule: &Value) {
    server.make(
        "",
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "audit"},
            "webhooks": [{
                "name": "audit.acme.example", "sideEffects": "Some", "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"namespace": "media", "name": "audit"}},
                "rules": [rule],
            }],
        }),
    );
    server.faults(|faults| faults.answer_for_webhook("audit.acme.example", Webhook::Allows));
}

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
pub(crate) fn outcome(document: &Value, object: &str) -> String {
    let found = outcomes(document).into_iter().find(|(place, _)| place == object);
    found.unwrap_or_else(|| panic!("no {object} in {document}")).1
}

/// A client that gives up after a second, where the program is patient for half a minute.
async fn impatient(server: &KubeServer) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let limits = Limits { answer: Duration::from_secs(1), tries: Duration::from_secs(1) };
    Api::open(Some(&path), None).await.unwrap().with_limits(limits)
}

fn kind(group: &str, resource: &str, name: &str) -> Kind {
    Kind {
        group: group.into(),
        resource: resource.into(),
        version: "v1".into(),
        name: name.into(),
        namespaced: true,
        directory: name.into(),
    }
}

/// Objects as a capture gives them; configuration maps, if no kind is given.
fn manifests(objects: Vec<(Option<Kind>, Value)>) -> Manifests {
    let captured = |(of, object): (Option<Kind>, Value)| Captured {
        kind: of.unwrap_or_else(|| kind("", "configmaps", "ConfigMap")),
        object,
    };
    Manifests { objects: objects.into_iter().map(captured).collect(), is_cluster: true, ..Manifests::default() }
}

async fn planned(cluster: &dyn Cluster, objects: Vec<(Option<Kind>, Value)>) -> ClusterPlan {
    make_plan(cluster, manifests(objects), &Wanted::default()).await.unwrap()
}

async fn carried_out(cluster: &dyn Cluster, plan: &ClusterPlan, cancel: &Cancel) -> Report {
    let progress = Progress::default();
    let running =
        Running { cluster, empty_volumes: false, volumes: None, waits: Waits::default(), progress: &progress, cancel };
    run_plan(plan, &running).await.unwrap()
}

/// One word for each row of a report.
fn words(report: &Report) -> Vec<&'static str> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Restored { .. } => "restored",
        Outcome::Same => "same",
        Outcome::Unknown { .. } => "unknown",
        Outcome::Refused { .. } => "refused",
        Outcome::Conflict { .. } => "conflict",
        Outcome::NotReached => "not reached",
        _ => "other",
    };
    report.rows.iter().map(|row| word(&row.outcome)).collect()
}

//! What the recordings leave out: what was there before, what happened while a watch ran, what came after.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kube::replay::Wire;
use crate::kube::replay::compare::Known;
use crate::support::kube::node::Node;
use crate::support::kube::server::{KubeServer, Options};
use crate::support::kube::state::Pace;

/// Watches that ran beside all requests of their file.
pub(super) fn is_life(why: &str) -> bool {
    why.starts_with("life of") || why == "events" || why == "a CRD becoming established"
}

/// Watches whose time was over before the end of what they watched.
pub(super) fn was_cut(file: &str, line: usize) -> bool {
    (file, line) == ("crd", 4)
}

/// Scenarios in which controllers write beside the requests.
pub(super) fn is_busy(file: &str) -> bool {
    matches!(file, "pods" | "volumes")
}

pub(super) async fn server(file: &str) -> KubeServer {
    // The recording looks at a dying namespace before its controller does.
    let namespace = if file == "namespace" { Duration::from_secs(4) } else { Duration::from_millis(50) };
    // And it deletes the source of a clone before the provisioner looks again.
    let pace = Pace { namespace, cloned: Duration::from_secs(10), ..Pace::default() };
    let node = Node { absent: BTreeSet::from(["registry.lab/absent:1".to_owned()]), ..Node::default() };
    KubeServer::start(Options { pace, node, ..Options::default() }).await
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const MAPS: &str = "/api/v1/namespaces/transcript/configmaps";

async fn namespace(wire: &Wire, name: &str, labels: Value) {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    wire.act("POST", "/api/v1/namespaces", JSON, &body).await;
}

pub(super) async fn before(file: &str, server: &KubeServer, wire: &Wire) {
    namespace(wire, "transcript", json!({})).await;
    let has = |namespace: &'static str| {
        server.until("a namespace with what belongs into it", move |state| {
            state.object("serviceaccounts", namespace, "default").is_some()
                && state.object("configmaps", namespace, "kube-root-ca.crt").is_some()
        })
    };
    has("transcript").await;
    match file {
        // Its deployment is patched faster than its controller looks.
        "patch" => server.pause(true),
        "access" => {
            namespace(wire, "transcript-pss", json!({"pod-security.kubernetes.io/enforce": "restricted"})).await;
            has("transcript-pss").await;
        }
        "discovery" => group_snapshots(wire, server).await,
        "list" => {
            for number in 0..7 {
                let label = if number % 2 == 0 { "w" } else { "v" };
                let metadata = json!({"name": format!("l{number}"), "labels": {"k": label}});
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}});
                wire.act("POST", MAPS, JSON, &body).await;
            }
            // That cluster had twenty in all.
            for number in 0..8 {
                let body =
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("other-{number}")}});
                server.make("kube-system", body);
            }
            let body = json!({"metadata": {"labels": {"k": "w"}}, "data": {"a": "2"}});
            wire.act("PATCH", &format!("{MAPS}/l6"), MERGE, &body).await;
            let body = json!({"data": {"a": "1"}});
            wire.act("PATCH", &format!("{MAPS}/l6"), MERGE, &body).await;
        }
        "namespace" => {
            namespace(wire, "ns-life", json!({})).await;
            has("ns-life").await;
        }
        "volumes" => {
            namespace(wire, "transcript-two", json!({})).await;
            has("transcript-two").await;
        }
        _ => {}
    }
}

/// That cluster had the definitions of group snapshots too, in three versions.
async fn group_snapshots(wire: &Wire, server: &KubeServer) {
    const GROUP: &str = "groupsnapshot.storage.k8s.io";
    let version = |name: &str, status: bool| {
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let mut version = json!({"name": name, "served": true, "storage": name == "v1", "schema": schema});
        if status {
            version["subresources"] = json!({"status": {}});
        }
        version
    };
    for (kind, plural, short, scope, status) in [
        ("VolumeGroupSnapshotClass", "volumegroupsnapshotclasses", json!(["vgsclass", "vgsclasses"]), "Cluster", false),
        ("VolumeGroupSnapshotContent", "volumegroupsnapshotcontents", json!(["vgsc", "vgscs"]), "Cluster", true),
        ("VolumeGroupSnapshot", "volumegroupsnapshots", json!(["vgs"]), "Namespaced", true),
    ] {
        let versions: Vec<Value> = ["v1", "v1beta2", "v1beta1"].iter().map(|name| version(name, status)).collect();
        let names = json!({"kind": kind, "plural": plural, "shortNames": short});
        let spec = json!({"group": GROUP, "scope": scope, "names": names, "versions": versions});
        let body = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{GROUP}")}, "spec": spec,
        });
        wire.act("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", JSON, &body).await;
    }
    server
        .until("group snapshots are served", |state| {
            state.kind("groupsnapshot.storage.k8s.io/v1", "VolumeGroupSnapshot").is_some()
        })
        .await;
}

pub(super) async fn between(file: &str, line: usize, server: &KubeServer, wire: &Wire) {
    match (file, line) {
        // Two seconds passed here.
        ("crd", 3) => {
            server.until("the definition is served", |state| state.kind("example.org/v1", "Widget").is_some()).await;
        }
        ("crd", 15) => {
            server.until("the definition is gone", |state| state.kind("example.org/v1", "Widget").is_none()).await
        }
        ("watch", 4) => {
            let metadata = json!({"name": "w2", "labels": {"w": "x"}});
            let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}});
            wire.act("POST", MAPS, JSON, &body).await;
        }
        // The streaming list saw a later revision than the object's.
        ("watch", 5) => {
            server.make("kube-system", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}}));
        }
        ("pods", 17) => {
            server
                .until("the pod runs", |state| {
                    state.object("pods", "transcript", "long").is_some_and(|pod| pod["status"]["phase"] == "Running")
                })
                .await;
        }
        // A second and a half: the provisioner had begun to clone.
        ("volumes", 27) => {
            server
                .until("the source of the clone is protected", |state| {
                    state.object("persistentvolumeclaims", "transcript", "imm").is_some_and(|claim| {
                        claim["metadata"]["finalizers"].as_array().is_some_and(|all| all.len() == 2)
                    })
                })
                .await;
        }
        _ => {}
    }
}

/// Beside a watch with a time limit.
pub(super) async fn during(file: &str, line: usize, wire: &Wire) {
    if (file, line) != ("watch", 3) {
        return;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let metadata = json!({"name": "w1", "labels": {"w": "x"}});
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}});
    wire.act("POST", MAPS, JSON, &body).await;
    let one = format!("{MAPS}/w1");
    wire.act("PATCH", &one, MERGE, &json!({"data": {"a": "2"}})).await;
    wire.act("PATCH", &one, MERGE, &json!({"metadata": {"labels": {"w": "y"}}})).await;
    wire.act("PATCH", &one, MERGE, &json!({"metadata": {"labels": {"w": "x"}}})).await;
    wire.act("DELETE", &one, JSON, &json!({})).await;
    // Something elsewhere, so that a bookmark says more than the last event.
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "elsewhere"}});
    wire.act("POST", "/api/v1/namespaces/kube-system/configmaps", JSON, &body).await;
}

pub(super) async fn after(file: &str, _server: &KubeServer, wire: &Wire, _known: &Known) {
    if file == "volumes" {
        // The consumer went some seconds later.
        wire.act("DELETE", "/api/v1/namespaces/transcript/pods/user", JSON, &json!({})).await;
    }
}

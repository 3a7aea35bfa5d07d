//! Deleting one object: only the one that is meant, and what became of it.

use homelab_dr::cluster::api::Api;
use homelab_dr::cluster::{Cluster as _, Deleted, Kind};
use serde_json::{Value, json};

use super::map;
use crate::support::kube::faults::Failure;
use crate::support::kube::server::{KubeServer, Options};

fn maps() -> Kind {
    Kind {
        group: String::new(),
        resource: "configmaps".into(),
        version: "v1".into(),
        name: "ConfigMap".into(),
        namespaced: true,
        directory: "ConfigMap".into(),
    }
}

/// The program's own way to a server, as its administrator.
pub(crate) async fn api(server: &KubeServer) -> Api {
    api_by(&server.kubeconfig()).await
}

/// The same by a kubeconfig.
pub(crate) async fn api_by(kubeconfig: &str) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig).unwrap();
    Api::open(Some(&path), None).await.unwrap()
}

fn there(server: &KubeServer, name: &str) -> Option<Value> {
    server.object("configmaps", "default", name)
}

#[tokio::test]
async fn only_the_object_of_the_uid_is_deleted() {
    let server = KubeServer::start(Options::default()).await;
    let api = api(&server).await;
    let made = server.make("default", map("app", &json!({"a": "1"})));
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let delete = async |name: &str, uid: &str| api.delete(&maps(), Some("default"), name, uid).await.unwrap();
    assert_eq!(delete("app", "another").await, Deleted::Gone, "there is none of that uid");
    assert_eq!(there(&server, "app").expect("left alone")["metadata"]["uid"], uid);
    assert_eq!(delete("app", uid).await, Deleted::Gone);
    assert!(there(&server, "app").is_none());
    assert_eq!(delete("app", uid).await, Deleted::Gone, "it is missing");
}

#[tokio::test]
async fn a_finalizer_keeps_an_object_for_a_while() {
    let server = KubeServer::start(Options::default()).await;
    let api = api(&server).await;
    let mut object = map("app", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.org/keep"]);
    let uid = server.make("default", object)["metadata"]["uid"].as_str().unwrap().to_owned();
    let delete = async || api.delete(&maps(), Some("default"), "app", &uid).await.unwrap();
    assert_eq!(delete().await, Deleted::Going);
    assert!(there(&server, "app").expect("kept")["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(delete().await, Deleted::Going, "asked again");
    let patch = json!({"metadata": {"finalizers": null}});
    api.patch(&maps(), Some("default"), "app", &patch).await.unwrap();
    assert!(there(&server, "app").is_none());
    assert_eq!(delete().await, Deleted::Gone);
}

#[tokio::test]
async fn a_deletion_whose_answer_is_lost_happened_once() {
    let server = KubeServer::start(Options::default()).await;
    let api = api(&server).await;
    let uid = server.make("default", map("app", &json!({})))["metadata"]["uid"].as_str().unwrap().to_owned();
    let lost = Failure { method: "DELETE".into(), path: "/configmaps/app".into(), nth: 1, status: 503 };
    server.faults(|faults| faults.lose(lost));
    assert_eq!(api.delete(&maps(), Some("default"), "app", &uid).await.unwrap(), Deleted::Gone);
    assert_eq!(server.faults(|faults| faults.waiting()), 0);
    assert!(there(&server, "app").is_none());
}

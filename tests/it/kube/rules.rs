//! Rules that recovery stumbles over: who owns what, who may what, who is collected.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{Api, AttachParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::kube::{client, client_with, code, create_pod, phase, pod, server, token_of};

/// Measured: POST discards managedFields; a patch brings them back, and then the old owner owns again.
#[tokio::test]
async fn owners_are_brought_back_by_a_patch() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    let owner = json!([{
        "manager": "flux", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}},
    }]);
    let object = json!({"metadata": {"name": "m", "managedFields": owner}, "data": {"a": "1"}});
    let object: ConfigMap = serde_json::from_value(object).unwrap();
    let managers = |map: &ConfigMap| -> Vec<String> {
        map.metadata.managed_fields.iter().flatten().map(|entry| entry.manager.clone().unwrap_or_default()).collect()
    };
    let made = maps
        .create(&PostParams { field_manager: Some("restorer".into()), ..PostParams::default() }, &object)
        .await
        .unwrap();
    assert_eq!(managers(&made), ["restorer"]);
    let back = Patch::Merge(json!({"metadata": {"managedFields": owner}}));
    let back = maps.patch("m", &PatchParams::default(), &back).await.unwrap();
    assert_eq!(managers(&back), ["flux"]);
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"}});
    let conflict = maps.patch("m", &PatchParams::apply("other"), &Patch::Apply(theirs.clone())).await;
    assert_eq!(code(conflict), 409, "flux owns it again");
    maps.patch("m", &PatchParams::apply("flux"), &Patch::Apply(theirs)).await.unwrap();
}

/// Measured: apply does not restore; a key that nobody applied stays.
#[tokio::test]
async fn apply_leaves_what_it_does_not_know() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"extra": "1"}})).unwrap();
    maps.create(&PostParams::default(), &object).await.unwrap();
    let backup = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}});
    let merged = maps.patch("m", &PatchParams::apply("restorer").force(), &Patch::Apply(backup)).await.unwrap();
    assert_eq!(merged.data.unwrap().len(), 2);
    let stale =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"uid": "11111111-1111-1111-1111-111111111111"}});
    assert_eq!(code(maps.patch("m", &PatchParams::apply("restorer"), &Patch::Apply(stale)).await), 409);
}

/// Measured: a dry run in a namespace that is not there, or of a kind that is not there, is 404.
#[tokio::test]
async fn a_dry_run_cannot_plan_a_total_loss() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&server), "lost");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
    assert_eq!(code(maps.create(&dry, &object).await), 404);
}

#[tokio::test]
async fn an_owner_in_another_namespace_does_not_exist() {
    let server = server().await;
    server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}));
    let owner = server.make("default", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}));
    let reference =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}]);
    let object = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": reference}});
    server.make("other", object("lost"));
    server.make("default", object("kept"));
    server.until("it is collected", |state| state.object("configmaps", "other", "lost").is_none()).await;
    assert!(server.object("configmaps", "default", "kept").is_some());
}

async fn token(server: &crate::support::kube::server::KubeServer, verbs: &[&str]) -> String {
    let rule = json!({"apiGroups": [""], "resources": ["pods", "pods/exec", "pods/attach"], "verbs": verbs});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "mover"}, "rules": [rule]});
    server.make("default", role);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "mover"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mover"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    });
    server.make("default", binding);
    token_of(server, "default", "default").await
}

/// Measured: 1.36 asks for `create` on exec and attach; `get` alone is not enough.
#[tokio::test]
async fn exec_needs_the_right_to_create() {
    for (verbs, may) in [(&["get", "list"][..], false), (&["get", "list", "create"][..], true)] {
        let server = server().await;
        create_pod(&server, &pod("host", json!({"command": ["sleep", "60"]}))).await;
        phase(&server, "host", "Running").await;
        let theirs: Api<Pod> = Api::default_namespaced(client_with(&server, &token(&server, verbs).await));
        theirs.get("host").await.unwrap();
        let executed = theirs.exec("host", ["true"], &AttachParams::default()).await;
        assert_eq!(executed.is_ok(), may, "{verbs:?} {:?}", executed.err());
    }
}

#[tokio::test]
async fn a_namespace_ends_with_all_that_is_in_it() {
    let server = server().await;
    server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "scratch"}}));
    server.until("it has an account", |state| state.object("serviceaccounts", "scratch", "default").is_some()).await;
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.org/hold"]}});
    server.make("scratch", held);
    let namespaces: Api<Namespace> = Api::all(client(&server));
    namespaces.delete("scratch", &Default::default()).await.unwrap();
    server
        .until("it says what it waits for", |state| {
            let namespace = state.object("namespaces", "", "scratch").unwrap();
            namespace["status"]["conditions"].as_array().is_some_and(|list| {
                list.iter().any(|condition| {
                    condition["type"] == "NamespaceFinalizersRemaining" && condition["status"] == "True"
                })
            })
        })
        .await;
    let maps: Api<ConfigMap> = Api::namespaced(client(&server), "scratch");
    maps.patch("held", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}})))
        .await
        .unwrap();
    server.until("it is gone", |state| state.object("namespaces", "", "scratch").is_none()).await;
    assert!(server.object("serviceaccounts", "scratch", "default").is_none());
}

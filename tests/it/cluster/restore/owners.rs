//! Owners that are there, and are not what they were when the plan was made.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api as Objects, DeleteParams};

use super::*;

/// An owner and what it owns in an old cluster, and another owner of the same name in a new one.
async fn owned(finalizers: &Value) -> (KubeServer, Vec<(Option<Kind>, Value)>) {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    new.make("", namespace("media"));
    let keeper = old.make("media", map("a-keeper", &json!({"a": "1"})));
    let mut kept = map("kept", &json!({"a": "1"}));
    kept["metadata"]["ownerReferences"] = owner(&keeper, false);
    let kept = old.make("media", kept);
    let mut there = map("a-keeper", &json!({"a": "1"}));
    there["metadata"]["finalizers"] = finalizers.clone();
    new.make("media", there);
    (new, vec![(None, keeper), (None, kept)])
}

async fn delete(server: &KubeServer) {
    let maps: Objects<ConfigMap> = Objects::namespaced(crate::kube::client(server), "media");
    maps.delete("a-keeper", &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_being_deleted_takes_nothing_along() {
    let (new, objects) = owned(&json!(["acme.example/hold"])).await;
    delete(&new).await;
    let api = impatient(&new).await;
    let plan = planned(&api, objects).await;
    let report = carried_out(&api, &plan, &Cancel::default()).await;
    assert_eq!(words(&report), ["conflict", "restored"]);
    assert_eq!(
        report.rows[1].outcome,
        Outcome::Restored { without_owners: vec!["ConfigMap a-keeper".to_owned()] },
        "told"
    );
    assert_eq!(new.object("configmaps", "media", "kept").unwrap()["metadata"].get("ownerReferences"), None);
    new.shared.with(|state| {
        let dying = state.object("configmaps", "media", "a-keeper").unwrap();
        state.edit(&dying, |object| object["metadata"]["finalizers"] = json!([]));
    });
    new.until("the owner is gone", |state| state.object("configmaps", "media", "a-keeper").is_none()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(new.object("configmaps", "media", "kept").is_some(), "it was collected with its owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_made_anew_since_the_plan_is_named_as_it_is_now() {
    let (new, objects) = owned(&json!([])).await;
    let api = impatient(&new).await;
    let plan = planned(&api, objects).await;
    delete(&new).await;
    let now = new.make("media", map("a-keeper", &json!({"a": "1"})));
    let report = carried_out(&api, &plan, &Cancel::default()).await;
    assert_eq!(words(&report), ["same", "restored"]);
    let kept = new.object("configmaps", "media", "kept").expect("it is there, and was not collected");
    assert_eq!(kept["metadata"]["ownerReferences"][0]["uid"], now["metadata"]["uid"]);
}

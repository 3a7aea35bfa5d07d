//! What may not be asked for, or cannot be converted: told, and the rest goes on.

use std::time::Instant;

use super::*;

async fn small() -> (KubeServer, KubeServer, Home) {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    for number in 0..4 {
        old.make("media", map(&format!("m{number}"), &json!({"n": "1"})));
    }
    old.make("media", secret("login", "hunter2"));
    old.make("media", deployment("web", 0));
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    new.make("", namespace("media"));
    (old, new, home)
}

const MEDIA: [&str; 2] = ["--include", "media/*/*"];

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_may_not_be_looked_at_is_a_conflict() {
    let (_old, new, home) = small().await;
    new.faults(|faults| faults.refuse("GET", "/namespaces/media/secrets/", 403, "secrets is forbidden: not yours"));
    let ran = restore(&home, "new", &MEDIA).await.exits(3);
    assert!(ran.out.contains("secrets media/login: CONFLICT: ") && ran.out.contains("not yours"), "{}", ran.out);
    assert!(new.object("configmaps", "media", "m3").is_some() && new.object("secrets", "media", "login").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_no_webhook_converts_is_a_conflict_at_once() {
    let (_old, new, home) = small().await;
    let says = "conversion webhook for /v1, Kind=ConfigMap failed: Post \"https://hook.invalid\": no route to host";
    new.faults(|faults| faults.refuse("GET", "/configmaps/m1", 500, says));
    let begun = Instant::now();
    let ran = restore(&home, "new", &MEDIA).await.exits(3);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(ran.out.contains("configmaps media/m1: CONFLICT: ") && ran.out.contains("no route to host"), "{}", ran.out);
    assert!(new.object("configmaps", "media", "m0").is_some() && new.object("configmaps", "media", "m3").is_some());
}

/// An object that the API server cannot decrypt, say: it answers 500 for ever, and everything else well.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_server_fails_at_holds_up_no_other() {
    let (old, new) = (server().await, server().await);
    for cluster in [&old, &new] {
        cluster.make("", namespace("media"));
    }
    let secret = old.make("media", secret("login", "hunter2"));
    let map = old.make("media", map("m0", &json!({"n": "1"})));
    new.faults(|faults| faults.refuse("GET", "/secrets/login", 500, "unable to transform key"));
    let api = impatient(&new).await;
    let plan = planned(&api, vec![(None, map), (Some(kind("", "secrets", "Secret")), secret)]).await;
    let report = carried_out(&api, &plan, &Cancel::default()).await;
    assert!(!report.is_well());
    let told = serde_json::to_string(&report).unwrap();
    assert!(told.contains("it cannot be looked at: ") && told.contains("unable to transform key"), "{told}");
    assert!(new.object("configmaps", "media", "m0").is_some() && new.object("secrets", "media", "login").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_be_asked_for_holds_up_no_other() {
    let (_old, new, home) = small().await;
    new.faults(|faults| faults.refuse("GET", "/apis/apps/v1$", 403, "apps is forbidden"));
    let ran = restore(&home, "new", &MEDIA).await.exits(3);
    assert!(
        ran.out.contains("deployments.apps media/web: CONFLICT: apps/v1 does not answer")
            && ran.out.contains("apps is forbidden"),
        "{}",
        ran.out
    );
    assert!(new.object("secrets", "media", "login").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_at_namespaces_restores_into_one() {
    let (_old, new, home) = small().await;
    new.faults(|faults| faults.refuse("GET", "/api/v1/namespaces/media$", 403, "namespaces is forbidden"));
    restore(&home, "new", &MEDIA).await.exits(0);
    assert!(new.object("configmaps", "media", "m0").is_some());
}

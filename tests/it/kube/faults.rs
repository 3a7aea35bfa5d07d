//! The fault switches: each does what it says, when it is told, and stops when it is told.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::kube::{client, code, create_pod, phase, pod, raw, server};
use crate::support::kube::faults::{Failure, Webhook};
use crate::support::kube::watch::Ending;

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

#[tokio::test]
async fn the_nth_request_fails() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    // 429 and 503 are left out: kube-rs would try again by itself.
    for (nth, status) in [(1, 409), (2, 500)] {
        let failure = Failure { method: "POST".into(), path: "/configmaps".into(), nth, status };
        server.faults(|faults| faults.fail(failure));
        for before in 1..nth {
            maps.create(&PostParams::default(), &map(&format!("{status}-{before}"))).await.unwrap();
        }
        let failed = map(&format!("{status}-failed"));
        assert_eq!(code(maps.create(&PostParams::default(), &failed).await), status);
        assert_eq!(server.faults(|faults| faults.waiting()), 0);
        maps.create(&PostParams::default(), &failed).await.unwrap();
    }
    for status in [429, 503] {
        server.faults(|faults| faults.fail(Failure { method: "GET".into(), path: "/raw".into(), nth: 1, status }));
        let get = "GET /api/v1/namespaces/default/configmaps/raw";
        let (first, answer) = raw(&server, get, "", "").await;
        assert_eq!(first, status);
        assert_eq!(answer.to_lowercase().contains("retry-after: 1"), status == 429, "{answer}");
        assert_eq!(raw(&server, get, "", "").await.0, 404);
    }
}

#[tokio::test]
async fn a_restart_drops_connections_and_keeps_everything_else() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    maps.create(&PostParams::default(), &map("kept")).await.unwrap();
    create_pod(&server, &pod("runs", json!({"command": ["sleep", "60"]}))).await;
    phase(&server, "runs", "Running").await;
    let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    events.try_next().await.unwrap().unwrap();
    server.restart();
    let end =
        tokio::time::timeout(Duration::from_secs(20), async { while let Ok(Some(_)) = events.try_next().await {} })
            .await;
    assert!(end.is_ok(), "the watch broke");
    maps.get("kept").await.unwrap();
    phase(&server, "runs", "Running").await;
}

#[tokio::test]
async fn watches_end_quietly_or_with_gone() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    for (ending, gone) in [(Ending::Quiet, false), (Ending::Expired, true)] {
        let mut events = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        maps.create(&PostParams::default(), &map(if gone { "b" } else { "a" })).await.unwrap();
        events.try_next().await.unwrap().unwrap();
        server.end_watches(ending);
        let mut last = None;
        let all = async {
            while let Ok(Some(event)) = events.try_next().await {
                last = Some(event);
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
        assert_eq!(matches!(&last, Some(WatchEvent::Error(status)) if status.code == 410), gone, "{last:?}");
    }
}

#[tokio::test]
async fn a_token_expires() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    server.faults(|faults| faults.expire_token(true));
    assert_eq!(code(maps.list(&ListParams::default()).await), 401);
    server.faults(|faults| faults.expire_token(false));
    maps.list(&ListParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_pod_stays_pending() {
    let server = server().await;
    server.faults(|faults| faults.hold_pods("default/held"));
    create_pod(&server, &pod("held-1", json!({"command": ["true"]}))).await;
    create_pod(&server, &pod("free", json!({"command": ["true"]}))).await;
    phase(&server, "free", "Succeeded").await;
    phase(&server, "held-1", "Pending").await;
    server.faults(|faults| faults.release_pods("default/held"));
    phase(&server, "held-1", "Succeeded").await;
}

fn webhook(policy: &str, side_effects: &str) -> serde_json::Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "policy"},
        "webhooks": [{
            "name": "policy.example.org", "admissionReviewVersions": ["v1"], "sideEffects": side_effects, "failurePolicy": policy,
            "clientConfig": {"service": {"namespace": "policy", "name": "gone", "path": "/validate"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        }],
    })
}

#[tokio::test]
async fn a_webhook_refuses_for_want_of_its_service() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    server.make("", webhook("Fail", "Some"));
    let refused = maps.create(&PostParams::default(), &map("a")).await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    assert_eq!((status.code, status.reason.as_str()), (500, "InternalError"));
    assert!(
        status.message.contains("failed calling webhook \"policy.example.org\"")
            && status.message.contains("service \"gone\" not found"),
        "{}",
        status.message
    );
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert_eq!(code(maps.create(&dry, &map("a")).await), 400, "side effects forbid a dry run");
    server.faults(|faults| faults.answer_for_webhook("policy.example.org", Webhook::Denies("not here".into())));
    assert_eq!(code(maps.create(&PostParams::default(), &map("a")).await), 400);
    server.faults(|faults| faults.answer_for_webhook("policy.example.org", Webhook::Allows));
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
}

#[tokio::test]
async fn a_webhook_may_fail_open() {
    let server = server().await;
    server.make("", webhook("Ignore", "None"));
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    maps.create(&PostParams::default(), &map("a")).await.unwrap();
}

#[tokio::test]
async fn an_aggregated_api_does_not_answer() {
    let server = server().await;
    server.make("", json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"name": "metrics-server", "namespace": "kube-system"},
        },
    }));
    let get = |path: &'static str, accept: &'static str| {
        let server = &server;
        async move { raw(server, &format!("GET {path}"), &format!("Accept: {accept}\r\n"), "").await }
    };
    let (_, groups) = get("/apis", "application/json").await;
    assert!(groups.contains("metrics.k8s.io"), "the group is still announced");
    assert_eq!(get("/apis/metrics.k8s.io/v1beta1", "application/json").await.0, 503);
    assert_eq!(get("/apis/metrics.k8s.io/v1beta1/nodes", "application/json").await.0, 503);
    let (_, aggregated) = get("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").await;
    assert!(aggregated.contains(r#""freshness":"Stale""#), "new clients are told");
    server.faults(|faults| faults.silence("metrics.k8s.io"));
    let silent = get("/apis/metrics.k8s.io/v1beta1", "application/json");
    let silent = tokio::time::timeout(Duration::from_millis(300), silent).await;
    assert!(silent.is_err(), "it keeps silent");
}

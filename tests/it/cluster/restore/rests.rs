//! What rests on something that does not come: it is told as such, and not waited for object by object.

use std::time::Instant;

use super::*;
use crate::support::kube::faults::Webhook;

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_a_definition_in_conflict_is_in_conflict() {
    let (old, new) = (disaster::homelab().await, server().await);
    for number in 0..3 {
        old.make(
            "media",
            json!({"apiVersion": "acme.example/v1", "kind": "Anvil", "metadata": {"name": format!("a{number}")}}),
        );
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let hook = json!({
        "name": "no.acme.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "clientConfig": {"url": "https://hook.invalid"},
        "rules": [{"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"], "resources": ["customresourcedefinitions"], "operations": ["CREATE"]}],
    });
    new.make("", json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "no"}, "webhooks": [hook],
    }));
    new.faults(|faults| faults.answer_for_webhook("no.acme.example", Webhook::Denies("no definitions".into())));
    let begun = Instant::now();
    let ran = restore(&home, "new", &["--include", "*.acme.example", "--include", "*.apiextensions.k8s.io"]).await;
    let ran = ran.exits(3);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    for name in ["a0", "a1", "a2", "big"] {
        let told = format!("anvils.acme.example media/{name}: CONFLICT: customresourcedefinitions");
        assert!(ran.out.contains(&told), "{told}: {}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_does_not_come_is_waited_for_once() {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    for number in 0..5 {
        old.make("media", map(&format!("m{number}"), &json!({"n": "1"})));
    }
    old.make("media", secret("login", "x"));
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    new.faults(|faults| {
        faults.refuse("POST", "/api/v1/namespaces?fieldManager=homelab-dr$", 403, "no namespaces for you")
    });
    let begun = Instant::now();
    let ran = restore(&home, "new", &["--include", "media/*/*"]).await.exits(3);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert!(ran.out.contains("namespaces media: REFUSED: no namespaces for you"), "{}", ran.out);
    assert_eq!(ran.out.matches("configmaps media/m").count(), 5, "{}", ran.out);
    assert!(!ran.out.contains("restored,") && ran.out.contains("secrets media/login: REFUSED"), "{}", ran.out);
}

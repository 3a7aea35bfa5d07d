//! What others write never reaches a terminal as it is: an answer of a server, a webhook's words, the name of a field.

use super::*;
use crate::support::kube::faults::Webhook;

const EVIL: &str = "no\u{1b}[2J\nsecrets media/login: restored";
const TAMED: &str = "no\\x1b[2J\\x0asecrets media/login: restored";

/// A run that says it, and only as it should.
#[track_caller]
fn tamed(ran: &Ran) {
    let all = format!("{}{}", ran.out, ran.err);
    assert!(all.contains(TAMED) && !all.contains('\u{1b}'), "{all:?}");
    assert!(!all.lines().any(|line| line == "secrets media/login: restored"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_servers_and_webhooks_are_escaped() {
    let (old, new) = (server().await, server().await);
    for server in [&old, &new] {
        server.make("", namespace("media"));
    }
    old.make("media", map("app", &json!({"a": "1"})));
    old.make("media", secret("login", "x"));
    let home = between(&old, &new);
    // A list that is refused while the cluster is captured.
    old.faults(|faults| faults.refuse("GET", "/api/v1/limitranges?", 403, EVIL));
    let ran = run(&home, &["backup"]).await.exits(3);
    tamed(&ran);
    // The plan tells of it again, and of what a webhook says.
    let hook = json!({
        "name": "no.acme.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "clientConfig": {"url": "https://hook.invalid"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
    });
    new.make("", json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "no"}, "webhooks": [hook],
    }));
    new.faults(|faults| faults.answer_for_webhook("no.acme.example", Webhook::Denies(EVIL.into())));
    let planned = restore(&home, "new", &["--include", "media/*/*", "--plan"]).await.exits(3);
    tamed(&planned);
    assert!(planned.out.contains(TAMED) && planned.err.contains(TAMED), "the webhook's, and the list's");
    tamed(&restore(&home, "new", &["--include", "media/*/*"]).await.exits(3));
    // The question, and a server that refuses altogether.
    let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--existing", "update"];
    old.make("media", secret("more", "x"));
    run(&home, &["backup"]).await.exits(3);
    tamed(&run(&home, &args).await.exits(2));
    new.faults(|faults| faults.refuse("GET", "/api$", 403, EVIL));
    let refused = restore(&home, "new", &[]).await.exits(1);
    assert!(refused.err.contains("no\\x1b[2J") && !refused.err.contains('\u{1b}'), "{:?}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_fields_are_escaped() {
    let (old, new) = (disaster::homelab().await, disaster::homelab().await);
    new.shared.with(|state| {
        let anvil = state.object("anvils.acme.example", "media", "big").unwrap();
        state.edit(&anvil, |anvil| anvil["spec"][EVIL] = 1.into());
    });
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    for more in [&["--plan"][..], &[]] {
        tamed(&restore(&home, "new", &[&["--include", "*.acme.example"], more].concat()).await.exits(0));
    }
}

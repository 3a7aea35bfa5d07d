//! What stands in the way: a policy engine that does not answer, a mesh that is away, secrets whose store is lost.

use std::time::{Duration, Instant};

use serde_json::json;

use super::load;
use crate::cluster::restore::{between, outcome, outcomes, restore};
use crate::cluster::run;

const LAB: &str = "d-linkerd-kyverno";
const VALIDATING: &str = "ValidatingWebhookConfiguration";

/// Kyverno's webhooks are in the target and nobody answers for them: everything is refused in the server's words, at once, and nothing is half done. They go
/// (Kyverno makes them anew), and the next run restores everything, with Linkerd's injector away: it fails open.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_nobody_answers_for() {
    let (old, new) = (load::old(LAB).await, load::fresh(LAB).await);
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    for (kind, name) in [
        ("MutatingWebhookConfiguration", "kyverno-resource-mutating-webhook-cfg"),
        (VALIDATING, "kyverno-resource-validating-webhook-cfg"),
    ] {
        load::put(&new, &load::object(LAB, kind, name));
    }
    let begun = Instant::now();
    let ran = restore(&home, "new", &["--empty-volumes"]).await.exits(7);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let told = "Internal error occurred: failed calling webhook \"mutate.kyverno.svc-fail\"";
    assert!(ran.err.contains(told), "{}", ran.err);
    assert!(ran.err.contains("nothing was changed") && ran.err.contains("delete its "), "what to do: {}", ran.err);

    // One that leaves alone what a run needs for itself refuses object by object.
    let mut some = load::object(LAB, "MutatingWebhookConfiguration", "kyverno-resource-mutating-webhook-cfg");
    for hook in some["webhooks"].as_array_mut().unwrap() {
        for rule in hook["rules"].as_array_mut().unwrap() {
            rule["apiGroups"] = json!(["", "apiextensions.k8s.io"]);
            rule["resources"] = json!(["namespaces", "customresourcedefinitions"]);
        }
    }
    let forget_hooks = || {
        new.shared.with(|state| {
            for table in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
                for hook in state.objects(&format!("{table}.admissionregistration.k8s.io")) {
                    state.remove("test", &hook, &Default::default());
                }
            }
        });
    };
    forget_hooks();
    load::put(&new, &some);
    let ran = restore(&home, "new", &["--empty-volumes"]).await.exits(3);
    let told = "namespaces shop: REFUSED: Internal error occurred: failed calling webhook \"mutate.kyverno.svc-fail\"";
    assert!(ran.out.contains(told), "{}", ran.out);
    assert!(ran.out.contains("deployments.apps shop/api: REFUSED: its namespace shop was not created"), "{}", ran.out);
    assert!(ran.out.contains("its definition clusterpolicies.kyverno.io was not created"), "{}", ran.out);
    assert!(ran.err.contains("delete its "), "what to do: {}", ran.err);
    assert!(new.object("namespaces", "", "shop").is_none());

    forget_hooks();
    load::put(&new, &load::object(LAB, "MutatingWebhookConfiguration", "linkerd-proxy-injector-webhook-config"));
    let document = restore(&home, "new", &["--empty-volumes", "--json"]).await.exits(0).json();
    assert_eq!(outcome(&document, "shop/deployments.apps/api"), "restored");
    let again = restore(&home, "new", &["--empty-volumes", "--json"]).await.exits(0).json();
    let other: Vec<_> = outcomes(&again).into_iter().filter(|(_, outcome)| outcome != "same").collect();
    assert_eq!(other, [], "a second run finds everything as it should be");
}

/// The store of the secrets is lost too: then they come from the backup, and belong to who fetched them.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_an_operator_fetches() {
    let (old, new) = (load::old("a-k3s-pulumi").await, load::fresh("a-k3s-pulumi").await);
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let chosen = ["--include", "auth/*/*", "--include", "*.apiextensions.k8s.io"];
    let plan = restore(&home, "new", &[&chosen[..], &["--plan"]].concat()).await.exits(0).out;
    let why =
        "secrets auth/oauth2-proxy: fetched anew by ExternalSecret oauth2-proxy (--with-derived-secrets restores it)";
    assert!(plan.contains(why), "{plan}");
    restore(&home, "new", &[&chosen[..], &["--with-derived-secrets"]].concat()).await.exits(0);
    let secret = new.object("secrets", "auth", "oauth2-proxy").expect("it was asked for");
    let fetcher = new.object("externalsecrets.external-secrets.io", "auth", "oauth2-proxy").expect("restored");
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], fetcher["metadata"]["uid"]);
    assert_eq!(secret["data"], old.object("secrets", "auth", "oauth2-proxy").unwrap()["data"]);
    // Who names only the secret means it: nobody that comes with it would fetch it.
    let document = restore(&home, "new", &["--include", "cloudflared/secrets/*", "--json"]).await.exits(0).json();
    assert_eq!(outcome(&document, "cloudflared/secrets/tunnel-token"), "restored");
}

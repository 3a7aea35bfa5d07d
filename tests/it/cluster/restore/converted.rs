//! Objects that a webhook converts: it is part of an operator, which has only just been created when they are to be, and takes its time to answer.

use super::disaster::definition;
use super::*;

const SAYS: &str = "conversion webhook for acme.example/v1, Kind=Anvil failed: Post \"https://anvils.acme.svc:443/convert\": connection refused";
const ANVILS: &str = "/namespaces/acme/anvils";

/// A cluster with such objects, and one that is empty and whose webhook does not answer yet.
async fn lost() -> (KubeServer, KubeServer, Home) {
    let (old, new) = (server().await, server().await);
    let service = json!({"namespace": "acme", "name": "anvils", "path": "/convert"});
    let mut definition = definition();
    definition["spec"]["conversion"] = json!({
        "strategy": "Webhook", "webhook": {"clientConfig": {"service": service}, "conversionReviewVersions": ["v1"]},
    });
    old.make("", definition);
    old.until("the kind is served", |state| state.kind("acme.example/v1", "Anvil").is_some()).await;
    old.make("", namespace("acme"));
    for name in ["one", "two", "three"] {
        old.make(
            "acme",
            json!({"apiVersion": "acme.example/v1", "kind": "Anvil", "metadata": {"name": name}, "spec": {"kg": 5}}),
        );
    }
    old.make("acme", deployment("anvils", 1));
    old.make("acme", budget());
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    new.faults(|faults| faults.refuse("POST", ANVILS, 500, SAYS));
    (old, new, home)
}

/// What comes after them.
fn budget() -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "anvils"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "anvils"}}},
    })
}

/// How often one of them was to be created.
fn asked(server: &KubeServer) -> usize {
    server.seen().iter().filter(|ask| ask.starts_with("POST") && ask.contains(ANVILS)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_converts_them_is_waited_for() {
    let (_old, new, home) = lost().await;
    let answers = async {
        for _ in 0..1200 {
            if asked(&new) >= 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let app = new.object("deployments.apps", "acme", "anvils");
        assert!(asked(&new) >= 2 && app.is_some(), "what answers has been created before");
        new.faults(|faults| faults.permit_all());
    };
    let (ran, ()) = tokio::join!(restore(&home, "new", &["--json"]), answers);
    let document = ran.exits(0).json();
    for name in ["one", "two", "three"] {
        assert_eq!(outcome(&document, &format!("acme/anvils.acme.example/{name}")), "restored", "{document:#}");
    }
}

/// One wait for all of them, and everything else is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_never_answers_is_told_and_holds_up_nothing_else() {
    let (old, new, _home) = lost().await;
    let api = impatient(&new).await;
    let anvils = Kind { namespaced: true, ..kind("acme.example", "anvils", "Anvil") };
    let definitions = Kind {
        namespaced: false,
        ..kind("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition")
    };
    let taken = |table: &str, namespace: &str, name: &str| old.object(table, namespace, name).expect("of the old one");
    let mut objects = vec![
        (Some(definitions), taken("customresourcedefinitions.apiextensions.k8s.io", "", "anvils.acme.example")),
        (Some(Kind { namespaced: false, ..kind("", "namespaces", "Namespace") }), taken("namespaces", "", "acme")),
        (
            Some(kind("policy", "poddisruptionbudgets", "PodDisruptionBudget")),
            taken("poddisruptionbudgets.policy", "acme", "anvils"),
        ),
    ];
    for name in ["one", "two", "three"] {
        objects.push((Some(anvils.clone()), taken("anvils.acme.example", "acme", name)));
    }
    let plan = planned(&api, objects).await;
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let waits = Waits { converters: Duration::from_secs(3), ..Waits::default() };
    let running =
        Running { cluster: &api, empty_volumes: false, volumes: None, waits, progress: &progress, cancel: &cancel };
    let report = run_plan(&plan, &running).await.unwrap();
    // The first one every second, the others not at all.
    assert!((2..=5).contains(&asked(&new)), "{}", asked(&new));
    let words = words(&report);
    assert_eq!(words.iter().filter(|word| **word == "refused").count(), 3, "{words:?}");
    assert_eq!(words.iter().filter(|word| **word == "restored").count(), 3, "{words:?}");
    assert!(!report.is_well() && serde_json::to_string(&report).unwrap().contains("connection refused"));
    assert!(new.object("poddisruptionbudgets.policy", "acme", "anvils").is_some());
}

/// The definition is restored by another step, as of a runbook that brings operators first.
#[tokio::test(flavor = "multi_thread")]
async fn they_are_waited_for_where_their_definition_is_there_already() {
    let (_old, new, home) = lost().await;
    restore(&home, "new", &["--include", "customresourcedefinitions.apiextensions.k8s.io"]).await.exits(0);
    let answers = async {
        for _ in 0..1200 {
            if asked(&new) >= 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        new.faults(|faults| faults.permit_all());
    };
    let more = ["--include", "acme/*/*", "--json"];
    let (ran, ()) = tokio::join!(restore(&home, "new", &more), answers);
    let document = ran.exits(0).json();
    assert_eq!(outcome(&document, "acme/anvils.acme.example/one"), "restored", "{document:#}");
}

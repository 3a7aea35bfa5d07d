//! What is there already: left, replaced, or in the way.

use super::*;

/// An old cluster, and a new one where the same objects are there and differ.
async fn both() -> (KubeServer, KubeServer, Home) {
    let (old, new) = (server().await, server().await);
    for (server, word) in [(&old, "old"), (&new, "new")] {
        server.make("", namespace("media"));
        server.make("media", map("app", &json!({"word": word, word: "only here"})));
        server.make("media", map("equal", &json!({"word": "both"})));
        server.make("media", secret("login", word));
        let ports = json!([{"port": if word == "old" { 80 } else { 8080 }}]);
        server.make("media", json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": ports, "selector": {"app": "x"}}}));
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    (old, new, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_left_and_told_with_the_places_that_differ() {
    let (_old, new, home) = both().await;
    let before = new.object("configmaps", "media", "app");
    let ran = restore(&home, "new", &["--include", "media/*/*"]).await.exits(0);
    assert!(
        ran.out.contains("configmaps media/app: kept as it was; differs in data.new, data.old, data.word"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("secrets media/login: kept as it was; differs in data.password"), "{}", ran.out);
    assert!(!ran.out.contains("bmV3") && !ran.out.contains("b2xk"), "no values: {}", ran.out);
    assert!(ran.out.contains("3 kept as they were"), "{}", ran.out);
    assert_eq!(new.object("configmaps", "media", "app"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_replaced_whole_and_belongs_to_whom_it_belonged() {
    let (old, new, home) = both().await;
    let before = new.object("services", "media", "web").unwrap();
    let untouched = new.object("configmaps", "media", "equal").unwrap();
    let options = ["--include", "media/*/*", "--existing", "update", "--json"];
    let document = restore(&home, "new", &options).await.exits(0).json();
    assert_eq!(outcome(&document, "media/configmaps/app"), "restored");
    assert_eq!(outcome(&document, "media/configmaps/equal"), "same");
    let after = new.object("configmaps", "media", "app").unwrap();
    assert_eq!(after["data"], json!({"word": "old", "old": "only here"}), "nothing was merged");
    let of_old = old.object("configmaps", "media", "app").unwrap();
    assert_eq!(after["metadata"]["managedFields"], of_old["metadata"]["managedFields"]);
    let web = new.object("services", "media", "web").unwrap();
    assert_eq!(web["spec"]["ports"][0]["port"], 80);
    assert_eq!(web["spec"]["clusterIP"], before["spec"]["clusterIP"], "the address stays with the service");
    assert_eq!(web["metadata"]["uid"], before["metadata"]["uid"], "it is the same object");
    assert_eq!(new.object("configmaps", "media", "equal").unwrap(), untouched);
}

/// A webhook with side effects cannot be asked beforehand: that is no conflict, and it is asked when it is meant.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tried_beforehand_is_written_all_the_same() {
    let (old, new, home) = both().await;
    old.make("media", secret("more", "old"));
    run(&home, &["backup"]).await.exits(0);
    cannot_be_tried(
        &new,
        &json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}),
    );
    let options = ["--include", "media/secrets/*", "--existing", "update", "--json"];
    let plan = restore(&home, "new", &[&options[..], &["--plan"]].concat()).await.exits(0).json();
    let steps = plan["plan"]["steps"].as_array().unwrap();
    let step = |name: &str| steps.iter().find(|step| step["object"]["name"] == name).expect("a step").to_string();
    assert!(step("more").contains("does not support dry run"), "{plan:#}");
    assert!(!step("login").contains("conflict"), "{plan:#}");
    let document = restore(&home, "new", &options).await.exits(0).json();
    for name in ["more", "login"] {
        assert_eq!(outcome(&document, &format!("media/secrets/{name}")), "restored");
        assert_eq!(
            new.object("secrets", "media", name).unwrap()["data"],
            old.object("secrets", "media", name).unwrap()["data"]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_in_the_middle_is_looked_at_and_tried_again() {
    use crate::support::kube::faults::Failure;
    let (_old, new, home) = both().await;
    new.faults(|faults| {
        // The first PUT is the trial of the plan; the second one is meant.
        faults.fail(Failure {
            method: "PUT".into(),
            path: "/configmaps/app?fieldManager=homelab-dr".into(),
            nth: 2,
            status: 409,
        });
        faults.fail(Failure { method: "PATCH".into(), path: "/configmaps/app".into(), nth: 1, status: 409 });
    });
    let options = ["--include", "media/configmaps/app", "--existing", "update", "--json"];
    let document = restore(&home, "new", &options).await.exits(0).json();
    assert_eq!(new.faults(|faults| faults.waiting()), 0, "it met the faults");
    assert_eq!(outcome(&document, "media/configmaps/app"), "restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_a_conflict_in_the_servers_words_and_the_rest_is_done() {
    let (old, new) = (server().await, server().await);
    for (server, label) in [(&old, "web"), (&new, "other")] {
        server.make("", namespace("media"));
        let mut web = deployment("web", 0);
        web["spec"]["selector"]["matchLabels"]["app"] = label.into();
        web["spec"]["template"]["metadata"]["labels"]["app"] = label.into();
        server.make("media", web);
        server.make("media", map("app", &json!({"word": label})));
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let ran = restore(&home, "new", &["--include", "media/*/*", "--existing", "update"]).await.exits(3);
    assert!(ran.out.contains("deployments.apps media/web: CONFLICT: ") && ran.out.contains("immutable"), "{}", ran.out);
    assert_eq!(new.object("configmaps", "media", "app").unwrap()["data"]["word"], "web");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_going_is_a_conflict() {
    let (old, new) = (server().await, server().await);
    for server in [&old, &new] {
        server.make("", namespace("media"));
        let mut app = map("app", &json!({"a": "1"}));
        app["metadata"]["finalizers"] = json!(["example.org/stays"]);
        server.make("media", app);
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    new.shared.with(|state| {
        let object = state.object("namespaces", "", "media").unwrap();
        state.remove("test", &object, &Default::default());
    });
    let ran = restore(&home, "new", &["--include", "media/configmaps/*"]).await.exits(3);
    assert!(ran.out.contains("CONFLICT: namespace media is being deleted"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_that_every_namespace_has_gets_what_it_had() {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    old.until("its account", |state| state.object("serviceaccounts", "media", "default").is_some()).await;
    old.shared.with(|state| {
        let account = state.object("serviceaccounts", "media", "default").unwrap();
        state.edit(&account, |account| account["imagePullSecrets"] = json!([{"name": "registry"}]));
    });
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let document = restore(&home, "new", &["--include", "media/*/*", "--json"]).await.exits(0).json();
    assert_eq!(outcome(&document, "media/serviceaccounts/default"), "restored");
    let account = new.object("serviceaccounts", "media", "default").unwrap();
    assert_eq!(account["imagePullSecrets"], json!([{"name": "registry"}]));
}

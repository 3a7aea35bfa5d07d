//! What goes wrong in the middle: volumes without data, webhooks, lost answers, restarts, somebody else.

use super::*;
use crate::support::kube::faults::{Failure, Webhook};

async fn small() -> (KubeServer, KubeServer, Home) {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    for number in 0..6 {
        old.make("media", map(&format!("m{number}"), &json!({"n": number.to_string()})));
    }
    old.make("media", secret("login", "hunter2"));
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    (old, new, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_without_data_are_refused_before_anything_is_written() {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    old.make("media", claim("photos"));
    let mut set = deployment("db", 1);
    set["kind"] = "StatefulSet".into();
    set["spec"]["serviceName"] = "db".into();
    set["spec"]["volumeClaimTemplates"] = json!([claim("data")]);
    old.make("media", set);
    old.until("the claim of the set", |state| state.object("persistentvolumeclaims", "media", "data-db-0").is_some())
        .await;
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let refused = restore(&home, "new", &[]).await.exits(7);
    let refused = refused.says(&[
        "2 volumes would be created EMPTY",
        "persistentvolumeclaims media/photos",
        "media/data-db-0",
        "--empty-volumes",
    ]);
    assert!(refused.err.contains("nothing was written"), "{}", refused.err);
    // A set without its claims would make them itself.
    let sly = restore(&home, "new", &["--exclude", "persistentvolumeclaims"]).await.exits(7);
    sly.says(&["statefulsets.apps media/db (its claim data-db-0)"]);
    assert!(new.object("namespaces", "", "media").is_none(), "nothing was written");
    let ran = restore(&home, "new", &["--empty-volumes"]).await.exits(0);
    assert!(ran.out.contains("persistentvolumeclaims media/photos: EMPTY"), "{}", ran.out);
    assert!(ran.out.contains("2 created EMPTY"), "{}", ran.out);
    assert!(new.object("persistentvolumeclaims", "media", "photos").is_some());
    let volumes = |server: &KubeServer| {
        let objects = server.shared.with(|state| state.objects("persistentvolumes"));
        objects.iter().map(|volume| volume["metadata"]["name"].to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(!volumes(&old).is_empty() && volumes(&old).is_disjoint(&volumes(&new)), "no volume of the old cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_refuses_is_told_in_its_words_and_the_rest_is_there() {
    let (_old, new, home) = small().await;
    new.make("", namespace("media"));
    let hook = json!({
        "name": "secrets.acme.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "clientConfig": {"url": "https://hook.invalid"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE"]}],
    });
    new.make("", json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "acme"}, "webhooks": [hook],
    }));
    new.faults(|faults| faults.answer_for_webhook("secrets.acme.example", Webhook::Denies("no secrets here".into())));
    let ran = restore(&home, "new", &["--include", "media/*/*"]).await.exits(3);
    assert!(ran.out.contains("secrets media/login: CONFLICT: ") && ran.out.contains("no secrets here"), "{}", ran.out);
    assert!(new.object("configmaps", "media", "m5").is_some());
    assert!(new.object("secrets", "media", "login").is_none());
    // Away at first: it is not tried for half a minute, but told.
    new.shared.with(|state| state.faults = Default::default());
    let ran = restore(&home, "new", &["--include", "media/*/*"]).await.exits(3);
    assert!(
        ran.out.contains("secrets media/login: REFUSED: ") && ran.out.contains("failed calling webhook"),
        "{}",
        ran.out
    );
    new.faults(|faults| faults.answer_for_webhook("secrets.acme.example", Webhook::Allows));
    restore(&home, "new", &["--include", "media/*/*"]).await.exits(0);
    assert!(new.object("secrets", "media", "login").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_got_lost_is_looked_at_and_not_repeated() {
    let (_old, new, home) = small().await;
    new.make("", namespace("media"));
    new.faults(|faults| {
        let path = "/configmaps?fieldManager=homelab-dr".to_owned();
        // The first six are the trials of the plan.
        faults.lose(Failure { method: "POST".into(), path: path.clone(), nth: 8, status: 504 });
        faults.fail(Failure { method: "POST".into(), path: path.clone(), nth: 10, status: 503 });
        faults.fail(Failure { method: "POST".into(), path, nth: 12, status: 429 });
        faults.lose(Failure { method: "PATCH".into(), path: "/configmaps/m1".into(), nth: 1, status: 503 });
    });
    let document = restore(&home, "new", &["--include", "media/*/*", "--json"]).await.exits(0).json();
    assert_eq!(new.faults(|faults| faults.waiting()), 0, "it met the faults");
    for number in 0..6 {
        assert_eq!(outcome(&document, &format!("media/configmaps/m{number}")), "restored");
        let fields = &new.object("configmaps", "media", &format!("m{number}")).unwrap()["metadata"]["managedFields"];
        assert!(!fields.to_string().contains("homelab-dr"), "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_in_the_middle_is_waited_out() {
    let (_old, new, home) = small().await;
    let shared = std::sync::Arc::clone(&new.shared);
    let restarting = tokio::spawn(async move {
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(25)).await;
            shared.restarts.send_modify(|restarts| *restarts += 1);
        }
    });
    let document = restore(&home, "new", &["--include", "media/*/*", "--json"]).await.exits(0).json();
    restarting.await.unwrap();
    assert_eq!(outcome(&document, "media/configmaps/m5"), "restored");
    assert_eq!(outcome(&document, "media/secrets/login"), "restored");
}

/// Somebody makes the namespace and an object of the same name between the plan and the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_stops_where_something_else_than_the_plan_would_have_to_be_done() {
    use homelab_dr::base::cancel::Cancel;
    use homelab_dr::base::progress::Progress;
    use homelab_dr::cluster::Kind;
    use homelab_dr::cluster::api::Api;
    use homelab_dr::recover::cluster::manifests::{Captured, Manifests};
    use homelab_dr::recover::cluster::plan::plan;
    use homelab_dr::recover::cluster::report::Outcome;
    use homelab_dr::recover::cluster::run::{Running, Waits, run};
    use homelab_dr::recover::cluster::{Existing, Options};

    let (old, new) = (server().await, server().await);
    new.make("", namespace("media"));
    old.make("", namespace("media"));
    let kind = Kind {
        group: String::new(),
        resource: "configmaps".into(),
        version: "v1".into(),
        name: "ConfigMap".into(),
        namespaced: true,
        directory: "ConfigMap".into(),
    };
    let captured = |name: &str| {
        let object = old.make("media", map(name, &json!({"word": "old"})));
        Captured { kind: kind.clone(), object }
    };
    let manifests = |names: &[&str]| Manifests {
        objects: names.iter().map(|name| captured(name)).collect(),
        is_cluster: true,
        ..Manifests::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, new.kubeconfig()).unwrap();
    let api = Api::open(Some(&path), None).await.unwrap();
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let running = Running {
        cluster: &api,
        empty_volumes: false,
        volumes: None,
        waits: Waits::default(),
        progress: &progress,
        cancel: &cancel,
    };

    let made = plan(&api, manifests(&["a", "b", "c"]), &Options::default()).await.unwrap();
    new.make("media", map("b", &json!({"word": "somebody's"})));
    let report = run(&made, &running).await.unwrap();
    let outcomes: Vec<&Outcome> = report.rows.iter().map(|row| &row.outcome).collect();
    assert!(matches!(outcomes[..], [Outcome::Restored { .. }, Outcome::NotReached, Outcome::NotReached]), "{report:?}");
    assert_eq!(report.stopped.as_ref().map(|stopped| stopped.at.name.as_str()), Some("b"));
    assert_eq!(new.object("configmaps", "media", "b").unwrap()["data"]["word"], "somebody's");

    // The same with a replacement: what was seen is no longer what is there.
    let options = Options { existing: Existing::Update, ..Options::default() };
    new.make("media", map("e", &json!({"word": "seen"})));
    let made = plan(&api, manifests(&["e"]), &options).await.unwrap();
    new.shared.with(|state| {
        let object = state.object("configmaps", "media", "e").unwrap();
        state.edit(&object, |object| object["data"]["word"] = "changed".into());
    });
    let report = run(&made, &running).await.unwrap();
    assert!(report.stopped.is_some() && !report.is_well(), "{report:?}");
    assert_eq!(new.object("configmaps", "media", "e").unwrap()["data"]["word"], "changed");

    // Another run of the same plan finds what it made itself, and goes on.
    let made = plan(&api, manifests(&["x", "y"]), &Options::default()).await.unwrap();
    let first = run(&made, &running).await.unwrap();
    let second = run(&made, &running).await.unwrap();
    assert!(first.is_well() && second.is_well(), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_told_and_nothing_is_written() {
    let (_old, new, home) = small().await;
    std::fs::write(home.path("wrong"), new.kubeconfig().replace(&new.token(), "wrong")).unwrap();
    restore(&home, "wrong", &[]).await.exits(1).says(&["cannot look at the cluster", "(401)", "credentials"]);
    restore(&home, "nope", &[]).await.exits(1).says(&["no access to a cluster: nope"]);
    assert!(new.object("namespaces", "", "media").is_none());
}

/// Cut off between a creation and the giving back of its fields: the next run finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_left_half_done_is_finished() {
    let (_old, new, home) = small().await;
    new.faults(|faults| {
        for nth in 1..=3 {
            faults.fail(Failure { method: "PATCH".into(), path: "/configmaps/m".into(), nth, status: 403 });
        }
    });
    let ran = restore(&home, "new", &["--include", "media/*/*"]).await.exits(3);
    assert!(ran.out.contains("REFUSED"), "{}", ran.out);
    let ours = |new: &KubeServer| {
        let objects = new.shared.with(|state| state.objects("configmaps"));
        objects.iter().filter(|object| object["metadata"]["managedFields"].to_string().contains("homelab-dr")).count()
    };
    assert_eq!(ours(&new), 3);
    let ran = restore(&home, "new", &["--include", "media/*/*"]).await.exits(0);
    assert!(ran.out.contains("restored 3 objects"), "{}", ran.out);
    assert_eq!(ours(&new), 0);
}

//! `--existing recreate`: what cannot be changed is deleted and made anew, nothing goes whose going would cost data, and what is gone in between is told and comes back.

use std::process::Stdio;

use homelab_dr::recover::cluster::Existing;

use super::*;
use crate::cli::program;
use crate::support::kube::faults::{Failure, Hold};

const DEPLOYMENTS: &str = "deployments.apps";
const RECREATE: [&str; 4] = ["--include", "media/*/*", "--existing", "recreate"];

fn selecting(name: &str, app: &str) -> Value {
    let mut made = deployment(name, 0);
    made["spec"]["selector"]["matchLabels"]["app"] = app.into();
    made["spec"]["template"]["metadata"]["labels"]["app"] = app.into();
    made
}

/// An old cluster that is captured, and a new one where deployments have other selectors, which nobody can change.
async fn both(names: &[&str]) -> (KubeServer, KubeServer, Home) {
    let (old, new) = (server().await, server().await);
    for (server, word) in [(&old, "old"), (&new, "new")] {
        server.make("", namespace("media"));
        for name in names {
            server.make("media", selecting(name, word));
        }
        server.make("media", map("app", &json!({"word": word})));
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    (old, new, home)
}

fn uid(server: &KubeServer, name: &str) -> Value {
    server.object(DEPLOYMENTS, "media", name).unwrap_or_else(|| panic!("no {name}"))["metadata"]["uid"].clone()
}

fn selects(server: &KubeServer, name: &str) -> Value {
    server.object(DEPLOYMENTS, "media", name).unwrap()["spec"]["selector"]["matchLabels"]["app"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_made_anew_and_what_would_take_others_along_is_not() {
    let (old, new, home) = both(&["web", "cleans", "owner"]).await;
    let role = |of: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reads"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": of},
        })
    };
    old.make("media", role("old"));
    new.make("media", role("new"));
    run(&home, &["backup"]).await.exits(0);
    new.shared.with(|state| {
        let cleans = state.object(DEPLOYMENTS, "media", "cleans").unwrap();
        state.edit(&cleans, |object| object["metadata"]["finalizers"] = json!(["acme.example/cleanup"]));
    });
    let mut data = claim("data");
    data["metadata"]["ownerReferences"] = owner(&new.object(DEPLOYMENTS, "media", "owner").unwrap(), true);
    new.make("media", data);
    let names = ["web", "cleans", "owner"];
    let before = names.map(|name| uid(&new, name));

    let plan = restore(&home, "new", &[&RECREATE[..], &["--plan"]].concat()).await;
    let line = |name: &str| {
        let name = format!("media/{name}");
        plan.out.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("no {name}: {}", plan.out))
    };
    assert!(line("web").contains("RECREATE") && line("web").contains("DELETED and made anew"), "{}", plan.out);
    assert!(line("web").contains("immutable"), "{}", plan.out);
    assert!(line("cleans").contains("CONFLICT") && line("cleans").contains("acme.example/cleanup"), "{}", plan.out);
    assert!(line("owner").contains("claim media/data belongs to it, and would go with it"), "{}", plan.out);
    assert!(line("app").contains("replace"), "what can be changed is: {}", plan.out);
    assert_eq!(names.map(|name| uid(&new, name)), before, "a plan deletes nothing");

    let document = restore(&home, "new", &[&RECREATE[..], &["--json"]].concat()).await.exits(3).json();
    for object in ["deployments.apps/web", "rolebindings.rbac.authorization.k8s.io/reads", "configmaps/app"] {
        assert_eq!(outcome(&document, &format!("media/{object}")), "restored", "{document:#}");
    }
    assert_ne!(uid(&new, "web"), before[0]);
    assert_eq!(selects(&new, "web"), "old");
    assert_eq!(names[1..].iter().map(|name| uid(&new, name)).collect::<Vec<_>>(), before[1..]);
    assert!(new.object("persistentvolumeclaims", "media", "data").is_some());
    // But for its status, which is its controller's in each cluster, and comes when it comes.
    let owners = |server: &KubeServer| -> Vec<Value> {
        let web = server.object(DEPLOYMENTS, "media", "web").unwrap();
        let fields = web["metadata"]["managedFields"].as_array().unwrap();
        fields.iter().filter(|of| of.get("subresource").is_none()).cloned().collect()
    };
    assert!(!owners(&old).is_empty());
    assert_eq!(owners(&new), owners(&old), "it belongs to whom it belonged");
}

/// Deleted, and then the server refuses to make it, or is not there any more: that is said, and the same restore brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_and_could_not_be_made_is_told_and_comes_back() {
    let (_old, new, home) = both(&["web"]).await;
    let only = ["--include", "media/deployments.apps/web", "--existing", "recreate"];
    for away in [false, true] {
        new.shared.with(|state| {
            if let Some(web) = state.object(DEPLOYMENTS, "media", "web") {
                state.remove("test", &web, &Default::default());
            }
        });
        new.until("it is gone", |state| state.object(DEPLOYMENTS, "media", "web").is_none()).await;
        new.make("media", selecting("web", "new"));
        // Twice it is asked whether it would be taken: for the plan, and before it is deleted.
        let create = || Failure {
            method: "POST".into(),
            path: "/deployments?fieldManager=homelab-dr".into(),
            nth: 3,
            status: if away { 503 } else { 403 },
        };
        new.faults(|faults| if away { faults.go_down(create()) } else { faults.fail(create()) });
        let ran = restore(&home, "new", &only).await;
        new.faults(|faults| faults.come_back());
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code != 0 && said.contains("IT IS GONE") && said.contains("Run the same restore again"), "{said}");
        assert!(new.object(DEPLOYMENTS, "media", "web").is_none());
        let document = restore(&home, "new", &[&only[..], &["--json"]].concat()).await.exits(0).json();
        assert_eq!(outcome(&document, "media/deployments.apps/web"), "restored");
        assert_eq!(selects(&new, "web"), "old");
    }
}

/// Killed when it is deleted and not made yet: what was about to go was told before, and the same restore finds nothing there and makes it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_that_is_killed_has_deleted_is_made_by_the_same_restore() {
    let (_old, new, home) = both(&["web"]).await;
    let only = ["--include", "media/deployments.apps/web", "--existing", "recreate"];
    new.faults(|faults| faults.hold(Hold { method: "POST", path: "/deployments?", nth: 1, done: false }));
    let mut command = program();
    let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--yes", "--json"];
    command.current_dir(home.dir()).args(args).args(only).env("HOMELAB_DR_IDENTITY_FILE", "key");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let hangs = || new.faults(|faults| faults.hanging()) == 1;
    for _ in 0..1200 {
        if hangs() || child.try_wait().unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(hangs(), "it never came to make it anew");
    child.kill().unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let told = "to be DELETED and made anew: deployments.apps media/web; if this run is cut off in between, one may be gone: the same restore again makes it";
    assert!(said.contains(told), "{said}");
    assert!(new.object(DEPLOYMENTS, "media", "web").is_none(), "it was killed in between");

    let plan = restore(&home, "new", &[&only[..], &["--plan"]].concat()).await.exits(0);
    let line = plan.out.lines().find(|line| line.contains("media/web")).unwrap_or_else(|| panic!("{}", plan.out));
    assert!(line.contains("create") && !plan.out.contains("RECREATE"), "{}", plan.out);
    let ran = restore(&home, "new", &[&only[..], &["--json"]].concat()).await.exits(0);
    assert_eq!(outcome(&ran.json(), "media/deployments.apps/web"), "restored");
    assert!(!ran.err.contains("DELETED"), "nothing more is deleted: {}", ran.err);
    assert_eq!(selects(&new, "web"), "old");
    // Now it is as it was, and the same restore has nothing to do.
    let made = uid(&new, "web");
    restore(&home, "new", &only).await.exits(0);
    assert_eq!(uid(&new, "web"), made);
}

/// The server would not take the new one: nothing is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_be_taken_is_not_deleted() {
    let (_old, new, home) = both(&["web"]).await;
    let before = uid(&new, "web");
    let only = ["--include", "media/deployments.apps/web", "--existing", "recreate", "--json"];
    for nth in [1, 2] {
        new.faults(|faults| {
            faults.fail(Failure {
                method: "POST".into(),
                path: "/deployments?fieldManager=homelab-dr&dryRun=All".into(),
                nth,
                status: 403,
            });
        });
        let document = restore(&home, "new", &only).await.exits(3).json();
        let found = outcome(&document, "media/deployments.apps/web");
        assert_eq!(found, if nth == 1 { "conflict" } else { "refused" }, "{document:#}");
        assert!(document["report"].to_string().contains("it could not be made anew"), "{document:#}");
        assert_eq!(uid(&new, "web"), before);
    }
}

/// What does not go in time is told with what keeps it; nothing is made beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_go_is_waited_for_no_longer_than_that() {
    let new = server().await;
    new.make("", namespace("media"));
    let ready =
        |state: &crate::support::kube::state::State| state.object("serviceaccounts", "media", "default").is_some();
    new.until("the service account", ready).await;
    let pod = |seconds: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": "media"},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "test:1", "command": ["sleep", seconds]}]},
        })
    };
    new.make("media", pod("600"));
    let runs = |state: &crate::support::kube::state::State| {
        state.object("pods", "media", "alone").is_some_and(|pod| pod["status"]["phase"] == "Running")
    };
    new.until("it runs", runs).await;
    let api = impatient(&new).await;
    let options = Wanted { existing: Existing::Recreate, ..Wanted::default() };
    let objects = || vec![(Some(kind("", "pods", "Pod")), pod("700"))];
    let plan = make_plan(&api, manifests(objects()), &options).await.unwrap();
    new.faults(|faults| faults.power("lab-node", false));
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let waits = Waits { gone: Duration::from_millis(400), ..Waits::default() };
    let running =
        Running { cluster: &api, empty_volumes: false, volumes: None, waits, progress: &progress, cancel: &cancel };
    let report = run_plan(&plan, &running).await.unwrap();
    let Outcome::Refused { why } = &report.rows[0].outcome else { panic!("{report:?}") };
    assert!(why.contains("it is being deleted since") && why.contains("the same restore makes it anew"), "{why}");
}

/// Where a webhook cannot be asked beforehand nobody knows whether the new one would be taken: the old one stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tried_beforehand_is_not_deleted() {
    let (_old, new, home) = both(&["web"]).await;
    cannot_be_tried(
        &new,
        &json!({"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}),
    );
    let before = uid(&new, "web");
    let document = restore(&home, "new", &[&RECREATE[..], &["--json"]].concat()).await.exits(3).json();
    assert_eq!(outcome(&document, "media/deployments.apps/web"), "conflict", "{document:#}");
    let why = document["report"]["rows"].to_string();
    assert!(why.contains("could not be made anew") && why.contains("does not support dry run"), "{why}");
    assert_eq!((uid(&new, "web"), selects(&new, "web")), (before, json!("new")));
    assert_eq!(outcome(&document, "media/configmaps/app"), "restored", "and the rest goes on");
}

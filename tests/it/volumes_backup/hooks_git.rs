//! Workloads that Flux or ArgoCD keeps as they are in Git are scaled to zero by a hook: it is paused with what made it, for as long as any of them is held, and goes on last.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::hooks::{Asked, SCALE, deployed, is_let_go, until_back, until_let_go, workload};
use super::{World, claim_of, row};
use crate::support::kube::state::{State, text};

const DEPLOYMENTS: &str = "deployments.apps";
const KUSTOMIZATIONS: &str = "kustomizations.kustomize.toolkit.fluxcd.io";
const APPLICATIONS: &str = "applications.argoproj.io";
const SETS: &str = "applicationsets.argoproj.io";
const SCALED: &str = "scaledobjects.keda.sh";

/// Flux, with the Kustomization `apps` that `all` made; both in the namespace `flux`.
async fn flux(world: &World) {
    let suspend = json!({"suspend": {"type": "boolean"}});
    let definition = crate::gitops::world::definition("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", &suspend);
    crate::gitops::world::define(&world.kube, definition).await;
    world.namespace("flux").await;
    for (name, labels) in [("all", json!({})), ("apps", of("all")), ("aside", json!({}))] {
        world.kube.make(
            "flux",
            json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
                "metadata": {"name": name, "labels": labels}, "spec": {"interval": "1m"},
            }),
        );
    }
}

fn of(name: &str) -> Value {
    json!({"kustomize.toolkit.fluxcd.io/name": name, "kustomize.toolkit.fluxcd.io/namespace": "flux"})
}

fn keep(world: &World, workload: &str, by: &str) {
    world.kube.shared.with(|state| {
        let app = state.object(DEPLOYMENTS, "media", workload).unwrap();
        state.edit(&app, |app| app["metadata"]["labels"] = of(by));
    });
}

fn suspended(state: &State) -> Vec<String> {
    let all = state.objects(KUSTOMIZATIONS);
    let paused = all.iter().filter(|object| object["spec"]["suspend"] == true);
    paused.map(|object| text(&object["metadata"]["name"]).to_owned()).collect()
}

fn at_zero(state: &State, name: &str) -> bool {
    state.object(DEPLOYMENTS, "media", name).is_some_and(|app| app["spec"]["replicas"] == 0)
}

/// Another workload, with a claim of its own.
async fn other(world: &World) {
    world.kube.make("media", claim_of("more", "local-path"));
    let mut other = workload("Deployment", &["more"]);
    other["metadata"]["name"] = "other".into();
    let labels = json!({"app": "other"});
    other["spec"]["selector"]["matchLabels"] = labels.clone();
    other["spec"]["template"]["metadata"]["labels"] = labels;
    world.kube.make("media", other);
    let runs = |state: &State| {
        state.object(DEPLOYMENTS, "media", "other").is_some_and(|app| app["status"]["readyReplicas"] == 1)
    };
    world.kube.until("the other runs", runs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_it_as_in_git_is_paused_while_it_is_at_zero_and_goes_on() {
    let world = World::new(SCALE).await;
    deployed(&world, "local-path", &["data"]).await;
    other(&world).await;
    flux(&world).await;
    // Nobody knows what it is that keeps it: nothing is held.
    keep(&world, "app", "lost");
    keep(&world, "other", "apps");
    let seen = world.watch(|state, seen: &mut BTreeSet<(Vec<String>, bool, bool)>| {
        let zero = ["app", "other"].map(|name| at_zero(state, name));
        if zero.contains(&true) {
            seen.insert((suspended(state), zero[0], zero[1]));
        }
    });
    let told = world.backup(&["--json"]).await.exits(1).json();
    let refused = row(&told, "media/data");
    assert!(refused["error"].to_string().contains("what that is cannot be found"), "{refused:#}");
    assert!(refused.to_string().contains("gitops pause"), "{refused:#}");
    let both = || vec!["all".to_owned(), "apps".to_owned()];
    assert_eq!(*seen.lock().unwrap(), [(both(), false, true)].into(), "the other went on by itself");

    // Both are kept by the same: one after another, and it does not go on in between with one of them at zero.
    keep(&world, "app", "apps");
    let plan = world.backup(&["--dry-run"]).await.exits(0);
    for app in ["app", "other"] {
        let held = format!("would hold Deployment media/{app}, Kustomization flux/all, Kustomization flux/apps");
        assert!(plan.out.contains(&held), "{}", plan.out);
    }
    seen.lock().unwrap().clear();
    let told = world.backup(&["--json"]).await.exits(0).json();
    for claim in ["media/data", "media/more"] {
        let row = row(&told, claim);
        assert_eq!((&row["result"], &row["held"]["how"]), (&json!("done"), &json!("scaled to zero")), "{row:#}");
    }
    let expected = BTreeSet::from([(both(), true, false), (both(), false, true)]);
    assert_eq!(*seen.lock().unwrap(), expected);
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
    world.kube.shared.with(|state| {
        for object in state.objects(KUSTOMIZATIONS) {
            assert!(object["spec"]["suspend"].is_null() && object["metadata"]["annotations"].is_null(), "{object}");
        }
    });
}

/// A run that is killed while it holds leaves a journal that names them: whoever releases has them go on.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_paused_by_a_killed_run_goes_on_when_it_is_released() {
    let world = World::new(SCALE).await;
    deployed(&world, "local-path", &["data"]).await;
    flux(&world).await;
    keep(&world, "app", "apps");
    std::fs::write(world.folder("media", "data").join("large"), crate::support::files::noise(5, 4_000_000)).unwrap();
    let mut backup = world.begin(&super::CUT_OFF);
    world.until_at_work(1).await;
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert_eq!(world.kube.shared.with(|state| suspended(state)), ["all", "apps"]);
    let run = world.kube.shared.with(|state| {
        let maps = state.objects("configmaps");
        let journal = maps.iter().find(|map| text(&map["metadata"]["name"]).starts_with("homelab-dr-hooks-")).unwrap();
        text(&journal["metadata"]["labels"]["homelab-dr.io/run"]).to_owned()
    });
    world.run(&["release", "--run", &run, "--yes", "--kubeconfig", "kubeconfig"]).await.exits(0);
    until_let_go(&world).await;
    assert_eq!(world.kube.shared.with(|state| suspended(state)), Vec::<String>::new());
    until_back(&world, DEPLOYMENTS).await;
}

/// ArgoCD with the Application `home`, and `a-generated` that the ApplicationSet `set` made; both heal what they keep. And KEDA, which scales `app` by its events.
async fn argo(world: &World) {
    for (group, kind) in
        [("argoproj.io", "Application"), ("argoproj.io", "ApplicationSet"), ("keda.sh", "ScaledObject")]
    {
        let definition = crate::gitops::world::definition(group, "v1alpha1", kind, &json!({}));
        crate::gitops::world::define(&world.kube, definition).await;
    }
    world.namespace("argocd").await;
    let object = |kind: &str, name: &str, spec: &Value| json!({"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let heals = json!({"project": "default", "syncPolicy": {"automated": {"prune": true, "selfHeal": true}}});
    world.kube.make("argocd", object("Application", "home", &heals));
    let template = json!({"generators": [{"list": {"elements": [{"name": "x"}]}}], "template": {"spec": {}}});
    let set = world.kube.make("argocd", object("ApplicationSet", "set", &template));
    let mut generated = object("Application", "a-generated", &heals);
    generated["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "set", "uid": set["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    world.kube.make("argocd", generated);
    world.kube.make(
        "media",
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "app"},
            "spec": {"scaleTargetRef": {"name": "app"}, "minReplicaCount": 1},
        }),
    );
    for (workload, by) in [("app", "home"), ("other", "a-generated")] {
        let id = format!("{by}:apps/Deployment:media/{workload}");
        world.kube.shared.with(|state| {
            let app = state.object(DEPLOYMENTS, "media", workload).unwrap();
            state.edit(&app, |app| app["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = id.into());
        });
    }
}

/// Who would heal a workload, or scale it up by events, is paused whenever it is at zero, the parent before the child; and is as it was afterwards, the child before the parent.
#[tokio::test(flavor = "multi_thread")]
async fn who_heals_it_is_paused_parents_first_while_it_is_at_zero() {
    let world = World::new(SCALE).await;
    deployed(&world, "local-path", &["data"]).await;
    other(&world).await;
    argo(&world).await;
    let keepers = [
        (APPLICATIONS, "argocd", "home"),
        (APPLICATIONS, "argocd", "a-generated"),
        (SETS, "argocd", "set"),
        (SCALED, "media", "app"),
    ];
    let all = || {
        keepers.map(|(table, namespace, name)| {
            let object = world.kube.object(table, namespace, name).unwrap();
            (object["spec"].clone(), object["metadata"]["annotations"].clone())
        })
    };
    let before = all();
    // Of each workload, whenever it is at zero: what its keepers are told.
    let seen = world.watch(|state, seen: &mut BTreeSet<Vec<String>>| {
        let object = |table: &str, namespace: &str, name: &str| state.object(table, namespace, name).unwrap();
        let automated = |name: &str| {
            let application = object(APPLICATIONS, "argocd", name);
            application["spec"]["syncPolicy"]["automated"].to_string()
        };
        if at_zero(state, "app") {
            let paused = &object(SCALED, "media", "app")["metadata"]["annotations"]["autoscaling.keda.sh/paused"];
            seen.insert(vec!["app".to_owned(), automated("home"), paused.to_string()]);
        }
        if at_zero(state, "other") {
            let sync = &object(SETS, "argocd", "set")["spec"]["syncPolicy"]["applicationsSync"];
            seen.insert(vec!["other".to_owned(), automated("a-generated"), sync.to_string()]);
        }
    });
    let told = world.backup(&["--json"]).await.exits(0).json();
    for (claim, by) in [
        ("media/data", json!(["Deployment media/app", "Application argocd/home"])),
        (
            "media/more",
            json!(["Deployment media/other", "ApplicationSet argocd/set", "Application argocd/a-generated"]),
        ),
    ] {
        let row = row(&told, claim);
        assert_eq!((&row["result"], &row["held"]["what"]), (&json!("done"), &by), "{row:#}");
    }
    let words = |words: [&str; 3]| words.map(str::to_owned).to_vec();
    let expected =
        [words(["app", "null", "\"true\""]), words(["other", "null", "\"create-only\""])].into_iter().collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
    assert_eq!(all(), before);
    let asked = Asked::of(&world);
    let of = |part: &str| (asked.first("PATCH", part), asked.last("PATCH", part));
    let ((set, set_again), (child, child_again), (other, other_again)) =
        (of("/applicationsets/set"), of("/applications/a-generated"), of("/deployments/other"));
    assert!(set < child && child < other && other_again < child_again && child_again < set_again);
}

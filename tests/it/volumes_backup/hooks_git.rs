//! Workloads that Flux keeps as they are in Git are scaled to zero by a hook: it is paused with what made it, for as long as any of them is held, and goes on last.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::hooks::{SCALE, deployed, is_let_go, until_back, until_let_go, workload};
use super::{World, claim_of, row};
use crate::support::kube::state::{State, text};

const DEPLOYMENTS: &str = "deployments.apps";
const KUSTOMIZATIONS: &str = "kustomizations.kustomize.toolkit.fluxcd.io";

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

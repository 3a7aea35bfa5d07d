//! What earlier runs hold, or may hold, when a backup comes: it is told, and never passed over in silence.

use homelab_dr::base::clock::{Clock, SystemClock, Time};
use serde_json::{Value, json};

use super::trouble::block;
use super::{World, claim_of, is_ours};
use crate::support::kube::state::text;

const RUN: &str = "0123456789abcdef-0";

/// A journal of a run, in our namespace.
fn journal(world: &World, text: &str) {
    let labels = json!({"homelab-dr.io/run": RUN, "homelab-dr.io/kind": "hooks"});
    let name = format!("homelab-dr-hooks-{RUN}");
    world.kube.make(
        "backup",
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"journal": text},
        }),
    );
}

/// Of a run that holds a command in a pod, and said at a time that it is alive.
fn of_command(renewed: Time) -> String {
    let pod = json!({"group": "", "version": "v1", "resource": "pods", "kind": "Pod", "namespace": "media", "name": "db", "uid": "u"});
    let command = json!({"pod": pod, "container": "db", "argv": ["true"], "limit_seconds": 1});
    json!({"version": 1, "run": RUN, "host": "lab", "renewed": renewed.to_string(), "entries": [{"command": command}]})
        .to_string()
}

async fn with_a_claim() -> World {
    let world = World::new(", namespace: backup").await;
    world.namespace("backup").await;
    world.application("media", "data", "echo x > /data/x").await;
    world
}

/// A run that speaks while another one works is alive, and what it holds is its own.
#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_meanwhile_is_alive_and_who_does_not_is_told() {
    let world = with_a_claim().await;
    let now = SystemClock.now();
    journal(&world, &of_command(now));
    world.kube.faults(|faults| faults.hold_pods("media/homelab-dr-"));
    let backup = world.begin(&[]);
    world.kube.until("its mover is made", |state| state.objects("pods").iter().any(|pod| is_ours(pod))).await;
    world.kube.shared.with(|state| {
        let journal = state.object("configmaps", "backup", &format!("homelab-dr-hooks-{RUN}")).unwrap();
        let later = of_command(Time(SystemClock.now().0 + 1000));
        state.edit(&journal, |map| map["data"]["journal"] = later.as_str().into());
    });
    world.kube.faults(|faults| faults.release_pods("media/homelab-dr-"));
    let ran = world.end(backup).await.exits(0);
    assert!(ran.err.contains("may be alive: left alone") && !ran.err.contains("STILL HELD"), "{}", ran.err);
    let ran = world.backup(&[]).await.exits(3);
    assert!(ran.err.contains("STILL HELD: run") && ran.err.contains("Pod media/db, container db"), "{}", ran.err);
}

/// Nobody knows what a journal holds that cannot be read: every backup says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_understood_is_told_by_every_backup() {
    let world = with_a_claim().await;
    journal(&world, "nonsense");
    for _ in 0..2 {
        let ran = world.backup(&["--json"]).await.exits(3);
        let name = format!("homelab-dr-hooks-{RUN}");
        assert!(ran.err.contains(&name) && ran.err.contains("cannot be understood"), "{}", ran.err);
        let told = ran.json();
        let held = told["sources"].as_array().unwrap().iter().find_map(|row| row["still_held"][0].as_str());
        assert!(held.is_some_and(|held| held.contains(&name)), "{told}");
        assert_eq!(super::row(&told, "media/data")["result"], "done");
    }
}

/// Journals that may not be listed are nobody's concern where nothing has a hook; an annotation is one.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_for_journals_is_told_where_a_claim_has_a_hook() {
    let world = with_a_claim().await;
    let role: Value = serde_saphyr::from_str(&block("```yaml rights\n")).expect("a manifest");
    let config = crate::cluster::capture::kubeconfig_of(&world.kube, role).await;
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    world.backup(&[]).await.exits(0);
    // Nobody uses it, so that its command runs nowhere.
    let mut claim = claim_of("unused", "csi-hostpath-sc");
    claim["metadata"]["annotations"] = json!({"homelab-dr.io/hook-before": "[\"true\"]"});
    world.kube.make("media", claim);
    let bound = |claim: &Value| text(&claim["status"]["phase"]) == "Bound";
    let is_bound = move |state: &crate::support::kube::state::State| {
        state.object("persistentvolumeclaims", "media", "unused").is_some_and(|claim| bound(&claim))
    };
    world.kube.until("it is bound", is_bound).await;
    let ran = world.backup(&["--json"]).await.exits(3);
    let cautions = super::row(&ran.json(), "media/unused")["cautions"].to_string();
    assert!(cautions.contains("no command was executed"), "{cautions}");
    assert!(ran.err.contains("what earlier runs left held could not be looked for"), "{}", ran.err);
}

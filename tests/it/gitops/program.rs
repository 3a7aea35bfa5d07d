//! The program itself: exit codes, what it says, kill -9, and controllers that run beside it.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::world::{Controllers, TABLES, all, definitions, world};
use crate::cli::{Ran, program};
use crate::support::kube::server::{KubeServer, Options};

/// A kubeconfig of a server, in a folder.
struct Place(tempfile::TempDir);

impl Place {
    fn of(server: &KubeServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).unwrap();
        Self(folder)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.0.path()).arg("gitops").args(args).args(["--kubeconfig", "kubeconfig"]);
        command
    }

    async fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        Ran::of(&output.expect("it runs"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_and_resumed_while_controllers_work() {
    let server = world().await;
    let (place, before) = (Place::of(&server), all(&server));
    let controllers = Arc::new(Controllers::of(&server));
    let working = Arc::clone(&controllers);
    let work = tokio::spawn(async move {
        loop {
            working.step();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let shown = place.run(&["pause", "--plan"]).await.exits(0);
    assert!(
        shown.out.contains("  pause   FluxInstance flux-system/flux: fluxcd.controlplane.io/reconcile\n"),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("  leave   HelmRelease media/held: paused by somebody else\n"), "{}", shown.out);
    assert!(shown.out.contains("13 objects: 12 to pause, 1 left as they are\n"), "{}", shown.out);
    assert_eq!(all(&server), before, "a plan changes nothing");

    let alone = place.run(&["pause", "--name", "jellyfin", "--yes", "--wait", "1s"]).await.exits(3);
    assert!(alone.out.contains("HelmRelease media/jellyfin: NOT PAUSED: somebody has"), "{}", alone.out);
    assert!(alone.out.contains("made by Kustomization flux-system/a-media"), "{}", alone.out);
    assert_eq!(all(&server), before);

    let undone = controllers.reverted();
    let paused = place.run(&["pause", "--yes", "--wait", "1s"]).await.exits(0);
    assert!(paused.out.contains("13 objects: 12 paused, 1 paused by others\n"), "{}", paused.out);
    assert!(paused.err.contains("homelab-dr gitops resume"), "{}", paused.err);
    assert_eq!(controllers.reverted(), undone);
    let again = place.run(&["pause", "--yes"]).await.exits(0);
    assert!(again.out.contains("13 objects: 12 paused before, 1 paused by others\n"), "{}", again.out);

    let status = place.run(&["status"]).await.exits(0);
    assert!(status.out.contains("13 objects: 12 paused by homelab-dr, 1 by others"), "{}", status.out);
    assert!(status.out.contains("jellyfin     paused by homelab-dr since 20"), "{}", status.out);
    let document = place.run(&["status", "--json", "--namespace", "media"]).await.exits(0).json();
    let states: Vec<_> = document["objects"].as_array().unwrap().iter().map(|object| &object["state"]).collect();
    assert_eq!(states, ["ours", "others", "ours"]);

    let some = place.run(&["resume", "--yes", "--namespace", "argocd", "--json"]).await.exits(0).json();
    let outcomes: Vec<_> = some["report"]["rows"].as_array().unwrap().iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["resumed"; 5]);
    let resumed = place.run(&["resume", "--yes"]).await.exits(0);
    assert!(resumed.out.contains("13 objects: 7 resumed, 6 not paused by homelab-dr\n"), "{}", resumed.out);
    assert_eq!(all(&server), before);
    assert_eq!(controllers.reverted(), undone, "what is resumed is as in Git");
    work.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_signal_9_and_resumed_from_another_machine() {
    let server = world().await;
    let (place, other, before) = (Place::of(&server), Place::of(&server), all(&server));
    let patches = || server.seen().iter().filter(|seen| seen.starts_with("PATCH")).count();
    for after in [1, 4, 9, 12] {
        let begun = patches();
        let mut child = place
            .command(&["pause", "--yes", "--wait", "1m"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let limit = Instant::now() + Duration::from_secs(30);
        while patches() < begun + after {
            assert!(Instant::now() < limit, "it does not get there");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_ne!(all(&server), before);
        other.run(&["resume", "--yes"]).await.exits(0);
        assert_eq!(all(&server), before, "killed after {after} writes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_in_the_wait_it_says_so_and_what_is_paused_is_told() {
    let server = world().await;
    let place = Place::of(&server);
    let mut command = place.command(&["pause", "--yes", "--wait", "1m", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server
        .until("all are paused", |state| {
            TABLES.iter().all(|table| {
                state.objects(table).iter().all(|object| {
                    object["kind"] == "GitRepository"
                        || object["metadata"]["name"] == "held"
                        || object["metadata"]["annotations"]["homelab-dr.io/paused"].is_string()
                })
            })
        })
        .await;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let ran = Ran::of(&output).exits(130);
    assert_eq!(ran.json()["report"]["interrupted"], true);
    place.run(&["resume", "--yes"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_neither_is_installed_there_is_nothing_to_pause() {
    let server = KubeServer::start(Options::default()).await;
    let place = Place::of(&server);
    for (args, told) in [
        (&["pause", "--yes"][..], "nothing to pause"),
        (&["pause", "--plan"], "nothing to pause"),
        (&["pause"], "nothing to pause"),
        (&["resume"], "nothing to resume"),
        (&["status"], "neither Flux nor ArgoCD is installed"),
        (&["pause", "--name", "x"], "nothing to pause"),
    ] {
        let ran = place.run(args).await.exits(0);
        assert!(ran.out.contains(told), "{args:?}: {}{}", ran.out, ran.err);
    }
    let document = place.run(&["status", "--json"]).await.exits(0).json();
    assert_eq!((&document["installed"], &document["objects"]), (&json!(false), &json!([])));
    // Installed, and nothing in it.
    definitions(&server).await;
    let ran = place.run(&["pause"]).await.exits(0);
    assert!(ran.out.contains("0 objects: nothing to do"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_advice() {
    let server = world().await;
    let place = Place::of(&server);
    let before = all(&server);
    place.run(&["pause"]).await.exits(2).says(&["needs a confirmation", "--yes"]);
    place.run(&["pause", "--yes", "--name", "nobody"]).await.exits(2).says(&["was chosen", "gitops status"]);
    let wrong = server.kubeconfig().replace(&server.token(), "wrong");
    std::fs::write(place.0.path().join("kubeconfig"), wrong).unwrap();
    place.run(&["status"]).await.exits(1).says(&["cannot look for Flux and ArgoCD", "(401)", "credentials"]);
    std::fs::write(place.0.path().join("kubeconfig"), "no").unwrap();
    place.run(&["resume", "--yes"]).await.exits(1).says(&["no access to a cluster", "name a kubeconfig"]);
    assert_eq!(all(&server), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_in_the_documents_suffice() {
    let server = world().await;
    let before = all(&server);
    let (_, rest) =
        include_str!("../../../docs/gitops.md").split_once("```yaml rights\n").expect("the block is marked");
    let role: serde_json::Value =
        serde_saphyr::from_str(rest.split_once("\n```").expect("closed").0).expect("a manifest");
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "restorer", "namespace": "media"}],
    });
    server.make("", role);
    server.make("media", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "restorer"}}));
    let token = crate::kube::token_of(&server, "media", "restorer").await;
    let place = Place::of(&server);
    std::fs::write(place.0.path().join("kubeconfig"), server.kubeconfig().replace(&server.token(), &token)).unwrap();
    place.run(&["pause", "--yes"]).await.exits(1).says(&["(403)", "docs/gitops.md"]);
    server.make("", binding);
    place.run(&["pause", "--yes", "--wait", "0s"]).await.exits(0);
    place.run(&["resume", "--yes"]).await.exits(0);
    assert_eq!(all(&server), before);
}

//! `recover` killed in a cluster, in the middle of what it asks of the server: taken up it comes to the same end, nothing is left of the first try, and nothing is done twice.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{run_of, runbook};
use crate::cli::Ran;
use crate::gitops::world::{define, definition};
use crate::support::kube::faults::Hold;
use crate::support::kube::server::KubeServer;
use crate::support::kube::state::{State, text};
use crate::volumes_backup::World;
use crate::volumes_backup::hooks::{deployed, is_let_go, journals, until_back};
use crate::volumes_restore::{Disaster, FINDS_OR_MAKES, whole};

const CLAIMS: &str = "persistentvolumeclaims";
const DEPLOYMENTS: &str = "deployments.apps";

/// A request that hangs: who asks is killed then.
fn hold(method: &'static str, path: &'static str, nth: usize, done: bool) -> Hold {
    Hold { method, path, nth, done }
}

struct Place<'a> {
    world: &'a World,
    server: &'a KubeServer,
    kubeconfig: &'a str,
}

impl Place<'_> {
    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let place = ["--no-progress", "--kubeconfig", self.kubeconfig, "--journals", "runs"];
        [&["recover"][..], args, &place].concat()
    }

    async fn run(&self, args: &[&str]) -> Ran {
        let ran = self.world.run(&self.args(args)).await;
        assert!(!ran.err.contains("waiting up to half a minute"), "the dead one is known to be dead: {}", ran.err);
        ran
    }

    /// Killed when the request hangs; the run's id.
    async fn killed_at(&self, hold: Hold, args: &[&str]) -> String {
        let before = self.server.faults(|faults| {
            faults.hold(hold.clone());
            faults.hanging()
        });
        let mut command = self.world.lab.command(&self.args(args));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let hangs = || self.server.faults(|faults| faults.hanging()) > before;
        for _ in 0..1200 {
            if hangs() || child.try_wait().unwrap().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let is_there = hangs();
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(is_there, "it never came to {hold:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
        // A run that is taken up does not say which.
        if said.contains("run ") { run_of(&said) } else { String::new() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_goes_on() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.backup(&[]).await.exits(0);
    let old = whole(&world.folder("media", "data"));
    let dir = world.lab.path("");

    // Everything, into a cluster that is empty: killed when the claim is made, and when all is filled.
    let place = Place { world, server: &disaster.new, kubeconfig: "new" };
    let all = "id: all\nneeds: []\nrestore.resources: {source: cluster}\ntimeout: 5m\nverify: [{ready: {namespace: media}, deadline: 1m, every: 1s}]";
    let book = runbook(&dir, "", &[all]);
    let run =
        place.killed_at(hold("POST", "/namespaces/media/persistentvolumeclaims", 1, true), &[&book, "--yes"]).await;
    let claim = disaster.new.object(CLAIMS, "media", "data").expect("it is made");
    assert!(disaster.new.object("pods", "media", "app-data").is_none(), "nothing starts on a volume without its data");
    let resume = ["--resume", run.as_str(), "--yes"];
    place.killed_at(hold("POST", "/namespaces/media/pods?", 2, true), &resume).await;
    let fills = |server: &KubeServer| {
        let asks = server.seen();
        asks.iter().filter(|ask| ask.starts_with("POST") && ask.contains("/pods") && !ask.contains("dryRun")).count()
    };
    let before = fills(&disaster.new);
    let ran = place.run(&resume).await.exits(0);
    assert!(ran.out.contains("recovered by run"), "{}", ran.out);
    assert_eq!(fills(&disaster.new), before, "neither a mover nor the application is started again");
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let again = disaster.new.object(CLAIMS, "media", "data").unwrap();
    assert_eq!(again["metadata"]["uid"], claim["metadata"]["uid"], "it is the claim that was made first");
    let new = whole(&disaster.new.volume("media", "data").unwrap());
    assert!(old == new, "{:?} instead of {:?}", new.keys(), old.keys());
    disaster.is_clean().await;

    // One volume beside: killed when all is in it, and nobody has said so.
    let place = Place { world, server: &world.kube, kubeconfig: "kubeconfig" };
    let beside = "id: beside\nneeds: []\nrestore.volume: {source: pvc/media/data, into: media/copy, storage_class: local-path}\nverify: [ready: {objects: [media/persistentvolumeclaims/copy]}]";
    let book = runbook(&dir, "", &[beside]);
    let run = place.killed_at(hold("PATCH", "/persistentvolumeclaims/copy", 1, false), &[&book, "--yes"]).await;
    let made = world.kube.object(CLAIMS, "media", "copy").expect("it is made");
    place.run(&["--resume", &run]).await.exits(0);
    let copy = world.kube.object(CLAIMS, "media", "copy").unwrap();
    assert_eq!(copy["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(copy["metadata"]["annotations"]["homelab-dr.io/filling"].is_null(), "{copy}");
    assert!(whole(&world.folder("media", "copy")) == old);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_or_paused_by_a_run_that_is_killed_is_as_it_was_in_the_end() {
    let world = World::new(", namespace: backup").await;
    deployed(&world, "local-path", &["data"]).await;
    let folder = world.folder("media", "data");
    std::fs::write(folder.join("photo"), "the sea").unwrap();
    world.backup(&[]).await.exits(0);
    let place = Place { world: &world, server: &world.kube, kubeconfig: "kubeconfig" };
    let dir = world.lab.path("");
    let replicas = || world.kube.object(DEPLOYMENTS, "media", "app").unwrap()["spec"]["replicas"].clone();

    // A volume in place: killed before the first byte, and when all is written.
    std::fs::write(folder.join("photo"), "spoilt").unwrap();
    std::fs::write(folder.join("newer"), "newer").unwrap();
    let in_place = "id: in-place\nneeds: []\nrestore.volume: {source: pvc/media/data, in_place: true}\ntimeout: 5m\nverify: [{ready: {objects: [media/deployments.apps/app]}, deadline: 30s, every: 1s}]";
    let book = runbook(&dir, "", &[in_place]);
    let run = place.killed_at(hold("PATCH", "/persistentvolumeclaims/data", 1, false), &[&book, "--yes"]).await;
    assert_eq!((replicas(), std::fs::read_to_string(folder.join("photo")).unwrap()), (json!(0), "spoilt".to_owned()));
    let resume = ["--resume", run.as_str(), "--yes", "--confirm", "in-place"];
    place.killed_at(hold("PATCH", "/persistentvolumeclaims/data", 2, false), &resume).await;
    assert_eq!((replicas(), std::fs::read_to_string(folder.join("photo")).unwrap()), (json!(0), "the sea".to_owned()));
    let ran = place.run(&["--resume", &run, "--yes"]).await.exits(8);
    assert!(ran.out.contains("--confirm in-place"), "whether it came to its end nobody knows: {}", ran.out);
    place.run(&resume).await.exits(0);
    until_back(&world, DEPLOYMENTS).await;
    assert!(!folder.join("newer").exists());
    // What was in it before is there once: a try that wrote nothing has nothing to keep, and one that goes on keeps what the one before kept.
    let copies = world.run(&["snapshots", "--json", "--tag", "before-restore"]).await.exits(0).json();
    let copies: Vec<&str> =
        copies["snapshots"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    let [copy] = copies[..] else { panic!("one copy: {copies:?}") };
    assert_eq!(world.run(&["cat", &format!("{copy}:photo")]).await.exits(0).out, "spoilt");
    is_let_go(&world).await;

    // Held still, without an answer.
    let hold_still = "id: hold\nneeds: []\nquiesce: {claims: [media/data], until: copy, scale: {}}";
    let copy = format!("id: copy\nneeds: [hold]\nrun: {{argv: [mkdir, {}]}}", dir.join("copied").display());
    let book = runbook(&dir, "", &[hold_still, &copy]);
    let run = place.killed_at(hold("PATCH", "/deployments/app", 1, true), &[&book, "--yes"]).await;
    assert_eq!((replicas(), journals(&world).len()), (json!(0), 1));
    place.run(&["--resume", &run]).await.exits(0);
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;

    // Paused in the middle.
    let spec = json!({"suspend": {"type": "boolean"}, "path": {"type": "string"}});
    define(&world.kube, definition("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", &spec)).await;
    for (name, spec) in [("a", json!({"path": "./a"})), ("b", json!({"path": "./b", "suspend": false}))] {
        let flux = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": name}, "spec": spec});
        world.kube.make("media", flux);
    }
    let specs = |state: &State| {
        let all = state.objects("kustomizations.kustomize.toolkit.fluxcd.io");
        all.iter().map(|one| (text(&one["metadata"]["name"]).to_owned(), one["spec"].clone())).collect::<Vec<_>>()
    };
    let before = world.kube.shared.with(|state| specs(state));
    let steps = [
        "id: pause\nneeds: []\ngitops.pause: {}",
        "id: look\nrun: {argv: [\"true\"]}",
        "id: resume\ngitops.resume: {}",
    ];
    let book = runbook(&dir, "", &steps);
    let run = place.killed_at(hold("PATCH", "/kustomizations/b", 1, true), &[&book, "--yes"]).await;
    let b = world.kube.object("kustomizations.kustomize.toolkit.fluxcd.io", "media", "b").unwrap();
    assert_eq!(b["spec"]["suspend"], true, "{b}");
    let ran = place.run(&["--resume", &run]).await.exits(0);
    assert!(!ran.out.contains("STILL PAUSED"), "{}", ran.out);
    assert_eq!(world.kube.shared.with(|state| specs(state)), before, "as it was, also what was unset");
    assert!(world.kube.object("leases.coordination.k8s.io", "default", "homelab-dr-recover").is_none());
}

//! In a cluster: everything is lost and comes back by a runbook, in an order, and a run that dies is taken up.

use serde_json::json;

use super::{run_of, runbook};
use crate::gitops::world::{define, definition};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::state::{State, text};
use crate::volumes_restore::{Disaster, FINDS_OR_MAKES};

const ALL: &str = "id: all\nneeds: []\nrestore.resources: {source: cluster}\ntimeout: 5m\nverify: [{ready: {namespace: media}, deadline: 2m, every: 1s}]";

async fn recover(disaster: &Disaster, args: &[&str]) -> crate::cli::Ran {
    let place = ["--kubeconfig", "new", "--journals", "runs", "--no-progress"];
    disaster.world.run(&[&["recover"][..], args, &place].concat()).await
}

/// Two applications of which one is in a bucket and a cluster that is empty.
async fn disaster() -> Disaster {
    let disaster = Disaster::new().await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    disaster.world.backup(&[]).await.exits(0);
    disaster
}

fn folder(disaster: &Disaster) -> std::path::PathBuf {
    disaster.world.lab.path("")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_lost_comes_back_by_a_runbook() {
    let disaster = disaster().await;
    let switch = disaster.world.lab.path("switch");
    let last = format!("id: switch\nrun: {{argv: [cat, {}]}}", switch.display());
    let book = runbook(&folder(&disaster), "objectives: {rto: 1h}\n", &[ALL, "id: resume\ngitops.resume: {}", &last]);
    let ran = recover(&disaster, &[&book, "--plan"]).await.exits(0);
    for part in ["fills media/data", "created", "then verifies ready"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(disaster.new.object("namespaces", "", "media").is_none(), "a plan changes nothing");
    let ran = recover(&disaster, &[&book, "--yes"]).await.exits(1);
    assert_eq!(disaster.verdict("media", "data").await, "found");
    // The namespace is removed before the run is taken up: it does not go on as if what it has restored were there.
    let run = run_of(&ran.out);
    let namespace = disaster.new.object("namespaces", "", "media").unwrap();
    disaster.new.shared.with(|state| state.remove("kubectl", &namespace, &DeleteOptions::default()));
    disaster.new.until("it is gone", |state| state.object("namespaces", "", "media").is_none()).await;
    std::fs::write(&switch, "on").unwrap();
    let resume = ["--resume", run.as_str(), "--yes"];
    let ran = recover(&disaster, &resume).await.exits(7);
    ran.says(&["what step all had restored is not there any more: ", "namespaces media", "--again all restores it"]);
    assert!(disaster.new.object("leases.coordination.k8s.io", "default", "homelab-dr-recover").is_none());
    let ran = recover(&disaster, &[&resume[..], &["--again", "all"]].concat()).await.exits(0);
    assert!(ran.out.contains("recovered by run"), "{}", ran.out);
    assert_eq!(disaster.verdict("media", "data").await, "found");
    assert!(disaster.new.object("leases.coordination.k8s.io", "default", "homelab-dr-recover").is_none());
    // A second run finds everything as it should be.
    recover(&disaster, &[&book, "--yes"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_volume_comes_back_beside_and_in_place_and_a_second_try_does_it_once() {
    let disaster = disaster().await;
    let kubeconfig = disaster.world.lab.path("kubeconfig");
    let place = ["--kubeconfig", kubeconfig.to_str().unwrap()];
    let beside = "id: beside\nneeds: []\nrestore.volume: {source: pvc/media/data, into: media/copy, storage_class: local-path}\nverify: [ready: {objects: [media/persistentvolumeclaims/copy]}]";
    let stop = "id: stop\nrun: {argv: [\"false\"]}";
    let book = runbook(&folder(&disaster), "", &[beside, stop]);
    let run = |args: Vec<String>| {
        let all: Vec<String> = [
            vec!["recover".to_owned()],
            args,
            place.map(str::to_owned).to_vec(),
            vec!["--journals".to_owned(), "runs".to_owned()],
        ]
        .concat();
        let world = &disaster.world;
        async move { world.run(&all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let ran = run(vec![book.clone(), "--yes".to_owned()]).await.exits(1);
    assert!(ran.err.contains("[beside] done"), "{}", ran.err);
    let first = run_of(&ran.out);
    let resume = || run(vec!["--resume".to_owned(), first.clone(), "--yes".to_owned()]);
    let ran = resume().await.exits(1);
    assert!(ran.err.contains("[stop] FAILED") && !ran.err.contains("[beside] begins"), "{}", ran.err);
    let copy = disaster.world.kube.object("persistentvolumeclaims", "media", "copy").unwrap();
    assert!(
        text(&copy["metadata"]["annotations"]["homelab-dr.io/restored-by"]).starts_with(&run_of(&ran.out)),
        "{copy}"
    );
    assert!(disaster.world.folder("media", "copy").join("a/b/hello").exists());
    // Another run must not take the claim for its own.
    let ran = run(vec![book, "--yes".to_owned()]).await.exits(7);
    assert!(ran.err.contains("IN THE WAY [beside]") && ran.err.contains("its data is somebody's"), "{}", ran.err);
    // In place: what is in it makes way, and is a snapshot of its own.
    let copy = disaster.world.folder("media", "copy");
    std::fs::write(copy.join("a/b/hello"), "somebody else's").unwrap();
    std::fs::write(copy.join("newer"), "newer").unwrap();
    let in_place = "id: in-place\nneeds: []\nrestore.volume: {source: pvc/media/data, into: media/copy, in_place: true}\nverify: [ready: {objects: [media/persistentvolumeclaims/copy]}]";
    let book = runbook(&folder(&disaster), "", &[in_place]);
    let ran = run(vec![book, "--yes".to_owned()]).await.exits(0);
    assert!(ran.err.contains("what was in it before is snapshot"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(copy.join("a/b/hello")).unwrap(), "hello\n");
    assert!(!copy.join("newer").exists());
    // Somebody removes it, and then another has its name: the first run does not take that for what it has restored.
    let kube = &disaster.world.kube;
    let claim = kube.object("persistentvolumeclaims", "media", "copy").unwrap();
    kube.shared.with(|state| state.remove("kubectl", &claim, &DeleteOptions::default()));
    kube.until("it is gone", |state| state.object("persistentvolumeclaims", "media", "copy").is_none()).await;
    resume().await.exits(7).says(&["what step beside had restored is not there any more: the claim media/copy"]);
    kube.make("media", crate::volumes_backup::claim_of("copy", "local-path"));
    resume().await.exits(7).says(&["the claim media/copy, of which another has the name by now"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_to_be_since_the_plan_is_neither_replaced_nor_taken_for_restored() {
    let disaster = disaster().await;
    let book = runbook(&folder(&disaster), "", &[ALL]);
    recover(&disaster, &[&book, "--plan", "--out", "plan.json"]).await.exits(0);
    // A plan is for one cluster.
    let of_another = ["recover", "--from", "plan.json", "--yes", "--kubeconfig", "kubeconfig", "--journals", "runs"];
    let ran = disaster.world.run(&of_another).await.exits(7);
    assert!(ran.err.contains("the plan was made for the cluster at") && ran.err.contains("is another"), "{}", ran.err);
    assert!(!disaster.world.lab.path("runs").exists(), "nothing was begun");
    disaster.new.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "media"}}));
    disaster.new.make("media", crate::volumes_backup::claim_of("data", "local-path"));
    let ran = recover(&disaster, &["--from", "plan.json", "--yes"]).await.exits(1);
    assert!(ran.err.contains("media/data is there by now, and would NOT be filled"), "{}", ran.err);
    assert!(disaster.new.object("pods", "media", "app-data").is_none(), "nothing was started on an empty volume");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_that_lives_keeps_its_cluster_and_a_dead_one_does_not() {
    let disaster = disaster().await;
    let book = runbook(&folder(&disaster), "", &["id: resume\nneeds: []\ngitops.resume: {}"]);
    let lease = |renewed: &str, lasts: u64| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "homelab-dr-recover", "namespace": "default"},
            "spec": {"holderIdentity": "run 00000000 on other", "leaseDurationSeconds": lasts, "renewTime": renewed},
        })
    };
    disaster.new.make("default", lease("2026-01-01T00:00:00.000000Z", 2));
    // It says nothing for as long as it promised to: it is dead.
    recover(&disaster, &[&book, "--yes"]).await.exits(0);
    disaster.new.make("default", lease("2026-01-01T00:00:00.000000Z", 30));
    let shared = disaster.new.shared.clone();
    let alive = tokio::spawn(async move {
        for second in 0_u32.. {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            shared.with(|state| {
                let Some(lease) = state.object("leases.coordination.k8s.io", "default", "homelab-dr-recover") else {
                    return;
                };
                state.edit(&lease, |lease| {
                    lease["spec"]["renewTime"] = json!(format!("2026-01-01T00:00:{second:02}.000000Z"))
                });
            });
        }
    });
    recover(&disaster, &[&book, "--yes"])
        .await
        .exits(7)
        .says(&["being recovered by another run", "run 00000000 on other"]);
    alive.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_it_creates_and_what_the_target_would_refuse() {
    let disaster = disaster().await;
    disaster.new.power_off("lab-node");
    let book = runbook(&folder(&disaster), "", &[ALL]);
    let ran = recover(&disaster, &[&book, "--plan"]).await.exits(7);
    for part in ["         creates ", "namespace", "IN THE WAY [all]: ", "no node that is ready"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    // What somebody does before it may mend that: then it is said and keeps nobody from beginning.
    let after = ALL.replace("needs: []", "needs: [look]");
    let book = runbook(&folder(&disaster), "", &["id: look\nneeds: []\nmanual: {}", &after]);
    let ran = recover(&disaster, &[&book, "--plan"]).await.exits(0);
    assert!(ran.out.contains("look at [all]: ") && ran.out.contains("no node that is ready"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_volume_is_looked_at_before_it_is_begun() {
    let disaster = disaster().await;
    let volume = |more: &str| {
        format!(
            "id: one\nneeds: []\nrestore.volume: {{source: pvc/media/data, {more}}}\nverify: [ready: {{objects: [media/persistentvolumeclaims/copy]}}]"
        )
    };
    let plan = async |steps: &[&str], kubeconfig: &str, more: &[&str]| {
        let book = runbook(&folder(&disaster), "", steps);
        let args = ["recover", &book, "--plan", "--kubeconfig", kubeconfig, "--journals", "runs", "--no-progress"];
        disaster.world.run(&[&args[..], more].concat()).await
    };
    for (into, says) in [
        ("into: nowhere/copy", "there is no namespace nowhere for the claim copy"),
        ("into: media/data", "the claim media/data is there already, and its data is somebody's"),
        ("into: media/copy, storage_class: gone", "the cluster has no storage class gone"),
        ("into: media/data, in_place: true", "media/data would not be restored in place: "),
        ("into: media/none, in_place: true", "media/none would not be restored in place: there is no such claim"),
    ] {
        let ran = plan(&[&volume(into)], "kubeconfig", &[]).await.exits(7);
        assert!(ran.out.contains("IN THE WAY [one]: ") && ran.out.contains(says), "{says}: {}", ran.out);
    }
    // Somebody may mend it before: then it is told, and keeps nobody from beginning.
    let after = volume("into: nowhere/copy").replace("needs: []", "needs: [look]");
    let look = "id: look\nneeds: []\nmanual: {}";
    let ran = plan(&[look, &after], "kubeconfig", &[]).await.exits(0);
    assert!(ran.out.contains("look at [one]: there is no namespace nowhere"), "{}", ran.out);
    // A step before it brings the namespace.
    let after = volume("into: media/copy, storage_class: local-path").replace("needs: []", "needs: [all]");
    let ran = plan(&[ALL, &after], "new", &[]).await.exits(0);
    assert!(!ran.out.contains("no namespace"), "{}", ran.out);
    let twice = volume("into: media/data").replace("needs: []", "needs: [all]");
    let ran = plan(&[ALL, &twice], "new", &[]).await.exits(0);
    assert!(ran.out.contains("a step before it restores the claim media/data"), "{}", ran.out);
    let ran = plan(&[&volume("into: media/copy")], "kubeconfig", &[]).await.exits(0);
    assert!(ran.out.contains("about 16 s along [one]") && !ran.out.contains("IN THE WAY"), "{}", ran.out);
    assert!(disaster.world.kube.object("persistentvolumeclaims", "media", "copy").is_none(), "a plan changes nothing");
    // What this machine lacks is in the way, whoever looks before.
    disaster.world.run(&["replicate", "--to", "in-a-folder", "--create"]).await.exits(0);
    let listed = disaster.world.run(&["keys", "list", "--json"]).await.exits(0).json();
    let of_folder = ["--repo", "in-a-folder", "--fingerprint", listed["fingerprint"].as_str().unwrap()];
    let after = volume("into: media/copy").replace("needs: []", "needs: [look]");
    let ran = plan(&[look, &after], "kubeconfig", &of_folder).await.exits(7);
    assert!(ran.out.contains("IN THE WAY: the repository: is a folder of this machine"), "{}", ran.out);
    let text = std::fs::read_to_string(disaster.world.lab.path("homelab-dr.yaml")).unwrap();
    let without = text.lines().take_while(|line| !line.starts_with("  volumes:"));
    let without: String = without.map(|line| format!("{line}\n")).collect();
    std::fs::write(disaster.world.lab.path("homelab-dr.yaml"), without).unwrap();
    let ran = plan(&[look, &after], "kubeconfig", &[]).await.exits(7);
    assert!(ran.out.contains("IN THE WAY: the movers that fill volumes: nothing says which image"), "{}", ran.out);
    plan(&[look, &after], "kubeconfig", &["--mover-image", "test:1"]).await.exits(0);
}

/// The way out of "custom objects come before their operators": two steps with `include`, and the second is begun when what the first has brought is ready.
#[tokio::test(flavor = "multi_thread")]
async fn operators_come_first_where_a_runbook_says_so() {
    let disaster = Disaster::new().await;
    let (world, new) = (&disaster.world, &disaster.new);
    define(&world.kube, definition("acme.example", "v1", "Widget", &json!({}))).await;
    for namespace in ["media", "operators"] {
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        world.kube.make("", space);
        let is_there = |state: &State| state.object("serviceaccounts", namespace, "default").is_some();
        world.kube.until("the service account", is_there).await;
    }
    let labels = json!({"app": "widgets"});
    let container = json!({"name": "c", "image": "test:1", "command": ["sh", "-c", "exec sleep 600"]});
    world.kube.make("operators", json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "widgets"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}},
        },
    }));
    let widget =
        json!({"apiVersion": "acme.example/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}});
    world.kube.make("media", widget);
    world.backup(&["--source", "cluster"]).await.exits(0);
    let first = "id: operators\nneeds: []\nrestore.resources: {source: cluster, include: [customresourcedefinitions.apiextensions.k8s.io, 'operators/*/*']}\n\
                 timeout: 5m\nverify: [{ready: {namespace: operators}, deadline: 2m, every: 1s}]";
    let rest = "id: rest\nrestore.resources: {source: cluster, include: ['media/*/*']}\n\
                verify: [{ready: {objects: [media/widgets.acme.example/w]}, deadline: 1m}]";
    // A kind that is written without its group is none, and what needs it could not be restored: both are told before.
    let wrong = first.replace(".apiextensions.k8s.io", "");
    let book = runbook(&folder(&disaster), "", &[&wrong, rest]);
    let plan = recover(&disaster, &[&book, "--plan"]).await.exits(7);
    for part in [
        "look at [operators]: include customresourcedefinitions means nothing in the snapshot",
        "IN THE WAY [rest]: 1 objects cannot be restored, the first: widgets.acme.example media/w",
    ] {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    let book = runbook(&folder(&disaster), "", &[first, rest]);
    // No node takes the operator: the run waits, and looks again and again.
    new.faults(|faults| faults.hold_pods("operators/"));
    let waits = async {
        // Its check lists what lives, once it is made.
        let looked = || {
            let seen = new.seen();
            let is_made =
                |asked: &String| asked.starts_with("POST") && asked.contains("/namespaces/operators/deployments");
            let made = seen.iter().position(is_made).unwrap_or(seen.len());
            seen[made..].iter().filter(|asked| asked.starts_with("GET /apis/apps/v1/deployments?")).count()
        };
        for _ in 0..1200 {
            if looked() > 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(looked() > 2, "it never waited for the operator: {:#?}", new.seen());
        let before = new.seen().len();
        new.faults(|faults| faults.release_pods("operators/"));
        before
    };
    let args = [book.as_str(), "--yes"];
    let work = recover(&disaster, &args);
    tokio::pin!(work, waits);
    let released = tokio::select! {
        ran = &mut work => panic!("it ended before its operator was there: {}{}", ran.out, ran.err),
        released = &mut waits => released,
    };
    work.await.exits(0);
    let seen = new.seen();
    let widgets = |asked: &String| asked.starts_with("POST") && asked.contains("/namespaces/media/widgets");
    assert!(!seen[..released].iter().any(widgets), "not before it is ready: {seen:#?}");
    assert!(seen[released..].iter().any(widgets), "{seen:#?}");
    assert_eq!(new.object("widgets.acme.example", "media", "w").unwrap()["spec"]["size"], 1);
}

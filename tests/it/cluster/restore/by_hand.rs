//! Volumes that somebody has made: they come right before the claims that get them, and of a claim that would wait for ever is told what keeps it and what helps.

use super::*;
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::state::State;
use crate::volumes_backup::faults::carry_out;

/// Classes of which nobody makes volumes: none, and one that says so.
const CLASSES: [(&str, &str); 2] = [("disk", ""), ("tape", "node-disk")];

fn volume(name: &str, class: &str, reference: Option<(&str, &str)>) -> Value {
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": format!("/srv/{name}")}, "storageClassName": class,
        },
    });
    if let Some((namespace, name)) = reference {
        volume["spec"]["claimRef"] = json!({"namespace": namespace, "name": name});
    }
    volume
}

fn phase(state: &State, table: &str, namespace: &str, name: &str) -> Option<Value> {
    state.object(table, namespace, name).map(|object| object["status"]["phase"].clone())
}

async fn is_bound(server: &KubeServer, claim: &str) {
    let what = format!("{claim} is bound");
    server.until(&what, |state| phase(state, "persistentvolumeclaims", "media", claim) == Some("Bound".into())).await;
    let bound = server.object("persistentvolumeclaims", "media", claim).unwrap();
    assert_eq!(bound["spec"]["volumeName"], claim, "{bound}");
}

/// Until a volume is kept for a claim that is gone.
async fn lose(server: &KubeServer, claim: &str) {
    let there = server.object("persistentvolumeclaims", "media", claim).unwrap();
    server.shared.with(|state| state.remove("kubectl", &there, &DeleteOptions::default()));
    let what = format!("{claim} is released");
    server.until(&what, |state| phase(state, "persistentvolumes", "", claim) == Some("Released".into())).await;
}

/// A cluster with claims that have volumes made by hand, backed up, and another that is empty.
async fn world() -> (KubeServer, KubeServer, Home) {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    old.make(
        "",
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "node-disk"},
            "provisioner": "kubernetes.io/no-provisioner",
        }),
    );
    for (name, class) in CLASSES {
        old.make("", volume(name, class, None));
        let mut claim = claim(name);
        claim["spec"]["storageClassName"] = class.into();
        claim["spec"]["volumeName"] = name.into();
        old.make("media", claim);
        is_bound(&old, name).await;
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    (old, new, home)
}

/// What somebody writes who knows that nobody has the data of the claims.
async fn proposed(home: &Home, more: &[&str]) {
    let new = ["runbook", "new", "--from", "latest:cluster", "--out", "mine.md"];
    run(home, &[&new[..], more].concat()).await.exits(0);
    let text = std::fs::read_to_string(home.path("mine.md")).unwrap();
    let text = text.replace("restore.resources:\n", "restore.resources:\n  empty_volumes: true\n");
    std::fs::write(home.path("mine.md"), text).unwrap();
}

async fn recover(home: &Home, kubeconfig: &str, more: &[&str]) -> Ran {
    let args = ["recover", "mine.md", "--kubeconfig", kubeconfig, "--journals", "runs", "--no-progress"];
    run(home, &[&args[..], more].concat()).await
}

#[track_caller]
fn conflicts(ran: &Ran, claim: &str, why: &str) {
    let line = ran.out.lines().find(|line| line.contains("CONFLICT") && line.contains(&format!("media/{claim}")));
    assert!(line.is_some_and(|line| line.contains(why)), "{why}: {}", ran.out);
}

/// With `Retain` a volume stays that of the claim that was deleted, and the next one of that name would wait for it for ever, with the mover that fills it.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_kept_for_the_claim_that_is_gone_is_told_with_what_lets_the_next_one_have_it() {
    let (old, _new, home) = world().await;
    proposed(&home, &["--namespace", "media"]).await;
    for (name, _) in CLASSES {
        lose(&old, name).await;
    }
    let kept = "was its volume, and is still that of the claim which is gone";
    let claims = ["--include", "media/persistentvolumeclaims/*", "--empty-volumes"];
    // With the volumes among what is chosen, and without.
    let mut told = String::new();
    for more in [&[][..], &["--include", "persistentvolumes"]] {
        let ran = restore(&home, "kubeconfig", &[&claims[..], more, &["--plan"]].concat()).await.exits(3);
        for (name, _) in CLASSES {
            conflicts(&ran, name, &format!("PersistentVolume {name} {kept}"));
        }
        told = ran.out;
    }
    let ran = recover(&home, "kubeconfig", &["--plan"]).await.exits(7);
    assert!(ran.out.contains("IN THE WAY [ns-media]") && ran.out.contains(kept), "{}", ran.out);
    assert!(ran.out.contains("kubectl patch persistentvolumes"), "{}", ran.out);

    // What is told is done, as it is told, and nothing else.
    for line in told.lines().filter(|line| line.contains(kept)) {
        carry_out(&old, line.split_once("kubectl ").unwrap().1.trim_end()).await;
    }
    recover(&home, "kubeconfig", &["--yes", "--skip", "identity"]).await.exits(0);
    for (name, _) in CLASSES {
        is_bound(&old, name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_gone_comes_back_with_its_claim_or_is_told() {
    let (_old, new, home) = world().await;
    let claims = ["--include", "media/*/*", "--include", "storageclasses.storage.k8s.io", "--empty-volumes"];
    let plan = [&claims[..], &["--plan"]].concat();
    let ran = restore(&home, "new", &plan).await.exits(3);
    for (name, _) in CLASSES {
        conflicts(&ran, name, &format!("include _cluster/persistentvolumes/{name} as well"));
    }
    let without = ["--exclude", "persistentvolumes", "--empty-volumes", "--plan"];
    conflicts(&restore(&home, "new", &without).await.exits(3), "disk", "is excluded, and none is free");
    // There, and somebody else's.
    for (name, class) in CLASSES {
        new.make("", volume(name, class, Some(("home", "other"))));
    }
    for more in [&[][..], &["--include", "persistentvolumes"]] {
        let ran = restore(&home, "new", &[&plan[..], more].concat()).await.exits(3);
        conflicts(&ran, "disk", "PersistentVolume disk, which was its volume, is that of the claim home/other");
    }
    for (name, _) in CLASSES {
        let there = new.object("persistentvolumes", "", name).unwrap();
        new.shared.with(|state| state.remove("kubectl", &there, &DeleteOptions::default()));
        new.until("it is gone", |state| state.object("persistentvolumes", "", name).is_none()).await;
    }
    // One made anew by hand is there for whoever asks, and another has to come.
    new.make("", volume("disk", "", None));
    let ran = restore(&home, "new", &plan).await.exits(3);
    assert!(!ran.out.contains("PersistentVolume disk"), "{}", ran.out);
    conflicts(&ran, "tape", "include _cluster/persistentvolumes/tape as well");
    restore(&home, "new", &[&claims[..], &["--include", "_cluster/persistentvolumes/tape"]].concat()).await.exits(0);
    for (name, _) in CLASSES {
        is_bound(&new, name).await;
    }
}

/// Each step is a restore of its own: a volume that came in another one than its claim would come never, or too late.
#[tokio::test(flavor = "multi_thread")]
async fn a_proposed_runbook_brings_volumes_made_by_hand_before_their_claims() {
    let (_old, new, home) = world().await;
    proposed(&home, &[]).await;
    let ran = recover(&home, "new", &["--yes", "--skip", "identity", "--skip", "storage"]).await.exits(0);
    assert!(ran.out.contains("2 steps were left out, as asked"), "{}", ran.out);
    for (name, _) in CLASSES {
        is_bound(&new, name).await;
        let volume = new.object("persistentvolumes", "", name).unwrap();
        assert_eq!(volume["spec"]["hostPath"]["path"], format!("/srv/{name}"));
    }
}

//! Claims of CSI storage: a mover reads one moment of them, and nothing stays of what was made for that, whatever happens meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use homelab_dr::backup::volumes::{Limits, MoverError, Outcome};
use homelab_dr::volumes::VolumesError;
use serde_json::{Value, json};

use super::trouble::{block, within};
use super::{CUT_OFF, SLOW, World, is_ours, row};
use crate::support::files::{Picture, noise, picture};
use crate::support::kube::state::{State, text};

const CSI: &str = "csi-hostpath-sc";
const CLAIMS: &str = "persistentvolumeclaims";
const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
const CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";
pub(super) const HOME: &str = ", namespace: backup";

/// A cluster with our namespace and the claim `media/data` of CSI storage, which takes some seconds to read.
pub(super) async fn world(more: &str) -> World {
    let world = World::new(more).await;
    world.namespace("backup").await;
    world.application_of(CSI, "media", "data", "echo x > /data/x").await;
    std::fs::write(world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    world
}

/// Everything that could leak: objects by kind and name, entries of the journal, and folders of the storage.
pub(super) fn inventory(world: &World) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    world.kube.shared.with(|state| {
        for table in [CLAIMS, "persistentvolumes", SNAPSHOTS, CONTENTS, "pods", "networkpolicies.networking.k8s.io"] {
            all.extend(state.objects(table).iter().map(|object| {
                let metadata = &object["metadata"];
                format!("{table} {}/{}", text(&metadata["namespace"]), text(&metadata["name"]))
            }));
        }
        let journal = state.object("configmaps", "backup", "homelab-dr-volumes");
        for (key, _) in journal.iter().filter_map(|journal| journal["data"].as_object()).flatten() {
            all.insert(format!("journal {key}"));
        }
    });
    for below in ["snapshots", "csi"] {
        let entries = std::fs::read_dir(world.kube.folder().join(below)).into_iter().flatten();
        all.extend(entries.map(|entry| format!("{below}/{}", entry.unwrap().file_name().to_string_lossy())));
    }
    all
}

/// The storage may take a moment to free what it was told to.
pub(super) async fn is_as_before(world: &World, before: &BTreeSet<String>) {
    for _ in 0..400 {
        if inventory(world) == *before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let now = inventory(world);
    let (more, less): (Vec<_>, Vec<_>) = (now.difference(before).collect(), before.difference(&now).collect());
    panic!("left over {more:?}, lost {less:?}");
}

/// Waits until the copy of a claim is there and has its volume.
async fn until_copied(world: &World) {
    let copied = |state: &State| {
        let claims = state.objects(CLAIMS);
        claims.iter().any(|claim| is_ours(claim) && claim["status"]["phase"] == "Bound")
    };
    world.kube.until("the copy is bound", copied).await;
}

/// Everything in the volume changes.
fn change(world: &World) {
    let folder = world.folder("media", "data");
    std::fs::write(folder.join("x"), "later").unwrap();
    std::fs::write(folder.join("large"), noise(8, 3_000_000)).unwrap();
    std::fs::write(folder.join("new"), "new").unwrap();
}

/// A backup during which everything changes, after the copy was made and before its mover reads; the row, and the mover's pod.
async fn changed_meanwhile(world: &World) -> (Picture, Value, Value) {
    let then = picture(&world.folder("media", "data"));
    let backup = world.begin(&SLOW);
    until_copied(world).await;
    change(world);
    let pod = world.until_at_work(1).await.remove(0);
    let ran = world.end(backup).await.exits(0);
    assert!(picture(&world.folder("media", "data")) != then, "it did change");
    (then, row(&ran.json(), "media/data"), pod)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_changes_meanwhile_comes_back_as_of_the_moment_of_its_snapshot() {
    let world = world(HOME).await;
    // The data of a PostgreSQL server that runs, which would be left out if it were read live.
    let server = world.folder("media", "data").join("pg");
    for folder in ["base/1", "global"] {
        std::fs::create_dir_all(server.join(folder)).unwrap();
    }
    for file in ["PG_VERSION", "postmaster.pid", "base/1/1", "global/pg_control"] {
        std::fs::write(server.join(file), noise(3, 9000)).unwrap();
    }
    let before = inventory(&world);
    let (then, row, pod) = changed_meanwhile(&world).await;
    assert!(world.restored("media/data").await == then, "as of the moment");
    assert_eq!(row["kind"], "pvc, snapshot", "{row}");
    assert_eq!(row["reason"], "hostpath.csi.k8s.io takes snapshots, by the class csi-hostpath-snapclass");
    // In our namespace, as what the application runs as, wherever there is room; the owner of no file is changed.
    assert_eq!(
        (&pod["metadata"]["namespace"], &pod["spec"]["securityContext"]["runAsUser"]),
        (&json!("backup"), &json!(1000))
    );
    assert!(pod["spec"]["affinity"].is_null() && pod["spec"]["securityContext"]["fsGroup"].is_null(), "{pod}");
    is_as_before(&world, &before).await;

    // What did not change since is not read again, although it is another copy; what did is.
    world.backup(&[]).await.exits(0);
    assert!(world.restored("media/data").await == picture(&world.folder("media", "data")));
    is_as_before(&world, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_class_takes_snapshots_a_clone_is_read() {
    let world = world(HOME).await;
    let path =
        format!("{}/apis/snapshot.storage.k8s.io/v1/volumesnapshotclasses/csi-hostpath-snapclass", world.kube.url());
    let request = http::Request::delete(path).body(Vec::new()).unwrap();
    crate::kube::client(&world.kube).request_text(request).await.unwrap();
    let before = inventory(&world);
    let (then, row, pod) = changed_meanwhile(&world).await;
    assert!(world.restored("media/data").await == then, "as of the moment");
    let reason = row["reason"].to_string();
    assert!(row["kind"] == "pvc, clone" && reason.contains("no snapshot: no VolumeSnapshotClass is for"), "{row}");
    assert_eq!(pod["metadata"]["namespace"], "media", "a claim cannot be cloned into another namespace");
    is_as_before(&world, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_claim_has_its_way_and_the_table_says_which_and_why() {
    let world = world(HOME).await;
    world.application("media", "local", "echo l > /data/l").await;
    let before = inventory(&world);
    let plan = world.backup(&["--dry-run"]).await.exits(0);
    let ran = world.backup(&[]).await.exits(0);
    for out in [&plan.out, &ran.out] {
        for part in [
            "pvc/media/data: pvc, snapshot, because hostpath.csi.k8s.io takes snapshots",
            "pvc/media/local: pvc, live, because pod app-local uses it on node lab-node; no snapshot: it is a directory of a node",
            "pvc/media/data   pvc, snapshot",
            "pvc/media/local  pvc, live",
        ] {
            assert!(out.contains(part), "{part}: {out}");
        }
    }
    is_as_before(&world, &before).await;
    assert!(world.restored("media/local").await == picture(&world.folder("media", "local")));

    // Without a namespace of ours every claim is read live, and says why.
    world.configure("");
    let ran = world.backup(&["--json"]).await.exits(0).json();
    let of_csi = row(&ran, "media/data");
    let reason = of_csi["reason"].to_string();
    assert!(of_csi["kind"] == "pvc, live" && reason.contains("no namespace of homelab-dr's own"), "{of_csi}");
    assert!(of_csi["cautions"].to_string().contains("not of one moment"), "{of_csi}");
    // One that is not there.
    world.configure(", namespace: nowhere");
    let ran = world.backup(&["--json"]).await.exits(1).json();
    let failed = row(&ran, "media/data");
    let told = failed["error"].to_string();
    assert!(
        told.contains("the VolumeSnapshot of the claim was not made")
            && told.contains("is the source's namespace there"),
        "{told}"
    );
    assert_eq!((&failed["kind"], &row(&ran, "media/local")["result"]), (&json!("pvc, snapshot"), &json!("done")));
    is_as_before(&world, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_never_becomes_ready_is_told_and_the_others_go_on() {
    let world = world(HOME).await;
    world.application("media", "local", "echo l > /data/l").await;
    let before = inventory(&world);
    world.kube.faults(|faults| faults.hold_snapshots("*"));
    let mut limits = Limits::default();
    limits.ways.taken = Duration::from_secs(1);
    let key = std::fs::read_to_string(world.lab.path("writer")).unwrap();
    let (rows, warnings) = within(&world, None, &key, limits).await;
    let outcome = |claim: &str| &rows.iter().find(|row| row.source == format!("pvc/media/{claim}")).unwrap().outcome;
    let Outcome::Failed(MoverError::Prepare { source, .. }) = outcome("data") else { panic!("{rows:?}") };
    assert!(matches!(source, VolumesError::Late { state: "ready", .. }), "{source:?}");
    let told = source.to_string();
    assert!(told.contains("VolumeSnapshot media/homelab-dr-") && told.contains("is not ready after 1 s"), "{told}");
    assert!(matches!(outcome("local"), Outcome::Captured { .. }), "{rows:?}");
    assert!(rows.iter().all(|row| row.left.is_empty()) && warnings.is_empty(), "{rows:?} {warnings:?}");
    is_as_before(&world, &before).await;
    assert_eq!(world.snapshots().await, ["pvc/media/local"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_releases_what_was_made() {
    let world = world(HOME).await;
    let before = inventory(&world);
    // While its mover reads, and while the storage takes the snapshot.
    for held in [false, true] {
        if held {
            world.kube.faults(|faults| faults.hold_snapshots("*"));
        }
        let backup = world.begin(&CUT_OFF);
        if held {
            world.kube.until("it is being taken", |state| !state.objects(CONTENTS).is_empty()).await;
        } else {
            world.until_at_work(1).await;
        }
        let pid = rustix::process::Pid::from_child(&backup);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        world.end(backup).await.exits(130);
        is_as_before(&world, &before).await;
    }
    assert_eq!(world.snapshots().await, Vec::<String>::new());
}

/// Its time is over, of everything that a run made.
pub(super) fn expire(state: &mut State) {
    const OVER: &str = "2026-01-01T00:00:00Z";
    for table in ["pods", "networkpolicies.networking.k8s.io", CLAIMS, SNAPSHOTS, CONTENTS] {
        for object in state.objects(table).iter().filter(|object| is_ours(object)) {
            state.edit(object, |object| object["metadata"]["annotations"]["homelab-dr.io/expires"] = OVER.into());
        }
    }
    let Some(journal) = state.object("configmaps", "backup", "homelab-dr-volumes") else { return };
    state.edit(&journal, |journal| {
        for (_, entry) in journal["data"].as_object_mut().into_iter().flatten() {
            let mut fields: Value = serde_json::from_str(entry.as_str().unwrap()).unwrap();
            fields["expires"] = OVER.into();
            *entry = fields.to_string().into();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_swept_by_the_next() {
    let world = world(HOME).await;
    let before = inventory(&world);
    for held in [false, true] {
        if held {
            world.kube.faults(|faults| faults.hold_snapshots("*"));
        }
        let mut backup = world.begin(&SLOW);
        if held {
            world.kube.until("it is being taken", |state| !state.objects(CONTENTS).is_empty()).await;
        } else {
            world.until_at_work(1).await;
        }
        backup.kill().unwrap();
        backup.wait().unwrap();
        world.kube.faults(|faults| faults.release_snapshots("*"));
        assert!(inventory(&world).difference(&before).any(|line| line.starts_with("journal ")), "something is left");
        // As long as it may be somebody's it stays.
        let left: BTreeSet<String> = inventory(&world).difference(&before).cloned().collect();
        world.backup(&[]).await.exits(0);
        let now = inventory(&world);
        let gone: Vec<&String> = left.iter().filter(|line| !now.contains(*line)).collect();
        // The storage goes on with what it was told.
        assert!(gone.is_empty(), "{gone:?}");
        world.kube.shared.with(expire);
        let ran = world.backup(&[]).await.exits(0);
        assert!(ran.err.contains("an earlier run was cut off") && ran.err.contains("(of media/data)"), "{}", ran.err);
        is_as_before(&world, &before).await;
        world.run(&["check"]).await.exits(0);
    }
}

/// With each of the rules taken away a run fails, or says what it could not remove; with all of them it succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_rights_in_the_documents_is_needed() {
    let world = World::new(HOME).await;
    world.namespace("backup").await;
    super::cilium::install(&world).await;
    // What is made has to be set to Delete to go.
    world.kube.make(
        "",
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "keeps"},
            "provisioner": "hostpath.csi.k8s.io", "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate",
        }),
    );
    for claim in ["snapped", "cloned"] {
        world.application_of("keeps", "media", claim, "echo x > /data/x").await;
        let way = if claim == "cloned" { "clone" } else { "snapshot" };
        world.kube.shared.with(|state| {
            let claim = state.object(CLAIMS, "media", claim).unwrap();
            state.edit(&claim, |object| object["metadata"]["annotations"]["homelab-dr.io/mode"] = way.into());
        });
    }
    let before = inventory(&world);
    let role: Value = serde_saphyr::from_str(&block("```yaml rights\n")).expect("a manifest");
    let config = crate::cluster::capture::kubeconfig_of(&world.kube, role.clone()).await;
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    world.backup(&[]).await.exits(0);
    is_as_before(&world, &before).await;
    let set = |rules: Value| {
        world.kube.shared.with(|state| {
            let name = text(&role["metadata"]["name"]);
            let role = state.object("clusterroles.rbac.authorization.k8s.io", "", name).unwrap();
            state.edit(&role, |object| object["rules"] = rules);
        });
    };
    let rules = role["rules"].as_array().unwrap();
    for number in 0..rules.len() {
        let mut fewer = rules.clone();
        let rule = fewer.remove(number);
        set(fewer.into());
        let ran = world.backup(&[]).await;
        if rule["resources"] == json!(["events"]) {
            // For the words of errors only.
            ran.exits(0);
            continue;
        }
        let says = ["cannot ", "was not made", "403"].iter().any(|part| ran.err.contains(part));
        assert!(says && ran.code != 0, "{rule}: {}", ran.err);
    }
    set(role["rules"].clone());
    world.kube.shared.with(expire);
    world.backup(&[]).await.exits(0);
    is_as_before(&world, &before).await;
}

//! Snapshot and clone from beginning to end, and every way that they can fail by themselves.

use std::sync::Arc;
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::volumes::choose::policy::Mode;
use homelab_dr::volumes::choose::{Choice, Way};
use homelab_dr::volumes::run::run_of;
use homelab_dr::volumes::{Context, Cut, VolumesError, clone, snapshot};
use serde_json::{Value, json};

use super::{CLAIMS, CONTENTS, Lab, OURS, SNAPSHOTS, VOLUMES, bound, pod, prepare, run, sendable, told};
use crate::support::kube::server::Options;

async fn prepared_and_released(lab: &Lab, mode: Mode) {
    let before = lab.inventory();
    let choice = lab.choice(mode).await;
    let run = run(1);
    let prepared = prepare(&lab.api, lab, &run, &choice, &Cancel::default()).await.unwrap();
    let folder = bound(&lab.server, &prepared.namespace, &prepared.claim).await;
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "bytes");
    let original = lab.server.volume("media", "data").unwrap();
    std::fs::write(original.join("file"), "written later").unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "bytes", "it is of its moment");
    std::fs::write(original.join("file"), "bytes").unwrap();
    let copy = lab.server.object(CLAIMS, &prepared.namespace, &prepared.claim).unwrap();
    assert_eq!(run_of(&copy), Some(run.id.clone()));
    assert!(copy["metadata"]["annotations"]["homelab-dr.io/expires"].is_string());
    match mode {
        Mode::Snapshot => {
            assert_eq!(prepared.namespace, OURS);
            let all = lab.server.shared.with(|state| (state.objects(SNAPSHOTS), state.objects(CONTENTS)));
            assert_eq!((all.0.len(), all.1.len()), (1, 1), "only ours is left");
            assert_eq!(all.0[0]["metadata"]["namespace"], OURS);
            assert_eq!(all.1[0]["spec"]["deletionPolicy"], "Retain");
            assert_eq!(all.1[0]["spec"]["sourceVolumeMode"], "Filesystem");
            assert_eq!(run_of(&all.1[0]), Some(run.id.clone()));
            let journal = lab.server.object("configmaps", OURS, "homelab-dr-volumes").unwrap();
            let entry: Value = serde_json::from_str(journal["data"][&prepared.claim].as_str().unwrap()).unwrap();
            let handle = entry["taken"]["handle"].as_str().unwrap();
            assert!(lab.files("snapshots").contains(handle), "the journal knows the storage's name of it");
        }
        _ => assert_eq!(prepared.namespace, "media"),
    }
    sendable(prepared.release(&lab.api, &lab.limits)).await.unwrap();
    lab.is_as_before(&before, "released").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_taken_handed_over_and_released() {
    prepared_and_released(&Lab::new().await, Mode::Snapshot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_made_and_released() {
    prepared_and_released(&Lab::new().await, Mode::Clone).await;
}

/// With Retain in both classes everything would stay that is not told to go.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_where_the_classes_retain() {
    let lab = Lab::that_retains().await;
    prepared_and_released(&lab, Mode::Snapshot).await;
    prepared_and_released(&lab, Mode::Clone).await;
}

/// The claim of a class that waits for a consumer is bound by the mover's pod and not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_waits_for_a_consumer_is_bound_by_its_pod() {
    let lab = Lab::of_class("waits", Options::default()).await;
    for (mode, mounted) in [(Mode::Snapshot, true), (Mode::Snapshot, false), (Mode::Clone, true), (Mode::Clone, false)]
    {
        let before = lab.inventory();
        let choice = lab.choice(mode).await;
        let prepared = prepare(&lab.api, &lab, &run(1), &choice, &Cancel::default()).await.unwrap();
        let copy = lab.server.object(CLAIMS, &prepared.namespace, &prepared.claim).unwrap();
        assert_eq!(copy["status"]["phase"], "Pending");
        if mounted {
            let space = prepared.namespace.clone();
            lab.server.make(&space, pod("mover", &prepared.claim));
            let folder = bound(&lab.server, &space, &prepared.claim).await;
            assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "bytes");
            let path = format!("{}/api/v1/namespaces/{space}/pods/mover", lab.server.url());
            let request = http::Request::delete(path).body(Vec::new()).unwrap();
            crate::kube::client(&lab.server).request_text(request).await.unwrap();
            lab.server.until("the mover is gone", |state| state.object("pods", &space, "mover").is_none()).await;
        }
        prepared.release(&lab.api, &lab.limits).await.unwrap();
        lab.is_as_before(&before, &format!("{mode:?}, mounted: {mounted}")).await;
    }
}

/// Fails to prepare, leaves nothing, and returns what is said.
async fn refused(lab: &Lab, choice: &Choice) -> (VolumesError, String) {
    let before = lab.inventory();
    let error = prepare(&lab.api, lab, &run(1), choice, &Cancel::default()).await.expect_err("it cannot be");
    assert!(!matches!(error, VolumesError::NotCleared { .. }), "{}", told(&error));
    lab.is_as_before(&before, "refused").await;
    let text = told(&error);
    (error, text)
}

fn with_class(choice: &Choice, name: &str) -> Choice {
    let mut choice = choice.clone();
    let Way::Snapshot { class, .. } = &mut choice.way else { panic!("{choice:?}") };
    *class = name.to_owned();
    choice
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_the_storage_refuses_is_an_error_with_its_words() {
    let lab = Lab::new().await;
    let choice = with_class(&lab.choice(Mode::Snapshot).await, "nowhere");
    let (error, text) = refused(&lab, &choice).await;
    assert!(matches!(error, VolumesError::Failed { .. }), "{text}");
    assert!(text.contains("VolumeSnapshot media/homelab-dr-") && text.contains("\"nowhere\" not found"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_never_becomes_ready_has_a_limit() {
    let mut lab = Lab::new().await;
    lab.limits.taken = Duration::from_millis(300);
    let choice = lab.choice(Mode::Snapshot).await;
    lab.server.faults(|faults| faults.hold_snapshots("*"));
    let (error, text) = refused(&lab, &choice).await;
    assert!(matches!(error, VolumesError::Late { state: "ready", .. }), "{text}");
    assert!(text.contains("CreatingSnapshot: Waiting for a snapshot"), "the last event: {text}");
}

/// Ours is never found: taken well, handed over badly.
#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_never_becomes_ready_has_a_limit_and_frees_the_storage() {
    let mut lab = Lab::new().await;
    lab.limits.handed = Duration::from_millis(300);
    let choice = lab.choice(Mode::Snapshot).await;
    let name = homelab_dr::volumes::run::name_for(&run(1).id, "media", "data");
    lab.server.faults(|faults| faults.hold_snapshots(&format!("{OURS}/{name}")));
    let (error, text) = refused(&lab, &choice).await;
    assert!(matches!(&error, VolumesError::Late { object, .. } if object.contains(OURS)), "{text}");
}

/// A k3s whose owner installed the definitions and forgot the controller.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_controller_the_error_says_what_is_missing() {
    let mut lab = Lab::new().await;
    lab.limits.taken = Duration::from_millis(200);
    let choice = lab.choice(Mode::Snapshot).await;
    let before = lab.inventory();
    lab.server.pause(true);
    let error = prepare(&lab.api, &lab, &run(1), &choice, &Cancel::default()).await.expect_err("nothing acts");
    assert!(
        told(&error).contains("nothing acts on it: is the controller of external-snapshotter running?"),
        "{}",
        told(&error)
    );
    lab.server.pause(false);
    lab.is_as_before(&before, "without a controller").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_made_is_told_with_the_last_event() {
    let mut lab = Lab::new().await;
    lab.limits.bound = Duration::from_millis(500);
    for mode in [Mode::Snapshot, Mode::Clone] {
        let mut choice = lab.choice(mode).await;
        if let Way::Snapshot { copy, .. } | Way::Clone { copy } = &mut choice.way {
            copy.storage_class = "no-such-class".into();
        }
        let (error, text) = refused(&lab, &choice).await;
        assert!(matches!(error, VolumesError::Late { state: "bound", .. }), "{text}");
        assert!(text.contains("ProvisioningFailed") && text.contains("no-such-class"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_claim_of_that_name_is_not_captured() {
    let lab = Lab::new().await;
    for mode in [Mode::Snapshot, Mode::Clone] {
        let mut choice = lab.choice(mode).await;
        choice.uid = "another".into();
        let (error, text) = refused(&lab, &choice).await;
        assert!(matches!(error, VolumesError::Foreign { .. }), "{text}");
    }
    let choice = lab.choice(Mode::Snapshot).await;
    let cancel = Cancel::default();
    let cut = Cut::default();
    let context =
        Context { cluster: &lab.api, namespace: OURS, run: &run(1), limits: &lab.limits, cancel: &cancel, cut: &cut };
    assert!(matches!(clone::prepare(&context, &choice).await, Err(VolumesError::Way { .. })));
    let choice = lab.choice(Mode::Clone).await;
    assert!(matches!(snapshot::prepare(&context, &choice).await, Err(VolumesError::Way { .. })));
}

/// Something of our name that is not ours is neither used nor removed, and the error says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_our_name_and_not_our_label_is_left_alone() {
    let lab = Lab::new().await;
    let choice = lab.choice(Mode::Snapshot).await;
    let name = homelab_dr::volumes::run::name_for(&run(1).id, "media", "data");
    lab.server.make(OURS, super::claim(&name, "csi-hostpath-sc"));
    bound(&lab.server, OURS, &name).await;
    let error = prepare(&lab.api, &lab, &run(1), &choice, &Cancel::default()).await.expect_err("the name is taken");
    let VolumesError::NotCleared { why, reason, .. } = &error else { panic!("{}", told(&error)) };
    assert!(matches!(**why, VolumesError::Foreign { .. }), "{why:?}");
    assert!(reason.contains("does not carry the label"), "{reason}");
    assert!(
        lab.server.object(CLAIMS, OURS, &name).is_some_and(|claim| claim["metadata"]["deletionTimestamp"].is_null())
    );
}

/// Somebody (a policy, GitOps) sets their content back to Delete: the storage's snapshot would go with it.
#[tokio::test(flavor = "multi_thread")]
async fn the_original_is_not_deleted_when_it_would_take_the_snapshot_with_it() {
    let lab = Lab::new().await;
    let choice = lab.choice(Mode::Snapshot).await;
    let before = lab.inventory();
    let (server, url) = (&lab.server, lab.server.url());
    let meddling = async {
        // As soon as theirs is held, and ours is being looked up.
        let name = std::cell::RefCell::new(String::new());
        server
            .until("theirs is held", |state| {
                let contents = state.objects(CONTENTS);
                let held = contents.iter().find(|it| {
                    it["spec"]["source"]["volumeHandle"].is_string() && it["spec"]["deletionPolicy"] == "Retain"
                });
                held.is_some_and(|held| {
                    name.replace(held["metadata"]["name"].as_str().unwrap().to_owned());
                    true
                })
            })
            .await;
        let path = format!("{url}/apis/snapshot.storage.k8s.io/v1/volumesnapshotcontents/{}", name.borrow());
        let body = json!({"spec": {"deletionPolicy": "Delete"}}).to_string().into_bytes();
        let patch =
            http::Request::patch(path).header("content-type", "application/merge-patch+json").body(body).unwrap();
        crate::kube::client(server).request_text(patch).await.unwrap();
    };
    let (run, cancel) = (run(1), Cancel::default());
    let (_, made) = tokio::join!(meddling, prepare(&lab.api, &lab, &run, &choice, &cancel));
    // The race is real; whichever way it went, the copy has its bytes or there is none.
    match made {
        Ok(prepared) => {
            let folder = bound(&lab.server, OURS, &prepared.claim).await;
            assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "bytes");
            prepared.release(&lab.api, &lab.limits).await.unwrap();
        }
        Err(error) => assert!(told(&error).len() > 10, "{error}"),
    }
    lab.is_as_before(&before, "meddled with").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_wait_and_leaves_nothing() {
    let lab = Lab::new().await;
    let choice = lab.choice(Mode::Snapshot).await;
    let before = lab.inventory();
    lab.server.faults(|faults| faults.hold_snapshots("*"));
    let cancel = Arc::new(Cancel::default());
    let stopping = async {
        lab.server.until("it is being taken", |state| !state.objects(CONTENTS).is_empty()).await;
        cancel.cancel();
    };
    let run = run(1);
    let (made, ()) = tokio::join!(prepare(&lab.api, &lab, &run, &choice, &cancel), stopping);
    assert!(matches!(made, Err(VolumesError::Cancelled)), "{made:?}");
    lab.is_as_before(&before, "stopped").await;
}

/// While the mover's pod is there the claim stays; the error names what keeps it, and the sweep finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_use_is_not_released_and_not_forgotten() {
    let mut lab = Lab::new().await;
    let choice = lab.choice(Mode::Snapshot).await;
    let prepared = prepare(&lab.api, &lab, &run(1), &choice, &Cancel::default()).await.unwrap();
    lab.server.make(OURS, pod("mover", &prepared.claim));
    lab.server
        .until("it runs", |state| {
            state.object("pods", OURS, "mover").is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await;
    lab.limits.gone = Duration::from_millis(300);
    let error = prepared.release(&lab.api, &lab.limits).await.expect_err("it is in use");
    assert!(told(&error).contains("kubernetes.io/pvc-protection keeps it"), "{}", told(&error));
    assert!(lab.inventory().iter().any(|line| line.starts_with("journal ")));
    assert_eq!(lab.server.shared.with(|state| state.objects(VOLUMES).len()), 2);
}

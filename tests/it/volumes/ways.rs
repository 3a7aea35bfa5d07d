//! Facts as a server tells them, and the ways that follow.

use std::collections::BTreeSet;
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::cluster::folder::Folder;
use homelab_dr::volumes::choose::policy::{Mode, Policy};
use homelab_dr::volumes::choose::{Way, choose};
use homelab_dr::volumes::facts::{self, Facts, Phase, Snapshots, Source};
use homelab_dr::volumes::sweep::sweep;
use serde_json::json;

use super::{CSI, Lab, OURS, bound, claim, later, pod, prepare, run, told};
use crate::cluster::capture::kubeconfig_of;
use crate::cluster::delete::api_by;
use crate::support::kube::faults::Failure;

#[tokio::test(flavor = "multi_thread")]
async fn facts_and_ways_of_a_cluster_with_all_sorts_of_claims() {
    let lab = Lab::new().await;
    let server = &lab.server;
    server.make("default", claim("local", "local-path"));
    server.make("default", pod("app", "local"));
    bound(server, "default", "local").await;
    server.make("default", claim("never", "local-path"));
    let mut left_out = claim("left-out", "csi-hostpath-sc");
    left_out["metadata"]["annotations"] = json!({"homelab-dr.io/backup": "false"});
    server.make("default", left_out);
    let mut database = claim("pg-1", "csi-hostpath-sc");
    database["metadata"]["ownerReferences"] = json!([{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "pg", "uid": "u", "controller": true}]);
    // An owner that is not there would have it collected.
    server.make("default", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "pg"}}));
    database["metadata"]["labels"] = json!({"cnpg.io/cluster": "pg"});
    database["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    server.make("default", database);
    bound(server, "default", "pg-1").await;
    server
        .until("the pod runs", |state| {
            state.object("pods", "default", "app").is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await;

    let facts = facts::read(&lab.api).await.unwrap();
    let names: Vec<String> = facts.claims.iter().map(|claim| format!("{}/{}", claim.namespace, claim.name)).collect();
    assert_eq!(names, ["default/left-out", "default/local", "default/never", "default/pg-1", "media/data"]);
    let of = |name: &str| facts.claims.iter().find(|claim| claim.name == name).unwrap();
    let source = |name: &str| facts.volumes[of(name).volume.as_ref().unwrap()].source.clone();
    assert_eq!(source("data"), Source::Csi(CSI.into()));
    assert!(matches!(source("local"), Source::HostPath(path) if path.contains("local-path")));
    assert_eq!((of("never").phase, of("data").bytes), (Phase::Pending, 16 << 20));
    assert!(facts.storage_classes["local-path"].waits_for_consumer && facts.drivers.contains(CSI));
    assert_eq!((facts.pods.len(), facts.pods[0].node.as_deref()), (1, Some("lab-node")));
    assert!(facts.nodes["lab-node"].ready && facts.namespaces.contains_key("media"));
    assert!(matches!(&facts.snapshots, Snapshots::Classes(classes) if classes["csi-hostpath-snapclass"].driver == CSI));
    let text = serde_json::to_string(&facts).unwrap();
    assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts, "plain data");

    let choices = choose(&facts, &Policy::default());
    let way = |name: &str| choices.iter().find(|choice| choice.claim == name).unwrap().way.clone();
    assert!(matches!(way("data"), Way::Snapshot { class, .. } if class == "csi-hostpath-snapclass"));
    assert_eq!(way("local"), Way::Live { node: Some("lab-node".into()), beside: Some("app".into()) });
    assert_eq!(way("never"), Way::Empty);
    assert!(matches!(way("left-out"), Way::Excluded { .. }));
    assert!(matches!(way("pg-1"), Way::Refused { why, .. } if why.contains("CloudNativePG")));
}

/// As on a new k3s: the storage may be able to, but the cluster does not know what a VolumeSnapshot is.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_the_definitions_clones() {
    let lab = Lab::new().await;
    let definitions = "customresourcedefinitions.apiextensions.k8s.io";
    for name in ["volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses"] {
        let name = format!("{name}.snapshot.storage.k8s.io");
        let path = format!("{}/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", lab.server.url());
        let request = http::Request::delete(path).body(Vec::new()).unwrap();
        crate::kube::client(&lab.server).request_text(request).await.unwrap();
        lab.server.until("the definition is gone", |state| state.object(definitions, "", &name).is_none()).await;
    }
    let facts = facts::read(&lab.api).await.unwrap();
    assert_eq!(facts.snapshots, Snapshots::Missing);
    let choices = choose(&facts, &Policy::default());
    assert!(matches!(choices[0].way, Way::Clone { .. }), "{choices:?}");
    assert!(choices[0].reason.contains("no snapshot: the cluster knows no VolumeSnapshots"), "{}", choices[0].reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_an_error_but_for_snapshots() {
    let lab = Lab::new().await;
    let refuse = |path: &str| Failure { method: "GET".into(), path: path.into(), nth: 1, status: 403 };
    lab.server.faults(|faults| faults.fail(refuse("/volumesnapshotclasses")));
    let facts = facts::read(&lab.api).await.unwrap();
    assert!(matches!(&facts.snapshots, Snapshots::Unknown(why) if why.contains("403")), "{:?}", facts.snapshots);
    lab.server.faults(|faults| faults.fail(refuse("/api/v1/pods")));
    let error = facts::read(&lab.api).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot list pods");
}

#[tokio::test]
async fn an_empty_folder_has_no_claims() {
    let dir = tempfile::tempdir().unwrap();
    let facts = facts::read(&Folder::open(dir.path()).unwrap()).await.unwrap();
    assert!(facts.claims.is_empty() && choose(&facts, &Policy::default()).is_empty());
}

/// The role in docs/volumes.md is enough for every step, also where classes retain, for the last event of what fails, and for the sweep.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_in_the_documents_suffice() {
    let mut lab = Lab::that_retains().await;
    let text = include_str!("../../../docs/volumes.md");
    let (_, role) = text.split_once("```yaml rights\n").expect("the block is marked");
    let role = serde_saphyr::from_str(role.split_once("\n```").expect("closed").0).expect("a manifest");
    lab.api = api_by(&kubeconfig_of(&lab.server, role).await).await;
    let before = lab.inventory();
    for (number, mode) in [(1, Mode::Snapshot), (2, Mode::Clone)] {
        let choice = lab.choice(mode).await;
        let made = prepare(&lab.api, &lab, &run(number), &choice, &Cancel::default()).await;
        let made = made.expect("prepared");
        made.renew(&lab.api, later()).await.expect("renewed");
        made.release(&lab.api, &lab.limits).await.expect("released");
        lab.is_as_before(&before, "released").await;
        std::mem::forget(prepare(&lab.api, &lab, &run(number), &choice, &Cancel::default()).await.expect("prepared"));
        let swept = sweep(&lab.api, OURS, &BTreeSet::new(), later(), &lab.limits).await.expect("swept");
        assert_eq!((swept.removed.len(), swept.left.len()), (1, 0), "{swept:?}");
        lab.is_as_before(&before, "swept").await;
    }
    lab.limits.taken = Duration::from_millis(200);
    lab.server.faults(|faults| faults.hold_snapshots("*"));
    let choice = lab.choice(Mode::Snapshot).await;
    let error = prepare(&lab.api, &lab, &run(3), &choice, &Cancel::default()).await.expect_err("it takes too long");
    assert!(told(&error).contains("CreatingSnapshot"), "the last event may be read: {}", told(&error));
    lab.is_as_before(&before, "failed").await;
}

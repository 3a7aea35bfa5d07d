//! Volumes and snapshots with bytes in them: scale-down, hand-over to another namespace, what never becomes ready.

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::kube::{client, server};
use crate::support::kube::node::users::is_given;
use crate::support::kube::server::KubeServer;

const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
const CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";

fn claim(name: &str, source: Value) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "csi-hostpath-sc", "resources": {"requests": {"storage": "16Mi"}}},
    });
    if source.is_object() {
        claim["spec"]["dataSource"] = source;
    }
    claim
}

fn snapshot(name: &str, source: Value) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "metadata": {"name": name},
        "spec": {"source": source, "volumeSnapshotClassName": "csi-hostpath-snapclass"},
    })
}

async fn bound(server: &KubeServer, namespace: &str, name: &str) -> PathBuf {
    server
        .until(&format!("claim {name} is bound"), |state| {
            state
                .object("persistentvolumeclaims", namespace, name)
                .is_some_and(|claim| claim["status"]["phase"] == "Bound")
        })
        .await;
    server.volume(namespace, name).unwrap()
}

async fn ready(server: &KubeServer, namespace: &str, name: &str) -> Value {
    let is = |snapshot: &Value| snapshot["status"]["readyToUse"] == true;
    server
        .until(&format!("snapshot {name} is ready"), |state| {
            state.object(SNAPSHOTS, namespace, name).is_some_and(|s| is(&s))
        })
        .await;
    server.object(SNAPSHOTS, namespace, name).unwrap()
}

async fn delete(server: &KubeServer, path: &str) {
    let request = http::Request::delete(format!("{}{path}", server.url())).body(Vec::new()).unwrap();
    client(server).request_text(request).await.unwrap();
}

async fn patch(server: &KubeServer, path: &str, body: &Value) {
    let request = http::Request::patch(format!("{}{path}", server.url()))
        .header("content-type", "application/merge-patch+json")
        .body(body.to_string().into_bytes())
        .unwrap();
    client(server).request_text(request).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_keeps_the_bytes_of_its_moment() {
    let server = server().await;
    server.make("default", claim("data", Value::Null));
    let folder = bound(&server, "default", "data").await;
    std::fs::create_dir(folder.join("sub")).unwrap();
    std::fs::write(folder.join("sub/file"), "before").unwrap();
    server.make("default", snapshot("s", json!({"persistentVolumeClaimName": "data"})));
    ready(&server, "default", "s").await;
    std::fs::write(folder.join("sub/file"), "after").unwrap();
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
    server.make("default", claim("restored", source));
    let restored = bound(&server, "default", "restored").await;
    assert_eq!(std::fs::read_to_string(restored.join("sub/file")).unwrap(), "before");
    server.make("default", claim("clone", json!({"kind": "PersistentVolumeClaim", "name": "data"})));
    let clone = bound(&server, "default", "clone").await;
    assert_eq!(std::fs::read_to_string(clone.join("sub/file")).unwrap(), "after");
}

/// The whole way of a snapshot into another namespace, as the trap says: Retain, a content of our own, the first pair deleted; then our
/// content to Delete, and the storage's snapshot is gone.
#[tokio::test]
async fn a_snapshot_is_handed_over_and_not_leaked() {
    let server = server().await;
    server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ours"}}));
    server.make("default", claim("data", Value::Null));
    std::fs::write(bound(&server, "default", "data").await.join("file"), "bytes").unwrap();
    server.make("default", snapshot("theirs", json!({"persistentVolumeClaimName": "data"})));
    let theirs = ready(&server, "default", "theirs").await;
    let content_name = theirs["status"]["boundVolumeSnapshotContentName"].as_str().unwrap().to_owned();
    let content = server.object(CONTENTS, "", &content_name).unwrap();
    let handle = content["status"]["snapshotHandle"].as_str().unwrap().to_owned();
    let kept = server.folder().join("snapshots").join(&handle);
    assert!(kept.is_dir());
    let api = "/apis/snapshot.storage.k8s.io/v1";
    patch(
        &server,
        &format!("{api}/volumesnapshotcontents/{content_name}"),
        &json!({"spec": {"deletionPolicy": "Retain"}}),
    )
    .await;
    server.make(
        "",
        json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": "ours"},
            "spec": {
                "deletionPolicy": "Retain", "driver": "hostpath.csi.k8s.io", "source": {"snapshotHandle": handle},
                "sourceVolumeMode": "Filesystem", "volumeSnapshotRef": {"name": "ours", "namespace": "ours"},
            },
        }),
    );
    server.make("ours", snapshot("ours", json!({"volumeSnapshotContentName": "ours"})));
    ready(&server, "ours", "ours").await;
    delete(&server, &format!("{api}/namespaces/default/volumesnapshots/theirs")).await;
    server.until("their snapshot is gone", |state| state.object(SNAPSHOTS, "default", "theirs").is_none()).await;
    delete(&server, &format!("{api}/volumesnapshotcontents/{content_name}")).await;
    server.until("their content is gone", |state| state.object(CONTENTS, "", &content_name).is_none()).await;
    assert!(kept.is_dir(), "Retain keeps the storage's snapshot");
    let source = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "ours"});
    server.make("ours", claim("mover", source));
    assert_eq!(std::fs::read_to_string(bound(&server, "ours", "mover").await.join("file")).unwrap(), "bytes");
    patch(&server, &format!("{api}/volumesnapshotcontents/ours"), &json!({"spec": {"deletionPolicy": "Delete"}})).await;
    delete(&server, &format!("{api}/namespaces/ours/volumesnapshots/ours")).await;
    server.until("our content is gone", |state| state.object(CONTENTS, "", "ours").is_none()).await;
    assert!(!kept.exists(), "Delete frees the storage");
}

#[tokio::test]
async fn a_snapshot_may_never_become_ready() {
    let server = server().await;
    server.make("default", claim("data", Value::Null));
    bound(&server, "default", "data").await;
    server.faults(|faults| faults.hold_snapshots("default/s"));
    server.make("default", snapshot("s", json!({"persistentVolumeClaimName": "data"})));
    server
        .until("it is bound", |state| {
            state
                .object(SNAPSHOTS, "default", "s")
                .is_some_and(|s| s["status"]["boundVolumeSnapshotContentName"].is_string())
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(server.object(SNAPSHOTS, "default", "s").unwrap()["status"]["readyToUse"], false);
    server.faults(|faults| faults.release_snapshots("default/s"));
    ready(&server, "default", "s").await;
}

async fn scaled_to_zero(policy: &str) -> (KubeServer, PathBuf) {
    let server = server().await;
    let set: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": policy},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "c", "image": "db:1", "command": ["sh", "-c", "echo row > /data/table; sleep 60"],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "local-path", "resources": {"requests": {"storage": "16Mi"}}},
            }],
        },
    }))
    .unwrap();
    let sets: Api<StatefulSet> = Api::default_namespaced(client(&server));
    sets.create(&PostParams::default(), &set).await.unwrap();
    server
        .until("the set is ready", |state| {
            state.object("statefulsets.apps", "default", "db").is_some_and(|set| set["status"]["readyReplicas"] == 1)
        })
        .await;
    let folder = bound(&server, "default", "data-db-0").await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 0}}));
    sets.patch_scale("db", &PatchParams::default(), &scale).await.unwrap();
    server.until("the pod is gone", |state| state.object("pods", "default", "db-0").is_none()).await;
    (server, folder)
}

/// Measured: with `whenScaled: Delete` going to zero deletes the claim, and with the reclaim policy Delete the data.
#[tokio::test]
async fn scaling_down_can_delete_the_data() {
    let (server, folder) = scaled_to_zero("Delete").await;
    server
        .until("the claim is gone", |state| state.object("persistentvolumeclaims", "default", "data-db-0").is_none())
        .await;
    server.until("the volume is gone", |state| state.objects("persistentvolumes").is_empty()).await;
    assert!(!folder.exists());
}

#[tokio::test]
async fn scaling_down_and_up_keeps_what_is_retained() {
    let (server, folder) = scaled_to_zero("Retain").await;
    assert_eq!(std::fs::read_to_string(folder.join("table")).unwrap(), "row\n");
    let sets: Api<StatefulSet> = Api::default_namespaced(client(&server));
    sets.patch_scale("db", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 1}}))).await.unwrap();
    server
        .until("the pod is back", |state| {
            state.object("pods", "default", "db-0").is_some_and(|pod| pod["status"]["phase"] == "Running")
        })
        .await;
    assert_eq!(server.volume("default", "data-db-0").unwrap(), folder, "the same volume");
}

#[tokio::test]
async fn a_retained_volume_is_released_and_can_be_bound_again() {
    let server = server().await;
    server.make("default", claim("data", Value::Null));
    let folder = bound(&server, "default", "data").await;
    std::fs::write(folder.join("file"), "bytes").unwrap();
    let volume = server.object("persistentvolumeclaims", "default", "data").unwrap()["spec"]["volumeName"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/persistentvolumes/{volume}");
    patch(&server, &path, &json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}})).await;
    delete(&server, "/api/v1/namespaces/default/persistentvolumeclaims/data").await;
    let phase = |wanted: &'static str| {
        let volume = volume.clone();
        server.until(wanted, move |state| {
            state.object("persistentvolumes", "", &volume).is_some_and(|v| v["status"]["phase"] == wanted)
        })
    };
    phase("Released").await;
    let mut again = claim("data", Value::Null);
    again["spec"]["volumeName"] = volume.clone().into();
    server.make("default", again);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let pending = server.object("persistentvolumeclaims", "default", "data").unwrap();
    assert_eq!(pending["status"]["phase"], "Pending", "a claimRef with the old uid blocks it");
    patch(&server, &path, &json!({"spec": {"claimRef": {"uid": null, "resourceVersion": null}}})).await;
    assert_eq!(bound(&server, "default", "data").await, folder);
    assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "bytes");
}

#[test]
fn a_kubelet_gives_what_is_a_disk_of_its_own_and_what_a_driver_says() {
    let with_type = |mode: &str| json!({"csi": {"fsType": "ext4"}, "accessModes": [mode]});
    for (spec, policy, given) in [
        (json!({"hostPath": {"path": "/a"}}), None, false),
        (json!({"nfs": {"path": "/a"}, "accessModes": ["ReadWriteMany"]}), None, false),
        (json!({"local": {"path": "/a"}}), None, true),
        (json!({"local": {"path": "/a"}, "volumeMode": "Block"}), None, false),
        (json!({"csi": {}}), Some("File"), true),
        (with_type("ReadWriteOnce"), Some("None"), false),
        (with_type("ReadWriteOnce"), None, true),
        (with_type("ReadWriteMany"), Some("ReadWriteOnceWithFSType"), false),
        (json!({"csi": {}, "accessModes": ["ReadWriteOnce"]}), Some("ReadWriteOnceWithFSType"), false),
    ] {
        assert_eq!(is_given(&json!({"spec": spec}), policy), given, "{spec} {policy:?}");
    }
}

//! CSI snapshots: contents made for snapshots and snapshots bound to contents that were there, as the snapshot controller and the
//! driver's sidecar do it. A snapshot is a copy of the volume's folder, named by its handle.

use serde_json::{Value, json};

use crate::support::kube::bootstrap::CSI_DRIVER;
use crate::support::kube::controllers::{add_finalizer, drop_finalizer, has_finalizer, is_dying};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::quantity;
use crate::support::kube::state::{State, key, new_uid, now, parse_time, stamp, text};

const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
const CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";
const CLASSES: &str = "volumesnapshotclasses.snapshot.storage.k8s.io";
const AS_SOURCE: &str = "snapshot.storage.kubernetes.io/volumesnapshot-as-source-protection";
const BOUND: &str = "snapshot.storage.kubernetes.io/volumesnapshot-bound-protection";
const CONTENT_BOUND: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
const CLAIM_AS_SOURCE: &str = "snapshot.storage.kubernetes.io/pvc-as-source-protection";
const BEING_DELETED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";
const BEING_CREATED: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-created";
const DEFAULT_CLASS: &str = "snapshot.storage.kubernetes.io/is-default-class";
const CONTROLLER: &str = "snapshot-controller";
const SIDECAR: &str = "csi-snapshotter";

pub(crate) fn step(state: &mut State) {
    for snapshot in state.objects(SNAPSHOTS) {
        if is_dying(&snapshot) {
            end(state, &snapshot);
        } else {
            advance(state, &snapshot);
        }
    }
    for content in state.objects(CONTENTS) {
        advance_content(state, &content);
    }
}

/// Whether a claim is being filled from a snapshot.
fn being_restored(state: &State, snapshot: &Value) -> bool {
    state.objects("persistentvolumeclaims").iter().any(|claim| {
        let source = &claim["spec"]["dataSource"];
        claim["metadata"]["namespace"] == snapshot["metadata"]["namespace"]
            && claim["status"]["phase"] == "Pending"
            && source["kind"] == "VolumeSnapshot"
            && source["name"] == snapshot["metadata"]["name"]
    })
}

fn advance(state: &mut State, snapshot: &Value) {
    if !has_finalizer(snapshot, AS_SOURCE) {
        state.change(CONTROLLER, snapshot, "", |object| add_finalizer(object, AS_SOURCE));
        return;
    }
    if snapshot["status"]["error"].is_object() {
        return;
    }
    let name = text(&snapshot["metadata"]["name"]).to_owned();
    let namespace = text(&snapshot["metadata"]["namespace"]).to_owned();
    if let Some(bound) = snapshot["status"]["boundVolumeSnapshotContentName"].as_str() {
        let dynamic = snapshot["spec"]["source"]["persistentVolumeClaimName"].is_string();
        if dynamic && !has_finalizer(snapshot, BOUND) {
            state.change(CONTROLLER, snapshot, "", |object| add_finalizer(object, BOUND));
            return;
        }
        let bound = bound.to_owned();
        follow(state, snapshot, &bound);
        return;
    }
    let source = &snapshot["spec"]["source"];
    if let Some(content) = source["volumeSnapshotContentName"].as_str() {
        bind_existing(state, snapshot, content);
        return;
    }
    let claim_name = text(&source["persistentVolumeClaimName"]);
    let Some(claim) = state.object("persistentvolumeclaims", &namespace, claim_name) else {
        let why = format!("snapshot controller failed to update {name} on API server: cannot get claim from snapshot");
        fail(state, snapshot, &why);
        return;
    };
    if claim["status"]["phase"] != "Bound" {
        return;
    }
    if !has_finalizer(&claim, CLAIM_AS_SOURCE) && !is_dying(&claim) {
        state.change(CONTROLLER, &claim, "", |object| add_finalizer(object, CLAIM_AS_SOURCE));
    }
    let volume_name = text(&claim["spec"]["volumeName"]);
    let Some(volume) = state.object("persistentvolumes", "", volume_name) else { return };
    let Some(handle) = volume["spec"]["csi"]["volumeHandle"].as_str() else {
        release(state, &namespace, claim_name);
        fail(state, snapshot, &format!("cannot find CSI PersistentVolumeSource for volume {volume_name}"));
        return;
    };
    let class_name = text(&snapshot["spec"]["volumeSnapshotClassName"]);
    let class = if class_name.is_empty() { default_class(state) } else { state.object(CLASSES, "", class_name) };
    let Some(class) = class else {
        let why = format!(
            "failed to get input parameters to create snapshot {name}: failed to retrieve snapshot class {class_name} from the informer: volumesnapshotclass.snapshot.storage.k8s.io \"{class_name}\" not found"
        );
        fail(state, snapshot, &why);
        return;
    };
    let content = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
        "metadata": {"name": format!("snapcontent-{}", text(&snapshot["metadata"]["uid"]))},
        "spec": {
            "deletionPolicy": class["deletionPolicy"], "driver": class["driver"], "source": {"volumeHandle": handle},
            "sourceVolumeMode": volume["spec"]["volumeMode"], "volumeSnapshotClassName": class["metadata"]["name"],
            "volumeSnapshotRef": {
                "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "name": name, "namespace": namespace,
                "uid": snapshot["metadata"]["uid"], "resourceVersion": snapshot["metadata"]["resourceVersion"],
            },
        },
    });
    let text_of = format!("Waiting for a snapshot {namespace}/{name} to be created by the CSI driver.");
    let Some(content) = state.make(CONTROLLER, "", content) else { return };
    state.event(snapshot, CONTROLLER, "Normal", "CreatingSnapshot", &text_of);
    let content_name = content["metadata"]["name"].clone();
    state.change(CONTROLLER, snapshot, "status", |object| {
        object["status"] = json!({"boundVolumeSnapshotContentName": content_name, "readyToUse": false});
    });
}

fn default_class(state: &State) -> Option<std::sync::Arc<Value>> {
    state.objects(CLASSES).into_iter().find(|class| class["metadata"]["annotations"][DEFAULT_CLASS] == "true")
}

fn fail(state: &mut State, snapshot: &Value, why: &str) {
    let text = format!("Failed to create snapshot content with error {why}");
    state.event(snapshot, CONTROLLER, "Warning", "SnapshotContentCreationFailed", &text);
    state.change(CONTROLLER, snapshot, "status", |object| {
        object["status"] = json!({"error": {"message": text, "time": now()}, "readyToUse": false});
    });
}

/// A claim is protected while any of its snapshots is not taken yet.
fn release(state: &mut State, namespace: &str, claim: &str) {
    let Some(claim) = state.object("persistentvolumeclaims", namespace, claim) else { return };
    if has_finalizer(&claim, CLAIM_AS_SOURCE) {
        state.change(CONTROLLER, &claim, "", |object| drop_finalizer(object, CLAIM_AS_SOURCE));
    }
}

/// Pre-provisioned: the content must name the snapshot too.
fn bind_existing(state: &mut State, snapshot: &Value, content: &str) {
    let namespace = &snapshot["metadata"]["namespace"];
    let Some(content) = state.object(CONTENTS, "", content) else {
        let why = "VolumeSnapshotContent is missing";
        let reason = "SnapshotContentMissing";
        missing(state, snapshot, reason, why);
        return;
    };
    let reference = &content["spec"]["volumeSnapshotRef"];
    if reference["name"] != snapshot["metadata"]["name"] || reference["namespace"] != *namespace {
        missing(
            state,
            snapshot,
            "SnapshotContentMismatch",
            "VolumeSnapshotContent is dynamically provisioned while expecting a pre-provisioned one, or names another VolumeSnapshot",
        );
        return;
    }
    let uid = &snapshot["metadata"]["uid"];
    if reference["uid"].is_null() {
        state.change(CONTROLLER, &content, "", |object| object["spec"]["volumeSnapshotRef"]["uid"] = uid.clone());
        return;
    }
    if reference["uid"] != *uid {
        missing(state, snapshot, "SnapshotContentMisbound", "VolumeSnapshotContent is bound to another VolumeSnapshot");
        return;
    }
    let name = text(&content["metadata"]["name"]).to_owned();
    if content["status"]["readyToUse"] != true {
        return;
    }
    ready(state, snapshot, &name, &content);
}

fn missing(state: &mut State, snapshot: &Value, reason: &str, why: &str) {
    state.event(snapshot, CONTROLLER, "Warning", reason, why);
    state.change(CONTROLLER, snapshot, "status", |object| {
        object["status"] = json!({"error": {"message": why, "time": now()}, "readyToUse": false});
    });
}

/// Takes over what the content has become.
fn follow(state: &mut State, snapshot: &Value, content: &str) {
    if snapshot["status"]["readyToUse"] == true {
        return;
    }
    let Some(content_object) = state.object(CONTENTS, "", content) else { return };
    // As external-snapshotter's `needsUpdateSnapshotStatus`: a time that the content has is taken over, ready or not.
    if content_object["status"]["creationTime"].is_i64()
        && content_object["status"]["readyToUse"] == false
        && snapshot["status"]["creationTime"].is_null()
    {
        ready(state, snapshot, content, &content_object);
        return;
    }
    if content_object["status"]["readyToUse"] == true {
        let namespace = text(&snapshot["metadata"]["namespace"]).to_owned();
        let name = text(&snapshot["metadata"]["name"]).to_owned();
        let created = format!("Snapshot {namespace}/{name} was successfully created by the CSI driver.");
        state.event(snapshot, CONTROLLER, "Normal", "SnapshotCreated", &created);
        let is_ready = format!("Snapshot {namespace}/{name} is ready to use.");
        state.event(snapshot, CONTROLLER, "Normal", "SnapshotReady", &is_ready);
        ready(state, snapshot, content, &content_object);
        release(state, &namespace, text(&snapshot["spec"]["source"]["persistentVolumeClaimName"]));
    }
}

fn ready(state: &mut State, snapshot: &Value, name: &str, content: &Value) {
    let nanoseconds = content["status"]["creationTime"].as_i64().unwrap_or(0);
    let created = stamp(chrono::DateTime::from_timestamp_nanos(nanoseconds));
    let size = quantity::bytes(i128::from(content["status"]["restoreSize"].as_i64().unwrap_or(0)));
    state.change(CONTROLLER, snapshot, "status", |object| {
        object["status"] = json!({
            "boundVolumeSnapshotContentName": name, "creationTime": created,
            "readyToUse": content["status"]["readyToUse"], "restoreSize": size,
        });
    });
}

fn advance_content(state: &mut State, content: &Value) {
    let reference = &content["spec"]["volumeSnapshotRef"];
    if is_dying(content) {
        end_content(state, content);
        return;
    }
    if content["spec"]["driver"] != CSI_DRIVER {
        return;
    }
    let dynamic = content["spec"]["source"]["volumeHandle"].is_string();
    if content["status"]["readyToUse"] != true {
        let held = key(text(&reference["namespace"]), text(&reference["name"]));
        if state.faults.holds_snapshot(&held) {
            return;
        }
        if dynamic && content["status"]["creationTime"].is_i64() {
            uploaded(state, content);
        } else if dynamic {
            take(state, content)
        } else {
            look_up(state, content)
        }
        return;
    }
    if reference["uid"].is_string() && !has_finalizer(content, CONTENT_BOUND) {
        state.change(CONTROLLER, content, "", |object| add_finalizer(object, CONTENT_BOUND));
    } else if content["metadata"]["annotations"][BEING_CREATED].is_string() {
        state.change(SIDECAR, content, "", |object| drop_annotation(object, BEING_CREATED));
    }
}

fn take(state: &mut State, content: &Value) {
    if !has_finalizer(content, CONTENT_BOUND) {
        state.change(CONTROLLER, content, "", |object| add_finalizer(object, CONTENT_BOUND));
        return;
    }
    if content["metadata"]["annotations"][BEING_CREATED].is_null() {
        state.change(SIDECAR, content, "", |object| object["metadata"]["annotations"][BEING_CREATED] = "yes".into());
        return;
    }
    let uid = text(&content["metadata"]["uid"]).to_owned();
    if !state.waited(format!("snapshot {uid}"), state.pace.snapshot) {
        return;
    }
    let volume_handle = text(&content["spec"]["source"]["volumeHandle"]);
    let volumes = state.objects("persistentvolumes");
    let Some(volume) = volumes.iter().find(|volume| volume["spec"]["csi"]["volumeHandle"] == volume_handle) else {
        return;
    };
    let Some(folder) = state.volume_folder(volume) else { return };
    let handle = new_uid();
    super::copy_folder(&folder, &state.snapshot_folder(&handle));
    let size =
        quantity::to_bytes(text(&volume["spec"]["capacity"]["storage"])).and_then(|size| i64::try_from(size).ok());
    let taken = chrono::Utc::now().timestamp_nanos_opt();
    let ready = !state.faults.uploads_snapshots();
    state.change(SIDECAR, content, "status", |object| {
        object["status"] =
            json!({"creationTime": taken, "readyToUse": ready, "restoreSize": size, "snapshotHandle": handle});
    });
}

/// CSI has a driver answer as soon as the snapshot is cut (`CreateSnapshot` with `creation_time`), and be asked again until it is ready.
fn uploaded(state: &mut State, content: &Value) {
    if !state.faults.uploads_snapshots() {
        state.change(SIDECAR, content, "status", |object| object["status"]["readyToUse"] = true.into());
    }
}

/// A content that came with a handle is ready if the storage has that snapshot.
fn look_up(state: &mut State, content: &Value) {
    let handle = text(&content["spec"]["source"]["snapshotHandle"]).to_owned();
    let contents = state.objects(CONTENTS);
    if handle.is_empty() || !state.snapshot_folder(&handle).exists() {
        if content["status"]["error"].is_null() {
            state.change(SIDECAR, content, "status", |object| {
                let text = format!("Failed to check and update snapshot content: failed to list snapshot for content: snapshot {handle} not found");
                object["status"] = json!({"error": {"message": text, "time": now()}, "readyToUse": false});
            });
        }
        return;
    }
    let known = contents
        .iter()
        .find(|other| other["status"]["snapshotHandle"] == handle.as_str() && other["status"]["readyToUse"] == true);
    let created = parse_time(&content["metadata"]["creationTimestamp"]).and_then(|time| time.timestamp_nanos_opt());
    let status = known.map_or_else(
        || json!({"creationTime": created, "readyToUse": true, "restoreSize": 0, "snapshotHandle": handle}),
        |known| known["status"].clone(),
    );
    state.change(SIDECAR, content, "status", |object| object["status"] = status);
}

fn drop_annotation(object: &mut Value, annotation: &str) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(annotation);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// The end of a snapshot: not while a claim is filled from it; its content goes with it if the policy says so.
fn end(state: &mut State, snapshot: &Value) {
    if being_restored(state, snapshot) {
        let what = format!("pending {}", text(&snapshot["metadata"]["uid"]));
        if !state.since.contains_key(&what) {
            state.waited(what, std::time::Duration::ZERO);
            state.event(
                snapshot,
                CONTROLLER,
                "Warning",
                "SnapshotDeletePending",
                "Snapshot is being used to restore a PVC",
            );
        }
        return;
    }
    let bound = text(&snapshot["status"]["boundVolumeSnapshotContentName"]).to_owned();
    if let Some(content) = state.object(CONTENTS, "", &bound)
        && content["spec"]["volumeSnapshotRef"]["uid"] == snapshot["metadata"]["uid"]
    {
        if content["metadata"]["annotations"][BEING_DELETED].is_null() {
            state.change(CONTROLLER, &content, "", |object| {
                object["metadata"]["annotations"][BEING_DELETED] = "yes".into()
            });
        }
        if content["spec"]["deletionPolicy"] == "Delete" {
            if !is_dying(&content) {
                state.remove(CONTROLLER, &content, &DeleteOptions::default());
            }
            return;
        }
    }
    release(
        state,
        text(&snapshot["metadata"]["namespace"]),
        text(&snapshot["spec"]["source"]["persistentVolumeClaimName"]),
    );
    state.edit(snapshot, |object| {
        drop_finalizer(object, AS_SOURCE);
        drop_finalizer(object, BOUND);
    });
}

/// The end of a content: with Delete the storage's snapshot goes; with Retain it stays for ever. A snapshot that lives keeps it.
fn end_content(state: &mut State, content: &Value) {
    let reference = &content["spec"]["volumeSnapshotRef"];
    let snapshot = state.object(SNAPSHOTS, text(&reference["namespace"]), text(&reference["name"]));
    let lives =
        snapshot.is_some_and(|snapshot| snapshot["metadata"]["uid"] == reference["uid"] && !is_dying(&snapshot));
    if lives && reference["uid"].is_string() {
        return;
    }
    if content["spec"]["deletionPolicy"] == "Delete" {
        let handle = text(&content["status"]["snapshotHandle"]);
        if !handle.is_empty() {
            let _ = std::fs::remove_file(state.snapshot_folder(handle));
            let _ = std::fs::remove_dir_all(state.snapshot_folder(handle));
        }
    }
    state.edit(content, |object| drop_finalizer(object, CONTENT_BOUND));
}

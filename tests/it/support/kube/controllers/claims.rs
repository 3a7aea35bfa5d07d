//! Claims: bound to a volume that is there, or to one that is made for them, at once or when a pod is scheduled.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::kube::bootstrap::{CSI_DRIVER, LOCAL_PATH};
use crate::support::kube::controllers::{MANAGER, is_dying};
use crate::support::kube::quantity;
use crate::support::kube::state::{State, text};

const BOUND: [&str; 2] = ["pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"];
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const COMPONENT: &str = "persistentvolume-controller";
/// How often a controller says again why nothing happens.
const REPEAT: std::time::Duration = std::time::Duration::from_secs(15);

pub(crate) fn step(state: &mut State) {
    for claim in state.objects("persistentvolumeclaims") {
        if text(&claim["status"]["phase"]) == "Pending" && !is_dying(&claim) {
            bind_or_provision(state, &claim);
        }
    }
}

fn bind_or_provision(state: &mut State, claim: &Value) {
    if let Some(volume) = suitable(state, claim) {
        bind(state, claim, &volume);
        return;
    }
    if claim["spec"]["volumeName"].is_string() {
        return;
    }
    let class_name = text(&claim["spec"]["storageClassName"]);
    if class_name.is_empty() {
        let text = "no persistent volumes available for this claim and no storage class is set";
        again(state, claim, "Normal", "FailedBinding", text);
        return;
    }
    let Some(class) = state.object("storageclasses.storage.k8s.io", "", class_name) else {
        let text = format!("storageclass.storage.k8s.io \"{class_name}\" not found");
        again(state, claim, "Warning", "ProvisioningFailed", &text);
        return;
    };
    let selected = claim["metadata"]["annotations"][SELECTED_NODE].is_string();
    if class["volumeBindingMode"] == "WaitForFirstConsumer" && !selected {
        again(
            state,
            claim,
            "Normal",
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        );
        return;
    }
    let provisioner = text(&class["provisioner"]).to_owned();
    if claim["metadata"]["annotations"][PROVISIONER[0]].is_null() {
        state.change(MANAGER, claim, "", |object| {
            for annotation in PROVISIONER {
                object["metadata"]["annotations"][annotation] = provisioner.as_str().into();
            }
        });
        let text = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system \
             administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
        );
        state.event(claim, COMPONENT, "Normal", "ExternalProvisioning", &text);
        return;
    }
    let uid = text(&claim["metadata"]["uid"]);
    if !state.waited(format!("provision {uid}"), state.pace.provision) {
        return;
    }
    // Nobody serves other provisioners here, as with a driver that is not installed.
    if provisioner == CSI_DRIVER || provisioner == LOCAL_PATH {
        provision(state, claim, &class);
    }
}

/// Says why nothing happens, now and then.
fn again(state: &mut State, claim: &Value, kind: &str, reason: &str, message: &str) {
    let uid = text(&claim["metadata"]["uid"]);
    let what = format!("{reason} {uid}");
    let known = state.since.contains_key(&what);
    if !known || state.waited(what.clone(), REPEAT) {
        state.since.remove(&what);
        state.waited(what, REPEAT);
        state.event(claim, COMPONENT, kind, reason, message);
    }
}

/// The volume a claim names, or one that names the claim, or any free one that fits.
fn suitable(state: &State, claim: &Value) -> Option<Arc<Value>> {
    let spec = &claim["spec"];
    let reference = |volume: &Value| volume["spec"]["claimRef"].clone();
    let is_ours = |volume: &Value| {
        let reference = reference(volume);
        reference["name"] == claim["metadata"]["name"]
            && reference["namespace"] == claim["metadata"]["namespace"]
            && (reference["uid"].is_null() || reference["uid"] == claim["metadata"]["uid"])
    };
    let alive = |volume: &Value| !is_dying(volume);
    let volumes = state.objects("persistentvolumes");
    if let Some(named) = spec["volumeName"].as_str() {
        return volumes.into_iter().find(|volume| {
            volume["metadata"]["name"] == named && alive(volume) && (reference(volume).is_null() || is_ours(volume))
        });
    }
    if let Some(ours) = volumes.iter().find(|volume| is_ours(volume) && alive(volume)) {
        return Some(Arc::clone(ours));
    }
    let wanted = quantity::parse(text(&spec["resources"]["requests"]["storage"])).unwrap_or(0);
    let modes: Vec<&Value> = spec["accessModes"].as_array().into_iter().flatten().collect();
    volumes.into_iter().find(|volume| {
        let has = &volume["spec"];
        let free = reference(volume).is_null() && volume["status"]["phase"] == "Available" && alive(volume);
        let size = quantity::parse(text(&has["capacity"]["storage"])).unwrap_or(0);
        let offered = has["accessModes"].as_array().cloned().unwrap_or_default();
        free && text(&has["storageClassName"]) == text(&spec["storageClassName"])
            && size >= wanted
            && modes.iter().all(|mode| offered.contains(mode))
            && has["volumeMode"] == spec["volumeMode"]
    })
}

/// Volume first, then the claim, then its status, as the real controller does.
fn bind(state: &mut State, claim: &Value, volume: &Value) {
    let spec = &volume["spec"];
    let by_name = claim["spec"]["volumeName"].is_string();
    if volume["spec"]["claimRef"]["uid"].is_null() {
        let reference = json!({
            "kind": "PersistentVolumeClaim", "namespace": claim["metadata"]["namespace"], "name": claim["metadata"]["name"],
            "uid": claim["metadata"]["uid"], "apiVersion": "v1", "resourceVersion": claim["metadata"]["resourceVersion"],
        });
        state.change(MANAGER, volume, "", |object| {
            if object["spec"]["claimRef"].is_null() {
                object["metadata"]["annotations"][BOUND[1]] = "yes".into();
            }
            object["spec"]["claimRef"] = reference;
        });
        return;
    }
    if volume["status"]["phase"] != "Bound" {
        return;
    }
    let annotated = claim["metadata"]["annotations"][BOUND[0]].is_string();
    if !annotated {
        let name = volume["metadata"]["name"].clone();
        state.change(MANAGER, claim, "", |object| {
            object["metadata"]["annotations"][BOUND[0]] = "yes".into();
            if !by_name {
                object["metadata"]["annotations"][BOUND[1]] = "yes".into();
                object["spec"]["volumeName"] = name;
            }
        });
        return;
    }
    state.change(MANAGER, claim, "status", |object| {
        object["status"] = json!({
            "phase": "Bound", "accessModes": spec["accessModes"], "capacity": {"storage": spec["capacity"]["storage"]},
        });
    });
}

fn provision(state: &mut State, claim: &Value, class: &Value) {
    let csi = class["provisioner"] == CSI_DRIVER;
    let manager = if csi { "csi-provisioner" } else { "local-path-provisioner" };
    let uid = text(&claim["metadata"]["uid"]).to_owned();
    let namespace = text(&claim["metadata"]["namespace"]).to_owned();
    let full_name = format!("{namespace}/{}", text(&claim["metadata"]["name"]));
    let said = format!("provisioning {uid}");
    if !state.since.contains_key(&said) {
        state.waited(said, REPEAT);
        let text = format!("External provisioner is provisioning volume for claim \"{full_name}\"");
        state.event(claim, manager, "Normal", "Provisioning", &text);
    }
    let name = format!("pvc-{uid}");
    let folder = if csi {
        state.folder.join("csi").join(&name)
    } else {
        state.folder.join("local-path").join(format!("{name}_{namespace}_{}", text(&claim["metadata"]["name"])))
    };
    let block = claim["spec"]["volumeMode"] == "Block";
    if block && !csi {
        let text = format!(
            "failed to provision volume with StorageClass \"{}\": block volume is not supported",
            text(&class["metadata"]["name"])
        );
        again(state, claim, "Warning", "ProvisioningFailed", &text);
        return;
    }
    let bytes = quantity::to_bytes(text(&claim["spec"]["resources"]["requests"]["storage"])).unwrap_or(0);
    match state.source_folder(claim, csi) {
        Ok(source) if block => super::device(source.as_deref(), &folder, u64::try_from(bytes).unwrap_or(0)),
        Ok(None) => std::fs::create_dir_all(&folder).expect("a folder for the volume"),
        Ok(Some(source)) => super::copy_folder(&source, &folder),
        Err(None) => return,
        Err(Some(text)) => {
            again(state, claim, "Warning", "ProvisioningFailed", &text);
            return;
        }
    }
    if !csi {
        // As local-path's own script does: nobody gives the folder to anybody.
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    }
    let node = claim["metadata"]["annotations"][SELECTED_NODE].as_str().unwrap_or("lab-node").to_owned();
    let affinity = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "In", "values": [node]}]}]}});
    let mut annotations = json!({"pv.kubernetes.io/provisioned-by": class["provisioner"]});
    let mut spec = json!({
        "accessModes": claim["spec"]["accessModes"], "capacity": claim["spec"]["resources"]["requests"],
        "claimRef": {
            "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim["metadata"]["name"], "uid": uid,
            "apiVersion": "v1", "resourceVersion": claim["metadata"]["resourceVersion"],
        },
        "persistentVolumeReclaimPolicy": class["reclaimPolicy"], "storageClassName": class["metadata"]["name"],
        "volumeMode": claim["spec"]["volumeMode"],
    });
    let mut finalizers = json!([]);
    if csi {
        finalizers = json!(["external-provisioner.volume.kubernetes.io/finalizer"]);
        for part in ["name", "namespace"] {
            annotations[format!("volume.kubernetes.io/provisioner-deletion-secret-{part}")] = "".into();
        }
        let identity = json!({"storage.kubernetes.io/csiProvisionerIdentity": format!("1-2-{CSI_DRIVER}")});
        spec["csi"] = json!({"driver": CSI_DRIVER, "volumeHandle": name, "volumeAttributes": identity});
    } else {
        annotations["local.path.provisioner/selected-node"] = node.as_str().into();
        let asked =
            [&claim["metadata"]["annotations"]["volumeType"], &class["metadata"]["annotations"]["defaultVolumeType"]];
        match asked.into_iter().find_map(Value::as_str) {
            Some("local") => spec["local"] = json!({"path": folder}),
            _ => spec["hostPath"] = json!({"path": folder, "type": "DirectoryOrCreate"}),
        }
        spec["nodeAffinity"] = affinity("kubernetes.io/hostname");
    }
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": annotations, "finalizers": finalizers}, "spec": spec,
    });
    state.make(manager, "", volume);
    state.event(claim, manager, "Normal", "ProvisioningSucceeded", &format!("Successfully provisioned volume {name}"));
}

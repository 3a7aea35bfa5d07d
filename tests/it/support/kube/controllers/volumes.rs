//! Volumes: their phase, their folders, their protection while in use, and what becomes of them when their claim is gone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::kube::controllers::{MANAGER, drop_finalizer, has_finalizer, is_dying};
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::quantity;
use crate::support::kube::state::{State, now, text};

const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
const PROVISIONER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
const CLONING: &str = "provisioner.storage.kubernetes.io/cloning-protection";

pub(crate) fn step(state: &mut State) {
    for claim in state.objects("persistentvolumeclaims") {
        if is_dying(&claim) && has_finalizer(&claim, CLAIM_PROTECTION) && !in_use(state, &claim) {
            state.edit(&claim, |object| drop_finalizer(object, CLAIM_PROTECTION));
        }
        let cloned = has_finalizer(&claim, CLONING) && !being_cloned(state, &claim);
        // The provisioner looks again now and then, and soon when the claim changes; whoever deletes it still sees the finalizer in the answer.
        let uid = text(&claim["metadata"]["uid"]).to_owned();
        let soon = state.pace.cloned.min(Duration::from_millis(500));
        if cloned
            && ((is_dying(&claim) && state.waited(format!("cloned and dying {uid}"), soon))
                || state.waited(format!("cloned {uid}"), state.pace.cloned))
        {
            state.change("csi-provisioner", &claim, "", |object| drop_finalizer(object, CLONING));
        }
    }
    for volume in state.objects("persistentvolumes") {
        phase(state, &volume);
    }
}

/// Whether a pod that has not ended names the claim.
fn in_use(state: &State, claim: &Value) -> bool {
    state.objects("pods").iter().any(|pod| {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
        pod["metadata"]["namespace"] == claim["metadata"]["namespace"]
            && !ended
            && volumes
                .into_iter()
                .any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"])
    })
}

fn being_cloned(state: &State, claim: &Value) -> bool {
    state.objects("persistentvolumeclaims").iter().any(|other| {
        let source = &other["spec"]["dataSource"];
        other["status"]["phase"] == "Pending"
            && source["kind"] == "PersistentVolumeClaim"
            && source["name"] == claim["metadata"]["name"]
            && other["metadata"]["namespace"] == claim["metadata"]["namespace"]
    })
}

fn phase(state: &mut State, volume: &Value) {
    let reference = &volume["spec"]["claimRef"];
    let (namespace, name) = (text(&reference["namespace"]), text(&reference["name"]));
    let claim = state.object("persistentvolumeclaims", namespace, name);
    let is_bound = claim.is_some_and(|claim| claim["metadata"]["uid"] == reference["uid"]);
    let before = text(&volume["status"]["phase"]);
    let wanted = match (reference.is_object(), reference["uid"].is_string(), is_bound) {
        (true, true, true) => "Bound",
        (true, true, false) => "Released",
        _ => "Available",
    };
    if before != wanted {
        state.change(MANAGER, volume, "status", |object| {
            object["status"] = json!({"phase": wanted, "lastPhaseTransitionTime": now()});
        });
        return;
    }
    let provisioned = volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"].is_string();
    let delete = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete";
    if before == "Released" && delete && provisioned && !is_dying(volume) {
        state.remove(MANAGER, volume, &DeleteOptions::default());
        return;
    }
    if !is_dying(volume) || before == "Bound" {
        return;
    }
    if has_finalizer(volume, PROVISIONER) {
        state.edit(volume, |object| drop_finalizer(object, PROVISIONER));
    } else if has_finalizer(volume, VOLUME_PROTECTION) {
        if delete
            && provisioned
            && let Some(folder) = state.volume_folder(volume)
        {
            let _ = std::fs::remove_file(&folder);
            let _ = std::fs::remove_dir_all(folder);
        }
        state.edit(volume, |object| drop_finalizer(object, VOLUME_PROTECTION));
    }
}

impl State {
    /// Where the bytes of a volume are on this machine.
    pub(crate) fn volume_folder(&self, volume: &Value) -> Option<PathBuf> {
        let spec = &volume["spec"];
        if let Some(handle) = spec["csi"]["volumeHandle"].as_str() {
            return Some(self.folder.join("csi").join(handle));
        }
        // What a server exports is here, too, by its path.
        ["hostPath", "local", "nfs"].into_iter().find_map(|source| spec[source]["path"].as_str()).map(PathBuf::from)
    }

    pub(crate) fn claim_folder(&self, namespace: &str, name: &str) -> Option<PathBuf> {
        self.volume_folder(&self.claim_volume(namespace, name)?)
    }

    /// The volume that a claim is bound to.
    pub(crate) fn claim_volume(&self, namespace: &str, name: &str) -> Option<Value> {
        let claim = self.object("persistentvolumeclaims", namespace, name)?;
        Some((*self.object("persistentvolumes", "", claim["spec"]["volumeName"].as_str()?)?).clone())
    }

    /// What a new volume begins with: nothing, or a folder. Err(None) to wait, or why it cannot be.
    pub(crate) fn source_folder(&mut self, claim: &Value, csi: bool) -> Result<Option<PathBuf>, Option<String>> {
        let source = claim["spec"]["dataSource"].clone();
        if !source.is_object() {
            return Ok(None);
        }
        let namespace = text(&claim["metadata"]["namespace"]).to_owned();
        let (kind, name) = (text(&source["kind"]).to_owned(), text(&source["name"]).to_owned());
        if !csi {
            return Err(Some(format!("the provisioner does not support the data source {kind}")));
        }
        let fails =
            |why: &str| Err(Some(format!("error getting handle for DataSource Type {kind} by Name {name}: {why}")));
        let wanted = quantity::to_bytes(text(&claim["spec"]["resources"]["requests"]["storage"])).unwrap_or(0);
        if kind == "PersistentVolumeClaim" {
            let Some(origin) = self.object("persistentvolumeclaims", &namespace, &name) else {
                return fails(&format!(
                    "error getting PVC {name} ({namespace}) from api server: persistentvolumeclaim \"{name}\" not found"
                ));
            };
            if origin["status"]["phase"] != "Bound" {
                return Err(None);
            }
            if !has_finalizer(&origin, CLONING) && !is_dying(&origin) {
                self.change("csi-provisioner", &origin, "", |object| super::add_finalizer(object, CLONING));
            }
            let has = quantity::to_bytes(text(&origin["status"]["capacity"]["storage"])).unwrap_or(0);
            if wanted < has {
                return fails(&format!(
                    "requested volume size {wanted} is less than the size {has} for the source volume"
                ));
            }
            return Ok(self.claim_folder(&namespace, &name));
        }
        let Some(snapshot) = self.object("volumesnapshots.snapshot.storage.k8s.io", &namespace, &name) else {
            return fails(&format!(
                "error getting snapshot {name} from api server: volumesnapshots.snapshot.storage.k8s.io \"{name}\" not found"
            ));
        };
        if is_dying(&snapshot) {
            return fails(&format!("snapshot {name} is being deleted"));
        }
        if snapshot["status"]["readyToUse"] != true {
            return fails(&format!("snapshot {name} is not Ready"));
        }
        let bound = text(&snapshot["status"]["boundVolumeSnapshotContentName"]);
        let Some(content) = self.object("volumesnapshotcontents.snapshot.storage.k8s.io", "", bound) else {
            return Err(None);
        };
        let has = i128::from(content["status"]["restoreSize"].as_i64().unwrap_or(0));
        if wanted < has {
            return fails(&format!(
                "requested volume size {wanted} is less than the size {has} for the source snapshot {name}"
            ));
        }
        let mode = &content["spec"]["sourceVolumeMode"];
        let may_change =
            content["metadata"]["annotations"]["snapshot.storage.kubernetes.io/allow-volume-mode-change"] == "true";
        if mode.is_string() && *mode != claim["spec"]["volumeMode"] && !may_change {
            return fails(
                "requested volume modifies the mode of the source volume but does not have permission to do so",
            );
        }
        Ok(Some(self.snapshot_folder(text(&content["status"]["snapshotHandle"]))))
    }

    pub(crate) fn snapshot_folder(&self, handle: &str) -> PathBuf {
        self.folder.join("snapshots").join(handle)
    }
}

/// The group that devices are of, and no pod.
const DISK: u32 = 6;

/// A raw volume: a file of its length that stands for a device, as root's alone as the node of a device is. A new one holds what its storage had there before, of which nobody
/// knows that it is zeros: here it is not, in the first half.
pub(crate) fn device(source: Option<&Path>, to: &Path, bytes: u64) {
    std::fs::create_dir_all(to.parent().expect("a folder of volumes")).expect("a folder");
    match source {
        Some(source) => drop(std::fs::copy(source, to).expect("a copy of a device")),
        None => std::fs::write(to, vec![0xa5; usize::try_from(bytes / 2).expect("small")]).expect("a new device"),
    }
    let file = std::fs::File::options().write(true).open(to).expect("the device");
    file.set_len(bytes).expect("its length");
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o660)).expect("it is ours");
    // As udev has it. Who is not root gives nothing away, and runs no pod as anybody else either.
    let _ = std::os::unix::fs::chown(to, None, Some(DISK));
}

/// Copies a device, or files, folders and links; what else a test may put into a volume is not kept.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    if from.is_file() {
        return device(Some(from), to, from.metadata().expect("a device").len());
    }
    std::fs::create_dir_all(to).expect("a folder");
    let Ok(entries) = std::fs::read_dir(from) else { return };
    for entry in entries.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            copy_folder(&source, &target);
        } else if kind.is_symlink() {
            let link = std::fs::read_link(&source).expect("a link");
            let _ = std::os::unix::fs::symlink(link, &target);
        } else if kind.is_file() {
            std::fs::copy(&source, &target).expect("a copy");
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).expect("a time");
            let file = std::fs::File::options().write(true).open(&target).expect("the copy");
            let _ = file.set_modified(modified);
        }
    }
}

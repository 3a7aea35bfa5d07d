//! Pods as the users that they name: `runAsUser`, `runAsGroup` and `supplementalGroups` by util-linux' `setpriv`, which sets them before it executes the program, and `fsGroup` by
//! what a kubelet does to a volume before it is mounted. Without the capability to do so a container does not start, and its pod says so.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use serde_json::Value;

/// The words before a container's own; none if it runs as root, or says nothing.
pub(super) fn before(pod: &Value, container: &Value) -> Vec<String> {
    let own = |field: &str| {
        let of_container = container["securityContext"][field].as_u64();
        of_container.or_else(|| pod["spec"]["securityContext"][field].as_u64())
    };
    let Some(user) = own("runAsUser").filter(|user| *user > 0) else { return Vec::new() };
    let context = &pod["spec"]["securityContext"];
    let mut groups: Vec<String> = context["fsGroup"].as_u64().iter().map(u64::to_string).collect();
    let further = context["supplementalGroups"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    groups.extend(further.map(|group| group.to_string()));
    let groups = if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={}", groups.join(",")) };
    // A user that the image does not know has the primary group 0.
    let group = own("runAsGroup").unwrap_or(0);
    let mut words = ["setpriv".to_owned(), format!("--reuid={user}"), format!("--regid={group}"), groups].to_vec();
    // No capability survives: `drop: [ALL]`, and a change of user drops them anyway.
    words.extend(["--inh-caps=-all".to_owned(), "--no-new-privs".to_owned(), "--".to_owned()]);
    words
}

/// Whether the kubelet gives such a volume to anybody: what is of the node or of NFS stays as it is, and so does a device, which belongs to root. `local` it gives, and of CSI
/// what the driver's `fsGroupPolicy` says; without one, only what has a type of file system and is of one node.
pub(crate) fn is_given(volume: &Value, policy: Option<&str>) -> bool {
    let spec = &volume["spec"];
    if spec["volumeMode"] == "Block" {
        return false;
    }
    if !spec["csi"].is_object() {
        return spec["local"].is_object();
    }
    let of_one = spec["accessModes"].as_array().into_iter().flatten().any(|mode| mode == "ReadWriteOnce");
    match policy {
        Some("File") => true,
        Some("None") => false,
        _ => of_one && spec["csi"]["fsType"].as_str().is_some_and(|kind| !kind.is_empty()),
    }
}

/// Gives a volume to the pod's `fsGroup`, as `SetVolumeOwnership` of the kubelet does: everything belongs to the group, which may read and write, and directories hand it on. With
/// `OnRootMismatch` nothing is done if the top is so already.
pub(super) fn give(pod: &Value, volume: &Path) {
    let context = &pod["spec"]["securityContext"];
    let Some(group) = context["fsGroup"].as_u64().and_then(|group| u32::try_from(group).ok()) else { return };
    let top = std::fs::metadata(volume).expect("the volume is there");
    let matches = top.gid() == group && top.mode() & DIRECTORY == DIRECTORY;
    if context["fsGroupChangePolicy"] != "OnRootMismatch" || !matches {
        give_all(volume, group);
    }
}

/// What a directory gets.
const DIRECTORY: u32 = 0o2770;

fn give_all(path: &Path, group: u32) {
    let found = std::fs::symlink_metadata(path).expect("it is there");
    lchown(path, None, Some(group)).expect("the tests run as root");
    if found.is_symlink() {
        return;
    }
    let more = if found.is_dir() { DIRECTORY } else { 0o660 };
    let mode = std::fs::Permissions::from_mode(found.permissions().mode() | more);
    std::fs::set_permissions(path, mode).expect("the tests run as root");
    if found.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder") {
            give_all(&entry.expect("an entry").path(), group);
        }
    }
}

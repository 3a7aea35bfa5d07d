//! Pods as the users that they name: `runAsUser`, `runAsGroup` and `supplementalGroups` by util-linux' `setpriv`, which sets them before it executes the program, and `fsGroup` by
//! what a kubelet does to a volume before it is mounted. Without the capability to do so a container does not start, and its pod says so.

use std::os::unix::fs::{PermissionsExt as _, lchown};
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

/// Whether the kubelet gives such a volume to anybody: what is of the node or of NFS stays as it is, and so does a device, which belongs to root.
pub(super) fn is_given(volume: &Value) -> bool {
    !volume["spec"]["hostPath"].is_object()
        && !volume["spec"]["nfs"].is_object()
        && volume["spec"]["volumeMode"] != "Block"
}

/// Gives a volume to the pod's `fsGroup`, as `SetVolumeOwnership` of the kubelet does: everything belongs to the group, which may read and write, and directories hand it on.
pub(super) fn give(pod: &Value, volume: &Path) {
    let Some(group) = pod["spec"]["securityContext"]["fsGroup"].as_u64().and_then(|group| u32::try_from(group).ok())
    else {
        return;
    };
    let found = std::fs::symlink_metadata(volume).expect("the volume is there");
    lchown(volume, None, Some(group)).expect("the tests run as root");
    if found.is_symlink() {
        return;
    }
    let more = if found.is_dir() { 0o2770 } else { 0o660 };
    let mode = std::fs::Permissions::from_mode(found.permissions().mode() | more);
    std::fs::set_permissions(volume, mode).expect("the tests run as root");
    if found.is_dir() {
        for entry in std::fs::read_dir(volume).expect("a folder") {
            give(pod, &entry.expect("an entry").path());
        }
    }
}

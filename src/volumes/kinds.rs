//! The kinds that volumes are about, and whole lists of them.

use serde_json::Value;

use super::VolumesError;
use crate::cluster::{Cluster, ClusterError, Kind};

/// Times that a list whose moment expired is begun anew.
const ANEW_MAX: u32 = 3;
/// Objects of a kind that are kept at most. Far more than a cluster at home has; a longer list is refused and not cut, since a claim that is not seen is
/// a claim that is not backed up.
const OBJECTS_MAX: usize = 50_000;

fn kind(group: &str, version: &str, resource: &str, name: &str, namespaced: bool) -> Kind {
    Kind {
        group: group.to_owned(),
        resource: resource.to_owned(),
        version: version.to_owned(),
        name: name.to_owned(),
        namespaced,
        directory: name.to_owned(),
    }
}

pub(super) fn claims() -> Kind {
    kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true)
}

pub(super) fn volumes() -> Kind {
    kind("", "v1", "persistentvolumes", "PersistentVolume", false)
}

pub(super) fn pods() -> Kind {
    kind("", "v1", "pods", "Pod", true)
}

pub(super) fn nodes() -> Kind {
    kind("", "v1", "nodes", "Node", false)
}

pub(super) fn namespaces() -> Kind {
    kind("", "v1", "namespaces", "Namespace", false)
}

pub(super) fn events() -> Kind {
    kind("", "v1", "events", "Event", true)
}

pub(super) fn config_maps() -> Kind {
    kind("", "v1", "configmaps", "ConfigMap", true)
}

pub(super) fn storage_classes() -> Kind {
    kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", false)
}

pub(super) fn drivers() -> Kind {
    kind("storage.k8s.io", "v1", "csidrivers", "CSIDriver", false)
}

pub(super) fn snapshots() -> Kind {
    kind("snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot", true)
}

pub(super) fn contents() -> Kind {
    kind("snapshot.storage.k8s.io", "v1", "volumesnapshotcontents", "VolumeSnapshotContent", false)
}

pub(super) fn snapshot_classes() -> Kind {
    kind("snapshot.storage.k8s.io", "v1", "volumesnapshotclasses", "VolumeSnapshotClass", false)
}

/// What `take` makes of all objects of a kind.
pub(super) async fn list<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    take: impl Fn(&Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, VolumesError> {
    let fail = |source: ClusterError| VolumesError::cluster("list", kind.to_string(), source);
    let (mut taken, mut next, mut anew) = (Vec::new(), None::<String>, 0);
    loop {
        match cluster.list(kind, next.as_deref()).await {
            Ok(page) => {
                taken.extend(page.objects.iter().filter_map(&take));
                if taken.len() > OBJECTS_MAX {
                    return Err(VolumesError::TooMany { what: kind.to_string(), limit: OBJECTS_MAX });
                }
                next = page.next;
                if next.is_none() {
                    return Ok(taken);
                }
            }
            Err(error) if error.is_expired() && anew < ANEW_MAX => {
                anew += 1;
                next = None;
                taken.clear();
            }
            Err(error) => return Err(fail(error)),
        }
    }
}

/// The same of a kind that the cluster may not know: then there are none.
pub(super) async fn list_if_known<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    take: impl Fn(&Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, VolumesError> {
    match list(cluster, kind, take).await {
        Err(VolumesError::Cluster { source, .. }) if source.is_missing() => Ok(Vec::new()),
        found => found,
    }
}

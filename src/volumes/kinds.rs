//! The kinds that volumes are about, and whole lists of them.

use serde_json::Value;

use super::VolumesError;
use crate::cluster::list::collect;
use crate::cluster::{Cluster, Kind};

/// Objects of a kind that are kept at most. Far more than a cluster at home has; a longer list is refused and not cut, since a claim that is not seen is
/// a claim that is not backed up.
const OBJECTS_MAX: usize = 50_000;

pub(crate) fn claims() -> Kind {
    Kind::known("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true)
}

pub(crate) fn volumes() -> Kind {
    Kind::known("", "v1", "persistentvolumes", "PersistentVolume", false)
}

pub(crate) fn pods() -> Kind {
    Kind::known("", "v1", "pods", "Pod", true)
}

pub(crate) fn nodes() -> Kind {
    Kind::known("", "v1", "nodes", "Node", false)
}

pub(crate) fn namespaces() -> Kind {
    Kind::known("", "v1", "namespaces", "Namespace", false)
}

pub(crate) fn events() -> Kind {
    Kind::known("", "v1", "events", "Event", true)
}

pub(crate) fn config_maps() -> Kind {
    Kind::known("", "v1", "configmaps", "ConfigMap", true)
}

pub(crate) fn storage_classes() -> Kind {
    Kind::known("storage.k8s.io", "v1", "storageclasses", "StorageClass", false)
}

pub(crate) fn drivers() -> Kind {
    Kind::known("storage.k8s.io", "v1", "csidrivers", "CSIDriver", false)
}

pub(crate) fn snapshots() -> Kind {
    Kind::known("snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot", true)
}

pub(crate) fn contents() -> Kind {
    Kind::known("snapshot.storage.k8s.io", "v1", "volumesnapshotcontents", "VolumeSnapshotContent", false)
}

pub(crate) fn snapshot_classes() -> Kind {
    Kind::known("snapshot.storage.k8s.io", "v1", "volumesnapshotclasses", "VolumeSnapshotClass", false)
}

/// What `take` makes of all objects of a kind.
pub(super) async fn list<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    take: impl Fn(&Value) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, VolumesError> {
    let taken = collect(cluster, kind, OBJECTS_MAX, |object| take(&object)).await;
    let taken = taken.map_err(|source| VolumesError::cluster("list", kind.to_string(), source))?;
    if taken.len() > OBJECTS_MAX {
        return Err(VolumesError::TooMany { what: kind.to_string(), limit: OBJECTS_MAX });
    }
    Ok(taken)
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

//! The kinds that volumes are about, and whole lists of them.

use serde_json::Value;

use super::VolumesError;
pub(crate) use crate::cluster::kinds::{claims, config_maps, events, namespaces, nodes, pods, volumes};
use crate::cluster::list::whole;
use crate::cluster::{Cluster, Kind};

/// The annotation of the storage class that claims get which name none.
pub(crate) const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// The provisioner of a storage class that makes no volumes, but has people make them.
pub(crate) const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

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
    let taken = whole(cluster, kind, |object| take(&object)).await;
    taken.map_err(|source| VolumesError::cluster("list", kind.to_string(), source))
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

//! Kinds, most of the core group, that several parts of this program name.

use super::Kind;

/// Where the lease of a recovery is: the namespace that every cluster has, also one that is empty.
pub(crate) const LEASE_NAMESPACE: &str = "default";

pub(crate) fn leases() -> Kind {
    Kind::known("coordination.k8s.io", "v1", "leases", "Lease", true)
}

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

//! Kinds of the core group that several parts of this program name.

use super::Kind;

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

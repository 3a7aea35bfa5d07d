//! A kind of object, and where it lives in the API and in a snapshot.

use std::fmt;

use crate::format::entry::{PathError, TreePath};

/// The directory of a snapshot's tree that holds the manifests.
pub const RESOURCES: &str = "resources";
/// The directory of objects that are in no namespace. No namespace can have an underscore.
pub const CLUSTER_SCOPED: &str = "_cluster";
/// The directory of the group that has no name (Pod, Secret, …). Groups other than this one have a dot, or are Kubernetes' own.
pub const CORE: &str = "core";

/// A kind of object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource's name in addresses, such as `deployments`.
    pub resource: String,
    /// The version that the server prefers.
    pub version: String,
    /// The kind's name in manifests, such as `Deployment`.
    pub name: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// The name of its directory below the group's: [`Self::name`], unless another resource of the group has the same.
    pub directory: String,
}

impl Kind {
    /// A kind that is known without asking; its directory has its own name.
    #[must_use]
    pub fn known(group: &str, version: &str, resource: &str, name: &str, namespaced: bool) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            version: version.to_owned(),
            name: name.to_owned(),
            namespaced,
            directory: name.to_owned(),
        }
    }

    /// As manifests have it: `apps/v1`, `v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The address of all its objects, in all namespaces.
    #[must_use]
    pub fn collection(&self) -> String {
        let prefix = if self.group.is_empty() { "/api" } else { "/apis" };
        format!("{prefix}/{}/{}", self.api_version(), self.resource)
    }

    /// The address of an object, or without a name of all in a namespace.
    #[must_use]
    pub fn address(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let prefix = if self.group.is_empty() { "/api" } else { "/apis" };
        let mut address = format!("{prefix}/{}", self.api_version());
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            address.push_str("/namespaces/");
            address.push_str(namespace);
        }
        for part in [Some(self.resource.as_str()), name].into_iter().flatten() {
            address.push('/');
            address.push_str(part);
        }
        address
    }

    /// Whether it is this kind of this group.
    #[must_use]
    pub fn is(&self, group: &str, name: &str) -> bool {
        self.group == group && self.name == name
    }

    /// Whether it comes with Kubernetes and is not defined by a custom resource definition: groups of others have a dot and another ending.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        const DEFINED: &str = "snapshot.storage.k8s.io";
        (!self.group.contains('.') || self.group.ends_with(".k8s.io")) && self.group != DEFINED
    }

    /// The directory of its manifests in a snapshot.
    pub fn folder(&self) -> Result<TreePath, PathError> {
        let group = if self.group.is_empty() { CORE } else { &self.group };
        TreePath::new(RESOURCES)?.join(group.as_bytes())?.join(self.directory.as_bytes())
    }

    /// Where the manifest of one of its objects is in a snapshot.
    pub fn document(&self, namespace: Option<&str>, name: &str) -> Result<TreePath, PathError> {
        let namespace = namespace.unwrap_or(CLUSTER_SCOPED);
        self.folder()?.join(namespace.as_bytes())?.join(format!("{name}.yaml").as_bytes())
    }
}

/// A kind for tests, of version `v1` and in namespaces.
#[cfg(test)]
pub(crate) fn example(group: &str, resource: &str, name: &str) -> Kind {
    Kind::known(group, "v1", resource, name, true)
}

/// As `kubectl` names it: `deployments.apps`, `pods`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_folders_of_the_core_group_and_of_others() {
        let [core, other] = ["", "example.org"].map(|group| example(group, "things", "Thing"));
        assert_eq!((core.collection(), core.to_string()), ("/api/v1/things".into(), "things".into()));
        assert_eq!(other.address(Some("media"), Some("x")), "/apis/example.org/v1/namespaces/media/things/x");
        assert_eq!(core.address(None, None), "/api/v1/things");
        assert_eq!(other.collection(), "/apis/example.org/v1/things");
        assert_eq!(other.to_string(), "things.example.org");
        let document = |kind: &Kind, namespace| kind.document(namespace, "a:b").map(|path| path.display());
        assert_eq!(document(&core, Some("media")), Ok("resources/core/Thing/media/a:b.yaml".into()));
        assert_eq!(document(&other, None), Ok("resources/example.org/Thing/_cluster/a:b.yaml".into()));
        assert!(other.document(Some("../.."), "x").is_err(), "a name with a slash goes nowhere");
    }
}
